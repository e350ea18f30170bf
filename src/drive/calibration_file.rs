//! A channel file's `[drive.calibration]`, and how a channel file is written: whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Gid, Mode, RenameFlags, Uid, fchmod, fchown, renameat_with};
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use super::settings::{Pulse, RawCalibration};

/// Each key of `[drive.calibration]`: its name there, in the old all-cars file, and what it is.
pub(super) const KEYS: [Key; 9] = [
    Key {
        name: "throttle_zero",
        old: "THROTTLE_ZERO",
        meaning: "standing still",
        get: |raw| raw.throttle_zero.ticks(),
    },
    Key {
        name: "forward_zero",
        old: "FORWARD_ZERO",
        meaning: "where it starts to roll forward",
        get: |raw| raw.forward_zero.ticks(),
    },
    Key { name: "throttle_min", old: "THROTTLE_MIN", meaning: "full reverse", get: |raw| raw.throttle_min.ticks() },
    Key { name: "throttle_max", old: "THROTTLE_MAX", meaning: "full forward", get: |raw| raw.throttle_max.ticks() },
    Key {
        name: "steering_zero",
        old: "STEERING_ZERO",
        meaning: "straight ahead",
        get: |raw| raw.steering_zero.ticks(),
    },
    Key { name: "steering_min", old: "STEERING_MIN", meaning: "full right", get: |raw| raw.steering_min.ticks() },
    Key { name: "steering_max", old: "STEERING_MAX", meaning: "full left", get: |raw| raw.steering_max.ticks() },
    Key {
        name: "throttle_steps",
        old: "THROTTLE_STEP",
        meaning: "full throttle on the user interface's scale",
        get: |raw| raw.throttle_steps,
    },
    Key {
        name: "steering_steps",
        old: "STEERING_STEP",
        meaning: "full steering on the user interface's scale",
        get: |raw| raw.steering_steps,
    },
];

/// One key of `[drive.calibration]`.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) old: &'static str,
    pub(super) meaning: &'static str,
    pub(super) get: fn(&RawCalibration) -> u16,
}

/// A channel file that cannot hold a calibration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EditError {
    /// It is no TOML.
    #[error("is not TOML: {0}")]
    NotToml(String),
    /// `drive` or `drive.calibration` is something else.
    #[error("{0} must be a table, written [{0}]")]
    NotATable(&'static str),
}

/// The file's text with this calibration; everything else in it, comments and order included, stays as it was.
pub(super) fn with_calibration(text: &str, raw: &RawCalibration) -> Result<String, EditError> {
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| EditError::NotToml(error.to_string()))?;
    let drive = table(document.as_table_mut(), "drive").ok_or(EditError::NotATable("drive"))?;
    let calibration = table(drive, "calibration").ok_or(EditError::NotATable("drive.calibration"))?;
    for key in &KEYS {
        let mut value = Value::from(i64::from((key.get)(raw)));
        match calibration.get_mut(key.name).and_then(Item::as_value_mut) {
            Some(old) => {
                *value.decor_mut() = old.decor().clone();
                *old = value;
            }
            None => {
                calibration.insert(key.name, Item::Value(value));
            }
        }
    }
    Ok(document.to_string())
}

/// The table of this name, made when there is none; `None` when it is something else.
fn table<'a>(parent: &'a mut dyn TableLike, name: &str) -> Option<&'a mut dyn TableLike> {
    let made = || {
        let mut table = Table::new();
        // Without keys of its own it needs no header.
        table.set_implicit(true);
        Item::Table(table)
    };
    parent.entry(name).or_insert_with(made).as_table_like_mut()
}

/// A car's pulses as a person reads them, one line a key.
pub(super) fn lines(raw: &RawCalibration) -> String {
    let width = "throttle_steps".len();
    let line = |key: &Key| format!("{:width$} = {:<4} # {}\n", key.name, (key.get)(raw), key.meaning);
    KEYS.iter().map(line).collect()
}

/// A pulse out of a number from a file, or what it must be.
pub(super) fn pulse(ticks: i64) -> Option<Pulse> {
    u16::try_from(ticks).ok().and_then(Pulse::new)
}

/// A file's new content, beside it, waiting for its name. Dropped without that, it leaves nothing.
#[derive(Debug)]
pub(super) struct Staged {
    temporary: PathBuf,
    target: PathBuf,
    replaces: bool,
    done: bool,
}

impl Staged {
    /// Writes what shall be a new file at `target`.
    pub(super) fn new_file(target: &Path, text: &str) -> io::Result<Self> {
        Self::write(target.to_owned(), text, None)
    }

    /// Writes what shall take the place of the file at `target`, with its owner and mode: it may hold secrets.
    pub(super) fn replacement(target: &Path, text: &str) -> io::Result<Self> {
        let target = fs::canonicalize(target)?;
        let old = fs::metadata(&target)?;
        Self::write(target, text, Some(&old))
    }

    fn write(target: PathBuf, text: &str, old: Option<&fs::Metadata>) -> io::Result<Self> {
        let name = target.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_string_lossy().into_owned();
        let temporary = target.with_file_name(format!(".{name}.{}.new", std::process::id()));
        let mode = if old.is_some() { 0o600 } else { 0o644 };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        let staged = Self { temporary, target, replaces: old.is_some(), done: false };
        if let Some(old) = old {
            keep_rights(&file, old)?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(staged)
    }

    /// Gives it its name, for good.
    ///
    /// # Errors
    /// `AlreadyExists` when a new file's name was taken meanwhile; whatever the system refuses.
    pub(super) fn publish(mut self) -> io::Result<()> {
        let flags = if self.replaces { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        renameat_with(CWD, &self.temporary, CWD, &self.target, flags)?;
        self.done = true;
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn keep_rights(file: &File, old: &fs::Metadata) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) != (old.uid(), old.gid()) {
        fchown(file, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())))?;
    }
    Ok(fchmod(file, Mode::from_raw_mode(old.mode() & 0o7777))?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    pub(crate) fn raw() -> RawCalibration {
        let pulse = |ticks| pulse(ticks).unwrap();
        RawCalibration {
            throttle_zero: pulse(370),
            forward_zero: pulse(390),
            throttle_min: pulse(310),
            throttle_max: pulse(430),
            steering_zero: pulse(400),
            steering_min: pulse(320),
            steering_max: pulse(480),
            throttle_steps: 20,
            steering_steps: 25,
        }
    }

    #[test]
    fn only_the_calibration_changes_comments_and_order_stay() {
        let before = "\
# My car.
[server]
url = \"wss://host\" # mine

[drive.calibration] # measured in May
steering_max=479 # left
# Standing still.
throttle_zero   = 0x177   # 375

# Nothing below matters.
[camera]
width = 640
";
        let after = with_calibration(before, &raw()).unwrap();
        let expected = "\
# My car.
[server]
url = \"wss://host\" # mine

[drive.calibration] # measured in May
steering_max=480 # left
# Standing still.
throttle_zero   = 370   # 375
forward_zero = 390
throttle_min = 310
throttle_max = 430
steering_zero = 400
steering_min = 320
throttle_steps = 20
steering_steps = 25

# Nothing below matters.
[camera]
width = 640
";
        assert_eq!(after, expected);
        assert_eq!(with_calibration(&after, &raw()).unwrap(), after, "doing it twice changes nothing");
    }

    #[test]
    fn the_table_is_made_where_it_is_missing_and_found_however_it_is_written() {
        let table = [
            "",
            "[camera]\nwidth = 640\n",
            "[drive]\nactuator = \"pca9685\"\n",
            "drive = { calibration = { throttle_zero = 1 } }\n",
            "drive.calibration.throttle_zero = 1\n",
            "[drive]\ncalibration.throttle_zero = 1\n",
        ];
        for before in table {
            let after: DocumentMut = with_calibration(before, &raw()).unwrap().parse().unwrap();
            for key in &KEYS {
                let value = after["drive"]["calibration"][key.name].as_integer();
                assert_eq!(value, Some((key.get)(&raw()).into()), "{} after {before:?}", key.name);
            }
        }
    }

    #[test]
    fn a_file_that_cannot_hold_it_is_refused() {
        let table = [
            ("drive = 5", EditError::NotATable("drive")),
            ("[drive]\ncalibration = \"good\"", EditError::NotATable("drive.calibration")),
        ];
        for (text, expected) in table {
            assert_eq!(with_calibration(text, &raw()), Err(expected), "{text}");
        }
        assert!(matches!(with_calibration("[drive", &raw()), Err(EditError::NotToml(_))));
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_a_link_to_it_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("real.toml"), folder.path().join("car.toml"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        Staged::replacement(&link, "new").unwrap().publish().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn what_is_staged_is_nothing_until_it_is_published_and_takes_nobodys_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("car.toml");
        drop(Staged::new_file(&file, "new").unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        let staged = Staged::new_file(&file, "new").unwrap();
        fs::write(&file, "someone else's").unwrap();
        assert_eq!(staged.publish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&file).unwrap(), "someone else's");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
