//! One daemon a channel: a second would share its emergency stop, and what `rtcpub park` goes by would be the second's.
//!
//! So a daemon holds a lock beside its sockets (flock(2)), which the kernel gives back however a process ends. The lock's
//! file goes with its holder; one that a killed daemon has left is taken over.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

use super::in_force::name_of;
use crate::config::path_component;
use crate::exit::{Exit, Failure};
use crate::signal::settings::ChannelId;
use crate::unix_socket::make_folder;

/// Everybody may look whether somebody has it; who may make it in this folder is the folder's own to say.
const MODE: Mode = Mode::from_raw_mode(0o644);
/// How often the file may be removed by its last holder between its being opened and locked.
const TRIES: u32 = 8;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(super) struct Sole {
    path: PathBuf,
    /// Closed after the file has gone.
    _lock: File,
}

impl Sole {
    /// Keeps further daemons of this channel away, and those of a channel file of this name: it is by that name that the
    /// file in force is found. Where there can be no lock that is told, and all else goes on.
    ///
    /// # Errors
    /// Another daemon is there: [`Exit::Taken`].
    pub(super) fn on(channel: &ChannelId, channel_file: &Path, folder: &Path) -> Result<Vec<Self>, Failure> {
        let mut held = Vec::new();
        for name in BTreeSet::from([path_component(channel), name_of(channel_file)]) {
            let path = lock_path(folder, &name);
            let shown = path.display();
            match Self::take(&path) {
                Ok(Some(lock)) => held.push(lock),
                Ok(None) => {
                    let channel = channel.as_str();
                    let message = format!(
                        "channel {channel}: another rtcpub publishes it and holds {shown}: end that one first \
                         (systemctl stop rtcpub@{channel}), or publish another channel"
                    );
                    return Err(Failure { exit: Exit::Taken, message });
                }
                Err(error) => {
                    tracing::warn!(
                        "{shown} cannot be locked ({error}): a second rtcpub of this channel is not kept away"
                    );
                }
            }
        }
        Ok(held)
    }

    /// `None` when somebody has it. Makes the last folder of the path, where it is not there.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        path.parent().map_or(Ok(()), make_folder)?;
        for _ in 0..TRIES {
            let lock = File::from(open(path, OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC, MODE)?);
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // Its last holder may have removed it meanwhile; what is locked then is nobody's lock.
            let identity = |file: fs::Metadata| (file.dev(), file.ino());
            if fs::metadata(path).ok().map(identity) == Some(identity(lock.metadata()?)) {
                return Ok(Some(Self { path: path.to_owned(), _lock: lock }));
            }
        }
        Ok(None)
    }
}

impl Drop for Sole {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The lock of this name in a folder of sockets.
pub(super) fn lock_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(id: &str) -> ChannelId {
        ChannelId::new(id).expect("an id")
    }

    #[test]
    fn a_second_daemon_of_a_channel_or_of_a_channel_file_s_name_is_refused_while_the_first_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let sockets = folder.path().join("rtcpub");
        let first = Sole::on(&channel("a"), Path::new("/etc/rtcpub/car.toml"), &sockets).expect("nobody is there");
        for (id, file) in [("a", "/etc/rtcpub/other.toml"), ("b", "/home/car.toml")] {
            let refused = Sole::on(&channel(id), Path::new(file), &sockets).expect_err("the first has it");
            let message = &refused.message;
            assert!(message.starts_with(&format!("channel {id}: another rtcpub")), "{message}");
            assert!(message.contains(&sockets.display().to_string()) && message.contains("end that one"), "{message}");
        }
        Sole::on(&channel("b"), Path::new("/home/b.toml"), &sockets).expect("another channel");
        drop(first);
        Sole::on(&channel("a"), Path::new("/etc/rtcpub/car.toml"), &sockets).expect("it is gone");
        assert_eq!(fs::read_dir(&sockets).expect("it was made").count(), 0, "and nothing is left");
    }

    #[test]
    fn what_a_killed_daemon_has_left_is_taken_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let left = lock_path(folder.path(), "a");
        fs::write(&left, "").expect("the folder is ours");
        assert!(Sole::take(&left).expect("a lock").is_some());
    }

    #[test]
    fn without_a_folder_all_goes_on() {
        let held = Sole::on(&channel("a"), Path::new("/etc/rtcpub/a.toml"), Path::new("/proc/rtcpub/none"));
        assert!(held.expect("only told").is_empty());
    }
}
