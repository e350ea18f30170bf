//! A Unix socket's file: made with its mode, and never taken from a daemon that lives.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, chmod, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};

/// Owner and group may connect, nobody else.
const MODE: Mode = Mode::from_raw_mode(0o660);

/// Connections waiting to be accepted.
const BACKLOG: i32 = 8;

/// Why a socket is not there.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another daemon listens there.
    #[error("socket {}: another program listens there: stop it, or give this one another path", .0.display())]
    InUse(PathBuf),
    /// Something that is not a socket has its name.
    #[error("socket {}: is not a socket and is left alone: move it away, or give another path", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("socket {}: could not {step}: {source}", .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What came back.
        source: io::Error,
    },
}

/// A listening socket, whose file goes with it.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    /// Device and inode, to know the file again.
    identity: (u64, u64),
}

impl Listening {
    /// Listens at `path`, non-blocking. A file left by a daemon that is gone is replaced.
    pub(crate) fn open(path: &Path) -> Result<Self, ListenError> {
        let failed = |step| move |source| ListenError::Io { path: path.to_owned(), step, source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        make_folder(folder).map_err(failed("make its folder"))?;
        // Two daemons that find the same dead file must not each remove it: the second would remove the first's own.
        let turn = File::open(folder).map_err(failed("open its folder"))?;
        flock(&turn, FlockOperation::LockExclusive).map_err(|error| failed("lock its folder")(error.into()))?;
        remove_dead(path)?;
        let listener = listen_at(path).map_err(|error| failed("listen")(error.into()))?;
        let metadata = fs::symlink_metadata(path).map_err(failed("look at it"))?;
        Ok(Self { listener, path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a folder of sockets where there is none; the one that it is in must be there.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.exists() { Ok(()) } else { DirBuilder::new().mode(0o755).create(folder) }
}

/// Whether a daemon listens at `path`. Does not wait, even for one that hangs.
pub(crate) fn is_served(path: &Path) -> io::Result<bool> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags(), None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        // Its backlog is full: it hangs, but it is there.
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn remove_dead(path: &Path) -> Result<(), ListenError> {
    let failed = |step| move |source| ListenError::Io { path: path.to_owned(), step, source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at it")(error)),
        Ok(file) if !file.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    if is_served(path).map_err(failed("find out whether it is in use"))? {
        return Err(ListenError::InUse(path.to_owned()));
    }
    fs::remove_file(path).map_err(failed("remove what a dead daemon left"))
}

/// The mode is set on the socket before it has a name: `bind` makes the file with the socket's mode less the umask
/// (unix(7)), so that it never is wider than [`MODE`], whatever the umask. Afterwards it may only be too narrow.
fn listen_at(path: &Path) -> rustix::io::Result<UnixListener> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags(), None)?;
    fchmod(&socket, MODE)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    chmod(path, MODE)?;
    listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

fn flags() -> SocketFlags {
    SocketFlags::CLOEXEC | SocketFlags::NONBLOCK
}
