//! The hub over real sockets: TLS, DTLS-SRTP, SCTP, and real H.264 from publishers to viewers.
#![expect(clippy::disallowed_methods, reason = "the tests measure")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::peer::Trickle;
use common::publisher::{self, Publisher};
use common::signal::Signal;
use common::viewer::{self, Viewer};
use common::{TestHub, within};
use rtcpub::secret::Secret;
use tokio_tungstenite::tungstenite::{Error, Message};

const CHANNEL: &str = "c40hipepjh65aeq6ndj0";
const PUB: &str = "/live/ws/pub?channel=c40hipepjh65aeq6ndj0";
const SUB: &str = "/live/ws/sub?channel=c40hipepjh65aeq6ndj0";

/// Whether a payload begins with the parameter sets that every key frame here has in front (STAP-A with an SPS first).
fn starts_key_frame(payload: &[u8]) -> bool {
    payload[0] & 0x1f == 24 && payload[3] & 0x1f == 7
}

fn forward(value: u8, seq: u32, session: &str) -> String {
    format!(r#"{{"motion":{{"key":"forward","value":{value}}},"seq":{seq},"session":"{session}"}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_receives_the_picture_from_a_key_frame_on_in_its_own_numbers() {
    let hub = TestHub::start().await;
    let publisher = Publisher::start(&hub, CHANNEL).await;
    let mut viewer = Viewer::join(&hub, CHANNEL).await;
    let first = viewer.packet().await;
    assert!(starts_key_frame(&first.payload), "{:x?}", &first.payload[..8]);
    assert_eq!(first.header.payload_type, viewer::PAYLOAD_TYPE, "what this viewer has negotiated");
    assert!(first.header.extensions.is_empty(), "extensions belong to a hop");
    let mut last = first.header;
    for _ in 0..200 {
        let header = viewer.packet().await.header;
        assert_eq!(header.sequence_number, last.sequence_number.wrapping_add(1));
        assert_eq!(header.ssrc, last.ssrc);
        last = header;
    }
    viewer.leave().await;
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_style_of_trickle_leads_to_a_picture() {
    let hub = TestHub::start().await;
    for trickle in [Trickle::None, Trickle::OldStyle, Trickle::StandardAndEarly] {
        let setup = publisher::Setup { trickle, ..Default::default() };
        let publisher = Publisher::start_with(&hub, CHANNEL, setup).await;
        let mut viewer = Viewer::join_with(&hub, CHANNEL, viewer::Setup { trickle, ..Default::default() }).await;
        assert!(starts_key_frame(&viewer.packet().await.payload));
        viewer.leave().await;
        publisher.stop().await;
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_joins_later_sees_a_picture_at_once() {
    let hub = TestHub::start().await;
    let publisher = Publisher::start(&hub, CHANNEL).await;
    let mut first = Viewer::join(&hub, CHANNEL).await;
    first.packet().await;
    let mut waits = Vec::new();
    for _ in 0..5 {
        let mut viewer = Viewer::join(&hub, CHANNEL).await;
        let joined = Instant::now();
        assert!(starts_key_frame(&viewer.packet().await.payload));
        waits.push(joined.elapsed());
        viewer.leave().await;
    }
    println!("connected → key frame: {waits:?}");
    // The encoder's own key frames are 20 s apart, and a request that is not answered is repeated after 600 ms. A busy
    // machine may take longer now and then.
    assert!(waits.iter().all(|wait| *wait < Duration::from_secs(2)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait < Duration::from_millis(300)), "{waits:?}");
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_on_the_way_to_the_hub_is_asked_for_once_and_reaches_the_viewer() {
    let hub = TestHub::start().await;
    let setup = publisher::Setup { lose_every: Some(20), kbps: 1500, ..Default::default() };
    let publisher = Publisher::start_with(&hub, CHANNEL, setup).await;
    let mut viewer = Viewer::join(&hub, CHANNEL).await;
    viewer.complete_run(600).await;
    let loss = &publisher.counts.loss;
    let (lost, repeated) = (loss.lost.load(Ordering::Relaxed), loss.repeated.load(Ordering::Relaxed));
    println!("lost {lost}, repeated {repeated}");
    assert!(lost >= 25, "{lost}");
    // Once each, but for the few whose repetition was under way when they were asked for again.
    assert!(repeated <= lost + lost / 2, "{lost} lost, {repeated} repeated");
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_viewer_misses_the_hub_repeats_and_the_publisher_is_not_asked() {
    let hub = TestHub::start().await;
    let setup = publisher::Setup { lose_every: Some(u64::MAX), kbps: 1500, ..Default::default() };
    let publisher = Publisher::start_with(&hub, CHANNEL, setup).await;
    let setup = viewer::Setup { lose_every: Some(20), ..Default::default() };
    let mut viewer = Viewer::join_with(&hub, CHANNEL, setup).await;
    viewer.complete_run(600).await;
    assert_eq!(publisher.counts.loss.repeated.load(Ordering::Relaxed), 0);
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_key_frame_requests_reaches_the_publisher_as_few() {
    let hub = TestHub::start().await;
    let publisher = Publisher::start(&hub, CHANNEL).await;
    let mut viewer = Viewer::join(&hub, CHANNEL).await;
    viewer.packet().await;
    let asked_before = publisher.counts.key_frame_requests.load(Ordering::Relaxed);
    let start = Instant::now();
    for _ in 0..40 {
        viewer.ask_for_key_frame().await;
        viewer.packet().await;
    }
    within("a key frame", async { while !starts_key_frame(&viewer.packet().await.payload) {} }).await;
    let asked = publisher.counts.key_frame_requests.load(Ordering::Relaxed) - asked_before;
    let most = start.elapsed().as_millis() as u64 / 300 + 2;
    assert!((1..=most).contains(&asked), "{asked} requests in {:?}", start.elapsed());
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_drives_the_others_watch_and_a_driver_who_vanishes_leaves_a_stopped_car() {
    let hub = TestHub::start().await;
    let mut publisher = Publisher::start(&hub, CHANNEL).await;
    let mut ann = Viewer::join(&hub, CHANNEL).await;
    ann.metric_with(r#"{"wheel":{"key":"state","value":"held"}}"#).await;
    let mut ben = Viewer::join(&hub, CHANNEL).await;
    ben.metric_with(r#"{"wheel":{"key":"state","value":"taken"}}"#).await;

    // The emergency stop is anybody's. Once it has come through, what ben said before it has been judged.
    let stop = r#"{"estop":{"key":"latch","value":1}}"#;
    ben.drive(&forward(20, 0, "ben")).await;
    ben.drive(stop).await;
    assert_eq!(publisher.command().await, stop, "ben's command never comes");
    ann.drive(&forward(7, 41, "ann")).await;
    assert_eq!(publisher.command().await, forward(7, 41, "ann"), "as it was sent");

    let Viewer { signal, peer, .. } = ann;
    drop(signal);
    assert_eq!(
        publisher.command().await,
        r#"{"motion":{"gone":1,"key":"forward","value":0},"seq":42,"session":"ann"}"#
    );
    assert_eq!(publisher.command().await, r#"{"motion":{"gone":1,"key":"left","value":0},"seq":43,"session":"ann"}"#);
    ben.metric_with(r#"{"wheel":{"key":"state","value":"free"}}"#).await;
    peer.gone().await;

    ben.drive(&forward(20, 1, "ben")).await;
    assert_eq!(publisher.command().await, forward(20, 1, "ben"), "the first real command takes a free wheel");
    ben.metric_with(r#"{"wheel":{"key":"state","value":"held"}}"#).await;
    ben.drive(r#"{"wheel":{"key":"release","value":1}}"#).await;
    assert_eq!(publisher.command().await, r#"{"motion":{"gone":1,"key":"forward","value":0},"seq":2,"session":"ben"}"#);
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_commanded_while_the_car_could_not_be_reached_is_not_played_back() {
    const COMMANDS: u32 = 120;
    let hub = Arc::new(TestHub::start().await);
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (sent, all_are_sent) = std::sync::mpsc::channel();
    // A car of its own thread, that stands still: nothing is read, nothing is acknowledged.
    let car = std::thread::spawn({
        let hub = hub.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut publisher = Publisher::start(&hub, CHANNEL).await;
                ready.send(()).expect("it is waited for");
                assert_eq!(publisher.command().await, forward(0, 0, "ann"));
                all_are_sent.recv().expect("it is told");
                let mut played_back = 0;
                while publisher.command().await != forward(7, COMMANDS, "ann") {
                    played_back += 1;
                }
                publisher.stop().await;
                played_back
            })
        }
    });
    is_ready.await.expect("a car");
    let mut ann = Viewer::join(&hub, CHANNEL).await;
    ann.metric_with(r#"{"wheel":{"key":"state","value":"held"}}"#).await;
    ann.drive(&forward(0, 0, "ann")).await;
    for seq in 1..=COMMANDS {
        tokio::time::sleep(Duration::from_millis(20)).await;
        ann.drive(&forward(7, seq, "ann")).await;
    }
    // What the hub has not been told yet is not what waited.
    tokio::time::sleep(Duration::from_millis(500)).await;
    sent.send(()).expect("the car stands still");
    let played_back = tokio::task::spawn_blocking(|| car.join()).await.expect("no panic").expect("no panic");
    assert!(played_back <= 20, "{played_back} of {COMMANDS} commands came late before the newest");
    ann.leave().await;
    Arc::into_inner(hub).expect("the car is gone").stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metric_reaches_every_viewer_and_joins_tells_who_is_here() {
    let hub = TestHub::start().await;
    let mut early = Viewer::join(&hub, CHANNEL).await;
    let company = within("joins", early.signal.receive_of("joins")).await.expect("open");
    assert_eq!(company, r#"{"pictures":[],"publisher":false,"viewers":1}"#);
    let mut publisher = Publisher::start(&hub, CHANNEL).await;
    early.metric_with(r#"{"hub":{"key":"publisher","value":1}}"#).await;
    let mut late = Viewer::join(&hub, CHANNEL).await;
    let told = async { while publisher.signal.receive_of("joins").await.expect("open") != r#"{"viewers":2}"# {} };
    within("joins at the publisher", told).await;
    // The first word on its channel: what was said before that is not repeated for it.
    late.metric_with(r#"{"hub":{"key":"publisher","value":1}}"#).await;
    let lap = r#"{"ir":{"key":"detectTime","value":1763679600.25}}"#;
    publisher.send_metric(lap).await;
    for viewer in [&mut early, &mut late] {
        assert_eq!(viewer.metric_with("detectTime").await, lap);
    }
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_publisher_replaces_the_first_without_a_break_in_the_viewers_numbers() {
    let hub = TestHub::start().await;
    let mut first = Publisher::start(&hub, CHANNEL).await;
    let mut viewer = Viewer::join(&hub, CHANNEL).await;
    let mut last = viewer.packet().await.header;
    let mut second = Publisher::start(&hub, CHANNEL).await;
    let mut closed = false;
    let mut switched = false;
    let run = async {
        while !(switched && closed) {
            tokio::select! {
                message = first.signal.receive(), if !closed => {
                    closed = message.is_none_or(|(kind, _)| kind == "close");
                }
                packet = viewer.packet() => {
                    assert_eq!(packet.header.sequence_number, last.sequence_number.wrapping_add(1));
                    let forward = packet.header.timestamp.wrapping_sub(last.timestamp) as i32;
                    assert!((0..90_000 * 10).contains(&forward), "time went {forward} ticks");
                    // Only the takeover brings a key frame here.
                    switched |= closed && starts_key_frame(&packet.payload);
                    last = packet.header;
                }
            }
        }
    };
    within("the takeover", run).await;
    for _ in 0..60 {
        let header = viewer.packet().await.header;
        assert_eq!(header.sequence_number, last.sequence_number.wrapping_add(1));
        last = header;
    }
    viewer.drive(&forward(3, 0, "v")).await;
    assert_eq!(second.command().await, forward(3, 0, "v"), "commands go to the new car");
    assert_eq!(first.waiting_commands(), Vec::<String>::new());
    second.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_picture_outlives_the_publishers_socket_until_a_new_one_takes_over() {
    let hub = TestHub::start().await;
    let first = Publisher::start(&hub, CHANNEL).await;
    let mut viewer = Viewer::join(&hub, CHANNEL).await;
    viewer.packet().await;
    let Publisher { signal, peer, .. } = first;
    drop(signal);
    for _ in 0..100 {
        viewer.packet().await;
    }
    let second = Publisher::start(&hub, CHANNEL).await;
    peer.gone().await;
    for _ in 0..30 {
        viewer.packet().await;
    }
    second.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_opens_neither_channel_gets_both_from_the_hub() {
    let hub = TestHub::start().await;
    let mut publisher = Publisher::start(&hub, CHANNEL).await;
    let setup = viewer::Setup { labels: &["anything"], ..Default::default() };
    let mut viewer = Viewer::join_with(&hub, CHANNEL, setup).await;
    viewer.metric_with(r#"{"wheel":{"key":"state","value":"held"}}"#).await;
    viewer.drive(&forward(1, 0, "v")).await;
    assert_eq!(publisher.command().await, forward(1, 0, "v"));
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_was_slow_to_open_its_channels_is_answered_on_them() {
    let hub = TestHub::start().await;
    let publisher = Publisher::start(&hub, CHANNEL).await;
    let setup = viewer::Setup { labels: &["anything"], ..Default::default() };
    let mut viewer = Viewer::join_with(&hub, CHANNEL, setup).await;
    // The hub has opened its own by now.
    let (_, ours) = viewer.next_metric().await;
    assert!(!ours);
    viewer.peer.open_channel("metric").await;
    within("the room on our own channel", async { while !viewer.next_metric().await.1 {} }).await;
    publisher.send_metric(r#"{"ir":{"key":"detectTime","value":1}}"#).await;
    let lap = async {
        loop {
            let (text, ours) = viewer.next_metric().await;
            if text.contains("detectTime") {
                return ours;
            }
        }
    };
    assert!(within("the lap", lap).await, "on the channel it opened itself");
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn junk_is_ignored_and_what_cannot_be_ignored_ends_that_socket_alone() {
    let hub = TestHub::start().await;
    let mut signal = Signal::open(hub.secure, Some(hub.pin), PUB, &[]).await.expect("the socket");
    for junk in ["[]", "5", "\"x\"", "{", "{}", r#"{"type":5}"#, r#"{"type":"answer"}"#, r#"{"type":"offer"}"#, "hello"]
    {
        signal.send_raw(Message::text(junk)).await;
    }
    signal.send_raw(Message::binary(vec![0, 159, 146, 150])).await;
    for (kind, data) in [("candidate", "nonsense"), ("candidate2", "{}"), ("joins", "x"), ("ping", ""), ("quit", "")] {
        signal.send(kind, data).await;
    }
    let publisher = Publisher::publish(signal, publisher::Setup::default()).await;

    let big = "x".repeat(300 * 1024);
    let mut flooder = Signal::open(hub.plain, None, SUB, &[]).await.expect("the socket");
    flooder.send("candidate", &big).await;
    within("the end of the flooder", async { while flooder.receive().await.is_some() {} }).await;

    let mut wrong = Signal::open(hub.plain, None, SUB, &[]).await.expect("the socket");
    wrong.send("offer", "v=0\r\nthis is no session description").await;
    within("the end of the wrong one", async { while wrong.receive().await.is_some() {} }).await;

    let mut viewer = Viewer::join(&hub, CHANNEL).await;
    viewer.packet().await;
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_the_pin_decide_who_comes_in() {
    let hub = TestHub::start_with(|config| config.publisher_token = Some(Secret::new("s3cret"))).await;
    let refused = |outcome: Result<Signal, Error>| match outcome {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it was let in"),
    };
    let authorization = [("authorization", "Bearer s3cret")];
    assert_eq!(refused(Signal::open(hub.secure, Some(hub.pin), PUB, &[]).await), 401);
    assert_eq!(refused(Signal::open(hub.plain, None, PUB, &[("authorization", "Bearer x")]).await), 401);
    assert_eq!(refused(Signal::open(hub.plain, None, "/live/ws/sub", &[]).await), 400);
    assert_eq!(refused(Signal::open(hub.plain, None, SUB, &[("origin", "http://evil.example")]).await), 403);
    let wrong_pin = Signal::open(hub.secure, Some([0; 32]), PUB, &authorization).await;
    assert!(matches!(wrong_pin, Err(Error::Io(_))), "TLS fails");
    let signal = Signal::open(hub.secure, Some(hub.pin), PUB, &authorization).await.expect("the right one");
    let publisher = Publisher::publish(signal, publisher::Setup::default()).await;
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hub_stops_in_time_with_everyone_still_here() {
    let hub = TestHub::start().await;
    let mut publisher = Publisher::start(&hub, CHANNEL).await;
    let mut viewer = Viewer::join(&hub, CHANNEL).await;
    viewer.packet().await;
    let idle = tokio::net::TcpStream::connect(hub.secure).await.expect("a connection that says nothing");
    let start = Instant::now();
    hub.stop().await;
    println!("stopped in {:?}", start.elapsed());
    for signal in [&mut publisher.signal, &mut viewer.signal] {
        let closed = async { while signal.receive().await.is_some_and(|(kind, _)| kind != "close") {} };
        within("the goodbye", closed).await;
    }
    drop(idle);
}
