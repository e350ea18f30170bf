//! The file that keeps `maxSpeed`: its ticks in digits, and a newline.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::drive::settings::Pulse;

/// Longest content that is looked at: more than any number of ticks has.
const LONGEST: u64 = 16;

/// Why `maxSpeed` could not be kept or restored. The car drives all the same.
#[derive(Debug, thiserror::Error)]
pub enum MaxSpeedFileError {
    /// The file is there but cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The state file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not hold a number of ticks: remove it, or set maxSpeed again, which replaces it.
    #[error("{path} does not hold a pulse of 0 … 4095 ticks: remove it or set maxSpeed anew", path = path.display())]
    Corrupt {
        /// The state file.
        path: PathBuf,
    },
    /// It could not be written: the value lasts until the next start.
    #[error("cannot keep maxSpeed in {path}: {source}", path = path.display())]
    Write {
        /// The state file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The value kept in `path`; `None` when nothing was ever kept.
pub(in crate::drive) fn load(path: &Path) -> Result<Option<Pulse>, MaxSpeedFileError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
    let corrupt = || MaxSpeedFileError::Corrupt { path: path.to_owned() };
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(corrupt()),
        Err(source) => return Err(MaxSpeedFileError::Read { path: path.to_owned(), source }),
    }
    let digits = text.strip_suffix('\n').ok_or_else(corrupt)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(corrupt());
    }
    digits.parse().ok().and_then(Pulse::new).map(Some).ok_or_else(corrupt)
}

/// Keeps `pulse` in `path`, so that after a power cut either the old value is there or the new one, whole.
pub(super) fn store(path: &Path, pulse: Pulse) -> Result<(), MaxSpeedFileError> {
    replace(path, format!("{}\n", pulse.ticks()).as_bytes())
        .map_err(|source| MaxSpeedFileError::Write { path: path.to_owned(), source })
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}
