//! The commands that run something. The only composition root: makes the parts from their configurations, joins them.

use std::path::Path;

use anyhow::{Result, bail};

use crate::cli::{DemoArgs, HubArgs, ImportArgs};
use crate::config::{Loaded, Setting};
use crate::logging::LogControl;

/// `rtcpub run`: publishes the channel until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting.
pub fn run(_loaded: Loaded, _log: LogControl) -> Result<()> {
    bail!("run is not in this build")
}

/// `rtcpub demo`: a hub and a publisher in one process on loopback.
///
/// # Errors
/// What kept it from starting.
pub fn demo(_args: DemoArgs, _log: LogControl) -> Result<()> {
    bail!("demo is not in this build")
}

/// `rtcpub hub`: the local pub/sub server.
///
/// # Errors
/// What kept it from starting.
pub fn hub(_args: HubArgs, _log: LogControl) -> Result<()> {
    bail!("hub is not in this build")
}

/// `rtcpub park`: puts every output to neutral.
///
/// # Errors
/// Which output could not be reached.
pub fn park(_file: &Path, _settings: Vec<Setting>) -> Result<()> {
    bail!("park is not in this build")
}

/// `rtcpub calibrate`: finds the car's pulses by hand.
///
/// # Errors
/// What kept it from starting.
pub fn calibrate(_file: &Path, _settings: Vec<Setting>) -> Result<()> {
    bail!("calibrate is not in this build")
}

/// `rtcpub import-calibration`: the old all-cars file into channel files.
///
/// # Errors
/// Every problem of the old file.
pub fn import_calibration(_args: &ImportArgs) -> Result<()> {
    bail!("import-calibration is not in this build")
}
