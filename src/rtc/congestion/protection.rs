//! How much protection pictures get against loss. Pure.
//!
//! None while nothing is lost, and none on a short way: there a packet that is asked for again comes before the next
//! picture, and costs nothing until it is lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Less loss than this is left to repetitions.
const WORTH_PROTECTING: f64 = 0.005;
/// On a round trip shorter than this loss is left to repetitions: about the time from one picture to the next.
const SHORT_ROUND_TRIP: Duration = Duration::from_millis(40);
/// So many repair packets for each packet that is lost …
const REPAIRS_FOR_A_LOSS: f64 = 3.0;
/// … and no more than this share of what they protect, rounded to whole packets.
const LARGEST_SHARE: f64 = 1.0 / 3.0;
/// Loss is smoothed over this, in seconds.
const TIME_CONSTANT: f64 = 5.0;
/// A share of fewer packets than this says nothing.
const FEWEST_FOR_LOSS: usize = 50;
/// Packets told lost that may still turn up. Full: the oldest is lost for good.
const OVERDUE: usize = 64;
/// The first word of a peer counts as if it told of this long.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// What is known of the path's loss.
#[derive(Clone, Debug, Default)]
pub(super) struct Protection {
    loss: f64,
    noted: Option<Instant>,
    /// The newest packet told of singly. What is told so is better than what reports sum up: those may count what was
    /// repaired.
    newest: Option<u16>,
    /// Packets told of singly, and those lost among them, since the last share was taken. One that turns up after all
    /// may have been counted before.
    told: usize,
    lost: i64,
    overdue: VecDeque<u16>,
}

impl Protection {
    /// What became of a packet, by the transport-wide feedback that came now.
    pub(super) fn told(&mut self, number: u16, arrived: bool, now: Instant) {
        if self.newest.is_some_and(|newest| !(1..1 << 15).contains(&number.wrapping_sub(newest))) {
            // Told again; packets that overtook each other on the way are no loss.
            if let Some(at) = self.overdue.iter().position(|overdue| *overdue == number).filter(|_| arrived) {
                self.overdue.remove(at);
                self.lost -= 1;
            }
            return;
        }
        self.newest = Some(number);
        self.told += 1;
        if !arrived {
            self.lost += 1;
            self.overdue.push_back(number);
            if self.overdue.len() > OVERDUE {
                self.overdue.pop_front();
            }
        }
        if self.told >= FEWEST_FOR_LOSS {
            self.note(self.lost as f64 / self.told as f64, now);
            (self.lost, self.told) = (self.lost.min(0), 0);
        }
    }

    /// The share of packets lost, by a receiver report.
    pub(super) fn reported(&mut self, share: f64, now: Instant) {
        if self.newest.is_none() {
            self.note(share, now);
        }
    }

    fn note(&mut self, share: f64, now: Instant) {
        let since = self.noted.replace(now).map_or(FIRST_WORD, |before| now.saturating_duration_since(before));
        self.loss += (share.clamp(0.0, 1.0) - self.loss) * (1.0 - (-since.as_secs_f64() / TIME_CONSTANT).exp());
    }

    /// How many repair packets are worth sending for each packet of a picture, 0 … 1/3. A round trip that nobody knows
    /// is taken for a long one.
    pub(super) fn share(&self, round_trip: Option<Duration>) -> f64 {
        let short = round_trip.is_some_and(|round_trip| round_trip < SHORT_ROUND_TRIP);
        if short || self.loss < WORTH_PROTECTING { 0.0 } else { (self.loss * REPAIRS_FOR_A_LOSS).min(LARGEST_SHARE) }
    }
}

/// How many repair packets follow a block of so many packets, of which this share is worth sending.
pub(super) fn repairs(packets: usize, share: f64) -> u32 {
    if share > 0.0 { ((packets as f64 * share).round() as u32).max(1) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    const LONG: Option<Duration> = Some(Duration::from_millis(150));

    /// A protection that has heard this loss once a second for so long.
    fn after(seconds: u64, loss: f64) -> (Protection, Instant) {
        let (mut protection, start) = (Protection::default(), start());
        for second in 1..=seconds {
            protection.reported(loss, start + Duration::from_secs(second));
        }
        (protection, start + Duration::from_secs(seconds))
    }

    #[test]
    fn nothing_is_added_until_something_is_lost_and_again_some_seconds_after_the_last_loss() {
        assert_eq!(Protection::default().share(LONG), 0.0, "before anything is known");
        assert_eq!(after(60, 0.0).0.share(LONG), 0.0, "on a good link");
        let (mut protection, mut now) = after(2, 0.05);
        assert!(protection.share(LONG) > 0.0, "two seconds after the loss began");
        let quiet = (1..60).find(|_| {
            now += Duration::from_secs(1);
            protection.reported(0.0, now);
            protection.share(LONG) == 0.0
        });
        assert!(quiet.is_some_and(|seconds| (5..=20).contains(&seconds)), "{quiet:?} s after it ended");
    }

    #[test]
    fn what_is_added_follows_the_loss_up_to_a_third() {
        let share = |loss| after(60, loss).0.share(LONG);
        assert!((share(0.02) - 0.06).abs() < 0.001, "{}", share(0.02));
        assert_eq!((share(0.2), share(1.0)), (LARGEST_SHARE, LARGEST_SHARE));
        let behind = |packets| repairs(packets, LARGEST_SHARE);
        assert_eq!([3, 4, 5, 30].map(behind), [1, 1, 2, 10]);
        assert_eq!((repairs(3, 0.01), repairs(3, 0.0)), (1, 0), "never less than one, unless none is wanted");
    }

    #[test]
    fn a_short_way_is_left_to_repetitions_and_an_unknown_one_is_taken_for_long() {
        let (protection, _) = after(60, 0.1);
        assert_eq!(protection.share(Some(Duration::from_millis(5))), 0.0);
        assert!(protection.share(None) > 0.0);
    }

    #[test]
    fn single_packets_are_believed_before_reports_that_count_what_was_repaired() {
        let (mut protection, now) = (Protection::default(), start());
        for hundredth in 1..=3000 {
            let now = now + Duration::from_millis(hundredth * 10);
            protection.told(hundredth as u16, hundredth % 10 > 0, now);
            protection.reported(0.0, now);
        }
        assert!((protection.loss - 0.1).abs() < 0.001, "{}", protection.loss);
        assert_eq!(protection.overdue.len(), OVERDUE, "what is remembered is bounded");
        let mut few = Protection::default();
        few.told(1, false, now);
        assert_eq!(few.share(LONG), 0.0, "one packet says nothing");
    }

    #[test]
    fn packets_that_only_overtake_each_other_are_no_loss() {
        let (mut protection, start) = (Protection::default(), start());
        // In each feedback of ten the last is missing, and told of with the next, as is what had arrived already.
        for feedback in 0..300_u16 {
            let now = start + Duration::from_millis(u64::from(feedback) * 100);
            let first = (feedback * 10).wrapping_add(65_000);
            if feedback > 0 {
                protection.told(first.wrapping_sub(2), true, now);
                protection.told(first.wrapping_sub(1), true, now);
            }
            (0..10).for_each(|place| protection.told(first.wrapping_add(place), place < 9, now));
        }
        assert!(protection.loss < 0.003, "{}", protection.loss);
        assert_eq!(protection.share(LONG), 0.0);
    }
}
