//! The publisher to a real peer: TLS, SDP, ICE, DTLS-SRTP and SCTP on loopback. What is sent arrives, what is said is
//! heard, and a lost socket does not cost the picture.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test measures")]

mod spider;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::SinkExt;
use rtcpub::rtc::channels::{ControlSink, LinkState};
use rtcpub::rtc::publisher::{Edges, publish};
use rtcpub::rtc::pump::PictureEdge;
use rtcpub::rtc::relay::{Channel, Event, MediaPacket, PublisherPeer, State, Uplink};
use rtcpub::rtc::session::PeerId;
use rtcpub::rtc::settings::{IceConfig, Reliability, RtcConfig};
use rtcpub::rtc::status::PublishStatus;
use rtcpub::signal::settings::{SignalConfig, Trickle};
use rtcpub::signal::spider::Message;
use rtcpub::video::frame::AccessUnit;
use rtcpub::video::units::{AccessUnitReceiver, AccessUnitSender, Offered, access_unit_channel};
use spider::{Server, ServerSocket, text, within};
use tokio::sync::{Notify, mpsc, watch};
use tokio_tungstenite::tungstenite;
use tokio_util::sync::CancellationToken;

/// How long an answer keeps the publisher waiting.
const HELD_BACK: Duration = Duration::from_secs(1);

/// A car that remembers what it was told.
#[derive(Default)]
struct Car {
    told: Mutex<Vec<String>>,
    changed: Notify,
}

impl Car {
    fn note(&self, what: String) {
        self.told.lock().unwrap().push(what);
        self.changed.notify_waiters();
    }

    async fn hears(&self, what: &str) {
        within(async {
            loop {
                let changed = self.changed.notified();
                if self.told.lock().unwrap().iter().any(|told| told == what) {
                    return;
                }
                changed.await;
            }
        })
        .await;
    }
}

impl ControlSink for Car {
    fn message(&self, message: &[u8], _arrived: Instant) {
        self.note(String::from_utf8_lossy(message).into_owned());
    }
    fn link(&self, peer: PeerId, state: LinkState) {
        self.note(format!("peer {} connected {} stream {}", peer.0, state.connected, state.stream_open));
    }
}

/// A publisher under test, with a source of access units that makes an IDR when asked.
struct Publisher {
    car: Arc<Car>,
    key_frames: Arc<AtomicUsize>,
    status: watch::Receiver<PublishStatus>,
    metrics: mpsc::Sender<String>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    source: tokio::task::JoinHandle<()>,
}

fn start(signal: SignalConfig) -> Publisher {
    let (sender, units): (AccessUnitSender, AccessUnitReceiver) = access_unit_channel();
    let (metrics, metrics_receiver) = mpsc::channel(8);
    let (status_sender, status) = watch::channel(PublishStatus::default());
    let shutdown = CancellationToken::new();
    let car = Arc::new(Car::default());
    let key_frames = Arc::new(AtomicUsize::new(0));
    let asked = key_frames.clone();
    let on_key_frame_request = Arc::new(move || {
        asked.fetch_add(1, Ordering::SeqCst);
    });
    let edges = Edges {
        picture: PictureEdge::new(units, on_key_frame_request),
        further: Vec::new(),
        control: car.clone(),
        metrics: metrics_receiver,
        counters: Arc::default(),
        status: status_sender,
        rate: spider::rate_edge(800, |_| {}),
    };
    let rtc = RtcConfig {
        ice: IceConfig::without_servers(),
        metric: Reliability::ORDERED_RELIABLE,
        stream: Reliability::ORDERED_RELIABLE,
    };
    let task = tokio::spawn(publish(signal, rtc, edges, shutdown.clone()));
    let source = tokio::spawn(film(sender, key_frames.clone()));
    Publisher { car, key_frames, status, metrics, shutdown, task, source }
}

/// 50 pictures a second: each an IDR when one was asked for since the last.
async fn film(mut sender: AccessUnitSender, asked: Arc<AtomicUsize>) {
    let mut frames = tokio::time::interval(Duration::from_millis(20));
    let mut served = 0;
    for number in 0_u32.. {
        let encoded_at = frames.tick().await.into_std();
        let requests = asked.load(Ordering::SeqCst);
        let idr = number == 0 || requests > served;
        served = requests;
        let kind: &[&[u8]] = if idr { &[&[0x67, 1, 2, 3], &[0x68, 4], &[0x65]] } else { &[&[0x41]] };
        let mut data = Vec::new();
        for nal in kind {
            data.extend_from_slice(&[0, 0, 0, 1]);
            data.extend_from_slice(nal);
        }
        // Longer than a packet, and no start code within.
        data.extend(std::iter::repeat_n(0xa5, 3000));
        data.extend_from_slice(&number.to_be_bytes().map(|byte| byte | 0x80));
        let unit = AccessUnit { data: Bytes::from(data), pts: Duration::from_millis(20) * number, idr, encoded_at };
        if sender.offer(unit) == Offered::Closed {
            return;
        }
    }
}

/// The server's end of a session that is up.
struct Session {
    socket: ServerSocket,
    peer: PublisherPeer,
    track: Uplink,
    stream: Channel,
    metric: Vec<String>,
}

/// Answers the next offer as a server does, and waits for picture and channels.
async fn session(server: &Server, answer_candidates_early: bool) -> Session {
    session_at("127.0.0.1:0", server, answer_candidates_early).await
}

async fn session_at(address: &str, server: &Server, answer_candidates_early: bool) -> Session {
    let (socket, _, _) = server.accept().await;
    session_on(socket, address, answer_candidates_early).await
}

async fn session_on(mut socket: ServerSocket, address: &str, answer_candidates_early: bool) -> Session {
    let offer: serde_json::Value = serde_json::from_str(&text(&mut socket).await).unwrap();
    let mut peer = PublisherPeer::new(&[address.parse().unwrap()]).await.unwrap();
    let mut answer = peer.peer.answer(offer["data"].as_str().unwrap().to_owned()).await.unwrap();
    if answer_candidates_early {
        // Old style and before the answer, in upper case, and the answer itself holds none.
        for line in
            answer.lines().filter_map(|line| line.strip_prefix("a=")).filter(|line| line.starts_with("candidate:"))
        {
            let line = line.replace(" udp ", " UDP ");
            within(socket.send(tungstenite::Message::text(Message::Candidate(line).to_text()))).await.unwrap();
        }
        let kept: Vec<_> = answer.lines().filter(|line| !line.starts_with("a=candidate:")).collect();
        answer = kept.join("\r\n") + "\r\n";
    }
    within(socket.send(tungstenite::Message::text(Message::Answer(answer).to_text()))).await.unwrap();
    let (mut track, mut stream, mut metric) = (None, None, None);
    while track.is_none() || stream.is_none() || metric.is_none() {
        match within(peer.inbox.next()).await {
            Event::Track(uplink) => track = Some(uplink),
            Event::ChannelOpen(channel) if channel.label() == "stream" => stream = Some(channel),
            Event::ChannelOpen(channel) if channel.label() == "metric" => metric = Some(channel),
            Event::State(State::Gone) => panic!("the publisher went away"),
            _ => {}
        }
    }
    Session { socket, peer, track: track.unwrap(), stream: stream.unwrap(), metric: Vec::new() }
}

impl Session {
    async fn packet(&self) -> MediaPacket {
        within(self.track.receive()).await.expect("the track goes on")
    }

    /// The first packet of the first picture that can be decoded. This receiver drops what comes in one batch with the
    /// end of the DTLS handshake; like any receiver, it then asks for a key frame.
    async fn first_picture(&self) -> MediaPacket {
        for number in 0..5000 {
            let packet = self.packet().await;
            if starts_a_picture(&packet) {
                return packet;
            }
            if number == 0 {
                self.track.request_key_frame().await;
            }
        }
        panic!("no picture starts");
    }

    async fn metric(&mut self) -> String {
        while self.metric.is_empty() {
            if let Event::Message { label, text } = within(self.peer.inbox.next()).await {
                assert_eq!(&*label, "metric");
                self.metric.push(text);
            }
        }
        self.metric.remove(0)
    }
}

impl Publisher {
    async fn stop(self) {
        self.shutdown.cancel();
        within(self.task).await.unwrap();
        within(self.source).await.unwrap();
    }
}

/// STAP-A (24) carries SPS and PPS in front of an IDR.
fn starts_a_picture(packet: &MediaPacket) -> bool {
    packet.payload[0] & 0x1f == 24
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn picture_control_and_telemetry_arrive() {
    for (trickle, early) in [(Trickle::Candidate2, false), (Trickle::None, false), (Trickle::Candidate, true)] {
        let server = Server::start().await;
        let publisher = start(SignalConfig { trickle, ..server.signal_config() });
        let mut session = session(&server, early).await;

        let mut previous = session.first_picture().await;
        let mut pictures = 0;
        while pictures < 10 {
            let packet = session.packet().await;
            assert_eq!(packet.sequence, previous.sequence.wrapping_add(1), "{trickle:?}: no gap");
            if packet.timestamp != previous.timestamp {
                assert!(previous.marker, "{trickle:?}: the last packet of a picture is marked");
                assert_eq!(packet.timestamp.wrapping_sub(previous.timestamp) % 1800, 0, "{trickle:?}: 20 ms at 90 kHz");
                pictures += 1;
            }
            previous = packet;
        }

        session.stream.send(r#"{"motion":{"key":"forward","value":3}}"#).await.unwrap();
        publisher.car.hears(r#"{"motion":{"key":"forward","value":3}}"#).await;
        publisher.car.hears("peer 1 connected true stream true").await;
        publisher.metrics.send(r#"{"speed":{"key":"maxSpeed","value":420}}"#.into()).await.unwrap();
        assert_eq!(session.metric().await, r#"{"speed":{"key":"maxSpeed","value":420}}"#);
        publisher.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_runs_over_ipv6_alone() {
    let server = Server::start_at("[::1]:0").await;
    for trickle in [Trickle::Candidate2, Trickle::None] {
        let publisher = start(SignalConfig { trickle, ..server.signal_config() });
        let session = session_at("[::1]:0", &server, false).await;
        session.first_picture().await;
        session.stream.send(r#"{"motion":{"key":"forward","value":3}}"#).await.unwrap();
        publisher.car.hears(r#"{"motion":{"key":"forward","value":3}}"#).await;
        publisher.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_a_key_frame_is_heard() {
    let server = Server::start().await;
    let publisher = start(server.signal_config());
    let session = session(&server, false).await;
    session.packet().await;
    let before = publisher.key_frames.load(Ordering::SeqCst);
    session.track.request_key_frame().await;
    for _ in 0..5000 {
        if starts_a_picture(&session.packet().await) && publisher.key_frames.load(Ordering::SeqCst) > before {
            publisher.stop().await;
            return;
        }
    }
    panic!("no key frame came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_socket_keeps_the_picture_until_a_new_session_replaces_it() {
    let server = Server::start().await;
    let mut publisher = start(server.signal_config());
    let Session { socket, peer: mut old, track, .. } = session(&server, false).await;
    within(track.receive()).await.expect("the first picture");
    drop(socket);
    let (socket, _, _) = server.accept().await;
    // The server is in no hurry to answer.
    let unanswered = Instant::now() + HELD_BACK;
    let mut packets = 0;
    while Instant::now() < unanswered {
        within(track.receive()).await.expect("the old track goes on");
        packets += 1;
    }
    assert!(packets >= 20, "{packets} packets in the meantime");
    let told = publisher.car.told.lock().unwrap().clone();
    assert!(!told.iter().any(|told| told.starts_with("peer 1 connected false")), "{told:?}");
    assert!(publisher.status.borrow().publishing);
    let second = session_on(socket, "127.0.0.1:0", false).await;
    second.first_picture().await;
    within(publisher.status.wait_for(|status| status.sessions == 2 && status.publishing)).await.unwrap();
    within(async { while !matches!(old.inbox.next().await, Event::State(State::Gone)) {} }).await;
    let told = publisher.car.told.lock().unwrap().clone();
    assert_eq!(told.iter().filter(|told| *told == "peer 1 connected false stream false").count(), 1, "{told:?}");
    publisher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_down_for_a_while_has_its_publisher_back_soon_after_it_listens() {
    let server = Server::start().await;
    let address = server.address();
    // The times of a channel file that says nothing of them.
    let (retry_min, retry_max) = (Duration::from_millis(500), Duration::from_secs(15));
    let mut publisher = start(SignalConfig { retry_min, retry_max, ..server.signal_config() });
    let before = session(&server, false).await;
    within(publisher.status.wait_for(|status| status.publishing)).await.unwrap();
    let Server { listener, tls, pin, ca_pem } = server;
    drop((listener, before));
    // Long enough for delays that only grow to have grown beyond any use.
    tokio::time::sleep(Duration::from_secs(9)).await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let listens = Instant::now();
    let after = session(&Server { listener, tls, pin, ca_pem }, false).await;
    within(publisher.status.wait_for(|status| status.sessions == 2 && status.publishing)).await.unwrap();
    let took = listens.elapsed();
    println!("publishing {took:?} after the server listens");
    assert!(took < Duration::from_millis(2000), "{took:?}: a second and a half, and what a busy machine adds");
    after.first_picture().await;
    publisher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_car_hears_at_once_that_its_peer_has_gone() {
    let server = Server::start().await;
    let publisher = start(server.signal_config());
    let session = session(&server, false).await;
    publisher.car.hears("peer 1 connected true stream true").await;
    session.peer.peer.close().await;
    // The ICE timers alone would take seconds: the closing of the channel is what tells it.
    publisher.car.hears("peer 1 connected true stream false").await;
    assert!(!publisher.car.told.lock().unwrap().iter().any(|told| told == "peer 1 connected false stream true"));
    // And the session is made anew without waiting for them either.
    let (_next, _, _) = server.accept().await;
    publisher.stop().await;
}
