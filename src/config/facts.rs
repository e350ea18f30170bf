//! What reading a configuration depends on besides its layers. All of it is passed in: reading has no effects.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::origin::Origin;

/// A file's content and who may read it.
#[derive(Clone, Debug, Default)]
pub struct FileContent {
    /// As stored.
    pub bytes: Vec<u8>,
    /// Whether every user of the machine may read it.
    pub world_readable: bool,
}

/// A channel file that has been read.
#[derive(Clone, Debug)]
pub struct ChannelFile {
    /// Where it lies; its stem is the channel id unless `channel` says otherwise.
    pub path: PathBuf,
    /// What it holds.
    pub content: FileContent,
}

/// How credential files are read.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<FileContent>;

/// The surroundings of a configuration.
pub(super) struct Facts<'a> {
    pub(super) file: Option<&'a ChannelFile>,
    environment: &'a [(OsString, OsString)],
    pub(super) read: ReadFile<'a>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(
        file: Option<&'a ChannelFile>,
        environment: &'a [(OsString, OsString)],
        read: ReadFile<'a>,
    ) -> Self {
        Self { file, environment, read }
    }

    pub(super) fn none() -> Self {
        Self { file: None, environment: &[], read: &|_| Err(io::ErrorKind::NotFound.into()) }
    }

    /// Where a problem is that concerns the file as a whole.
    pub(super) fn file_as_a_whole(&self) -> Origin {
        match self.file {
            Some(file) => Origin::File { path: file.path.clone(), position: None },
            None => Origin::Default,
        }
    }

    /// The channel file's name without `.toml`.
    pub(super) fn file_stem(&self) -> Option<&str> {
        self.file?.path.file_stem().and_then(OsStr::to_str)
    }

    /// A relative path starts at the channel file's folder.
    pub(super) fn beside_the_file(&self, path: &Path) -> PathBuf {
        match self.file.and_then(|file| file.path.parent()) {
            Some(folder) => folder.join(path),
            None => path.to_owned(),
        }
    }

    /// A folder that systemd made for us (`$STATE_DIRECTORY` …), which may be several separated by colons: the first.
    pub(super) fn folder(&self, variable: &str) -> Option<PathBuf> {
        let (_, value) = self.environment.iter().find(|(name, _)| name == variable)?;
        std::env::split_paths(value).next().filter(|folder| !folder.as_os_str().is_empty())
    }
}
