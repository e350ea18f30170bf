//! The thread that keeps `maxSpeed` on disk.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::file::{MaxSpeedFileError, store};
use crate::drive::settings::Pulse;

/// Hands values to a thread of its own. Only the newest matters: one that waits is replaced, never queued.
#[derive(Debug)]
pub(in crate::drive) struct Keeper {
    desk: Arc<Desk>,
    thread: JoinHandle<()>,
}

/// Puts values on the keeper's desk.
#[derive(Clone, Debug)]
pub(in crate::drive) struct KeeperHandle(Arc<Desk>);

#[derive(Debug, Default)]
struct Desk {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    value: Option<Pulse>,
    last: bool,
    ended: bool,
}

impl Keeper {
    /// Starts the thread; `failed` hears of each value that could not be kept.
    pub(in crate::drive) fn spawn(
        path: PathBuf,
        mut failed: impl FnMut(MaxSpeedFileError) + Send + 'static,
    ) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let end = EndOfWork(Arc::clone(&desk));
        let thread = thread::Builder::new().name("max-speed".into()).spawn(move || {
            while let Some(pulse) = end.0.next() {
                if let Err(error) = store(&path, pulse) {
                    failed(error);
                }
            }
        })?;
        Ok(Self { desk, thread })
    }

    pub(in crate::drive) fn handle(&self) -> KeeperHandle {
        KeeperHandle(Arc::clone(&self.desk))
    }

    /// Lets the thread keep what it has and end. A disk that hangs for longer than `within` is left behind.
    pub(in crate::drive) fn shutdown(self, within: Duration) {
        let mut work = self.desk.work();
        work.last = true;
        self.desk.changed.notify_all();
        let waited = self.desk.changed.wait_timeout_while(work, within, |work| !work.ended);
        let ended = waited.unwrap_or_else(PoisonError::into_inner).0.ended;
        if !ended || self.thread.join().is_err() {
            tracing::warn!("maxSpeed may not be kept: its disk did not answer in time");
        }
    }
}

impl KeeperHandle {
    /// Keeps this value. Never waits for the disk.
    pub(in crate::drive) fn keep(&self, pulse: Pulse) {
        self.0.work().value = Some(pulse);
        self.0.changed.notify_all();
    }
}

impl Desk {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next value; `None` when there will be none.
    fn next(&self) -> Option<Pulse> {
        let idle = |work: &mut Work| work.value.is_none() && !work.last;
        let mut work = self.changed.wait_while(self.work(), idle).unwrap_or_else(PoisonError::into_inner);
        work.value.take()
    }
}

/// Tells whoever waits that the thread is at its end, however it came there.
struct EndOfWork(Arc<Desk>);

impl Drop for EndOfWork {
    fn drop(&mut self) {
        self.0.work().ended = true;
        self.0.changed.notify_all();
    }
}
