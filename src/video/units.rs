//! The edge pipeline → track: a short queue of access units.
//!
//! When it is full the new access unit is dropped, and with it everything up to the next IDR, because nothing in between
//! could be decoded. A key frame is asked for as soon as there is room: one made earlier would be dropped too.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::frame::AccessUnit;

/// Access units that may wait for the track: a quarter of a second at 30 frames a second. A track that is later than
/// this is not late but stuck.
pub const ACCESS_UNIT_CAPACITY: usize = 8;

/// Makes the queue. The sender goes to [`Pipeline::start`](super::pipeline::Pipeline::start); a clone of it kept aside
/// keeps the queue open for the next pipeline.
pub fn access_unit_channel() -> (AccessUnitSender, AccessUnitReceiver) {
    let (sender, receiver) = mpsc::channel(ACCESS_UNIT_CAPACITY);
    (AccessUnitSender { queue: sender, chain: Chain::Broken }, AccessUnitReceiver { queue: receiver })
}

/// The pipeline's end of the queue.
#[derive(Clone, Debug)]
pub struct AccessUnitSender {
    queue: mpsc::Sender<AccessUnit>,
    chain: Chain,
}

/// Whether what was queued last can be built upon by the next access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chain {
    Whole,
    Broken,
}

/// What became of an access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Offered {
    /// It is on its way.
    Queued,
    /// There was no room; a key frame would find none either.
    DroppedFull,
    /// It builds on one that was dropped, and there is room again: ask for a key frame.
    DroppedAskKeyFrame,
    /// Nobody receives any more.
    Closed,
}

impl AccessUnitSender {
    /// Queues an access unit or drops it; never waits.
    pub fn offer(&mut self, unit: AccessUnit) -> Offered {
        if self.chain == Chain::Broken && !unit.idr {
            return if self.queue.is_closed() {
                Offered::Closed
            } else if self.queue.capacity() == 0 {
                Offered::DroppedFull
            } else {
                Offered::DroppedAskKeyFrame
            };
        }
        let offered = match self.queue.try_send(unit) {
            Ok(()) => Offered::Queued,
            Err(TrySendError::Full(_)) => Offered::DroppedFull,
            Err(TrySendError::Closed(_)) => Offered::Closed,
        };
        self.chain = if offered == Offered::Queued { Chain::Whole } else { Chain::Broken };
        offered
    }
}

/// The track's end of the queue. It must be drained even while no peer is connected, or the first picture a peer gets is
/// an old one.
#[derive(Debug)]
pub struct AccessUnitReceiver {
    queue: mpsc::Receiver<AccessUnit>,
}

impl AccessUnitReceiver {
    /// The next access unit, or `None` when every sender is gone and the queue is empty. Cancel safe.
    pub async fn recv(&mut self) -> Option<AccessUnit> {
        self.queue.recv().await
    }

    /// The next access unit when one waits.
    pub fn try_recv(&mut self) -> Option<AccessUnit> {
        self.queue.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bytes::Bytes;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an access unit carries a time; these tests do not look at it")]
    fn unit(number: u64, idr: bool) -> AccessUnit {
        AccessUnit { data: Bytes::new(), pts: Duration::from_millis(number), idr, encoded_at: Instant::now() }
    }

    fn filled() -> (AccessUnitSender, AccessUnitReceiver) {
        let (mut sender, receiver) = access_unit_channel();
        for number in 0..ACCESS_UNIT_CAPACITY as u64 {
            assert_eq!(sender.offer(unit(number, number == 0)), Offered::Queued);
        }
        (sender, receiver)
    }

    #[test]
    fn the_first_access_unit_queued_is_an_idr() {
        let (mut sender, mut receiver) = access_unit_channel();
        assert_eq!(sender.offer(unit(0, false)), Offered::DroppedAskKeyFrame);
        assert_eq!(sender.offer(unit(1, true)), Offered::Queued);
        assert_eq!(sender.offer(unit(2, false)), Offered::Queued);
        assert!(receiver.try_recv().is_some_and(|first| first.idr));
    }

    #[test]
    fn a_full_queue_drops_up_to_the_next_idr_and_asks_for_it_once_there_is_room() {
        let (mut sender, mut receiver) = filled();
        assert_eq!(sender.offer(unit(8, false)), Offered::DroppedFull);
        assert_eq!(sender.offer(unit(9, true)), Offered::DroppedFull, "an IDR finds no room either");
        for number in 0..ACCESS_UNIT_CAPACITY as u64 {
            let waiting = receiver.try_recv().expect("a full queue");
            assert_eq!(waiting.pts, Duration::from_millis(number), "what was queued stays, in order");
        }
        assert_eq!(sender.offer(unit(10, false)), Offered::DroppedAskKeyFrame, "it builds on a dropped one");
        assert_eq!(sender.offer(unit(11, true)), Offered::Queued);
        assert_eq!(sender.offer(unit(12, false)), Offered::Queued);
        let after: Vec<_> = std::iter::from_fn(|| receiver.try_recv()).map(|unit| unit.pts.as_millis()).collect();
        assert_eq!(after, [11, 12]);
    }

    #[test]
    fn a_receiver_that_is_gone_is_told_apart_from_a_slow_one() {
        let (mut sender, receiver) = filled();
        drop(receiver);
        assert_eq!(sender.offer(unit(8, true)), Offered::Closed);
        assert_eq!(sender.offer(unit(9, false)), Offered::Closed);
    }

    #[test]
    fn a_clone_keeps_the_queue_open_and_starts_with_an_idr_of_its_own() {
        let (mut sender, mut receiver) = access_unit_channel();
        let mut next = sender.clone();
        assert_eq!(sender.offer(unit(0, true)), Offered::Queued);
        drop(sender);
        assert_eq!(next.offer(unit(1, false)), Offered::DroppedAskKeyFrame);
        assert_eq!(next.offer(unit(2, true)), Offered::Queued);
        assert_eq!(receiver.try_recv().map(|unit| unit.pts.as_millis()), Some(0));
        assert_eq!(receiver.try_recv().map(|unit| unit.pts.as_millis()), Some(2));
    }
}
