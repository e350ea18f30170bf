//! Keeps the picture alive: builds the pipeline, watches it, and builds it again when it is lost, while the peer connection
//! stays up. What to do when is [`recovery`](super::recovery)'s to decide.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::control::{CameraControls, VideoControl};
use super::error::VideoError;
use super::further::CameraName;
use super::overlay::OverlaySource;
use super::pipeline::{Pipeline, PipelineState, STOP_DEADLINE};
use super::recovery::{CameraState, LossCause, Recovery, Verdict};
use super::settings::{VideoConfig, View};
use super::units::AccessUnitSender;

mod attend;

use attend::attend;

/// How long a driver may take to open its device.
pub const START_DEADLINE: Duration = Duration::from_secs(10);

/// What the picture is made of and goes to.
#[derive(Debug)]
pub struct Keeper {
    /// Of a camera beside the first: the log tells which one it speaks of.
    pub name: Option<CameraName>,
    /// Camera and encoder.
    pub config: VideoConfig,
    /// What the test picture shows.
    pub overlay: OverlaySource,
    /// Where access units go.
    pub units: AccessUnitSender,
    /// What steers every pipeline, one after the other.
    pub control: VideoControl,
    /// How the picture is doing.
    pub state: watch::Sender<CameraState>,
}

impl Keeper {
    /// Keeps the picture until `shutdown`. When it returns, the last pipeline is at NULL.
    ///
    /// # Errors
    /// When the configuration, or what is installed, cannot give a picture, or when pipelines hang that only the end of
    /// the process frees.
    pub async fn keep(self, shutdown: CancellationToken) -> Result<(), VideoError> {
        let mut watched = Watched { recovery: Recovery::new(self.config.camera.stall), placeholder: None, told: None };
        let kept = loop {
            let selected = self.control.views().selected();
            let Some(error) = self.run_once(&mut watched, &shutdown).await else { break Ok(()) };
            let error = if self.name.is_some() { error.of_further() } else { error };
            let Verdict::RetryAt(at) = watched.recovery.lost(&error, now()) else { break Err(error) };
            self.tell_lost(&error, &mut watched);
            self.show_placeholder(&mut watched, &shutdown).await;
            tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                () = tokio::time::sleep_until(at.into()) => {}
                // The other camera may be well.
                () = self.reselected(&selected) => {}
            }
        };
        let _ = stop(watched.placeholder.take()).await;
        kept
    }

    /// Another of two cameras than this is selected.
    async fn reselected(&self, selected: &View) {
        let mut selection = self.control.views().selection();
        if self.config.rear.is_none() || selection.wait_for(|view| view != selected).await.is_err() {
            std::future::pending().await
        }
    }

    /// One pipeline from its start to its loss; `None` when it was asked to end.
    async fn run_once(&self, watched: &mut Watched, shutdown: &CancellationToken) -> Option<VideoError> {
        let pipeline = match self.open(shutdown).await? {
            Ok(pipeline) => pipeline,
            Err(error) => return Some(error),
        };
        watched.recovery.opened(now());
        let lost = self.watch(&pipeline, watched, shutdown).await;
        let progress = pipeline.progress();
        let stopped = stop(Some(pipeline)).await;
        if progress.last_unit().is_some() {
            // It took the queue over, seen to play or not: a placeholder from before is not heard any more.
            let _ = stop(watched.placeholder.take()).await;
        }
        // What hangs is the graver loss: it stays behind, with its device.
        lost.map(|lost| stopped.err().unwrap_or(lost))
    }

    async fn open(&self, shutdown: &CancellationToken) -> Option<Result<Pipeline, VideoError>> {
        let (config, overlay) = (self.config_now(), self.overlay.clone());
        let (units, control) = (self.units.clone(), self.control.clone());
        open(move || Pipeline::start_steered(&config, overlay, units, control), shutdown).await
    }

    fn name(&self) -> Option<&str> {
        self.name.as_ref().map(CameraName::as_str)
    }

    /// What is configured, with what was changed since.
    fn config_now(&self) -> VideoConfig {
        let mut config = self.config.clone();
        config.set_controls(&self.control.camera_controls().borrow());
        config
    }

    async fn watch(
        &self,
        pipeline: &Pipeline,
        watched: &mut Watched,
        shutdown: &CancellationToken,
    ) -> Option<VideoError> {
        let mut state = pipeline.state();
        let mut controls = self.control.camera_controls();
        let attended = attend(pipeline.cameras(), &self.config, self.control.views());
        tokio::pin!(attended);
        loop {
            let seen = state.borrow_and_update().clone();
            match seen {
                PipelineState::Starting => {}
                PipelineState::Playing { encoder, input } => self.tell_playing(encoder, &input, watched).await,
                PipelineState::Ended => return Some(VideoError::Ended { key: self.config.camera.key() }),
                PipelineState::Failed(error) => return Some(error),
            }
            if let Some(at) = pipeline.last_unit() {
                watched.recovery.picture(at);
            }
            if watched.recovery.is_stalled(now()) {
                return Some(VideoError::Stalled { within: self.config.camera.stall });
            }
            let deadline = watched.recovery.deadline().expect("a pipeline is open");
            tokio::select! {
                () = shutdown.cancelled() => return None,
                changed = state.changed() => changed.expect("the pipeline is held here"),
                () = tokio::time::sleep_until(deadline.into()) => {}
                lost = &mut attended => return Some(lost),
                _ = controls.changed() => set_controls(pipeline, &controls.borrow_and_update()),
            }
        }
    }

    async fn tell_playing(&self, encoder: &'static str, input: &str, watched: &mut Watched) {
        let before = self.state.send_replace(CameraState::Playing);
        if before == CameraState::Playing {
            return;
        }
        let lost_ms = watched.told.take().map(|told| now().saturating_duration_since(told.at).as_millis() as u64);
        tracing::info!(camera = self.name(), encoder, input, lost_ms, "encoding");
        let _ = stop(watched.placeholder.take()).await;
    }

    /// Once a change, not once an attempt.
    fn tell_lost(&self, error: &VideoError, watched: &mut Watched) {
        let (camera, cause, message) = (self.name(), LossCause::of(error), error.to_string());
        if watched.told.as_ref().is_some_and(|told| told.cause == cause) {
            tracing::debug!(camera, %error, "camera still lost");
        } else {
            tracing::error!(camera, %error, cause = cause.name(), "camera lost; it is tried for until it is back");
        }
        let at = watched.told.as_ref().map_or_else(now, |told| told.at);
        watched.told = Some(Told { at, cause });
        self.state.send_modify(|state| {
            let since = match state {
                CameraState::Lost { since, .. } => *since,
                CameraState::Starting | CameraState::Playing => wall_clock(),
            };
            *state = CameraState::Lost { cause, message, since };
        });
    }

    /// Unless one is shown already that is well.
    async fn show_placeholder(&self, watched: &mut Watched, shutdown: &CancellationToken) {
        if !self.config.camera.placeholder {
            return;
        }
        if watched.placeholder.as_ref().is_some_and(|shown| !shown.state().borrow().is_final()) {
            return;
        }
        let _ = stop(watched.placeholder.take()).await;
        let CameraState::Lost { since, .. } = *self.state.borrow() else { return };
        let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (config, units, control) = (self.config.clone(), self.units.clone(), self.control.clone());
        match open(move || Pipeline::start_placeholder(&config, since, units, control), shutdown).await {
            Some(Ok(placeholder)) => watched.placeholder = Some(placeholder),
            Some(Err(error)) => tracing::debug!(%error, "no placeholder"),
            None => {}
        }
    }
}

/// Starts a pipeline; `None` when the end is asked for meanwhile.
async fn open(
    start: impl FnOnce() -> Result<Pipeline, VideoError> + Send + 'static,
    shutdown: &CancellationToken,
) -> Option<Result<Pipeline, VideoError>> {
    let opening = on_a_thread(START_DEADLINE, start);
    tokio::pin!(opening);
    tokio::select! {
        opened = &mut opening => Some(opened.unwrap_or(Err(VideoError::StartTimedOut { within: START_DEADLINE }))),
        () = shutdown.cancelled() => {
            // What is being opened is let go as any other.
            let opened = tokio::time::timeout(STOP_DEADLINE, opening).await;
            let _ = stop(opened.ok().flatten().and_then(Result::ok)).await;
            None
        }
    }
}

fn set_controls(pipeline: &Pipeline, controls: &CameraControls) {
    for (view, controls) in View::ALL.into_iter().zip(controls) {
        if let Some(controls) = controls {
            pipeline.set_camera_controls(view, controls);
        }
    }
}

/// What is known across the pipelines.
struct Watched {
    recovery: Recovery,
    placeholder: Option<Pipeline>,
    told: Option<Told>,
}

/// The loss that was told last.
struct Told {
    at: Instant,
    cause: LossCause,
}

/// How much the threads that capture and encode give way to those that carry commands and packets (`nice(2)`; they
/// inherit it from the thread that makes them). With all cores busy a command waited for an encoder's time slice,
/// 3 ms; `benches/publish.rs` shows the difference.
const GIVE_WAY: i32 = 5;

/// `None` when the work is not done in time. Its thread stays behind then, for a driver that hangs cannot be interrupted,
/// and lets go of what it makes when the driver comes back.
async fn on_a_thread<T: Send + 'static>(deadline: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        if let Err(error) = rustix::process::nice(GIVE_WAY) {
            tracing::debug!(%error, "the encoder does not give way");
        }
        // Nobody may be waiting any more.
        let _ = done.send(work());
    };
    let thread = thread::Builder::new().name("video-start".into()).spawn(work).ok()?;
    let result = tokio::time::timeout(deadline, result).await.ok()?.ok();
    // It has nothing left to do.
    let _ = thread.join();
    result
}

/// What hangs is logged, too.
async fn stop(pipeline: Option<Pipeline>) -> Result<(), VideoError> {
    let Some(pipeline) = pipeline else { return Ok(()) };
    let stopped = tokio::task::spawn_blocking(move || pipeline.stop()).await.unwrap_or(Ok(()));
    stopped.inspect_err(|error| tracing::warn!(%error, "video pipeline"))
}

#[expect(clippy::disallowed_methods, reason = "the shell of recovery")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "viewers are told since when the camera is lost")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests;
