//! When this machine stood still: a real-time thread on each processor that only sleeps, and notes when it wakes late.
//!
//! A virtual machine is at times not run by its host. Nothing that runs in it is on time then, the daemon included, and
//! nothing in it can change that. The watchers come before the drive thread (they have the higher priority), so that the
//! daemon cannot be what makes them late.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

/// A sleep of a watcher.
const NAP: Duration = Duration::from_micros(500);
/// Later than this is a standstill; a thread that wakes on time is less than a tenth of it late.
const LATE: Duration = Duration::from_millis(1);
/// The drive thread's is 1.
const PRIORITY: u8 = 2;

/// From when to when a processor stood still, at the most.
#[derive(Clone, Copy, Debug)]
pub struct Standstill {
    pub from: Instant,
    pub until: Instant,
}

/// The threads that watch.
pub struct Watch {
    seen: Arc<Mutex<Vec<Standstill>>>,
    end: Arc<AtomicBool>,
    watchers: Vec<JoinHandle<bool>>,
}

impl Watch {
    pub fn start() -> Self {
        let (seen, end) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let allowed = sched_getaffinity(None).unwrap();
        let processors = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor));
        let watchers = processors.map(|processor| {
            let (seen, end) = (Arc::clone(&seen), Arc::clone(&end));
            thread::spawn(move || watch(processor, &seen, &end))
        });
        Self { watchers: watchers.collect(), seen, end }
    }

    /// How long a processor stood still, at most, between these.
    pub fn within(&self, from: Instant, until: Instant) -> Duration {
        let seen = self.seen.lock().unwrap();
        let overlap = |still: &Standstill| still.until.min(until).saturating_duration_since(still.from.max(from));
        seen.iter().map(overlap).max().unwrap_or_default()
    }

    /// Ends the watch: every standstill, and whether the watchers were real-time threads.
    pub fn end(self) -> (Vec<Standstill>, bool) {
        self.end.store(true, Relaxed);
        let real_time = self.watchers.into_iter().fold(true, |all, watcher| all & watcher.join().unwrap());
        (std::mem::take(&mut *self.seen.lock().unwrap()), real_time)
    }
}

fn watch(processor: usize, seen: &Mutex<Vec<Standstill>>, end: &AtomicBool) -> bool {
    let mut alone = CpuSet::new();
    alone.set(processor);
    sched_setaffinity(None, &alone).unwrap();
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let priority = ThreadPriority::try_from(PRIORITY).unwrap();
    let real_time = set_thread_priority_and_policy(thread_native_id(), priority, policy).is_ok();
    while !end.load(Relaxed) {
        let due = Instant::now() + NAP;
        thread::sleep(NAP);
        let woken = Instant::now();
        if woken.saturating_duration_since(due) > LATE {
            seen.lock().unwrap().push(Standstill { from: due, until: woken });
        }
    }
    real_time
}
