//! Signs of life of the loops without which the car is blind, deaf or out of control.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest silence of the control loop: a stuck I2C bus costs a turn of it one timeout of Linux's drivers, a second, not two.
const CONTROL_LIMIT: Duration = Duration::from_secs(2);
/// Longest silence of the session loop.
const SESSION_LIMIT: Duration = Duration::from_secs(5);
/// Longest time between two tries to bring a lost camera back, and then some.
const CAMERA_LOST_LIMIT: Duration = Duration::from_secs(45);
/// How much longer than the pipeline's own patience a picture may be missing: the pipeline finds out first.
const FRAMES_MARGIN: Duration = Duration::from_secs(3);

/// The last sign of life of one loop. Giving one costs an atomic store.
#[derive(Debug)]
pub struct Heartbeat {
    origin: Instant,
    limit: Duration,
    /// Microseconds after `origin` at which the last tick stops counting; 0 before the first.
    fresh_until: AtomicU64,
}

impl Heartbeat {
    /// Has not ticked yet. `now` must not be later than any tick; each tick counts for `limit`.
    pub fn new(now: Instant, limit: Duration) -> Self {
        Self { origin: now, limit, fresh_until: AtomicU64::new(0) }
    }

    /// A sign of life.
    pub fn tick(&self, now: Instant) {
        self.fresh_until.store(self.micros(now + self.limit), Ordering::Relaxed);
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.micros(now) < self.fresh_until.load(Ordering::Relaxed)
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX)
    }
}

/// Everything that has to live. Shared; each loop ticks its own.
#[derive(Debug)]
pub struct Vitals {
    /// Ticked with each frame that leaves the pipeline.
    pub frames: Heartbeat,
    /// Ticked when the camera is found lost and at every try to bring it back: then no frames are expected. It expires
    /// like the others, so that a hang in the recovery is found as well.
    pub camera_lost: Heartbeat,
    /// Ticked with the beginning of each turn of the drive thread, once it has written what there was to write.
    pub control: Heartbeat,
    /// Ticked by the session's event loop, every second at least.
    pub session: Heartbeat,
}

impl Vitals {
    /// Nothing has ticked yet. `no_frames_after` is how long the pipeline itself waits for a frame before it calls the
    /// camera lost.
    pub fn new(now: Instant, no_frames_after: Duration) -> Self {
        Self {
            frames: Heartbeat::new(now, no_frames_after + FRAMES_MARGIN),
            camera_lost: Heartbeat::new(now, CAMERA_LOST_LIMIT),
            control: Heartbeat::new(now, CONTROL_LIMIT),
            session: Heartbeat::new(now, SESSION_LIMIT),
        }
    }

    /// The loops that give no sign of life; empty is well.
    pub fn silent(&self, now: Instant) -> Vec<Vital> {
        let picture = self.frames.is_fresh(now) || self.camera_lost.is_fresh(now);
        let signs = [
            (picture, Vital::Frames),
            (self.control.is_fresh(now), Vital::Control),
            (self.session.is_fresh(now), Vital::Session),
        ];
        signs.into_iter().filter(|(alive, _)| !alive).map(|(_, vital)| vital).collect()
    }
}

/// A loop that has to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vital {
    /// The pipeline, or its recovery.
    Frames,
    /// The drive thread.
    Control,
    /// The session's event loop.
    Session,
}

impl fmt::Display for Vital {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frames => "the pipeline",
            Self::Control => "the control loop",
            Self::Session => "the session loop",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    /// A daemon whose loops ticked this many seconds after the start, judged at `now_s`.
    fn silent(frames: &[u64], lost: &[u64], control: &[u64], session: &[u64], now_s: u64) -> Vec<Vital> {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let vitals = Vitals::new(start, PATIENCE);
        let beats = [(&vitals.frames, frames), (&vitals.camera_lost, lost), (&vitals.control, control)];
        for (heartbeat, ticks) in beats.into_iter().chain([(&vitals.session, session)]) {
            ticks.iter().for_each(|second| heartbeat.tick(at(*second)));
        }
        vitals.silent(at(now_s))
    }

    #[test]
    fn a_daemon_is_well_while_frames_flow_and_both_loops_tick() {
        assert_eq!(silent(&[10], &[], &[10], &[10], 11), []);
    }

    #[test]
    fn each_loop_that_falls_silent_is_named() {
        assert_eq!(silent(&[14], &[], &[13], &[14], 15), [Vital::Control]);
        assert_eq!(silent(&[14], &[], &[14], &[10], 15), [Vital::Session]);
        assert_eq!(silent(&[10], &[], &[14], &[14], 15), [Vital::Frames]);
        assert_eq!(silent(&[10], &[], &[10], &[10], 15), [Vital::Frames, Vital::Control, Vital::Session]);
    }

    #[test]
    fn a_loop_that_never_ticked_is_silent() {
        assert_eq!(silent(&[], &[], &[], &[], 0), [Vital::Frames, Vital::Control, Vital::Session]);
    }

    #[test]
    fn no_frames_are_expected_of_a_camera_known_to_be_lost() {
        assert_eq!(silent(&[], &[0], &[40], &[40], 41), []);
        assert_eq!(silent(&[10], &[20], &[60], &[60], 61), []);
    }

    #[test]
    fn a_recovery_that_hangs_is_found() {
        assert_eq!(silent(&[10], &[20], &[70], &[70], 71), [Vital::Frames]);
    }

    #[test]
    fn a_late_frame_of_a_dying_pipeline_does_not_make_the_loss_unknown() {
        assert_eq!(silent(&[10, 21], &[20], &[50], &[50], 51), []);
    }
}
