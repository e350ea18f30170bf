//! The drive thread's hold on the actuator: when to write, when to try again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::actuator::{Actuator, ActuatorError, Output};

/// How long after a failure the actuator is started again, and how long it must have answered before motion.
const RETRY: Duration = Duration::from_millis(100);

/// An actuator and how it is.
pub(super) struct Actuation {
    actuator: Box<dyn Actuator>,
    health: Health,
}

enum Health {
    /// Never started, or failed: to be started from this moment on.
    Down { retry: Instant },
    /// With what it was last given.
    Up { applied: Output },
}

impl Actuation {
    /// An actuator to be started from `now` on.
    pub(super) fn new(actuator: Box<dyn Actuator>, now: Instant) -> Self {
        Self { actuator, health: Health::Down { retry: now } }
    }

    pub(super) fn name(&self) -> &'static str {
        self.actuator.name()
    }

    /// What it was last given, while it answers.
    pub(super) fn applied(&self) -> Option<&Output> {
        match &self.health {
            Health::Up { applied } => Some(applied),
            Health::Down { .. } => None,
        }
    }

    /// When it wants attention next, if nothing happens before.
    pub(super) fn poll_timeout(&self) -> Instant {
        match &self.health {
            Health::Down { retry } => *retry,
            Health::Up { applied } => applied.at() + self.actuator.period(),
        }
    }

    /// Starts it, and returns the moment from which on it may move.
    pub(super) fn start(&mut self, neutral: &Output) -> Result<Instant, ActuatorError> {
        match self.actuator.start(neutral) {
            Ok(hold) => {
                self.health = Health::Up { applied: *neutral };
                Ok(neutral.at() + hold)
            }
            Err(error) => {
                self.health = Health::Down { retry: neutral.at() + RETRY };
                Err(error)
            }
        }
    }

    /// The same after a failure, with some time to show that it was no blink.
    pub(super) fn restart(&mut self, neutral: &Output) -> Result<Instant, ActuatorError> {
        self.start(neutral).map(|from| from.max(neutral.at() + RETRY))
    }

    /// Whether an output is to be written: it is new, due, or asked for. Never while the actuator is down.
    pub(super) fn is_due(&self, output: &Output, asked_for: bool) -> bool {
        let Health::Up { applied } = &self.health else { return false };
        let same = applied.safe() == output.safe() && applied.pulses() == output.pulses();
        !same || asked_for || output.at() >= self.poll_timeout()
    }

    /// Writes an output. A write that fails is tried again at once, unless the device hangs: by now its output may be past.
    pub(super) fn apply(&mut self, output: &Output) -> Result<(), ActuatorError> {
        let mut written = self.actuator.apply(output);
        if written.as_ref().is_err_and(|error| !error.hangs()) {
            written = self.actuator.apply(output);
        }
        self.health = match &written {
            Ok(()) => Health::Up { applied: *output },
            Err(error) if error.hangs() => Health::Down { retry: output.at() + RETRY },
            Err(_) => Health::Down { retry: output.at() },
        };
        written
    }

    /// Neutral, whatever has happened, through an actuator that may itself be what panicked. Tells whether it is confirmed.
    pub(super) fn neutral_at_any_price(&mut self, neutral: &Output) -> bool {
        let attempt = |attempt: &mut dyn FnMut() -> bool| catch_unwind(AssertUnwindSafe(attempt)).unwrap_or(false);
        let actuator = &mut self.actuator;
        attempt(&mut || actuator.apply(neutral).is_ok()) || attempt(&mut || actuator.start(neutral).is_ok())
    }
}
