//! Asks a daemon for its status.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::{Document, MAX_BYTES};
use super::settings::SOCKET_SUFFIX;

/// A daemon that has not answered by then hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no daemon answers at {}: is it running? (rtcpub run CHANNEL, systemctl status rtcpub@CHANNEL)", .0.display())]
    NotRunning(PathBuf),
    /// It listens and does not answer.
    #[error("the daemon at {} does not answer within {PATIENCE:?}: it hangs", .0.display())]
    Hangs(PathBuf),
    /// It may not be asked.
    #[error("{}: {source} (its owner and group may ask)", path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What it said is not a status.
    #[error("what answers at {} is no daemon of this version: {reason}", path.display())]
    NotAStatus {
        /// The socket.
        path: PathBuf,
        /// Where it differs.
        reason: String,
    },
}

/// The document as it came, and as it reads. Blocks for two seconds at most.
///
/// # Errors
/// Why there is no answer.
pub fn ask(socket: &Path) -> Result<(String, Document), AskError> {
    let json = read(socket).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning(socket.to_owned()),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::Hangs(socket.to_owned()),
        _ => AskError::Refused { path: socket.to_owned(), source },
    })?;
    let json = json.trim_end().to_owned();
    let document = serde_json::from_str(&json)
        .map_err(|error| AskError::NotAStatus { path: socket.to_owned(), reason: error.to_string() })?;
    Ok((json, document))
}

/// The status sockets of all channels in a folder, in the order of their names.
pub fn sockets(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(SOCKET_SUFFIX))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn read(socket: &Path) -> io::Result<String> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut json = String::new();
    stream.take(MAX_BYTES as u64 + 1).read_to_string(&mut json)?;
    Ok(json)
}
