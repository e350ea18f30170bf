//! The emergency stop across restarts: while it is latched there is a file beside that of `maxSpeed`, empty, by the same name
//! with the extension `estop`.
//!
//! Whoever pressed it said "stay there until I say otherwise", and a daemon that was restarted has not been told otherwise.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The emergency stop could not be kept, or not be looked for.
#[derive(Debug, thiserror::Error)]
#[error("the emergency stop and {path}: {source}; {consequence}", path = path.display())]
pub struct EStopFileError {
    path: PathBuf,
    source: io::Error,
    consequence: &'static str,
}

/// Where it is kept, given the file of `maxSpeed`.
pub(super) fn path_beside(max_speed_file: &Path) -> PathBuf {
    max_speed_file.with_extension("estop")
}

/// Whether the emergency stop was latched when the last daemon ended. Where that cannot be found out it was.
///
/// # Errors
/// Why not.
pub(super) fn load(path: &Path) -> Result<bool, EStopFileError> {
    let consequence = "it counts as latched";
    path.try_exists().map_err(|source| EStopFileError { path: path.to_owned(), source, consequence })
}

/// Keeps whether it is latched, so that it holds after a power cut too.
///
/// # Errors
/// Why it is not kept.
pub(super) fn store(path: &Path, latched: bool) -> Result<(), EStopFileError> {
    let consequence = if latched { "a restart would lift it" } else { "a restart would latch it again" };
    let stored = if latched { create(path) } else { remove(path) };
    stored.map_err(|source| EStopFileError { path: path.to_owned(), source, consequence })
}

fn create(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), fs::create_dir_all)?;
    File::create(path)?.sync_all()?;
    sync(path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync(path)),
    }
}

/// The folder, in which the file is or is not.
fn sync(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_latched_is_latched_until_it_was_lifted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path_beside(&folder.path().join("deeper/max-speed.json"));
        assert!(path.ends_with("deeper/max-speed.estop"));
        assert!(!load(&path).expect("nothing is there"));
        store(&path, false).expect("nothing is to be done");
        for _ in 0..2 {
            store(&path, true).expect("a folder can be made");
            assert!(load(&path).expect("it is there"));
        }
        store(&path, false).expect("it can be removed");
        assert!(!load(&path).expect("nothing is there"));
    }

    #[test]
    fn what_cannot_be_kept_is_told_with_what_follows() {
        let error = store(Path::new("/proc/nowhere/max-speed.estop"), true).expect_err("there is no such folder");
        assert!(error.to_string().contains("a restart would lift it"), "{error}");
        let error = load(Path::new("a\0b")).expect_err("no path");
        assert!(error.to_string().contains("it counts as latched"), "{error}");
    }
}
