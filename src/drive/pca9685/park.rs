//! Neutral on the board from outside the daemon, which may be dead, hung or alive.

use std::fmt;
use std::thread;
use std::time::Duration;

use super::board::{Board, LinuxBoard};
use super::{Driver, Pca9685Config, Pca9685SettingError};
use crate::drive::actuator::{ActuatorError, ActuatorFailure, Pulses};

/// A bus that was cut in the middle of a transfer (the daemon was killed in it) may need a moment to come to itself.
const ATTEMPTS: usize = 5;
/// Between two attempts: longer than any transfer of this driver, short against a person's reaction.
const PAUSE: Duration = Duration::from_millis(20);

/// What was done to the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parked {
    device: String,
    neutral: Pulses,
    was_running: bool,
    /// Some process moves them still.
    taken: bool,
}

impl fmt::Display for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pulses { throttle, steering } = self.neutral;
        let before = if self.was_running { "it was running" } else { "it was asleep or at another frequency" };
        write!(
            f,
            "{}: neutral written and read back (throttle {}, steering {}); {before}",
            self.device,
            throttle.ticks(),
            steering.ticks()
        )?;
        match self.taken {
            true => f.write_str("; a daemon (or calibrate) still runs and moves it at its driver's next command"),
            false => Ok(()),
        }
    }
}

/// Why the board could not be parked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParkPca9685Error {
    /// A setting that no board could follow.
    #[error(transparent)]
    Setting(#[from] Pca9685SettingError),
    /// The board did not do it, in any of several attempts; the failures are the last one's.
    #[error(transparent)]
    Board(#[from] ActuatorError),
}

/// Puts both channels at `neutral`, reads them back, and leaves the board running.
///
/// When the board cannot be reached in several attempts, its outputs are switched off by the OE line, if there is one.
///
/// # Errors
/// A setting that cannot be, or what failed on the board.
pub(super) fn park(config: &Pca9685Config, neutral: Pulses) -> Result<Parked, ParkPca9685Error> {
    let mut driver = Driver::new(LinuxBoard::new(config), config)?;
    let mut attempt = 1;
    loop {
        match driver.park(neutral) {
            Ok(was_running) => {
                let taken = driver.board.outputs_are_taken();
                return Ok(Parked { device: driver.device, neutral, was_running, taken });
            }
            Err(failures) if attempt == ATTEMPTS => return Err(driver.fault(failures).into()),
            Err(_) => thread::sleep(PAUSE),
        }
        attempt += 1;
    }
}

impl<B: Board> Driver<B> {
    /// One attempt; whether the board was found running.
    fn park(&mut self, neutral: Pulses) -> Result<bool, Vec<ActuatorFailure>> {
        let found = self.bring_up(neutral)?;
        match self.layout.holds(neutral, |register| self.board.read(register)) {
            Ok(true) => Ok(found.is_running(self.prescale)),
            Ok(false) => Err(vec![ActuatorFailure::new(
                "keep the outputs at neutral",
                "another program writes to the board: stop it (systemctl stop 'rtcpub@*')",
            )]),
            Err(error) => Err(vec![ActuatorFailure::new("read neutral back", error)]),
        }
    }
}
