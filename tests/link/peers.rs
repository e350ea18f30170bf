//! The publisher to peers that say little of their link, or nothing, or do not listen: over real TLS, ICE, DTLS-SRTP and
//! SCTP on loopback. Nothing they do makes pictures late, costs memory or delays control.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::lab::ONE_AT_A_TIME;
use crate::lab::bare::{Arrivals, Far, peer};
use crate::spider::{Server, ServerSocket, text, within};
use bytes::Bytes;
use futures_util::SinkExt;
use rtc::interceptor::{Registry, Slot, TwccReceiverBuilder};
use rtc::media::Sample;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtcpub::rtc::channels::{ControlSink, LinkState};
use rtcpub::rtc::engine;
use rtcpub::rtc::publisher::{Edges, publish};
use rtcpub::rtc::pump::{PictureEdge, PublishCounters};
use rtcpub::rtc::session::PeerId;
use rtcpub::rtc::settings::{IceConfig, Reliability, RtcConfig};
use rtcpub::rtc::status::PublishStatus;
use rtcpub::signal::settings::SignalConfig;
use rtcpub::signal::spider::Message;
use rtcpub::video::frame::AccessUnit;
use rtcpub::video::settings::Fec;
use rtcpub::video::units::{AccessUnitSender, Offered, access_unit_channel};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite;
use tokio_util::sync::CancellationToken;
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_sample::TrackLocalStaticSample;
use webrtc::peer_connection::RTCSessionDescription;

const FRAME: Duration = Duration::from_millis(33);

/// What a peer agrees to and does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Agrees {
    /// To transport-wide feedback, and gives it.
    AndTells,
    /// To transport-wide feedback, and never gives any; nor anything else.
    ButIsSilent,
    /// To none.
    ToNothing,
}

/// A receiver, as it agrees.
async fn receiver(agrees: Agrees, arrivals: Arrivals) -> (Far, mpsc::Receiver<Arc<dyn DataChannel>>) {
    let engine = match agrees {
        Agrees::ToNothing => engine::media_engine().unwrap(),
        Agrees::AndTells | Agrees::ButIsSilent => engine::publishing_media_engine(Fec::Off).unwrap(),
    };
    let registry = match agrees {
        Agrees::AndTells => Registry::new().with(Slot::TwccReceiver, TwccReceiverBuilder::new().build()),
        Agrees::ButIsSilent | Agrees::ToNothing => Registry::new(),
    };
    let (far, channels) = peer(RTCDtlsRole::Client, engine, registry, arrivals).await;
    let init = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, ..Default::default() };
    far.connection.add_transceiver_from_kind(RtpCodecKind::Video, Some(init)).await.unwrap();
    (far, channels)
}

/// A car that remembers when it was told what.
#[derive(Default)]
struct Car(Mutex<Vec<(String, Instant)>>);

impl ControlSink for Car {
    fn message(&self, message: &[u8], arrived: Instant) {
        self.0.lock().unwrap().push((String::from_utf8_lossy(message).into_owned(), arrived));
    }
    fn link(&self, _peer: PeerId, _state: LinkState) {}
}

/// A publisher whose encoder makes the same rate whatever is wanted of it.
struct Publisher {
    car: Arc<Car>,
    counters: Arc<PublishCounters>,
    metrics: mpsc::Sender<String>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Publisher {
    fn start(signal: SignalConfig, kbps: usize) -> Self {
        let (sender, units) = access_unit_channel();
        let (metrics, metrics_receiver) = mpsc::channel(64);
        let (car, counters, asked) =
            (Arc::<Car>::default(), Arc::<PublishCounters>::default(), Arc::<AtomicUsize>::default());
        let key_frames = asked.clone();
        let on_key_frame_request = Arc::new(move || {
            key_frames.fetch_add(1, Ordering::SeqCst);
        });
        let edges = Edges {
            picture: PictureEdge::new(units, on_key_frame_request),
            further: Vec::new(),
            control: car.clone(),
            metrics: metrics_receiver,
            counters: counters.clone(),
            status: watch::Sender::new(PublishStatus::default()),
            rate: crate::spider::rate_edge(800, |_| {}),
        };
        let rtc = RtcConfig {
            ice: IceConfig::without_servers(),
            metric: Reliability::ORDERED_RELIABLE,
            stream: Reliability::ORDERED_RELIABLE,
        };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(publish(signal, rtc, edges, shutdown.clone()));
        tokio::spawn(film(sender, asked, kbps));
        Self { car, counters, metrics, shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        within(self.task).await.unwrap();
    }
}

/// A picture of so many bytes.
fn picture(idr: bool, bytes: usize) -> Bytes {
    let kind: &[&[u8]] = if idr { &[&[0x67, 1, 2, 3], &[0x68, 4], &[0x65]] } else { &[&[0x41]] };
    let mut data: Vec<u8> = kind.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect();
    data.resize(bytes, 0xa5);
    data.into()
}

/// 30 pictures a second, an IDR whenever one was asked for. A picture's time is its number, 33 ms each.
async fn film(mut sender: AccessUnitSender, asked: Arc<AtomicUsize>, kbps: usize) {
    let mut frames = tokio::time::interval(FRAME);
    let mut served = 0;
    for number in 0_u32.. {
        let encoded_at = frames.tick().await.into_std();
        let requests = asked.load(Ordering::SeqCst);
        let idr = number == 0 || requests > served;
        served = requests;
        let data = picture(idr, kbps * 1000 / 8 * 33 / 1000);
        if sender.offer(AccessUnit { data, pts: FRAME * number, idr, encoded_at }) == Offered::Closed {
            return;
        }
    }
}

/// Answers the next offer with this peer.
async fn join(server: &Server, far: &Far) -> ServerSocket {
    let (mut socket, _, _) = server.accept().await;
    let offer: serde_json::Value = serde_json::from_str(&text(&mut socket).await).unwrap();
    let answer = far.answer(offer["data"].as_str().unwrap().to_owned()).await;
    within(socket.send(tungstenite::Message::text(Message::Answer(answer).to_text()))).await.unwrap();
    socket
}

/// How late pictures arrived, in milliseconds, sorted: after the most punctual one, by their own times.
fn lateness_ms(arrivals: &Arrivals) -> Vec<f64> {
    let arrivals = arrivals.lock().unwrap();
    let (first_time, first_at) = arrivals[0];
    let late = arrivals.iter().map(|(time, at)| {
        (*at - first_at).as_secs_f64() * 1e3 - f64::from(time.wrapping_sub(first_time) as i32) / 90.0
    });
    let mut late: Vec<f64> = late.collect();
    let punctual = late.iter().copied().fold(f64::INFINITY, f64::min);
    late.iter_mut().for_each(|late| *late -= punctual);
    late.sort_by(f64::total_cmp);
    late
}

async fn arrive(arrivals: &Arrivals, pictures: usize) {
    within(async {
        while arrivals.lock().unwrap().len() < pictures {
            tokio::time::sleep(FRAME).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_promises_feedback_and_gives_none_is_never_seconds_behind() {
    let _alone = ONE_AT_A_TIME.lock().await;
    // The trap: five times what the pacer starts from. Held back, every second would be four behind.
    let server = Server::start().await;
    let publisher = Publisher::start(server.signal_config(), 10_000);
    let arrivals = Arrivals::default();
    let (far, _channels) = receiver(Agrees::ButIsSilent, arrivals.clone()).await;
    let _socket = join(&server, &far).await;
    arrive(&arrivals, 30).await;
    let (from, started) = (arrivals.lock().unwrap().len(), Instant::now());
    within(async {
        while started.elapsed() < Duration::from_secs(4) {
            tokio::time::sleep(FRAME).await;
        }
    })
    .await;
    let late = lateness_ms(&arrivals);
    assert!(arrivals.lock().unwrap().len() > from, "pictures go on");
    assert!(late[late.len() * 9 / 10] < 400.0, "nine of ten within 100 ms of the pacer and a busy machine: {late:?}");
    far.connection.close().await.unwrap();
    publisher.stop().await;
}

/// A publisher of the bare library: no congestion control, no pacer, no tap.
async fn bare_publisher(far: &Far, kbps: usize) -> tokio::task::JoinHandle<()> {
    const SSRC: u32 = 0x0ca7_0001;
    let (near, _) =
        peer(RTCDtlsRole::Client, engine::media_engine().unwrap(), engine::interceptors(), Arrivals::default()).await;
    let coding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(SSRC), ..Default::default() },
        codec: engine::h264(),
        ..Default::default()
    };
    let name = || "bare".to_owned();
    let track = MediaStreamTrack::new(name(), name(), name(), RtpCodecKind::Video, vec![coding]);
    let track = Arc::new(TrackLocalStaticSample::new(Instant::now(), track).unwrap());
    let sender = near.connection.add_track(track.clone() as Arc<dyn TrackLocal>).await.unwrap();
    let offer = near.connection.create_offer(None).await.unwrap();
    let answer = far.answer(near.described(offer).await).await;
    near.connection.set_remote_description(RTCSessionDescription::answer(answer).unwrap()).await.unwrap();
    near.connected().await;
    let payload_type = sender.get_parameters().await.unwrap().rtp_parameters.codecs[0].payload_type;
    tokio::spawn(async move {
        let mut frames = tokio::time::interval(FRAME);
        for number in 0_u32.. {
            frames.tick().await;
            let data = picture(number == 0, kbps * 1000 / 8 * 33 / 1000);
            let sample = Sample { data, duration: FRAME, ..Sample::new(Instant::now()) };
            if track.write_sample(SSRC, payload_type, &sample, &[]).await.is_err() {
                break;
            }
        }
        near.connection.close().await.unwrap();
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_transport_cc_gets_pictures_no_later_than_from_the_bare_library() {
    let _alone = ONE_AT_A_TIME.lock().await;
    const KBPS: usize = 3000;
    let server = Server::start().await;
    let (ours, theirs) = (Arrivals::default(), Arrivals::default());
    // Both at once, so that both meet the same machine.
    let (far_of_theirs, _channels) = receiver(Agrees::ToNothing, theirs.clone()).await;
    let bare = bare_publisher(&far_of_theirs, KBPS).await;
    let publisher = Publisher::start(server.signal_config(), KBPS);
    let (far, _channels) = receiver(Agrees::ToNothing, ours.clone()).await;
    let _socket = join(&server, &far).await;
    arrive(&ours, 150).await;
    arrive(&theirs, 150).await;
    let (ours, theirs) = (lateness_ms(&ours), lateness_ms(&theirs));
    for (share, slack_ms) in [(0.5, 5.0), (0.9, 25.0)] {
        let at = |late: &[f64]| late[(late.len() as f64 * share) as usize];
        let (ours, theirs) = (at(&ours), at(&theirs));
        assert!(ours <= 2.0 * theirs + slack_ms, "{share}: {ours:.1} ms, the bare library {theirs:.1} ms");
    }
    bare.abort();
    publisher.stop().await;
    far.connection.close().await.unwrap();
}

/// Kilobytes of this process in memory (`proc_pid_statm(5)`).
fn resident_kib() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_telemetry_costs_no_memory_and_delays_no_control() {
    let _alone = ONE_AT_A_TIME.lock().await;
    const TOLD: usize = 64 * 1024;
    let server = Server::start().await;
    let publisher = Publisher::start(server.signal_config(), 1000);
    let arrivals = Arrivals::default();
    let (far, mut channels) = receiver(Agrees::AndTells, arrivals.clone()).await;
    let _socket = join(&server, &far).await;
    let mut stream = None;
    let mut unread = Vec::new();
    while stream.is_none() {
        let channel = within(channels.recv()).await.unwrap();
        // `metric` is held and never read.
        if channel.label().await.unwrap() == "stream" { stream = Some(channel) } else { unread.push(channel) }
    }
    let stream = stream.unwrap();
    arrive(&arrivals, 5).await;

    // 64 MB of telemetry, as fast as it is taken.
    let metric = format!(r#"{{"noise":{{"key":"{}","value":1}}}}"#, "x".repeat(1000));
    let before = resident_kib();
    let mut delays = Vec::new();
    for number in 0..TOLD {
        publisher.metrics.send(metric.clone()).await.unwrap();
        if number % 1024 == 0 {
            let command = format!(r#"{{"motion":{{"key":"forward","value":{number}}}}}"#);
            let sent = Instant::now();
            stream.send_text(&command).await.unwrap();
            let heard = || publisher.car.0.lock().unwrap().iter().find(|(told, _)| *told == command).map(|told| told.1);
            within(async {
                while heard().is_none() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
            delays.push(heard().unwrap().duration_since(sent));
        }
    }
    let grown = resident_kib().saturating_sub(before);
    let dropped = publisher.counters.metrics_dropped.load(Ordering::Relaxed);
    assert!(dropped > TOLD as u64 / 2, "{dropped} of {TOLD} dropped");
    assert!(grown < 16 * 1024, "{grown} KiB more for 64 MB of telemetry");
    delays.sort();
    assert!(delays[delays.len() * 9 / 10] < Duration::from_millis(100), "{delays:?}");
    publisher.stop().await;
    far.connection.close().await.unwrap();
}
