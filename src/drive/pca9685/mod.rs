//! A PCA9685 PWM board on Linux I2C.
//!
//! A driver of its own, on `i2cdev`: `pwm-pca9685` writes one channel or all sixteen in a transaction, never two
//! neighbours, cannot read what a board holds before it changes it, and waits inside. What is left is 16 registers.
//!
//! # Wiring
//! | board | Raspberry Pi (header pin) | Jetson (header pin) |
//! |---|---|---|
//! | SDA, SCL | 3, 5 (`/dev/i2c-1`) | 3, 5 (`/dev/i2c-1` or `-7`) |
//! | VCC, GND | 1 (3.3 V), 6 | 1 (3.3 V), 6 |
//! | V+ | not from the computer: the ESC's BEC or a 5–6 V supply | same |
//! | OE (optional) | any free GPIO, e.g. 15 (BCM 22) | any free GPIO |
//!
//! A PCA9685 goes on with its last pulse while it has power: nothing but a write or OE ends it. OE high holds all
//! outputs low whatever the registers say (data sheet §7.4), and an ESC that gets no pulses stops. With
//! `drive.pca9685.oe_chip` and `oe_line` set, OE is low (pulses go out) only while this driver knows the outputs to be good;
//! on a fault it goes high without the bus. So that it is also high when the process was killed and its line became an
//! input again, OE needs a pull-up to VCC of about 1 kΩ: common boards have a 10 kΩ pull-down of their own there, and
//! 1 kΩ against it leaves 0.9 VCC, above the 0.7 VCC that count as high. (Some kernels keep a released output at its
//! last level; there the pull-up helps at boot only, and `rtcpub park` does the rest.)
//!
//! A bus that hangs (a wire that holds SCL low) costs a second a transfer, which is the timeout of Linux's drivers, while the
//! last pulse stands. So the first transfer that times out is the last before OE.

mod board;
mod claim;
mod park;
mod registers;
mod settings;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use self::board::Board;
use self::registers::{Channel, Found, Layout, Plan, Prescale, Transaction, Update};
use super::actuator::{Actuator, ActuatorError, ActuatorFailure, Output, Pulses};

pub(super) use self::settings::KIND;
pub use self::settings::{GpioLine, Pca9685Config};

/// Unchanged pulses are written again this often, and the board is asked whether it still runs.
const REFRESH: Duration = Duration::from_secs(1);

/// A setting that no board could follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("drive.pca9685.{key} = {value}: {remedy}")]
pub struct Pca9685SettingError {
    /// The key in `[drive.pca9685]`.
    pub key: &'static str,
    /// Its value.
    pub value: u16,
    /// What it must satisfy.
    pub remedy: &'static str,
}

/// The driver: what is written to the board, and when its outputs are let out.
struct Driver<B> {
    board: B,
    device: String,
    prescale: Prescale,
    layout: Layout,
    arming: Duration,
    /// When neutral will have stood for the arming time; `None` before the first start, and after pulses had stopped.
    armed_at: Option<Instant>,
    /// When the board was last asked whether it still runs.
    checked_at: Option<Instant>,
    /// The last call failed: the thread's retry is next, and a second failure takes OE away. (One that hangs does at once.)
    failing: bool,
}

impl<B: Board> Driver<B> {
    fn new(board: B, config: &Pca9685Config) -> Result<Self, Pca9685SettingError> {
        Ok(Self {
            board,
            device: format!("PCA9685 at {:#04x} on {}", config.address, config.bus.display()),
            prescale: prescale(config)?,
            layout: layout(config)?,
            arming: config.arming,
            armed_at: None,
            checked_at: None,
            failing: false,
        })
    }

    /// Opens the bus and puts both channels at neutral from whatever state the board is in.
    fn bring_up(&mut self, neutral: Pulses) -> Result<Found, Vec<ActuatorFailure>> {
        self.board.open().map_err(|error| vec![ActuatorFailure::new("open the bus", error)])?;
        let found = Found::read(|register| self.board.read(register))
            .map_err(|error| vec![ActuatorFailure::new("read the state of the board", error)])?;
        if !found.is_running(self.prescale) {
            self.armed_at = None;
        }
        let plan = Plan::new(found, self.prescale, self.layout, neutral);
        let mut failures = self.write_all("put the outputs into a safe state", &plan.at_once);
        if hangs(&failures) {
            return Err(failures);
        }
        if found.is_clocked_externally() {
            let remedy = "it runs on its EXTCLK pin, so that no pulse has its width: cut its power once";
            failures.push(ActuatorFailure::new("use the board", remedy));
            return Err(failures);
        }
        if !plan.asleep.is_empty() {
            self.write_until_failure("set the frequency and neutral", &plan.asleep, &mut failures)?;
            self.board.await_oscillator();
            failures.extend(self.write_all("write neutral", &plan.awake));
        }
        if failures.is_empty() { Ok(found) } else { Err(failures) }
    }

    fn write_all(&mut self, step: &'static str, transactions: &[Transaction]) -> Vec<ActuatorFailure> {
        self.write_each(transactions.iter().map(|transaction| (step, transaction)))
    }

    /// All of them, going on past one that fails, but not on a bus that hangs.
    fn write_each<'a>(
        &mut self,
        transactions: impl Iterator<Item = (&'static str, &'a Transaction)>,
    ) -> Vec<ActuatorFailure> {
        let mut failures = Vec::new();
        for (step, transaction) in transactions {
            if let Err(error) = self.board.write(transaction.bytes()) {
                failures.push(ActuatorFailure::new(step, error));
            }
            if hangs(&failures) {
                break;
            }
        }
        failures
    }

    fn write_until_failure(
        &mut self,
        step: &'static str,
        transactions: &[Transaction],
        failures: &mut Vec<ActuatorFailure>,
    ) -> Result<(), Vec<ActuatorFailure>> {
        for transaction in transactions {
            if let Err(error) = self.board.write(transaction.bytes()) {
                failures.push(ActuatorFailure::new(step, error));
                return Err(std::mem::take(failures));
            }
        }
        Ok(())
    }

    /// Both channels; each by itself when writing them together fails, so that one cannot keep the other from stopping.
    fn write_pulses(&mut self, pulses: Pulses) -> Vec<ActuatorFailure> {
        if let Update::Together(both) = self.layout.update(pulses) {
            let failures = self.write_all("write both channels", &[both]);
            if failures.is_empty() || hangs(&failures) {
                return failures;
            }
        }
        let steps = ["write the throttle channel", "write the steering channel"];
        self.write_each(steps.into_iter().zip(&self.layout.each(pulses)))
    }

    /// Once a [`REFRESH`]: a board that lost its power for a moment acknowledges every write and puts nothing out.
    fn check(&mut self, now: Instant) -> Option<ActuatorFailure> {
        if self.checked_at.is_some_and(|at| now.saturating_duration_since(at) < REFRESH) {
            return None;
        }
        self.checked_at = Some(now);
        match Found::read(|register| self.board.read(register)) {
            Ok(found) if found.is_as_left(self.prescale) => None,
            Ok(_) => Some(ActuatorFailure::new("find the board as it was left", "it was reset: check its supply")),
            Err(error) => Some(ActuatorFailure::new("read the state of the board", error)),
        }
    }

    fn enable_outputs(&mut self, enabled: bool) -> Option<ActuatorFailure> {
        let step = if enabled { "let the pulses out by OE" } else { "switch the outputs off by OE" };
        self.board.enable_outputs(enabled).err().map(|error| ActuatorFailure::new(step, error))
    }

    /// The board is not to be trusted any more: its outputs go off by OE, and the next start opens the bus anew.
    fn fault(&mut self, mut failures: Vec<ActuatorFailure>) -> ActuatorError {
        failures.extend(self.enable_outputs(false));
        if self.board.has_output_enable() {
            self.armed_at = None;
        }
        self.board.close();
        ActuatorError::new(&self.device, failures)
    }
}

impl<B: Board> Actuator for Driver<B> {
    fn name(&self) -> &'static str {
        "pca9685"
    }

    fn period(&self) -> Duration {
        REFRESH
    }

    fn start(&mut self, neutral: &Output) -> Result<Duration, ActuatorError> {
        // First of all: nothing of another's board is touched, its OE line included.
        if let Err(error) = self.board.take_outputs() {
            let failure = ActuatorFailure::new("take the outputs for itself", error);
            return Err(ActuatorError::new(&self.device, vec![failure]));
        }
        let mut failures = Vec::new();
        if self.armed_at.is_none() {
            // The board may hold the pulse of a dead predecessor: OE is the quickest end of it.
            failures.extend(self.enable_outputs(false));
        }
        failures.extend(self.bring_up(neutral.pulses()).err().into_iter().flatten());
        if failures.is_empty() {
            failures.extend(self.enable_outputs(true));
        }
        if !failures.is_empty() {
            return Err(self.fault(failures));
        }
        self.failing = false;
        self.checked_at = Some(neutral.at());
        let armed_at = *self.armed_at.get_or_insert(neutral.at() + self.arming);
        Ok(armed_at.saturating_duration_since(neutral.at()))
    }

    fn apply(&mut self, output: &Output) -> Result<(), ActuatorError> {
        let mut failures = self.write_pulses(output.pulses());
        if !hangs(&failures) {
            failures.extend(self.check(output.at()));
        }
        if failures.is_empty() {
            self.failing = false;
            return Ok(());
        }
        // What is wrong is asked for again by the retry.
        self.checked_at = None;
        if hangs(&failures) || std::mem::replace(&mut self.failing, true) {
            return Err(self.fault(failures));
        }
        ActuatorError::collect(&self.device, failures)
    }
}

/// Whether the bus has cost a timeout already.
fn hangs(failures: &[ActuatorFailure]) -> bool {
    failures.iter().any(ActuatorFailure::timed_out)
}

fn prescale(config: &Pca9685Config) -> Result<Prescale, Pca9685SettingError> {
    let value = config.frequency_hz;
    Prescale::for_frequency(value).ok_or(Pca9685SettingError {
        key: "frequency_hz",
        value,
        remedy: "must be 24 … 1526 (data sheet §7.3.5)",
    })
}

fn layout(config: &Pca9685Config) -> Result<Layout, Pca9685SettingError> {
    let channel = |key, number: u8| {
        let remedy = "the board has channels 0 … 15";
        Channel::new(number).ok_or(Pca9685SettingError { key, value: number.into(), remedy })
    };
    let throttle = channel("throttle_channel", config.throttle_channel)?;
    let steering = channel("steering_channel", config.steering_channel)?;
    if throttle == steering {
        let value = config.steering_channel.into();
        return Err(Pca9685SettingError { key: "steering_channel", value, remedy: "is also throttle_channel" });
    }
    Ok(Layout { throttle, steering })
}
