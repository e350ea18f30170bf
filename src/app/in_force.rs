//! What a daemon drives by, kept beside its sockets for `rtcpub park`: since it started, its channel file may have been edited
//! to another board, or broken, and its car moves all the same.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::sole::{Sole, lock_path};
use crate::config::{self, Effective, Shown};
use crate::status::settings::RUNTIME_FOLDER;

/// The end of the file's name; that of the channel file is in front of it.
const SUFFIX: &str = ".in-force.toml";

/// The file of one daemon: it is there from the start until the car is known to stand.
#[derive(Clone, Debug)]
pub(super) struct InForce(PathBuf);

impl InForce {
    /// Of the daemon of this channel file, in the folder of its sockets.
    pub(super) fn of(channel_file: &Path, folder: &Path) -> Self {
        Self(folder.join(format!("{}{SUFFIX}", name_of(channel_file))))
    }

    /// As [`InForce::of`], in the folder that systemd made, else in the usual one.
    pub(super) fn of_any(channel_file: &Path) -> Self {
        let folders = std::env::var_os("RUNTIME_DIRECTORY").unwrap_or_default();
        let folder = std::env::split_paths(&folders).next().filter(|folder| !folder.as_os_str().is_empty());
        Self::of(channel_file, folder.as_deref().unwrap_or(Path::new(RUNTIME_FOLDER)))
    }

    /// The file, when a daemon has left it.
    pub(super) fn left(&self) -> Option<&Path> {
        self.0.exists().then_some(&*self.0)
    }

    /// Keeps the car's part of these.
    pub(super) fn keep(&self, effective: &[Effective]) {
        let concerns_parking = |row: &&Effective| {
            (row.key.starts_with("drive.") || row.key.starts_with("bridge."))
                && !matches!(row.value, Shown::Unset | Shown::Secret)
        };
        let rows: Vec<_> = effective.iter().filter(concerns_parking).cloned().collect();
        let text =
            format!("# Written by rtcpub, for `rtcpub park`: what its daemon drives by.\n{}", config::show(&rows));
        let new = self.0.with_extension("new");
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &self.0));
        if let Err(error) = written {
            let path = self.0.display();
            tracing::warn!("{path} cannot be written ({error}): rtcpub park goes by the channel file, as it is then");
        }
    }

    /// The car stands, and nobody drives it any more.
    pub(super) fn remove(&self) {
        let _ = fs::remove_file(&self.0);
    }

    /// The same from another process: only where no daemon lives that it is of.
    pub(super) fn remove_if_left(&self, channel_file: &Path) {
        let folder = self.0.parent().unwrap_or(Path::new("/"));
        if let Ok(Some(_held)) = Sole::take(&lock_path(folder, &name_of(channel_file))) {
            self.remove();
        }
    }
}

/// What is named after a channel file is called this.
pub(super) fn name_of(channel_file: &Path) -> String {
    channel_file.file_stem().unwrap_or(OsStr::new("channel")).display().to_string()
}
