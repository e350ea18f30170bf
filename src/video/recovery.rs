//! When a lost picture is tried for again. Pure.
//!
//! ```text
//!            opened              first picture
//!   (open) ─────────▶ starting ───────────────▶ playing
//!      ▲                 │  lost: no picture in time, fault, end  │
//!      └── retry at ◀────┴────────────────────────────────────────┘
//! ```

use std::time::{Duration, Instant, SystemTime};

use super::error::{CameraFault, VideoError};

/// How long a camera may take for its first picture, at least: some set their exposure first.
pub const START_PATIENCE: Duration = Duration::from_secs(5);
/// A device that is not there, or has just gone, is looked for this often: it must be back on the screen within a second of its return.
pub const MISSING_RETRY: Duration = Duration::from_millis(250);
/// The second attempt after any other fault comes after this; the first at once, each further one after twice as long …
pub const FIRST_DELAY: Duration = Duration::from_millis(250);
/// … up to this.
pub const LONGEST_DELAY: Duration = Duration::from_secs(4);
/// A camera that has played for this long was well: its next loss starts the series of attempts anew.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(3);
/// Pipelines that hang and may be left behind. Each keeps its device, threads and memory, and what it hangs in may be what
/// every further one needs (a driver, an encoder's pool of threads): one more, and the process had better end.
const MOST_LEFT_BEHIND: u32 = 1;
/// Who is woken this much too late was stopped itself (SIGSTOP, a suspended machine), and the camera with him.
const OVERSLEPT: Duration = Duration::from_secs(1);

/// How the picture is doing, for viewers, programs and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CameraState {
    /// The first attempt is under way.
    Starting,
    /// Pictures come.
    Playing,
    /// No picture, and it is tried for.
    Lost {
        /// Why.
        cause: LossCause,
        /// In a sentence.
        message: String,
        /// Since when.
        since: SystemTime,
    },
}

impl CameraState {
    /// In a word, as `metric` has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Playing => "playing",
            Self::Lost { .. } => "lost",
        }
    }

    /// Why there is no picture.
    pub fn cause(&self) -> Option<LossCause> {
        match self {
            Self::Lost { cause, .. } => Some(*cause),
            Self::Starting | Self::Playing => None,
        }
    }
}

/// Why a picture was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// The device is not there.
    Missing,
    /// Another program has it.
    Busy,
    /// The source came to its end.
    Ended,
    /// It runs and gives nothing.
    Stalled,
    /// Any other fault of the camera.
    Camera,
    /// The encoder.
    Encoder,
    /// What is configured cannot work.
    Configuration,
}

impl LossCause {
    /// Of this error.
    pub fn of(error: &VideoError) -> Self {
        match error {
            VideoError::Camera { fault: CameraFault::Missing, .. } => Self::Missing,
            VideoError::Camera { fault: CameraFault::Busy, .. } => Self::Busy,
            VideoError::Ended { .. } => Self::Ended,
            VideoError::Stalled { .. } | VideoError::StartTimedOut { .. } | VideoError::StopTimedOut { .. } => {
                Self::Stalled
            }
            VideoError::EncoderFailed { .. } => Self::Encoder,
            error if error.is_configuration() => Self::Configuration,
            _ => Self::Camera,
        }
    }

    /// In a word, as `metric` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Busy => "busy",
            Self::Ended => "ended",
            Self::Stalled => "stalled",
            Self::Camera => "camera",
            Self::Encoder => "encoder",
            Self::Configuration => "configuration",
        }
    }
}

/// What to do about a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Build the pipeline again at this time.
    RetryAt(Instant),
    /// It never worked and never will, or will not in this process.
    GiveUp,
}

/// Decides when a picture is lost, and when it is tried for again.
#[derive(Debug)]
pub struct Recovery {
    stall: Duration,
    attempts: u32,
    left_behind: u32,
    ever_played: bool,
    running: Option<Running>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    deadline: Instant,
    first_picture: Option<Instant>,
    last_picture: Option<Instant>,
}

impl Recovery {
    /// A playing pipeline that gives no picture for `stall` is lost.
    pub fn new(stall: Duration) -> Self {
        Self { stall, attempts: 0, left_behind: 0, ever_played: false, running: None }
    }

    /// A pipeline runs.
    pub fn opened(&mut self, now: Instant) {
        let deadline = now + self.stall.max(START_PATIENCE);
        self.running = Some(Running { deadline, first_picture: None, last_picture: None });
    }

    /// Its newest picture came at `at`.
    pub fn picture(&mut self, at: Instant) {
        let Some(running) = &mut self.running else { return };
        self.ever_played = true;
        running.first_picture.get_or_insert(at);
        if running.last_picture.is_none_or(|last| last < at) {
            running.last_picture = Some(at);
            running.deadline = at + self.stall;
        }
    }

    /// When to look again whether pictures come.
    pub fn deadline(&self) -> Option<Instant> {
        self.running.map(|running| running.deadline)
    }

    /// Whether they have failed to come for too long. Asked far too late, it grants another term: then it was not the
    /// camera that slept.
    pub fn is_stalled(&mut self, now: Instant) -> bool {
        let Some(running) = &mut self.running else { return false };
        if now >= running.deadline + OVERSLEPT {
            running.deadline = now + self.stall;
            return false;
        }
        now >= running.deadline
    }

    /// The pipeline could not be started, or is lost.
    pub fn lost(&mut self, error: &VideoError, now: Instant) -> Verdict {
        if error.is_configuration() && !self.ever_played {
            return Verdict::GiveUp;
        }
        if matches!(error, VideoError::StartTimedOut { .. } | VideoError::StopTimedOut { .. }) {
            self.left_behind += 1;
            if self.left_behind > MOST_LEFT_BEHIND {
                return Verdict::GiveUp;
            }
        }
        let played = self.running.take().and_then(|running| Some(running.last_picture? - running.first_picture?));
        if played.is_some_and(|played| played >= HEALTHY_AFTER) {
            self.attempts = 0;
        }
        // A device that went away comes back when somebody plugs it in: that is no reason to look ever more seldom.
        if matches!(error, VideoError::Camera { fault: CameraFault::Missing | CameraFault::Lost, .. }) {
            return Verdict::RetryAt(now + MISSING_RETRY);
        }
        let delay = match self.attempts.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_DELAY.saturating_mul(1 << doublings.min(16)).min(LONGEST_DELAY),
        };
        self.attempts = self.attempts.saturating_add(1);
        Verdict::RetryAt(now + delay)
    }
}

#[cfg(test)]
mod tests;
