//! Neutral on the board from outside the daemon, which may be dead, hung or alive.

use std::fmt;
use std::thread;
use std::time::Duration;

use super::board::{Board, LinuxBoard};
use super::{Driver, Pca9685Config, Pca9685SettingError};
use crate::drive::actuator::{ActuatorError, ActuatorFailure, Pulses};

/// A bus that was cut in the middle of a transfer (the daemon was killed in it) may need a moment to come to itself.
const ATTEMPTS: usize = 5;
/// The same where each attempt costs a second, the timeout of a bus that hangs: there are 5 s for it under systemd, which
/// counts `ExecStopPost=` by `TimeoutStopSec=`.
const HANGING_ATTEMPTS: usize = 3;
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
/// When the board cannot be reached at the first attempt, its outputs are switched off by the OE line, if there is one; they
/// stay off until a daemon starts, whatever the further attempts come to.
///
/// # Errors
/// A setting that cannot be, or what failed on the board.
pub(super) fn park(config: &Pca9685Config, neutral: Pulses) -> Result<Parked, ParkPca9685Error> {
    let mut driver = Driver::new(LinuxBoard::new(config), config)?;
    let was_running = driver.park_in_attempts(neutral, || thread::sleep(PAUSE))?;
    let taken = driver.board.outputs_are_taken();
    Ok(Parked { device: driver.device, neutral, was_running, taken })
}

impl<B: Board> Driver<B> {
    /// Several attempts with a pause between them. OE is raised after the first that fails: whoever runs this may be killed
    /// before the last, and the car may be moving.
    pub(super) fn park_in_attempts(&mut self, neutral: Pulses, mut pause: impl FnMut()) -> Result<bool, ActuatorError> {
        let mut attempt = 1;
        loop {
            let error = match self.park(neutral) {
                Ok(was_running) => return Ok(was_running),
                Err(failures) => self.fault(failures),
            };
            if attempt == ATTEMPTS || error.hangs() && attempt >= HANGING_ATTEMPTS {
                return Err(error);
            }
            pause();
            attempt += 1;
        }
    }

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
