//! One TOML file per channel id, layered and parsed into types that cannot be wrong.
//!
//! `file, environment, flags → layers → values → reader → sections → Config`. Each step reports into one collector,
//! so one run shows every problem. `sections` is the only place that knows a key: its type, range and default.
//! What a section asks for is what exists (`schema`); `config/example.toml` is held to it by a test.
//!
//! To add a key, ask the reader for it in its section and describe it in `config/example.toml`.

mod document;
mod facts;
mod intake;
mod layers;
mod origin;
mod paths;
mod problem;
mod reader;
mod scalar;
mod schema;
mod secrets;
mod sections;
mod show;
mod values;
mod walk;

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub use facts::{ChannelFile, FileContent, ReadFile};
pub use origin::{Origin, Position};
pub use paths::path_component;
pub use problem::{Problem, Problems, Warning};
pub(crate) use problem::{printable, without_passwords};
pub use secrets::{CredentialError, FromFile, read_credential};
pub use show::{Effective, Shown, document as show};

use crate::drive::KINDS;
use crate::drive::actuator::kind::ActuatorKind;
use crate::drive::settings::DriveConfig;
use crate::logging::LogFilter;
use crate::rtc::settings::RtcConfig;
use crate::signal::settings::SignalConfig;
use crate::status::settings::{MetricsConfig, StatusConfig};
use crate::telemetry::settings::TelemetryConfig;
use crate::video::further::FurtherCamera;
use crate::video::settings::{RateConfig, VideoConfig};
use facts::Facts;
use layers::Layers;
use problem::Collector;
use reader::Reader;
use schema::Schema;
use sections::Parts;

/// Everything one channel's daemon needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What is logged.
    pub log: LogConfig,
    /// The pub server.
    pub signal: SignalConfig,
    /// Camera and encoder.
    pub video: VideoConfig,
    /// Those beside the first, each a track of its own.
    pub cameras: Vec<FurtherCamera>,
    /// How the picture follows the link.
    pub rate: RateConfig,
    /// ICE and the data channels.
    pub rtc: RtcConfig,
    /// The car.
    pub drive: DriveConfig,
    /// What is told on the `metric` channel, and how often.
    pub telemetry: TelemetryConfig,
    /// Where Prometheus may ask, when it may.
    pub metrics: Option<MetricsConfig>,
    /// Where `rtcpub status` asks.
    pub status: StatusConfig,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Which events.
    pub filter: LogFilter,
}

/// A configuration that has been read, and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every key's effective value and origin, in reading order.
    pub effective: Vec<Effective>,
    /// What is unwise about it: to be logged at each start.
    pub warnings: Vec<Warning>,
}

/// A key set on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The flag, for messages: `--set`.
    pub flag: String,
    /// The key in full: `camera.width`.
    pub key: String,
    /// Its value, as text.
    pub value: String,
}

/// What a configuration is read from: the layers and the effects.
pub struct Sources<'a> {
    /// The channel file, when there is one.
    pub file: Option<ChannelFile>,
    /// The environment: `RTCPUB__SECTION__KEY`, and systemd's `CREDENTIALS_DIRECTORY`, `STATE_DIRECTORY` and
    /// `RUNTIME_DIRECTORY`.
    pub environment: Vec<(OsString, OsString)>,
    /// The flags, later ones above earlier ones.
    pub flags: Vec<Setting>,
    /// Reads credential files.
    pub read: ReadFile<'a>,
}

/// Reads a channel's configuration: its file (or only the other layers), the process's environment, and flags.
///
/// # Errors
/// Every problem of all layers, in one run.
pub fn load(path: Option<&Path>, flags: Vec<Setting>) -> Result<Loaded, Problems> {
    parse(&sources(path, flags)?)
}

/// As [`load`], of the car alone: what is wrong elsewhere in the file does not keep `park` from stopping it.
///
/// # Errors
/// Every problem that concerns the car.
pub fn load_drive(path: Option<&Path>, flags: Vec<Setting>) -> Result<DriveConfig, Problems> {
    parse_drive(&sources(path, flags)?)
}

/// Makes a configuration of its sources. Pure, apart from the effects passed in; any bytes may be given.
///
/// # Errors
/// Every problem of all layers.
pub fn parse(sources: &Sources<'_>) -> Result<Loaded, Problems> {
    let Outcome { parts, effective, warnings, problems } = read(sources);
    let config = parts.whole();
    match (problems.finish(), config) {
        (None, Ok(config)) => Ok(Loaded { config, effective, warnings }),
        (Some(problems), _) => Err(problems),
        (None, Err(_)) => unreachable!("a section that fails has reported why"),
    }
}

/// As [`parse`], of the car alone.
///
/// # Errors
/// Every problem that concerns the car.
pub fn parse_drive(sources: &Sources<'_>) -> Result<DriveConfig, Problems> {
    let Outcome { parts, mut problems, .. } = read(sources);
    let elsewhere = problems.take_out(|problem| !sections::concerns_the_car(&problem.key));
    match (problems.finish(), parts.drive) {
        (None, Ok(drive)) => Ok(drive),
        (Some(problems), _) => Err(problems),
        // The car could not be read for a reason that lies elsewhere: the file is no TOML, or the channel has no id.
        (None, Err(_)) => Err(elsewhere.finish().expect("a section that fails has reported why")),
    }
}

/// Reads a file of at most a few hundred KiB (the excess is cut off after the limit has been passed, so that it shows).
///
/// # Errors
/// Those of the file system.
pub fn read_file(path: &Path) -> io::Result<FileContent> {
    let file = std::fs::File::open(path)?;
    let world_readable = file.metadata()?.mode() & 0o004 != 0;
    let mut bytes = Vec::new();
    file.take(layers::MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(FileContent { bytes, world_readable })
}

fn sources(path: Option<&Path>, flags: Vec<Setting>) -> Result<Sources<'static>, Problems> {
    let file = path.map(read_channel_file).transpose()?;
    Ok(Sources { file, environment: std::env::vars_os().collect(), flags, read: &read_file })
}

fn read_channel_file(path: &Path) -> Result<ChannelFile, Problem> {
    let content = read_file(path).map_err(|error| Problem {
        origin: Origin::File { path: path.to_owned(), position: None },
        key: String::new(),
        value: None,
        remedy: match error.kind() {
            io::ErrorKind::NotFound => "there is no such file: copy config/example.toml there and edit it".to_owned(),
            _ => format!("cannot be read ({error}): make it readable for the user that rtcpub runs as"),
        },
    })?;
    Ok(ChannelFile { path: path.to_owned(), content })
}

struct Outcome {
    parts: Parts,
    effective: Vec<Effective>,
    warnings: Vec<Warning>,
    problems: Collector,
}

fn read(sources: &Sources<'_>) -> Outcome {
    read_with(sources, &KINDS)
}

/// With these actuators.
fn read_with(sources: &Sources<'_>, kinds: &[&ActuatorKind]) -> Outcome {
    let schema = Schema::with_actuators(kinds);
    let mut problems = Collector::default();
    let layers = Layers::new(&schema, &mut problems);
    let layers = sources.file.iter().fold(layers, Layers::file);
    let values = layers.environment(&sources.environment).flags(&sources.flags).merge();
    let facts = Facts::new(sources.file.as_ref(), &sources.environment, sources.read);
    let mut reader = Reader::new(&values, &facts, &mut problems);
    let parts = sections::read(&mut reader, kinds);
    let (effective, warnings) = reader.finish();
    Outcome { parts, effective, warnings, problems }
}

#[cfg(test)]
mod tests;
