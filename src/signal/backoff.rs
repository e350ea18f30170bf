//! How long to wait before the next attempt.

use std::time::Duration;

/// Reconnect delays: the first retry is at once, then `min`, doubling to `max`, each jittered so that a fleet whose
/// server comes back does not return in one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

/// A delay is drawn from this share of itself up to the whole of it.
const JITTER: f64 = 0.5;

impl Backoff {
    /// A fresh series of attempts.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), failures: 0 }
    }

    /// The delay before the next attempt. `random` is uniform in 0 … 1 and decides the jitter.
    pub fn next_delay(&mut self, random: f64) -> Duration {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        let Some(doublings) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let whole = self.min.saturating_mul(1 << doublings.min(20)).min(self.max);
        let jittered = whole.mul_f64(JITTER + (1.0 - JITTER) * random.clamp(0.0, 1.0));
        jittered.max(self.min)
    }

    /// The attempt succeeded and held: the next loss starts the series anew.
    pub fn reset(&mut self) {
        self.failures = 0;
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
        let delays: Vec<_> = (0..9).map(|_| backoff.next_delay(1.0).as_millis()).collect();
        assert_eq!(delays, [0, 500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
    }

    #[test]
    fn jitter_never_leaves_the_bounds_however_long_it_fails() {
        let mut backoff = Backoff::new(ms(500), ms(15_000));
        assert_eq!(backoff.next_delay(0.0), Duration::ZERO);
        for attempt in 0..10_000 {
            let random = f64::from(attempt % 11) / 10.0;
            let delay = backoff.next_delay(random);
            assert!((ms(500)..=ms(15_000)).contains(&delay), "attempt {attempt}: {delay:?}");
        }
        assert_eq!(backoff.next_delay(0.0), ms(7500));
    }

    #[test]
    fn success_starts_the_series_anew() {
        let mut backoff = Backoff::new(ms(500), ms(15_000));
        backoff.next_delay(0.5);
        backoff.next_delay(0.5);
        backoff.reset();
        assert_eq!(backoff.next_delay(0.5), Duration::ZERO);
    }
}
