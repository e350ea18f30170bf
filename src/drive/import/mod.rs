//! `rtcpub import-calibration`: the old all-cars file becomes channel files.

mod old_file;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use self::old_file::{Car, OldFile};
use super::calibration_file::{self, Staged};

pub use self::old_file::ImportProblem;

/// Larger files are not what is meant: a car takes half a kilobyte.
const MAX_BYTES: u64 = 1024 * 1024;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Each car with its file.
    pub written: Vec<Imported>,
    /// Keys of the old file that mean nothing to us, as `car: key`.
    pub ignored: Vec<String>,
}

/// One car that was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The car, as the old file names it.
    pub car: String,
    /// Its channel file.
    pub file: PathBuf,
    /// The file was there and got a new `[drive.calibration]`; everything else in it was kept.
    pub updated: bool,
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Imported { car, file, updated } in &self.written {
            let done = if *updated { "calibration replaced in" } else { "written to" };
            writeln!(f, "{car}: {done} {}", file.display())?;
        }
        for key in &self.ignored {
            writeln!(f, "{key}: not known, left out")?;
        }
        if self.written.iter().any(|imported| !imported.updated) {
            writeln!(f, "New files still need server.url: `rtcpub check CHANNEL` tells what is missing.")?;
        }
        Ok(())
    }
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file could not be read or written.
    #[error("{}: could not {step}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What came back.
        source: io::Error,
    },
    /// The old file is no JSON, or far too long.
    #[error("{}: is not a calib_param.json: {reason}", .path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        reason: String,
    },
    /// The old file, or what lies in the way of the new ones, makes no sense. Nothing was written.
    #[error("nothing was written:{}", listed(.0))]
    Problems(Vec<ImportProblem>),
}

/// Makes one channel file a car in the folder `into`, which is made when it is missing.
///
/// A channel file that is there already is a problem, unless `force`: then its `[drive.calibration]` is replaced and the
/// rest of it kept.
///
/// # Errors
/// Every problem of every car, and then nothing is written; or what the system refused.
pub fn import_calibration(old: &Path, into: &Path, force: bool) -> Result<ImportReport, ImportError> {
    let OldFile { cars, mut problems, ignored } = read(old)?;
    let mut planned = Vec::new();
    for car in &cars {
        match Planned::new(car, old, into, force) {
            Ok(plan) => planned.push(plan),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(ImportError::Problems(problems));
    }

    fs::create_dir_all(into).map_err(|source| failed(into, "make the folder", source))?;
    // All are on disk before the first has its name: a full disk leaves nothing half done.
    let staged: Vec<(&Planned, Staged)> = planned
        .iter()
        .map(|plan| Ok((plan, plan.stage().map_err(|source| failed(&plan.file, "write it", source))?)))
        .collect::<Result<_, ImportError>>()?;
    let mut written = Vec::new();
    for (Planned { car, file, updated, .. }, staged) in staged {
        staged.publish().map_err(|source| failed(file, "give it its name", source))?;
        written.push(Imported { car: car.clone(), file: file.clone(), updated: *updated });
    }
    Ok(ImportReport { written, ignored })
}

fn read(path: &Path) -> Result<OldFile, ImportError> {
    let mut text = String::new();
    let file = File::open(path).map_err(|source| failed(path, "open it", source))?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|source| failed(path, "read it as text", source))?;
    let not_json = |reason| ImportError::NotJson { path: path.to_owned(), reason };
    if text.len() as u64 > MAX_BYTES {
        return Err(not_json(format!("it is longer than {MAX_BYTES} bytes")));
    }
    old_file::parse(&text).map_err(|error| not_json(error.to_string()))
}

/// One channel file as it will be.
struct Planned {
    car: String,
    file: PathBuf,
    text: String,
    updated: bool,
}

impl Planned {
    fn new(car: &Car, old: &Path, into: &Path, force: bool) -> Result<Self, ImportProblem> {
        let file = into.join(format!("{}.toml", car.channel));
        let problem = |remedy: String| ImportProblem {
            car: car.name.clone(),
            key: "ChannelID".to_owned(),
            value: Some(format!("\"{}\"", car.channel)),
            remedy,
        };
        let in_the_way = |reason: &dyn fmt::Display| problem(format!("{} {reason}", file.display()));
        let (text, updated) = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (new_file(car, old), false),
            Err(error) => return Err(in_the_way(&format_args!("is there and cannot be read: {error}"))),
            Ok(_) if !force => {
                return Err(in_the_way(
                    &"is there already: --force replaces its [drive.calibration] and keeps the rest",
                ));
            }
            Ok(text) => {
                let edited = calibration_file::with_calibration(&text, car.calibration.raw());
                (edited.map_err(|error| in_the_way(&error))?, true)
            }
        };
        Ok(Self { car: car.name.clone(), file, text, updated })
    }

    fn stage(&self) -> io::Result<Staged> {
        if self.updated {
            Staged::replacement(&self.file, &self.text)
        } else {
            Staged::new_file(&self.file, &self.text)
        }
    }
}

fn new_file(car: &Car, old: &Path) -> String {
    let source = old.file_name().unwrap_or_default().to_string_lossy();
    // A name of the old file may hold line ends, which would end the comment.
    let one_line = |text: &str| text.replace(|c: char| c.is_control(), " ");
    format!(
        "\
# Channel {channel}: {name}, from {source} by \"rtcpub import-calibration\".
# Every key is explained in the example file that comes with rtcpub; \"rtcpub check {channel}\" tells what is missing.

[server]
# The pub server. The one key that must be given.
# url = \"wss://HOST:8267\"

[drive]
actuator = \"pca9685\"

# Pulses in ticks of the PCA9685 at 60 Hz (1/4096 of a period). \"rtcpub calibrate {channel}\" finds them anew.
[drive.calibration]
{lines}",
        channel = car.channel,
        name = one_line(&car.name),
        source = one_line(&source),
        lines = calibration_file::lines(car.calibration.raw()),
    )
}

fn failed(path: &Path, step: &'static str, source: io::Error) -> ImportError {
    ImportError::Io { path: path.to_owned(), step, source }
}

fn listed(problems: &[ImportProblem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}
