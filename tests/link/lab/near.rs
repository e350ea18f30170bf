//! The car's side: a real encoder and the real publisher.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use rtcpub::rtc::channels::{ControlSink, LinkState};
use rtcpub::rtc::congestion::{LinkStatus, Picture, RateEdge};
use rtcpub::rtc::publisher::{Edges, publish};
use rtcpub::rtc::pump::PictureEdge;
use rtcpub::rtc::session::PeerId;
use rtcpub::rtc::settings::{IceConfig, Reliability, RtcConfig};
use rtcpub::rtc::status::PublishStatus;
use rtcpub::signal::settings::SignalConfig;
use rtcpub::video::control::VideoControl;
use rtcpub::video::overlay::{OverlaySource, OverlayState};
use rtcpub::video::pipeline::Pipeline;
use rtcpub::video::rate::{Steering, Targets};
use rtcpub::video::settings::{
    Bitrate, CameraConfig, EncoderChoice, EncoderConfig, Framerate, RateConfig, Size, Source, VideoConfig,
};
use rtcpub::video::units::access_unit_channel;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Scenario;

/// Bits at any rate asked for, and motion: the encoder is never the limit.
const SOURCE: &str = "videotestsrc is-live=true pattern=smpte horizontal-speed=8 ! video/x-raw";
const START_KBPS: u32 = 800;

/// What the publisher did.
#[derive(Default)]
pub struct Did {
    pub targets: Vec<(Instant, Targets)>,
    pub link: Vec<(Instant, LinkStatus)>,
    pub key_frames: u64,
    /// Which command was heard, and when.
    pub commands: Vec<(usize, Instant)>,
    /// The session at the end.
    pub publish: PublishStatus,
}

pub type Shared = Arc<Mutex<Did>>;

struct Car(Shared);

impl ControlSink for Car {
    fn message(&self, message: &[u8], arrived: Instant) {
        if let Some(number) = std::str::from_utf8(message).ok().and_then(|text| text.trim().parse().ok()) {
            self.0.lock().expect("not poisoned").commands.push((number, arrived));
        }
    }
    fn link(&self, _peer: PeerId, _state: LinkState) {}
}

fn kbps(kbps: u32) -> Bitrate {
    Bitrate::from_kbps(kbps).expect("a valid rate")
}

/// Publishes until `shutdown`.
pub async fn run(signal: SignalConfig, scenario: Scenario, did: Shared, shutdown: CancellationToken) {
    let (sender, units) = access_unit_channel();
    let (size, framerate) = (Size::new(640, 480).expect("a size"), Framerate::new(30).expect("a rate"));
    let config = VideoConfig {
        camera: CameraConfig::new(Source::Pipeline(SOURCE.into()), size, framerate),
        rear: None,
        encoder: EncoderConfig {
            choice: EncoderChoice::Named("x264enc".into()),
            bitrate: kbps(START_KBPS.min(scenario.most_kbps)),
            key_frame_interval: std::time::Duration::from_secs(20),
        },
    };
    let overlay = OverlaySource::new(|| OverlayState { throttle: 0.0, steering: 0.0, state: "parked" });
    let pipeline = tokio::task::spawn_blocking(move || Pipeline::start(&config, overlay, sender));
    let pipeline = pipeline.await.expect("no panic").expect("a pipeline");
    let (metrics_sender, metrics) = mpsc::channel(8);
    let edges = Edges {
        picture: PictureEdge::new(units, key_frames(pipeline.control(), did.clone())),
        further: Vec::new(),
        control: Arc::new(Car(did.clone())),
        metrics,
        counters: Arc::default(),
        status: watch::Sender::new(PublishStatus::default()),
        rate: rate(pipeline.control(), scenario, (size, framerate), did.clone()),
    };
    let status = edges.status.subscribe();
    let watching = tokio::spawn(watch_link(edges.rate.link.subscribe(), did.clone()));
    let rtc = RtcConfig {
        ice: IceConfig::without_servers(),
        metric: Reliability::ORDERED_RELIABLE,
        stream: Reliability::ORDERED_RELIABLE,
    };
    publish(signal, rtc, edges, shutdown).await;
    did.lock().expect("not poisoned").publish = status.borrow().clone();
    drop(metrics_sender);
    watching.await.expect("no panic");
    tokio::task::spawn_blocking(move || pipeline.stop()).await.expect("no panic").expect("it stops");
}

fn key_frames(video: VideoControl, did: Shared) -> Arc<dyn Fn() + Send + Sync> {
    Arc::new(move || {
        did.lock().expect("not poisoned").key_frames += 1;
        video.request_idr();
    })
}

fn rate(video: VideoControl, scenario: Scenario, (size, framerate): (Size, Framerate), did: Shared) -> RateEdge {
    let Scenario { most_kbps, fec, .. } = scenario;
    let config = RateConfig::new(kbps(START_KBPS.min(most_kbps)), kbps(150), kbps(most_kbps)).expect("in order");
    let picture = Picture { size, framerate, steering: Steering::ANY };
    RateEdge {
        config: watch::channel(config.with_fec(fec)).1,
        picture: Box::new(move || picture),
        apply: Box::new(move |targets| {
            video.follow(targets.picture());
            did.lock().expect("not poisoned").targets.push((Instant::now(), *targets));
        }),
        link: watch::Sender::new(None),
    }
}

async fn watch_link(mut link: watch::Receiver<Option<LinkStatus>>, did: Shared) {
    while link.changed().await.is_ok() {
        let status = link.borrow_and_update().clone();
        if let Some(status) = status {
            did.lock().expect("not poisoned").link.push((Instant::now(), status));
        }
    }
}
