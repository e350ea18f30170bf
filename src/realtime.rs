//! Running before all others: what must stop a car does not wait for a processor that encodes pictures.

use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

/// Asks the kernel to run this thread before all ordinary ones: on a machine whose processors are full of encoding, a
/// deadline would otherwise be served tens of milliseconds late. For threads that sleep but for microseconds, so that
/// nobody misses the processor; the threads they start get the same. Where it is not allowed that is told.
pub(crate) fn schedule_first() {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy) {
        tracing::info!(
            "no real-time scheduling for the {} thread ({error:?}): the failsafe may be late on a busy machine; \
             allow it with LimitRTPRIO=1",
            std::thread::current().name().unwrap_or("first")
        );
        sleep_exactly();
    }
}

/// An ordinary thread's sleeps end up to 50 µs late, so that the kernel has fewer wake-ups to do. Not this one's.
fn sleep_exactly() {
    // Whoever is denied this as well is late by those 50 µs.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}
