//! How long to wait before the next attempt.

use std::time::Duration;

/// Reconnect delays: the first retry is at once, then `min`, doubling to `max`, each jittered within these so that a fleet
/// whose server comes back does not return in one instant. A server that cannot be reached may be on its way back: for about a
/// minute the delay then stays at [`EAGER`], which asks no more of it than to refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    eager_tries: u32,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The server was not there.
    NotReached,
    /// The server was there, and the session did not come up or did not hold.
    Failed,
}

/// See [`Backoff`].
const EAGER: Duration = Duration::from_secs(1);
/// See [`Backoff`].
const EAGER_TRIES: u32 = 75;

/// A delay is drawn from this share of itself up to the whole of it.
const JITTER: f64 = 0.5;
/// Of the least delay that share would lie below it: delays are drawn up to this many times of it at least.
const LEAST_SPREAD: f64 = 1.5;

impl Backoff {
    /// A fresh series of attempts.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), failures: 0, eager_tries: 0 }
    }

    /// The delay before the next attempt. `random` is uniform in 0 … 1 and decides the jitter.
    pub fn next_delay(&mut self, after: Attempt, random: f64) -> Duration {
        let Some(doublings) = self.failures.checked_sub(1) else {
            self.failures = 1;
            return Duration::ZERO;
        };
        let mut whole = self.min.saturating_mul(1 << doublings.min(20)).min(self.max);
        if after == Attempt::NotReached && whole > EAGER && self.eager_tries < EAGER_TRIES {
            self.eager_tries += 1;
            whole = EAGER.max(self.min);
        } else {
            self.failures = self.failures.saturating_add(1);
        }
        let shortest = whole.mul_f64(JITTER).max(self.min);
        let longest = whole.max(self.min.mul_f64(LEAST_SPREAD).min(self.max));
        shortest + (longest - shortest).mul_f64(random.clamp(0.0, 1.0))
    }

    /// The attempt succeeded and held: the next loss starts the series anew.
    pub fn reset(&mut self) {
        (self.failures, self.eager_tries) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_retry_is_at_once_then_it_doubles_to_the_cap() {
        let mut backoff = Backoff::new(ms(500), ms(15_000));
        let delays: Vec<_> = (0..9).map(|_| backoff.next_delay(Attempt::Failed, 1.0).as_millis()).collect();
        assert_eq!(delays, [0, 750, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
    }

    #[test]
    fn a_fleet_does_not_return_in_step_at_any_retry_but_the_first() {
        let delays = |random| {
            let mut backoff = Backoff::new(ms(500), ms(15_000));
            (0..9).map(|_| backoff.next_delay(Attempt::Failed, random)).collect::<Vec<_>>()
        };
        let pairs: Vec<_> = delays(0.2).into_iter().zip(delays(0.8)).collect();
        assert!(pairs[1..].iter().all(|(one, other)| *other >= *one + ms(150)), "{pairs:?}");
    }

    #[test]
    fn jitter_never_leaves_the_bounds_however_long_it_fails() {
        let mut backoff = Backoff::new(ms(500), ms(15_000));
        assert_eq!(backoff.next_delay(Attempt::Failed, 0.0), Duration::ZERO);
        for attempt in 0..10_000 {
            let random = f64::from(attempt % 11) / 10.0;
            let after = if attempt % 7 == 0 { Attempt::Failed } else { Attempt::NotReached };
            let delay = backoff.next_delay(after, random);
            assert!((ms(500)..=ms(15_000)).contains(&delay), "attempt {attempt}: {delay:?}");
        }
        assert_eq!(backoff.next_delay(Attempt::NotReached, 0.0), ms(7500));
    }

    #[test]
    fn a_server_that_is_not_there_is_tried_each_second_for_a_minute_and_then_ever_more_seldom() {
        let mut backoff = Backoff::new(ms(500), ms(15_000));
        let (mut passed, mut seldom) = (Duration::ZERO, None);
        for _ in 0..200 {
            let delay = backoff.next_delay(Attempt::NotReached, 0.5);
            if delay > EAGER {
                seldom.get_or_insert(passed);
            }
            passed += delay;
        }
        assert!(seldom.is_some_and(|at| (ms(45_000)..ms(80_000)).contains(&at)), "{seldom:?}");
        assert_eq!(backoff.next_delay(Attempt::NotReached, 1.0), ms(15_000));
        let mut slow = Backoff::new(ms(3000), ms(15_000));
        slow.next_delay(Attempt::NotReached, 1.0);
        assert_eq!(slow.next_delay(Attempt::NotReached, 0.0), ms(3000), "never sooner than the least delay");
    }

    #[test]
    fn success_starts_the_series_anew() {
        let mut backoff = Backoff::new(ms(500), ms(15_000));
        for _ in 0..200 {
            backoff.next_delay(Attempt::NotReached, 0.5);
        }
        backoff.reset();
        assert_eq!(backoff.next_delay(Attempt::NotReached, 1.0), Duration::ZERO);
        let next: Vec<_> = (0..4).map(|_| backoff.next_delay(Attempt::NotReached, 1.0)).collect();
        assert_eq!(next, [ms(750), EAGER, EAGER, EAGER]);
    }
}
