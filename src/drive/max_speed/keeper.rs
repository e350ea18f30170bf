//! The thread that keeps `maxSpeed`, and whether the emergency stop is latched, on disk.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::file::store;
use crate::drive::estop_file;
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
    news: News,
    last: bool,
    ended: bool,
}

/// What is to be kept.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    max_speed: Option<Pulse>,
    estop: Option<bool>,
}

impl News {
    fn is_empty(self) -> bool {
        self.max_speed.is_none() && self.estop.is_none()
    }
}

impl Keeper {
    /// Starts the thread; `failed` hears why a value could not be kept.
    pub(in crate::drive) fn spawn(path: PathBuf, mut failed: impl FnMut(String) + Send + 'static) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let end = EndOfWork(Arc::clone(&desk));
        let thread = thread::Builder::new().name("max-speed".into()).spawn(move || {
            let estop_file = estop_file::path_beside(&path);
            while let Some(News { max_speed, estop }) = end.0.next() {
                if let Some(Err(error)) = estop.map(|latched| estop_file::store(&estop_file, latched)) {
                    failed(error.to_string());
                }
                if let Some(Err(error)) = max_speed.map(|pulse| store(&path, pulse)) {
                    failed(error.to_string());
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
            tracing::warn!("maxSpeed or an emergency stop may not be kept: the disk did not answer in time");
        }
    }
}

impl KeeperHandle {
    /// Keeps this value. Never waits for the disk.
    pub(in crate::drive) fn keep(&self, pulse: Pulse) {
        self.0.work().news.max_speed = Some(pulse);
        self.0.changed.notify_all();
    }

    /// Keeps whether the emergency stop is latched. Never waits for the disk.
    pub(in crate::drive) fn keep_estop(&self, latched: bool) {
        self.0.work().news.estop = Some(latched);
        self.0.changed.notify_all();
    }
}

impl Desk {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next value; `None` when there will be none.
    fn next(&self) -> Option<News> {
        let idle = |work: &mut Work| work.news.is_empty() && !work.last;
        let mut work = self.changed.wait_while(self.work(), idle).unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut work.news)).filter(|news| !news.is_empty())
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
