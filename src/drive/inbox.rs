//! The edge between whoever has something to say and the drive thread.
//!
//! | what | carrier | when full |
//! |---|---|---|
//! | stops | one flag a cause, and an unpark | never lost; several of a kind are one |
//! | messages | the newest [`MESSAGES_CAPACITY`] with their arrival times | the oldest go that a later one makes void, counted; an emergency stop among them becomes a flag |
//! | the link | levels, with a stop flag for each fall | never lost |
//! | a new configuration | one slot | newest wins |
//!
//! Nobody waits here: the lock is held for moving a few words, and [`Inbox::stop`] takes none, for it is called from
//! panic hooks. The drive thread waits not even for that: whoever holds a lock may be kept from running for a while.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::command::{Command, EStop, Message, Rejection};
use super::event::{DriveSnapshot, Ended};
use super::gate::StopCause;
use super::latency::Latency;
use super::link::{LinkEvent, Links, PeerId};
use super::settings::DriveConfig;

/// Messages kept for the drive thread. It wakes for each, so more than one waits only while it writes to the actuator;
/// this many cover a second of it at the usual rate.
const MESSAGES_CAPACITY: usize = 32;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Inbox {
    stops: AtomicU32,
    /// How many stops were asked for: a stop is confirmed when neutral was written after it was counted.
    stops_asked: AtomicU64,
    rejected: [AtomicU64; Rejection::ALL.len()],
    pending: Mutex<Pending>,
    status: Mutex<Status>,
    confirmed: Condvar,
    reader: OnceLock<Thread>,
    latency: Latency,
}

#[derive(Debug)]
struct Pending {
    messages: VecDeque<(Message, Instant)>,
    superseded: u64,
    links: Links,
    reload: Option<Box<DriveConfig>>,
    file_problem: Option<String>,
    end: bool,
}

/// What the drive thread tells back.
#[derive(Debug)]
struct Status {
    snapshot: DriveSnapshot,
    stops_confirmed: u64,
    ended: Option<Ended>,
}

/// What the drive thread takes out at once.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) stops: Stops,
    /// Stops asked for until now, for [`Inbox::try_publish`].
    pub(super) ticket: u64,
    pub(super) link_up: bool,
    pub(super) messages: VecDeque<(Message, Instant)>,
    pub(super) superseded: u64,
    pub(super) reload: Option<Box<DriveConfig>>,
    pub(super) file_problem: Option<String>,
    /// The thread is to end.
    pub(super) end: bool,
}

/// A set of causes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stops(u32);

impl Stops {
    const fn bit(cause: StopCause) -> u32 {
        1 << cause as u32
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = StopCause> {
        StopCause::ALL.into_iter().filter(move |cause| self.0 & Self::bit(*cause) != 0)
    }
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            stops: Stops::default(),
            ticket: 0,
            link_up: false,
            messages: VecDeque::with_capacity(MESSAGES_CAPACITY),
            superseded: 0,
            reload: None,
            file_problem: None,
            end: false,
        }
    }
}

impl Inbox {
    pub(super) fn new(snapshot: DriveSnapshot) -> Self {
        let pending = Pending {
            messages: VecDeque::with_capacity(MESSAGES_CAPACITY),
            superseded: 0,
            links: Links::new(),
            reload: None,
            file_problem: None,
            end: false,
        };
        Self {
            stops: AtomicU32::new(0),
            stops_asked: AtomicU64::new(0),
            rejected: Default::default(),
            pending: Mutex::new(pending),
            status: Mutex::new(Status { snapshot, stops_confirmed: 0, ended: None }),
            confirmed: Condvar::new(),
            reader: OnceLock::new(),
            latency: Latency::default(),
        }
    }

    /// Asks for a stop. Returns a ticket for [`Inbox::wait_for_neutral`].
    pub(super) fn stop(&self, cause: StopCause) -> u64 {
        // The flag before the count: whoever sees the count sees the flag.
        self.stops.fetch_or(Stops::bit(cause), Ordering::AcqRel);
        let ticket = self.stops_asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.nudge();
        ticket
    }

    pub(super) fn message(&self, message: Message, arrived: Instant) {
        let mut pending = self.pending();
        if pending.messages.len() == MESSAGES_CAPACITY
            && let Some(left_out) = make_room(&mut pending.messages)
        {
            pending.superseded += 1;
            if left_out.command == Command::EStop(EStop::Latch) {
                self.stops.fetch_or(Stops::bit(StopCause::EStop), Ordering::AcqRel);
            }
        }
        pending.messages.push_back((message, arrived));
        drop(pending);
        self.nudge();
    }

    pub(super) fn link(&self, peer: PeerId, event: LinkEvent) {
        let mut pending = self.pending();
        // The flag under the lock: who takes the level of a link that came up again takes the fall before it too.
        if let Some(cause) = pending.links.apply(peer, event) {
            self.stops.fetch_or(Stops::bit(cause), Ordering::AcqRel);
        }
        drop(pending);
        self.nudge();
    }

    pub(super) fn reload(&self, config: DriveConfig) {
        self.pending().reload = Some(Box::new(config));
        self.nudge();
    }

    /// `maxSpeed` could not be kept or restored.
    pub(super) fn file_problem(&self, problem: String) {
        self.pending().file_problem = Some(problem);
        self.nudge();
    }

    pub(super) fn end(&self) -> u64 {
        self.pending().end = true;
        self.stop(StopCause::Shutdown)
    }

    pub(super) fn reject(&self, rejection: Rejection) {
        // No nudge: the thread goes around once a second anyway, and junk shall not wake it.
        self.rejected[rejection as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many messages were rejected, by kind.
    pub(super) fn rejected(&self) -> [u64; Rejection::ALL.len()] {
        std::array::from_fn(|kind| self.rejected[kind].load(Ordering::Relaxed))
    }

    /// Names the thread that reads, so that it can be woken.
    pub(super) fn read_by(&self, thread: Thread) {
        // A second reader would be a bug; the first stays the one that is woken.
        let _ = self.reader.set(thread);
    }

    /// Takes everything out, unless somebody is just putting something in, who wakes the reader when he is done.
    #[must_use]
    pub(super) fn try_take(&self, batch: &mut Batch) -> bool {
        let pending = match self.pending.try_lock() {
            Ok(pending) => pending,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        self.move_out(pending, batch);
        true
    }

    /// Takes the stops alone, which needs no lock.
    pub(super) fn take_stops(&self, batch: &mut Batch) {
        batch.ticket = self.stops_asked.load(Ordering::Acquire);
        batch.stops = Stops(self.stops.swap(0, Ordering::AcqRel));
    }

    fn move_out(&self, mut pending: MutexGuard<'_, Pending>, batch: &mut Batch) {
        self.take_stops(batch);
        batch.link_up = pending.links.up();
        batch.messages.clear();
        std::mem::swap(&mut batch.messages, &mut pending.messages);
        batch.superseded = pending.superseded;
        batch.reload = pending.reload.take();
        batch.file_problem = pending.file_problem.take();
        batch.end = pending.end;
    }

    /// Tells how the drive is, and that neutral has stood on the actuator for all stops up to `ticket`; unless somebody is
    /// just looking.
    #[must_use]
    pub(super) fn try_publish(&self, snapshot: DriveSnapshot, ticket: u64) -> bool {
        let mut status = match self.status.try_lock() {
            Ok(status) => status,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        status.snapshot = snapshot;
        if status.stops_confirmed < ticket {
            status.stops_confirmed = ticket;
            self.confirmed.notify_all();
        }
        true
    }

    /// How long commands take.
    pub(super) fn latency(&self) -> &Latency {
        &self.latency
    }

    pub(super) fn snapshot(&self) -> DriveSnapshot {
        self.status().snapshot
    }

    /// Tells that the thread is at its end.
    pub(super) fn ended(&self, ended: Ended) {
        self.status().ended = Some(ended);
        self.confirmed.notify_all();
    }

    /// Waits until neutral is confirmed for `ticket`. Not on the drive thread itself: there it returns `false` at once,
    /// so that a panic hook does not hold up the very thread that writes neutral on its way out.
    pub(super) fn wait_for_neutral(&self, ticket: u64, within: Duration) -> bool {
        if self.reader.get().is_some_and(|reader| reader.id() == thread::current().id()) {
            return false;
        }
        let waiting = |status: &mut Status| status.stops_confirmed < ticket && status.ended.is_none();
        let waited = self.confirmed.wait_timeout_while(self.status(), within, waiting);
        let status = waited.unwrap_or_else(PoisonError::into_inner).0;
        status.stops_confirmed >= ticket
            || matches!(status.ended, Some(Ended::Neutral | Ended::Panicked { neutral: true }))
    }

    /// Waits for the end of the thread; `None` when it takes longer than `within`.
    pub(super) fn wait_for_end(&self, within: Duration) -> Option<Ended> {
        let waiting = |status: &mut Status| status.ended.is_none();
        let waited = self.confirmed.wait_timeout_while(self.status(), within, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    fn nudge(&self) {
        if let Some(reader) = self.reader.get() {
            reader.unpark();
        }
    }

    /// For tests of who waits for whom.
    #[cfg(test)]
    pub(super) fn while_locked<T>(&self, act: impl FnOnce() -> T) -> T {
        let _held = (self.pending(), self.status());
        act()
    }

    // A poisoned lock still holds good words: nothing here panics half-way through a change.
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes out the oldest message that a later one makes void: many of one axis must not cost the other its stop.
fn make_room(messages: &mut VecDeque<(Message, Instant)>) -> Option<Message> {
    let is_void = |index: &usize| {
        let (message, _) = &messages[*index];
        let mut later = messages.iter().skip(index + 1).map(|(later, _)| later);
        later
            .find(|later| later.makes_void(message) || later.divides(message))
            .is_some_and(|later| later.makes_void(message))
    };
    let index = (0..messages.len()).find(is_void).unwrap_or(0);
    messages.remove(index).map(|(message, _)| message)
}

#[cfg(test)]
mod tests;
