//! What moves the car: one small trait, one file per home (`pca9685`, `bridge`, `simulated`).
//!
//! # Who does what
//! The drive thread owns the actuator and is the only caller; every method may block (an I2C write does).
//!
//! | matter | whose job |
//! |---|---|
//! | leaving out writes of unchanged values, and the refresh | the thread: it calls [`Actuator::apply`] when the output changed or when [`Actuator::period`] has passed since the last call |
//! | writing each channel of one output | the actuator: always all channels, going on past a failing one unless the device hangs; all failures go into one [`ActuatorError`] |
//! | the one retry of a failed write, the latch, trying again | the thread: `apply` twice (once when the device [hangs](ActuatorError::hangs)), then the gate latches and [`Actuator::start`] is called until it succeeds |
//! | bringing the device up, neutral first | the actuator, in `start`, from whatever state the device is in |
//! | the ESC's arming time | `start` returns it and must not sleep through it; the gate lets nothing move until it is over |

pub mod kind;

use std::error::Error;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::gate::SafeDrive;
use super::settings::Pulse;
use super::simulated::SimulatedCar;

/// The two pulses of one update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulses {
    /// For the ESC.
    pub throttle: Pulse,
    /// For the servo.
    pub steering: Pulse,
}

/// One update for an actuator: what the gate let through, and the pulses the vehicle made of it.
///
/// Architecture invariant: made only inside `drive/`, out of a [`SafeDrive`], which only the gate makes. So nothing
/// else in the program can move a motor, whoever holds an [`Actuator`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output {
    safe: SafeDrive,
    pulses: Pulses,
    at: Instant,
}

impl Output {
    /// An update decided `at` this moment.
    pub(super) const fn new(safe: SafeDrive, pulses: Pulses, at: Instant) -> Self {
        Self { safe, pulses, at }
    }

    /// Throttle and steering as fractions of full travel, for actuators that do not speak pulses.
    pub const fn safe(&self) -> SafeDrive {
        self.safe
    }

    /// The pulses for the ESC and the servo.
    pub const fn pulses(&self) -> Pulses {
        self.pulses
    }

    /// When this was decided.
    pub const fn at(&self) -> Instant {
        self.at
    }
}

/// A device that moves a car. [`kind`] tells how one is added.
pub trait Actuator: Send {
    /// What it is called in logs, e.g. `pca9685`.
    fn name(&self) -> &'static str;

    /// How long an unchanged output may stand before it is applied again: 1 s for a board that holds its last value,
    /// 20 ms for a client that expects a steady stream.
    fn period(&self) -> Duration;

    /// Brings the device up from any state with `neutral` on every channel, and returns for how long that neutral has
    /// to stand before motion is let through (an ESC's arming time; zero when the device was found running).
    ///
    /// Called once at the start, and after a failed [`Actuator::apply`] every 100 ms until it succeeds; so it opens the
    /// device anew where that helps, and must not wait.
    ///
    /// # Errors
    /// What kept a channel from being at neutral now. Channels that can be reached are at neutral even then.
    fn start(&mut self, neutral: &Output) -> Result<Duration, ActuatorError>;

    /// The car that it simulates, for telemetry; `None` when it moves a real one.
    fn simulated_car(&self) -> Option<SimulatedCar> {
        None
    }

    /// Puts `output` on every channel. The last output is put on again once every [`Actuator::period`].
    ///
    /// # Errors
    /// Every channel that could not be written. The others are written even then, unless the device hangs.
    fn apply(&mut self, output: &Output) -> Result<(), ActuatorError>;
}

/// Why an actuator could not do what it was told: each failing step, in order. Whatever it is, the thread does the same:
/// it retries, stops the car, and starts the device again; so there is one kind, and the details are for a person. Only
/// where a step timed out there is no retry.
#[derive(Debug)]
pub struct ActuatorError {
    device: String,
    failures: Vec<ActuatorFailure>,
}

/// One step that failed.
#[derive(Debug)]
pub struct ActuatorFailure {
    /// What was tried, e.g. `write the throttle channel`.
    pub step: &'static str,
    /// What came back.
    pub source: Box<dyn Error + Send + Sync>,
}

impl ActuatorFailure {
    /// A failed step.
    pub fn new(step: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { step, source: source.into() }
    }

    /// Whether it is an [`io::Error`] of [`io::ErrorKind::TimedOut`]: every further step would take as long.
    pub fn timed_out(&self) -> bool {
        self.source.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    }
}

impl ActuatorError {
    /// The failures of one call on `device` (as a person knows it, e.g. `PCA9685 at 0x40 on /dev/i2c-1`).
    pub fn new(device: impl Into<String>, failures: Vec<ActuatorFailure>) -> Self {
        Self { device: device.into(), failures }
    }

    /// `Ok` when nothing failed: for calls that go on past a failing channel.
    ///
    /// # Errors
    /// The collected failures, when there are any.
    pub fn collect(device: &str, failures: Vec<ActuatorFailure>) -> Result<(), Self> {
        if failures.is_empty() { Ok(()) } else { Err(Self::new(device, failures)) }
    }

    /// Each step that failed.
    pub fn failures(&self) -> &[ActuatorFailure] {
        &self.failures
    }

    /// Whether a step timed out. Then the call has cost its time already, and what it was to put out may be past: it is not
    /// tried again.
    pub fn hangs(&self) -> bool {
        self.failures.iter().any(ActuatorFailure::timed_out)
    }
}

impl fmt::Display for ActuatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.device)?;
        for (index, failure) in self.failures.iter().enumerate() {
            let separator = if index == 0 { ": could not " } else { "; could not " };
            write!(f, "{separator}{}: {}", failure.step, failure.source)?;
        }
        Ok(())
    }
}

impl Error for ActuatorError {}
