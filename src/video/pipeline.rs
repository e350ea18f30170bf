//! Runs `camera → encoder` as a GStreamer pipeline. This file and its folder are the only importers of gstreamer.
//!
//! ```text
//! ┌ source bin ────────────────┐  ┌ encode bin ─────────────────────────────────────────────┐
//! │ camera's elements … pace   ├──┤ queue (1 frame, newest wins) → scale → encoder → appsink ├─▶ AccessUnitSender
//! └────────────────────────────┘  └─────────────────────────────────────────────────────────┘
//!   the source's own thread         thread "encode:src", up to and into the access-unit queue
//! ```
//!
//! Frames may only be dropped before the encoder: the leaky queue does that. Behind it there is no further thread: the
//! encoder's own thread hands each access unit over.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio::sync::watch;

use super::camera;
use super::control::VideoControl;
use super::encoder;
use super::error::VideoError;
use super::overlay::{Drawing, OverlaySource};
use super::settings::{Framerate, Source, VideoConfig, View};
use super::units::AccessUnitSender;

mod bus;
mod cameras;
mod encode;
pub mod inspect;
mod plan;
mod source;
mod test_picture;
mod trial;

/// How long [`Pipeline::stop`] waits for a driver before it gives up.
pub const STOP_DEADLINE: Duration = Duration::from_secs(1);
/// Frames a second of the placeholder: a seconds counter needs no more.
const PLACEHOLDER_RATE: Framerate = Framerate::new(5).expect("5 is within the range of Framerate");

use bus::Origin;
pub(super) use cameras::Cameras;
use plan::{Encoding, Plan};

/// A running pipeline. However it is let go, it is taken to NULL first: camera daemons (argus) wedge otherwise. Dropping
/// it blocks as [`Pipeline::stop`] does.
#[derive(Debug)]
pub struct Pipeline {
    // None once stopped.
    running: Option<gst::Pipeline>,
    // Where there are two.
    cameras: Option<Arc<Cameras>>,
    control: VideoControl,
    state: watch::Receiver<PipelineState>,
    progress: Progress,
}

/// How a pipeline is doing. `Failed` and `Ended` are final: what comes after the first failure is its consequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipelineState {
    /// No access unit has come out yet.
    Starting,
    /// Access units come out.
    Playing {
        /// GStreamer's name for the encoder.
        encoder: &'static str,
        /// The raw format that enters it, as GStreamer writes caps.
        input: String,
    },
    /// The source came to its end: a file was played, a remote source went away.
    Ended,
    /// It has stopped by a fault and will not recover by itself.
    Failed(VideoError),
}

impl PipelineState {
    /// Whether nothing more comes out.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Ended | Self::Failed(_))
    }
}

impl Pipeline {
    /// Starts capture and encoding; access units leave through `units`, the first an IDR. Blocks while devices are
    /// opened: a few milliseconds for the test picture, up to a second for some cameras.
    ///
    /// Succeeds as soon as the pipeline runs, which is before the first picture: [`Pipeline::state`] tells the rest.
    ///
    /// # Errors
    /// When GStreamer is not usable, no encoder is, or the source cannot be made or opened.
    pub fn start(
        config: &VideoConfig,
        overlay: OverlaySource,
        units: AccessUnitSender,
    ) -> Result<Pipeline, VideoError> {
        Self::start_steered(config, overlay, units, VideoControl::new(config.encoder.bitrate))
    }

    /// As [`Pipeline::start`], steered by `control`, which may have steered another before.
    ///
    /// # Errors
    /// As [`Pipeline::start`].
    pub fn start_steered(
        config: &VideoConfig,
        overlay: OverlaySource,
        units: AccessUnitSender,
        control: VideoControl,
    ) -> Result<Pipeline, VideoError> {
        Self::launch(config, Drawing::Test(overlay), units, control)
    }

    /// Shows in the camera's place that it is lost, since `lost_at` after 1970, until another pipeline takes over.
    ///
    /// # Errors
    /// As [`Pipeline::start`].
    pub fn start_placeholder(
        config: &VideoConfig,
        lost_at: Duration,
        units: AccessUnitSender,
        control: VideoControl,
    ) -> Result<Pipeline, VideoError> {
        let mut config = config.clone();
        (config.camera.source, config.rear) = (Source::Test, None);
        config.camera.framerate = config.camera.framerate.min(PLACEHOLDER_RATE);
        Self::launch(&config, Drawing::CameraLost { since: lost_at }, units, control)
    }

    fn launch(
        config: &VideoConfig,
        drawing: Drawing,
        units: AccessUnitSender,
        control: VideoControl,
    ) -> Result<Pipeline, VideoError> {
        gst::init().map_err(|error| VideoError::GStreamer { problem: error.to_string() })?;
        if let (Some(_), Drawing::Test(overlay)) = (&config.rear, &drawing) {
            return Self::launch_two(config, overlay.clone(), units, control);
        }
        let Plan { row, setup, source, circumstances } = plan::plan(config)?;
        control.attach(row, encoder::bitrate_ceiling(circumstances));
        let encoding = Encoding { row, setup, circumstances, input: source.output };
        let (announce, state) = watch::channel(PipelineState::Starting);
        let progress = Progress::default();

        let source = source::make(&source, &config.camera, drawing)?;
        let exit = Exit { control: control.clone(), units, state: announce.clone(), progress: progress.clone() };
        let encode = encode::make(encoding, config.encoder.bitrate, exit)?;

        let pipeline = gst::Pipeline::new();
        let whole = || -> Result<(), gst::glib::BoolError> {
            pipeline.add_many([&source, &encode])?;
            source.link(&encode)
        };
        whole().map_err(|error| VideoError::GStreamer { problem: error.to_string() })?;
        set_time(&pipeline);
        let (source, key) = (source.downgrade(), config.camera.key());
        let origin =
            move |element: &gst::Object| match source.upgrade().filter(|source| element.has_as_ancestor(source)) {
                Some(_) => Origin::Source(key),
                None => Origin::Elsewhere,
            };
        bus::announce(&pipeline, origin, |_, _| {}, announce);
        // From here on Drop takes the pipeline to NULL, whatever happens.
        let started = Pipeline { running: Some(pipeline), cameras: None, control, state, progress };
        started.play()?;
        Ok(started)
    }

    /// With the selected camera alone: the other is opened, if it is to be, by whoever keeps the pipeline.
    fn launch_two(
        config: &VideoConfig,
        overlay: OverlaySource,
        units: AccessUnitSender,
        control: VideoControl,
    ) -> Result<Pipeline, VideoError> {
        let encoding = plan::shared_encoder(config)?;
        control.attach(encoding.row, encoder::bitrate_ceiling(encoding.circumstances));
        let (announce, state) = watch::channel(PipelineState::Starting);
        let progress = Progress::default();
        let fault = |error: gst::glib::BoolError| VideoError::GStreamer { problem: error.to_string() };

        let cameras = Cameras::new(config, encoding.row, overlay, &control, announce.clone())?;
        let exit = Exit { control: control.clone(), units, state: announce.clone(), progress: progress.clone() };
        let encode = encode::make(encoding, config.encoder.bitrate, exit)?;
        cameras::guard(&encode, control.clone());

        let pipeline = gst::Pipeline::new();
        pipeline.add_many([cameras.bin(), &encode]).and_then(|()| cameras.bin().link(&encode)).map_err(fault)?;
        set_time(&pipeline);
        bus::announce(&pipeline, cameras.origin(), cameras.broke(), announce);
        let started = Pipeline { running: Some(pipeline), cameras: Some(Arc::new(cameras)), control, state, progress };
        started.play()?;
        Ok(started)
    }

    /// Opens and closes its cameras, where it has two.
    pub(super) fn cameras(&self) -> Option<Arc<Cameras>> {
        self.cameras.clone()
    }

    /// Sets controls of this view's camera, when it is open and V4L2's. Those that are not named stay as they are.
    pub fn set_camera_controls(&self, view: View, controls: &[(String, i32)]) {
        let camera = match (&self.cameras, &self.running) {
            (Some(cameras), _) => cameras.element(view, camera::CAMERA_NAME),
            (None, Some(pipeline)) if view == View::Front => pipeline.by_name(camera::CAMERA_NAME),
            _ => None,
        };
        if let Some(camera) = camera.filter(|camera| camera.has_property(encoder::CONTROLS)) {
            camera.set_property_from_str(encoder::CONTROLS, &camera::controls_text(controls));
        }
    }

    /// A handle that steers this pipeline and reads its counters.
    pub fn control(&self) -> VideoControl {
        self.control.clone()
    }

    /// When the newest access unit came out.
    pub fn last_unit(&self) -> Option<Instant> {
        self.progress.last_unit()
    }

    /// As [`Pipeline::last_unit`], also when the pipeline is gone.
    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// How the pipeline is doing, and each change of it. Closes when the pipeline is gone.
    pub fn state(&self) -> watch::Receiver<PipelineState> {
        self.state.clone()
    }

    /// Stops the pipeline and frees its devices and threads. Blocks, usually for a frame interval, never longer than
    /// [`STOP_DEADLINE`].
    ///
    /// # Errors
    /// When a driver hangs. The thread that waits for it stays behind: GStreamer has no way to give up on a state change.
    pub fn stop(mut self) -> Result<(), VideoError> {
        self.shut_down()
    }

    fn play(&self) -> Result<(), VideoError> {
        let Some(pipeline) = &self.running else { return Ok(()) };
        pipeline.set_state(gst::State::Playing).map(|_| ()).map_err(|error| match &*self.state.borrow() {
            PipelineState::Failed(cause) => cause.clone(),
            _ => VideoError::GStreamer { problem: error.to_string() },
        })
    }

    fn shut_down(&mut self) -> Result<(), VideoError> {
        let Some(pipeline) = self.running.take() else { return Ok(()) };
        if let Some(cameras) = &self.cameras {
            cameras.end();
        }
        let (stopped, wait) = sync_channel::<()>(1);
        let stopper = thread::Builder::new().name("video-stop".into()).spawn({
            let pipeline = pipeline.clone();
            move || {
                to_null(&pipeline);
                drop(pipeline);
                drop(stopped);
            }
        });
        let Ok(stopper) = stopper else {
            // No thread to be had. A stop that may hang is better than a camera that is never freed.
            to_null(&pipeline);
            return Ok(());
        };
        match wait.recv_timeout(STOP_DEADLINE) {
            Err(RecvTimeoutError::Timeout) => Err(VideoError::StopTimedOut { within: STOP_DEADLINE }),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                stopper.join().expect("the stopping thread does nothing that panics");
                Ok(())
            }
        }
    }
}

/// When the newest access unit came out.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<Mutex<Option<Instant>>>);

impl Progress {
    fn note(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    pub(super) fn last_unit(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What access units leave by.
struct Exit {
    control: VideoControl,
    units: AccessUnitSender,
    state: watch::Sender<PipelineState>,
    progress: Progress,
}

/// One clock for all pipelines of the process: their presentation times go on from each other. The running time begins
/// here, not where GStreamer would have it begin, between two steps of the start: what a source stamped meanwhile would
/// carry the machine's uptime, and be held back until then.
fn set_time(pipeline: &gst::Pipeline) {
    let clock = gst::SystemClock::obtain();
    pipeline.set_start_time(gst::ClockTime::NONE);
    pipeline.set_base_time(clock.time());
    pipeline.use_clock(Some(&clock));
}

fn to_null(pipeline: &gst::Pipeline) {
    // GStreamer never refuses this; what a driver cannot release shows in the log of its element.
    let _ = pipeline.set_state(gst::State::Null);
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            tracing::error!(%error, "video pipeline");
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
