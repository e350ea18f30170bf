//! Which repairs are worth sending, and what to do when one is not. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A packet is repaired again no sooner than this, even when the path's round trip is shorter …
const SHORTEST_PATIENCE: Duration = Duration::from_millis(10);
/// … and no later, however long the round trip.
const LONGEST_PATIENCE: Duration = Duration::from_secs(1);
/// Repairs under way that are remembered. Full: the oldest is forgotten, and may be sent twice.
const UNDER_WAY: usize = 512;
/// Packets that cannot be repaired lead to a key frame no more often than this: on a link that loses so much, a key frame
/// for each loss would take what is left of it.
const KEY_FRAME_INTERVAL: Duration = Duration::from_secs(1);

/// Repairs that may still arrive. A receiver asks again every few milliseconds, whatever the round trip: answered each
/// time, one lost packet would be sent ten times into a queue of 200 ms.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    repairs: VecDeque<(u16, Instant)>,
}

impl UnderWay {
    /// Whether the packet is to be sent again: its last repair, if any, must have been lost by now.
    pub(super) fn admit(&mut self, sequence: u16, round_trip: Duration, now: Instant) -> bool {
        let patience = round_trip.clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE);
        while self.repairs.front().is_some_and(|(_, at)| now.saturating_duration_since(*at) >= patience)
            || self.repairs.len() >= UNDER_WAY
        {
            self.repairs.pop_front();
        }
        let new = self.repairs.iter().all(|(under_way, _)| *under_way != sequence);
        if new {
            self.repairs.push_back((sequence, now));
        }
        new
    }
}

/// Decides when what cannot be repaired is worth a key frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unrepaired {
    asked: Option<Instant>,
}

impl Unrepaired {
    /// Something needed cannot be repaired: whether to ask for a key frame now.
    pub(crate) fn wants_key_frame(&mut self, now: Instant) -> bool {
        let quiet = self.asked.is_some_and(|at| now.saturating_duration_since(at) < KEY_FRAME_INTERVAL);
        if !quiet {
            self.asked = Some(now);
        }
        !quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_packet_is_repaired_once_a_round_trip_however_often_it_is_asked_for() {
        let (start, mut under_way) = (start(), UnderWay::default());
        let round_trip = Duration::from_millis(200);
        let sent = (0..600).step_by(20).filter(|ms| under_way.admit(7, round_trip, start + Duration::from_millis(*ms)));
        assert_eq!(sent.collect::<Vec<_>>(), [0, 200, 400]);
        assert!(under_way.admit(8, round_trip, start + Duration::from_millis(600)), "another packet");
    }

    #[test]
    fn what_is_remembered_of_repairs_is_bounded() {
        let (start, mut under_way) = (start(), UnderWay::default());
        for sequence in 0..10_000 {
            under_way.admit(sequence, LONGEST_PATIENCE, start);
        }
        assert_eq!(under_way.repairs.len(), UNDER_WAY);
    }

    #[test]
    fn a_flood_of_losses_asks_for_a_key_frame_once_a_second() {
        let (start, mut unrepaired) = (start(), Unrepaired::default());
        let asked = (0..3000).filter(|ms| unrepaired.wants_key_frame(start + Duration::from_millis(*ms)));
        assert_eq!(asked.collect::<Vec<_>>(), [0, 1000, 2000]);
    }
}
