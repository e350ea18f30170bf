//! The pictures: what makes each, and the tasks that keep them.
//!
//! The first is what the car is driven by: it ends the daemon when it can never come. One beside it may be lost for good,
//! and nothing else is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::provoke::Provocation;
use crate::exit::{Exit, Failure};
use crate::rtc::congestion::{FurtherRateEdge, Picture, RateEdge};
use crate::rtc::pump::{FurtherEdge, PictureEdge};
use crate::telemetry::outlet::Outlet;
use crate::telemetry::report;
use crate::telemetry::snapshot::{FrameRates, FurtherSnapshot};
use crate::video::control::{VideoControl, VideoStats};
use crate::video::error::VideoError;
use crate::video::further::{CameraName, FurtherCamera};
use crate::video::keeper::Keeper;
use crate::video::overlay::OverlaySource;
use crate::video::recovery::{CameraState, LossCause};
use crate::video::settings::{CameraConfig, RateConfig, VideoConfig, View};
use crate::video::units::access_unit_channel;

/// A picture: what keeps it, what it is published by, and what it is read from.
pub(super) struct Shot {
    pub(super) keeper: Keeper,
    pub(super) edge: PictureEdge,
    pub(super) readings: PictureReadings,
}

impl Shot {
    /// `name` is none for the first.
    pub(super) fn new(
        name: Option<CameraName>,
        config: VideoConfig,
        control: VideoControl,
        overlay: OverlaySource,
        provocation: &Provocation,
    ) -> Self {
        let (units_in, units) = access_unit_channel();
        let (state, camera) = watch::channel(CameraState::Starting);
        let on_key_frame_request = {
            let (control, provocation) = (control.clone(), provocation.clone());
            Arc::new(move || {
                provocation.at("key frame");
                control.request_idr();
            })
        };
        let trace = control.trace().clone();
        Self {
            keeper: Keeper { name: name.clone(), config, overlay, units: units_in, control: control.clone(), state },
            edge: PictureEdge { units, on_key_frame_request, trace },
            readings: PictureReadings { name, control, camera, counted: Mutex::default() },
        }
    }

    /// Those beside the first.
    pub(super) fn further(cameras: &[FurtherCamera], overlay: &OverlaySource, provocation: &Provocation) -> Vec<Self> {
        let shot = |FurtherCamera { name, video }: &FurtherCamera| {
            let control = VideoControl::new(video.encoder.bitrate);
            Self::new(Some(name.clone()), video.clone(), control, overlay.clone(), provocation)
        };
        cameras.iter().map(shot).collect()
    }
}

/// The parts of several, each kind for those that take them.
pub(super) struct Shots {
    pub(super) keepers: Vec<Keeper>,
    pub(super) edges: Vec<PictureEdge>,
    pub(super) readings: Vec<PictureReadings>,
}

impl Shots {
    pub(super) fn apart(shots: Vec<Shot>) -> Self {
        let mut apart = Self { keepers: Vec::new(), edges: Vec::new(), readings: Vec::new() };
        for Shot { keeper, edge, readings } in shots {
            apart.keepers.push(keeper);
            apart.edges.push(edge);
            apart.readings.push(readings);
        }
        apart
    }
}

/// What is known of a picture.
pub(super) struct PictureReadings {
    /// None for the first.
    pub(super) name: Option<CameraName>,
    pub(super) control: VideoControl,
    pub(super) camera: watch::Receiver<CameraState>,
    counted: Mutex<Counted>,
}

/// Frames counted last, when, and how many a second there were.
#[derive(Debug, Default)]
struct Counted {
    last: Option<(VideoStats, Instant)>,
    rates: FrameRates,
}

impl PictureReadings {
    /// `None` before the first encoder runs.
    pub(super) fn encoding(&self) -> Option<(VideoStats, FrameRates)> {
        let stats = Some(self.control.stats()).filter(|stats| !stats.encoder.is_empty());
        stats.map(|stats| (stats, self.counted().rates))
    }

    /// A period of telemetry is over.
    pub(super) fn count_frames(&self, now: Instant) {
        let (stats, mut counted) = (self.control.stats(), self.counted());
        if let Some((before, since)) = counted.last.replace((stats, now)) {
            let rates = FrameRates::between(&before, &stats, now.saturating_duration_since(since));
            counted.rates = rates.unwrap_or_default();
        }
    }

    /// How it is doing, for viewers that come at any time.
    pub(super) fn state(&self) -> String {
        report::video_state(self.name.as_ref(), &self.camera.borrow())
    }

    /// Its figures for viewers.
    pub(super) fn figures(&self) -> Vec<String> {
        let encoding = self.encoding();
        encoding.map(|(stats, rates)| report::video(self.name.as_ref(), &stats, rates)).unwrap_or_default()
    }

    /// Of a picture beside the first.
    pub(super) fn snapshot(&self) -> Option<FurtherSnapshot> {
        let name = self.name.clone()?;
        Some(FurtherSnapshot { name, camera: self.camera.borrow().clone(), video: self.encoding() })
    }

    fn counted(&self) -> std::sync::MutexGuard<'_, Counted> {
        // Nothing panics while it is held; if it did, what lies in it would still be whole.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The live link steers the encoder.
pub(super) fn rate_edge(camera: &CameraConfig, config: watch::Receiver<RateConfig>, control: VideoControl) -> RateEdge {
    RateEdge {
        config,
        picture: steered(camera, &control),
        apply: Box::new(move |targets| control.follow(targets.picture())),
        link: watch::Sender::new(None),
    }
}

/// What the pictures beside the first are published by, and their shares of the link.
pub(super) fn further_edges(
    cameras: &[FurtherCamera],
    readings: &[PictureReadings],
    pictures: Vec<PictureEdge>,
) -> Vec<FurtherEdge> {
    let edge = |((camera, readings), picture): ((&FurtherCamera, &PictureReadings), PictureEdge)| {
        let control = readings.control.clone();
        let rate = FurtherRateEdge {
            bitrate: camera.video.encoder.bitrate,
            picture: steered(&camera.video.camera, &control),
            apply: Box::new(move |targets| control.follow(targets)),
        };
        FurtherEdge { name: camera.name.clone(), picture, rate }
    };
    cameras.iter().zip(readings).zip(pictures).map(edge).collect()
}

fn steered(camera: &CameraConfig, control: &VideoControl) -> Box<dyn Fn() -> Picture + Send + Sync> {
    let (size, framerate, control) = (camera.size, camera.framerate, control.clone());
    Box::new(move || Picture { size, framerate, steering: control.steering() })
}

/// Tells viewers how a picture is doing, at each change; `shown` is there where two cameras make it.
pub(super) async fn tell_camera(
    name: Option<CameraName>,
    mut state: watch::Receiver<CameraState>,
    mut shown: Option<watch::Receiver<View>>,
    outlet: Outlet,
    shutdown: CancellationToken,
) {
    loop {
        let message = report::video_state(name.as_ref(), &state.borrow_and_update());
        outlet.send(message);
        if let Some(shown) = &mut shown {
            outlet.send(report::camera_shown(*shown.borrow_and_update()));
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = changed(&mut shown) => {}
            changed = state.changed() => if changed.is_err() {
                // The picture has ended, and with it everything.
                return shutdown.cancelled().await;
            },
        }
    }
}

/// Another camera is shown; never, where there is one.
async fn changed(shown: &mut Option<watch::Receiver<View>>) {
    let Some(shown) = shown else { return std::future::pending().await };
    if shown.changed().await.is_err() {
        std::future::pending().await
    }
}

/// The tasks that keep the pictures.
pub(super) struct Video {
    first: JoinHandle<Result<(), VideoError>>,
    further: Vec<JoinHandle<()>>,
    shutdown: CancellationToken,
    /// Given when the first has ended, for whatever reason.
    pub(super) ended: CancellationToken,
}

impl Video {
    pub(super) fn start(first: Keeper, further: Vec<Keeper>, provocation: &Provocation) -> Self {
        let (shutdown, ended) = (CancellationToken::new(), CancellationToken::new());
        let (asked, guard) = (shutdown.clone(), ended.clone().drop_guard());
        let keeping = provocation.clone().throughout("camera", async move {
            let _ended = guard;
            first.keep(asked).await
        });
        let further = further.into_iter().map(|keeper| tokio::spawn(keep_on(keeper, shutdown.clone()))).collect();
        Self { first: tokio::spawn(keeping), further, shutdown, ended }
    }

    /// Takes every pipeline to NULL.
    pub(super) async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        let (first, further) = tokio::join!(self.first, futures_util::future::join_all(self.further));
        // What else they may have met is in the log.
        further.into_iter().collect::<Result<Vec<_>, _>>().context("video")?;
        first.context("video")?.map_err(|error| match error.is_unavailable() {
            true => Failure::cannot_start(error.to_string()).into(),
            false => Failure { exit: Exit::BadConfiguration, message: error.to_string() }.into(),
        })
    }
}

/// Keeps a picture beside the first. One that can never come is told, and that is all: the car is driven by another.
async fn keep_on(keeper: Keeper, shutdown: CancellationToken) {
    let (name, state) = (keeper.name.clone(), keeper.state.clone());
    let Err(error) = keeper.keep(shutdown).await else { return };
    let camera = name.as_ref().map(CameraName::as_str);
    tracing::error!(camera, %error, "this camera is given up until the next start; the others go on");
    let (cause, message) = (LossCause::of(&error), error.to_string());
    state.send_replace(CameraState::Lost { cause, message, since: wall_clock() });
}

/// When a lost camera was lost is for people to read.
#[expect(clippy::disallowed_methods, reason = "viewers are told since when the camera is lost")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
