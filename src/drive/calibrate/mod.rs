//! `rtcpub calibrate`: finds a car's pulses by hand, at a terminal, and writes them to its channel file.
//!
//! The car is driven by the daemon's own drive thread and gate: a key is a command, and when none comes for the
//! channel's deadline the car goes to neutral. So it does when the terminal is closed or hangs, on Ctrl-C, on a signal,
//! and on a panic. What was typed while nobody looked is never played back. Neutral is by what was accepted so far; the end
//! without a calibration is at the file's.

mod bench;
mod keys;
mod terminal;
mod wizard;

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use self::bench::Bench;
use self::keys::{Key, Keys};
use self::terminal::{Terminal, Wake};
use self::wizard::{Effect, Wizard};
use super::DriveError;
use super::actuator::Actuator;
use super::actuator::kind::Refused;
use super::calibration_file::{self, EditError, Staged};
use super::estop_file::{self, EStopFileError};
use super::event::DriveEvent;
use super::settings::{AxisConfig, Calibration, DriveConfig, RawCalibration};

/// More keys than this at once were typed while the terminal, the link to it or this process hung: they are dropped and
/// the car goes to neutral. A held key repeats some thirty times a second.
const KEYS_AT_ONCE: usize = 8;

/// All that a terminal keeps (`N_TTY_BUF_SIZE` of Linux): one read takes everything that was typed until then.
const TYPED_AHEAD: usize = 4096;

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Calibrated {
    /// The channel file has the new pulses.
    Written(PathBuf),
    /// Nothing was changed.
    Left,
}

impl fmt::Display for Calibrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(file) => write!(f, "calibration written to {}; the car is at neutral", file.display()),
            Self::Left => f.write_str("nothing was written; the car is at the file's neutral"),
        }
    }
}

/// Why there was no calibration.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// There is nothing to calibrate.
    #[error(
        "drive.actuator: this one has no pulses to calibrate: set drive.actuator = \"pca9685\" (and, on a car that was \
         never calibrated, the values of the example file as a start)"
    )]
    NoBoard,
    /// A correction would shift what is found.
    #[error("{0}.invert and {0}.trim would be applied on top of what is found: take them out of the file first")]
    Corrected(&'static str),
    /// The car is not to move.
    #[error("an emergency stop is latched: clear it as a driver, or remove {}", .0.display())]
    EStop(PathBuf),
    /// Whether it is to move cannot be found out.
    #[error("{0}: run calibrate as a user who may look there, e.g. by sudo")]
    EStopFile(#[from] EStopFileError),
    /// A setting that no board could follow.
    #[error("{0}")]
    Setting(#[from] Refused),
    /// It needs keys.
    #[error("calibrate needs a terminal on standard input and output")]
    NoTerminal,
    /// The terminal failed.
    #[error("terminal: {0}")]
    Terminal(#[from] io::Error),
    /// The drive could not be started, or did not confirm neutral.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// The channel file cannot be changed.
    #[error("{}: {reason}{}", .path.display(), by_hand(.found.as_ref()))]
    File {
        /// The channel file.
        path: PathBuf,
        /// Why not.
        reason: String,
        /// What was found, to be written by hand.
        found: Option<RawCalibration>,
    },
}

/// Runs the dialogue on this process's terminal. `ended` becomes readable, or is closed, when the process is asked to end
/// (SIGTERM, SIGHUP): the car is at neutral when this returns.
///
/// # Errors
/// What kept it from being done. [`CalibrateError::Drive`] may mean that the car is not at neutral.
pub fn calibrate(config: &DriveConfig, file: &Path, ended: impl AsFd) -> Result<Calibrated, CalibrateError> {
    let frequency_hz = pulse_frequency(config)?;
    let estop = estop_file::path_beside(&config.max_speed.state_file);
    if estop_file::load(&estop)? {
        return Err(CalibrateError::EStop(estop));
    }
    let before = *config.vehicle.calibration.raw();
    edited(file, &before).map_err(|reason| unchanged(file, reason, None))?;
    let actuator = config.actuator.make(None)?;

    let mut dialogue = Dialogue::new(config, Wizard::new(before, frequency_hz), file)?;
    let choice = dialogue.run(actuator, ended);
    // First the car, then the terminal, then everything that may fail.
    let confirmed = choice.as_ref().ok().and_then(Option::as_ref).map(|_| dialogue.wizard.neutral());
    let stopped = dialogue.bench.take().map_or(Ok(()), |bench| bench.end(confirmed));
    drop(dialogue);
    stopped?;
    match choice? {
        None => Ok(Calibrated::Left),
        Some(calibration) => write(file, calibration.raw()),
    }
}

/// That of the pulses, where there are any to be calibrated.
fn pulse_frequency(config: &DriveConfig) -> Result<u16, CalibrateError> {
    let frequency_hz = config.actuator.pulse_frequency().ok_or(CalibrateError::NoBoard)?;
    for (axis, name) in [(config.vehicle.throttle, "drive.throttle"), (config.vehicle.steering, "drive.steering")] {
        if axis != AxisConfig::default() {
            return Err(CalibrateError::Corrected(name));
        }
    }
    Ok(frequency_hz)
}

/// The dialogue's shell.
struct Dialogue<'a> {
    bench: Option<Bench>,
    terminal: Terminal,
    config: &'a DriveConfig,
    file: String,
    wizard: Wizard,
    keys: Keys,
    /// Wakes the dialogue when the gate or the board changes.
    news: UnixStream,
    news_sender: UnixStream,
    fault: Arc<Mutex<Option<String>>>,
}

impl<'a> Dialogue<'a> {
    fn new(config: &'a DriveConfig, wizard: Wizard, file: &Path) -> Result<Self, CalibrateError> {
        let (news, news_sender) = UnixStream::pair()?;
        news.set_nonblocking(true)?;
        news_sender.set_nonblocking(true)?;
        Ok(Self {
            bench: None,
            terminal: Terminal::take()?.ok_or(CalibrateError::NoTerminal)?,
            config,
            file: file.display().to_string(),
            wizard,
            keys: Keys::default(),
            news,
            news_sender,
            fault: Arc::default(),
        })
    }

    /// Until it is decided what to write, if anything.
    fn run(&mut self, actuator: Box<dyn Actuator>, ended: impl AsFd) -> Result<Option<Calibration>, CalibrateError> {
        let mut actuator = Some(actuator);
        let mut buffer = [0; TYPED_AHEAD];
        loop {
            self.draw()?;
            let length = match self.terminal.wait(&mut buffer, &self.news, &ended)? {
                Wake::Ended => return Ok(None),
                Wake::News => {
                    while self.news.read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
                    continue;
                }
                Wake::Typed(length) => length,
            };
            let keys: Vec<Key> = buffer[..length].iter().filter_map(|byte| self.keys.byte(*byte)).collect();
            if keys.contains(&Key::End) {
                return Ok(None);
            }
            if keys.len() > KEYS_AT_ONCE {
                self.rest();
                continue;
            }
            for key in keys {
                match self.wizard.key(key) {
                    Effect::None => {}
                    Effect::Begin => self.begin(actuator.take())?,
                    Effect::Test(pulses) => {
                        if let Some(bench) = &self.bench {
                            bench.test(pulses, self.wizard.is_throttle(), now());
                        }
                    }
                    Effect::Rest => self.rest(),
                    Effect::Write(calibration) => return Ok(Some(calibration)),
                    Effect::Leave => return Ok(None),
                }
            }
        }
    }

    fn begin(&mut self, actuator: Option<Box<dyn Actuator>>) -> Result<(), CalibrateError> {
        let Some(actuator) = actuator else { return Ok(()) };
        let (fault, news) = (Arc::clone(&self.fault), self.news_sender.try_clone()?);
        let told = move |event| {
            let mut fault = fault.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                DriveEvent::ActuatorFault(reason) => *fault = Some(reason),
                DriveEvent::ActuatorRecovered => *fault = None,
                _ => {}
            }
            // Full means that the dialogue has not looked yet.
            let _ = (&news).write(&[0]);
        };
        self.bench = Some(Bench::start(self.config, actuator, self.wizard.neutral(), told)?);
        Ok(())
    }

    fn rest(&self) {
        if let Some(bench) = &self.bench {
            bench.rest(self.wizard.neutral(), now());
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let mut text = self.wizard.screen(&self.file);
        if let Some(bench) = &self.bench {
            text.push_str(&format!("\n\nThe gate is {}.", bench.state().name()));
        }
        if let Some(fault) = &*self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            text.push_str(&format!("\nTHE BOARD DOES NOT ANSWER: {fault}"));
        }
        self.terminal.show(&text)
    }
}

/// The file's text with this calibration.
fn edited(file: &Path, raw: &RawCalibration) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
    calibration_file::with_calibration(&text, raw).map_err(|error: EditError| error.to_string())
}

fn write(file: &Path, raw: &RawCalibration) -> Result<Calibrated, CalibrateError> {
    // Read anew: someone may have edited it meanwhile.
    let text = edited(file, raw).map_err(|reason| unchanged(file, reason, Some(raw)))?;
    let written = Staged::replacement(file, &text).and_then(Staged::publish);
    written.map_err(|error| unchanged(file, format!("cannot be written: {error}"), Some(raw)))?;
    Ok(Calibrated::Written(file.to_owned()))
}

fn unchanged(file: &Path, reason: String, found: Option<&RawCalibration>) -> CalibrateError {
    CalibrateError::File { path: file.to_owned(), reason, found: found.copied() }
}

fn by_hand(raw: Option<&RawCalibration>) -> String {
    raw.map_or_else(String::new, |raw| {
        format!("; what was found, for [drive.calibration]:\n{}", calibration_file::lines(raw))
    })
}

#[expect(clippy::disallowed_methods, reason = "a shell: when a key was pressed")]
fn now() -> Instant {
    Instant::now()
}
