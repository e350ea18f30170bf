//! How long a command takes: from its arrival in this process to the moment at which the write to the actuator begins.
//!
//! Counted always, in buckets of a 32nd: a command costs one look at the clock and two additions, and whoever asks pays for
//! the answer.

use std::array;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Buckets in which a latency doubles: each is at most 1/32 wider than what it begins with.
const STEPS: usize = 32;
/// Times that the latency doubles from [`STEPS`] microseconds on, up to four seconds: more than any deadline.
const DOUBLINGS: usize = 17;
const BUCKETS: usize = STEPS * (DOUBLINGS + 1);

/// The latencies since the start.
#[derive(Debug)]
pub(super) struct Latency {
    buckets: [AtomicU32; BUCKETS],
    /// In microseconds.
    longest: AtomicU64,
}

/// How long commands took, from arrival to write, since the start. A quantile is told as the end of its bucket: at most a
/// 32nd too long, never too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlLatency {
    /// Commands that led to a write.
    pub commands: u64,
    /// Half of them took no longer.
    pub p50: Duration,
    /// 19 of 20 took no longer.
    pub p95: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl fmt::Display for ControlLatency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p95, max] = [self.p50, self.p95, self.max].map(|time| time.as_secs_f64() * 1e3);
        write!(f, "{p50:.2}/{p95:.2}/{max:.2} ms")
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: array::from_fn(|_| AtomicU32::new(0)), longest: AtomicU64::new(0) }
    }
}

impl Latency {
    /// Counts one.
    pub(super) fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)].fetch_add(1, Relaxed);
        self.longest.fetch_max(micros, Relaxed);
    }

    /// What was counted; `None` while nothing was.
    pub(super) fn summary(&self) -> Option<ControlLatency> {
        let counts: Vec<_> = self.buckets.iter().map(|count| u64::from(count.load(Relaxed))).collect();
        let commands: u64 = counts.iter().sum();
        let longest = self.longest.load(Relaxed);
        let quantile = |percent: u64| {
            let rank = (commands * percent).div_ceil(100);
            let mut below = 0;
            let bucket = counts.iter().position(|count| {
                below += count;
                below >= rank
            });
            Duration::from_micros(bucket.map_or(longest, |bucket| end(bucket).min(longest)))
        };
        let (p50, p95, p99) = (quantile(50), quantile(95), quantile(99));
        (commands > 0).then(|| ControlLatency { commands, p50, p95, p99, max: Duration::from_micros(longest) })
    }
}

/// The bucket of so many microseconds. What is beyond the last counts there.
fn bucket(micros: u64) -> usize {
    let mut first = 0;
    let mut steps = micros;
    while steps >= 2 * STEPS as u64 {
        steps /= 2;
        first += STEPS;
    }
    (first + steps as usize).min(BUCKETS - 1)
}

/// The most microseconds that its values have.
fn end(bucket: usize) -> u64 {
    let doublings = (bucket / STEPS).saturating_sub(1);
    let steps = bucket - doublings * STEPS;
    ((steps as u64 + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_lies_in_a_bucket_that_is_at_most_a_32nd_too_wide() {
        for micros in (0..4_000_000).step_by(7) {
            let end = end(bucket(micros));
            assert!(end >= micros && end - micros <= micros / 32, "{micros} µs is told as {end}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted_and_the_longest_is_exact() {
        let latency = Latency::default();
        assert_eq!(latency.summary(), None);
        for micros in 1..=1000 {
            latency.record(Duration::from_micros(micros));
        }
        latency.record(Duration::from_secs(3600));
        let told = latency.summary().expect("something was counted");
        assert_eq!((told.commands, told.max), (1001, Duration::from_secs(3600)));
        for (told, exact) in [(told.p50, 501), (told.p95, 951), (told.p99, 991)] {
            let micros = told.as_micros();
            assert!((exact..=exact + exact / 32 + 1).contains(&micros), "{micros} for {exact}");
        }
    }
}
