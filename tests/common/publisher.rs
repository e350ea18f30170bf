//! A car: a publisher with real H.264 and both data channels.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rtc::interceptor::{NackResponderBuilder, Registry, Slot};
use rtc::media::Sample;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::configure_twcc_sender_only;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpRtxParameters, RtpCodecKind,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_local::static_sample::TrackLocalStaticSample;
use webrtc::media_stream::track_local::{TrackLocal, TrackLocalEvent};

use super::encoder::{Encoder, FRAME};
use super::lossy::{LossCounts, Lossy};
use super::peer::{Event, Peer, Trickle, h264, media_engine};
use super::signal::Signal;
use super::{TestHub, within};

/// Payload type of the publisher's H.264, unlike the hub's and the viewers'.
const PAYLOAD_TYPE: u8 = 109;
const FIRST_SSRC: u32 = 0x0ca7_0001;

#[derive(Clone, Copy)]
pub struct Setup {
    pub trickle: Trickle,
    /// Every n-th packet is lost on its way to the hub (not its repetition).
    pub lose_every: Option<u64>,
    pub width: u32,
    pub height: u32,
    pub kbps: u32,
    /// Pictures beside the main one, each as a track of its own.
    pub further: &'static [Further],
}

/// A picture beside the main one.
#[derive(Clone, Copy)]
pub struct Further {
    /// Its track's id.
    pub name: &'static str,
    pub width: u32,
    pub height: u32,
}

impl Default for Setup {
    fn default() -> Self {
        Self { trickle: Trickle::None, lose_every: None, width: 640, height: 360, kbps: 800, further: &[] }
    }
}

pub struct Publisher {
    pub signal: Signal,
    pub peer: Peer,
    metric: Arc<dyn DataChannel>,
    /// Of its first picture.
    pub counts: Arc<Counts>,
    /// Of the others, in their order.
    pub further: Vec<Arc<Counts>>,
    pumps: Vec<JoinHandle<()>>,
}

#[derive(Default)]
pub struct Counts {
    pub key_frame_requests: AtomicU64,
    pub loss: Arc<LossCounts>,
}

impl Publisher {
    pub async fn start(hub: &TestHub, channel: &str) -> Self {
        Self::start_with(hub, channel, Setup::default()).await
    }

    pub async fn start_with(hub: &TestHub, channel: &str, setup: Setup) -> Self {
        let path = format!("/live/ws/pub?channel={channel}&vcodec=h264&brate=800&ktime=100");
        let signal = Signal::open(hub.secure, Some(hub.pin), &path, &[]).await.expect("the socket");
        Self::publish(signal, setup).await
    }

    pub async fn publish(mut signal: Signal, setup: Setup) -> Self {
        let counts = Arc::new(Counts::default());
        let mut engine = media_engine(PAYLOAD_TYPE);
        let registry = Registry::new()
            .with(Slot::from(500), Lossy::outbound(setup.lose_every, counts.loss.clone()))
            .with(Slot::NackResponder, NackResponderBuilder::new().build())
            .with(Slot::from(14_000), Lossy::rtcp_to_application());
        // Header extensions of our own must not reach the viewers.
        let registry = configure_twcc_sender_only(registry, &mut engine).expect("TWCC");
        let mut peer = Peer::new(engine, registry).await;
        let main = Further { name: "camera", width: setup.width, height: setup.height };
        let mut tracks = Vec::new();
        for (picture, ssrc) in [&[main], setup.further].concat().into_iter().zip((FIRST_SSRC..).step_by(2)) {
            let track = track(picture.name, ssrc);
            peer.connection.add_track(track.clone()).await.expect("it is added");
            tracks.push((picture, ssrc, track));
        }
        peer.open_channel("metric").await;
        peer.open_channel("stream").await;
        peer.negotiate(&mut signal, setup.trickle).await;
        peer.connected().await;
        let [metric, _stream] = peer.channels(["metric", "stream"]).await;

        let (mut further, mut pumps) = (Vec::new(), Vec::new());
        for (picture, ssrc, track) in tracks {
            let own = if ssrc == FIRST_SSRC { counts.clone() } else { Arc::default() };
            let encoder = Encoder::start(picture.width, picture.height, setup.kbps);
            pumps.push(tokio::spawn(run(track, ssrc, encoder, own.clone())));
            further.extend((ssrc != FIRST_SSRC).then_some(own));
        }
        Self { signal, peer, metric, counts, further, pumps }
    }

    pub async fn send_metric(&self, text: &str) {
        self.metric.send_text(text).await.expect("it is open");
    }

    /// The next message on `stream`.
    pub async fn command(&mut self) -> String {
        loop {
            match within("a command", self.peer.event()).await.expect("the peer lives") {
                Event::Message { label, text, .. } if label == "stream" => return text,
                _ => {}
            }
        }
    }

    /// Messages on `stream` that have arrived and not been read.
    pub fn waiting_commands(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.peer.event_so_far())
            .filter_map(|event| match event {
                Event::Message { label, text, .. } if label == "stream" => Some(text),
                _ => None,
            })
            .collect()
    }

    /// Stops the pictures, as a program that hangs would.
    pub fn freeze(&self) {
        self.pumps.iter().for_each(JoinHandle::abort);
    }

    /// Stops the picture at this place, as a camera that hangs would.
    pub fn freeze_picture(&self, place: usize) {
        self.pumps[place].abort();
    }

    pub async fn stop(self) {
        self.freeze();
        self.peer.connection.close().await.expect("it closes");
    }
}

fn track(name: &str, ssrc: u32) -> Arc<TrackLocalStaticSample> {
    let coding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(ssrc),
            rtx: Some(RTCRtpRtxParameters { ssrc: ssrc + 1 }),
            ..Default::default()
        },
        codec: h264(),
        ..Default::default()
    };
    let track = MediaStreamTrack::new("rtcpub".into(), name.into(), name.into(), RtpCodecKind::Video, vec![coding]);
    Arc::new(TrackLocalStaticSample::new(Instant::now(), track).expect("a track"))
}

/// Sends pictures, and a key frame when one is asked for.
async fn run(track: Arc<TrackLocalStaticSample>, ssrc: u32, mut encoder: Encoder, counts: Arc<Counts>) {
    let (requests, mut requested) = mpsc::channel(64);
    let listener = track.clone();
    let listening = tokio::spawn(async move {
        while let Some(TrackLocalEvent::OnRtcpPacket(packets)) = listener.poll().await {
            let asked = packets.iter().any(|packet| packet.as_any().is::<PictureLossIndication>());
            if asked && requests.send(()).await.is_err() {
                return;
            }
        }
    });
    loop {
        tokio::select! {
            picture = encoder.pictures.recv() => {
                let Some(picture) = picture else { break };
                let sample = Sample { data: picture.data, duration: FRAME, ..Sample::new(Instant::now()) };
                if track.write_sample(ssrc, PAYLOAD_TYPE, &sample, &[]).await.is_err() {
                    break;
                }
            }
            Some(()) = requested.recv() => {
                counts.key_frame_requests.fetch_add(1, Ordering::Relaxed);
                encoder.force_key_frame();
            }
        }
    }
    listening.abort();
}
