//! The edge telemetry → `metric` channel: short, and what does not fit is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

/// Messages on their way to the channel. Full: the newest is dropped; the next reading replaces it anyway, and states
/// are repeated every second. A round of everything there is, of four pictures, on a board that tells of ten temperatures is
/// some 80.
pub const METRIC_CAPACITY: usize = 128;

/// Puts messages onto the edge; never waits. Clones share one edge.
#[derive(Clone, Debug)]
pub struct Outlet {
    messages: mpsc::Sender<String>,
    dropped: Arc<AtomicU64>,
}

impl Outlet {
    /// The edge: this end, and the end the publisher reads.
    pub fn new() -> (Self, mpsc::Receiver<String>) {
        let (messages, receiver) = mpsc::channel(METRIC_CAPACITY);
        (Self { messages, dropped: Arc::default() }, receiver)
    }

    /// Sends one message, or drops it.
    pub fn send(&self, message: String) {
        if self.messages.try_send(message).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Messages dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (outlet, mut receiver) = Outlet::new();
        for number in 0..METRIC_CAPACITY + 3 {
            outlet.send(number.to_string());
        }
        assert_eq!(outlet.dropped(), 3);
        assert_eq!(receiver.try_recv().as_deref(), Ok("0"));
    }
}
