//! The edge pipeline → track: a short queue of access units.
//!
//! When it is full the new access unit is dropped, and with it everything up to the next IDR, because nothing in between
//! could be decoded. A key frame is asked for as soon as there is room: one made earlier would be dropped too.
//!
//! Pipelines follow each other on it, and may overlap: the queue belongs to the newest that has offered an IDR, what older
//! ones still offer is dropped, and time never goes back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::frame::AccessUnit;

/// Access units that may wait for the track: a quarter of a second at 30 frames a second. A track that is later than
/// this is not late but stuck.
pub const ACCESS_UNIT_CAPACITY: usize = 8;

/// The least distance of two presentation times: one tick of RTP's 90 kHz, rounded up.
const TICK: Duration = Duration::from_nanos(11_112);

/// Makes the queue. The sender goes to [`Pipeline::start`](super::pipeline::Pipeline::start); a clone of it kept aside
/// keeps the queue open for the next pipeline.
pub fn access_unit_channel() -> (AccessUnitSender, AccessUnitReceiver) {
    let (sender, receiver) = mpsc::channel(ACCESS_UNIT_CAPACITY);
    let sender = AccessUnitSender {
        queue: sender,
        chain: Chain::Broken,
        number: 0,
        offset: Duration::ZERO,
        line: Arc::default(),
    };
    (sender, AccessUnitReceiver { queue: receiver })
}

/// One pipeline's end of the queue. A clone is for the pipeline that takes its place.
#[derive(Debug)]
pub struct AccessUnitSender {
    queue: mpsc::Sender<AccessUnit>,
    chain: Chain,
    number: u64,
    offset: Duration,
    line: Arc<Mutex<Line>>,
}

/// What the senders of one queue have in common.
#[derive(Debug, Default)]
struct Line {
    /// The number of the newest sender.
    newest: u64,
    /// The number of the one that the queue belongs to.
    owner: u64,
    /// When the first pipeline's running time was zero.
    origin: Option<Duration>,
    /// The presentation time queued last.
    last: Option<Duration>,
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
    /// A newer pipeline has taken over.
    Superseded,
}

impl Clone for AccessUnitSender {
    fn clone(&self) -> Self {
        let mut line = self.line();
        line.newest += 1;
        Self {
            queue: self.queue.clone(),
            chain: Chain::Broken,
            number: line.newest,
            offset: Duration::ZERO,
            line: self.line.clone(),
        }
    }
}

impl AccessUnitSender {
    /// Tells when this pipeline's running time was zero, on a clock that it has in common with the others.
    pub fn start_at(&mut self, zero: Duration) {
        let origin = *self.line().origin.get_or_insert(zero);
        self.offset = zero.saturating_sub(origin);
    }

    /// Queues an access unit or drops it; never waits.
    pub fn offer(&mut self, mut unit: AccessUnit) -> Offered {
        let line = self.line.clone();
        let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
        if self.number < line.owner {
            return Offered::Superseded;
        }
        if self.chain == Chain::Broken && !unit.idr {
            return if self.queue.is_closed() {
                Offered::Closed
            } else if self.queue.capacity() == 0 {
                Offered::DroppedFull
            } else {
                Offered::DroppedAskKeyFrame
            };
        }
        unit.pts = line.last.map_or(Duration::ZERO, |last| last + TICK).max(unit.pts + self.offset);
        let pts = unit.pts;
        let offered = match self.queue.try_send(unit) {
            Ok(()) => Offered::Queued,
            Err(TrySendError::Full(_)) => Offered::DroppedFull,
            Err(TrySendError::Closed(_)) => Offered::Closed,
        };
        if offered == Offered::Queued {
            (line.owner, line.last, self.chain) = (self.number, Some(pts), Chain::Whole);
        } else {
            self.chain = Chain::Broken;
        }
        offered
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn times(receiver: &mut AccessUnitReceiver) -> Vec<u128> {
        std::iter::from_fn(|| receiver.try_recv()).map(|unit| unit.pts.as_millis()).collect()
    }

    #[test]
    fn the_newest_sender_takes_over_with_its_first_idr_and_the_older_is_heard_no_more() {
        let (mut old, mut receiver) = access_unit_channel();
        let mut new = old.clone();
        assert_eq!(old.offer(unit(0, true)), Offered::Queued);
        assert_eq!(new.offer(unit(1, false)), Offered::DroppedAskKeyFrame);
        assert_eq!(old.offer(unit(2, false)), Offered::Queued, "the newer one has nothing to show yet");
        assert_eq!(new.offer(unit(3, true)), Offered::Queued);
        assert_eq!(old.offer(unit(4, false)), Offered::Superseded);
        assert_eq!(old.offer(unit(5, true)), Offered::Superseded);
        assert_eq!(new.offer(unit(6, false)), Offered::Queued);
        assert_eq!(times(&mut receiver), [0, 2, 3, 6]);
    }

    #[test]
    fn an_idr_that_finds_no_room_takes_nothing_over() {
        let (mut old, mut receiver) = filled();
        let mut new = old.clone();
        assert_eq!(new.offer(unit(8, true)), Offered::DroppedFull);
        assert!(receiver.try_recv().is_some());
        assert_eq!(old.offer(unit(9, false)), Offered::Queued);
    }

    #[test]
    fn time_goes_on_from_one_pipeline_to_the_next_and_never_back() {
        let (mut first, mut receiver) = access_unit_channel();
        let mut second = first.clone();
        let mut third = first.clone();
        first.start_at(Duration::from_millis(5_000));
        second.start_at(Duration::from_millis(6_000));
        third.start_at(Duration::from_millis(4_000));
        assert_eq!(first.offer(unit(7, true)), Offered::Queued);
        assert_eq!(second.offer(unit(10, true)), Offered::Queued);
        assert_eq!(third.offer(unit(20, true)), Offered::Queued);
        let stamps: Vec<_> = std::iter::from_fn(|| receiver.try_recv()).map(|unit| unit.pts).collect();
        assert_eq!(stamps[..2], [Duration::from_millis(7), Duration::from_millis(1_010)]);
        assert_eq!(stamps[2], Duration::from_millis(1_010) + TICK, "a clock that went back cannot turn time back");
    }
}
