//! When packets leave. Pure; [`super::pacing`] is its interceptor.
//!
//! A token bucket that holds one ordinary picture: such a picture leaves at once, a key frame in bites. What waits never
//! waits longer than [`LONGEST_WAIT`]: a queue that would, because the rate fell after it was filled, is drained faster.
//! A picture that would wait longer than that is not to be offered at all: [`admits`] is asked before.
//! Where there are several pictures the first goes in front of the others, which may wait a little longer for that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// No packet waits longer, whatever the rate becomes.
pub(super) const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// This much of the rate may leave at once. With packets leaving at 2.5 times the encoder's rate it is one and a half
/// pictures at 30 frames a second: only larger ones are spread.
const BURST: Duration = Duration::from_millis(20);
/// … and two full packets at any rate.
const LEAST_BURST_BITS: f64 = 2.0 * 1250.0 * 8.0;
/// Repairs that may leave at once, as a time of their own rate; more are refused: what the peer asks for in one go after
/// an outage would fill a slow link for seconds, and a key frame mends it sooner.
const REPAIR_BURST: Duration = Duration::from_millis(400);
/// … and this many full packets at any rate.
const LEAST_REPAIR_BURST_BITS: f64 = 10.0 * 1250.0 * 8.0;

/// Whether a picture of `bits` may join a queue of `queued` bits that leaves at `rate` bit/s (0: at once). One that
/// finds the queue empty always may: it has nothing to wait for but itself.
pub(super) fn admits(bits: u64, queued: u64, rate: u64) -> bool {
    rate == 0 || queued == 0 || (queued + bits) as f64 <= rate as f64 * LONGEST_WAIT.as_secs_f64()
}

/// The queues and their buckets. Packets are of any kind; sizes are in bits, rates in bit/s.
#[derive(Debug)]
pub(super) struct Pacer<P> {
    bucket: Bucket,
    repair_bucket: Bucket,
    /// Faster than the bucket's rate, until the queues are empty: see [`LONGEST_WAIT`].
    drain: f64,
    repairs: VecDeque<(P, f64)>,
    first: Lane<P>,
    /// Pictures that let the first one go first.
    further: Lane<P>,
}

/// Packets of pictures that wait behind each other.
#[derive(Debug)]
struct Lane<P> {
    waiting: VecDeque<(P, f64)>,
    bits: f64,
}

impl<P> Lane<P> {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), bits: 0.0 }
    }

    fn push(&mut self, packet: P, bits: f64) {
        self.waiting.push_back((packet, bits));
        self.bits += bits;
    }

    fn pop(&mut self) -> Option<(P, f64)> {
        let (packet, bits) = self.waiting.pop_front()?;
        // No sum of rounding errors outlives the queue.
        self.bits = if self.waiting.is_empty() { 0.0 } else { self.bits - bits };
        Some((packet, bits))
    }
}

impl<P> Pacer<P> {
    /// A pacer that is off: everything leaves at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            bucket: Bucket::new(BURST, LEAST_BURST_BITS, now),
            repair_bucket: Bucket::new(REPAIR_BURST, LEAST_REPAIR_BURST_BITS, now),
            drain: 0.0,
            repairs: VecDeque::new(),
            first: Lane::new(),
            further: Lane::new(),
        }
    }

    /// Sets the rates: of everything, and of repairs within it. `None` is without limit.
    pub(super) fn set_rates(&mut self, rate: Option<u64>, repairs: Option<u64>, now: Instant) {
        self.bucket.set_rate(rate, self.drain, now);
        self.repair_bucket.set_rate(repairs, 0.0, now);
    }

    /// Bits of the first picture that wait.
    pub(super) fn queued_bits(&self) -> u64 {
        self.first.bits as u64
    }

    /// Bits of all pictures that wait.
    pub(super) fn all_queued_bits(&self) -> u64 {
        (self.first.bits + self.further.bits) as u64
    }

    /// Queues a packet of the first picture behind those that wait.
    pub(super) fn push(&mut self, packet: P, bits: f64, now: Instant) {
        self.bucket.refill(self.drain, now);
        self.first.push(packet, bits);
        self.hurry();
    }

    /// Queues a packet of another picture behind all that waits.
    pub(super) fn push_behind(&mut self, packet: P, bits: f64, now: Instant) {
        self.bucket.refill(self.drain, now);
        self.further.push(packet, bits);
        self.hurry();
    }

    fn hurry(&mut self) {
        let waiting = self.first.bits + self.further.bits + self.bucket.overdrawn();
        self.drain = self.drain.max(waiting / LONGEST_WAIT.as_secs_f64());
    }

    /// Queues a repair in front of all pictures, or refuses it: false.
    pub(super) fn push_repair(&mut self, packet: P, bits: f64, now: Instant) -> bool {
        self.repair_bucket.refill(0.0, now);
        let accepted = self.repair_bucket.holds(bits);
        if accepted {
            self.repair_bucket.spend(bits);
            self.repairs.push_back((packet, bits));
        }
        accepted
    }

    /// The next packet that may leave now.
    pub(super) fn pop(&mut self, now: Instant) -> Option<P> {
        self.bucket.refill(self.drain, now);
        if !self.bucket.holds(0.0) {
            return None;
        }
        let waiting = self.repairs.pop_front().or_else(|| self.first.pop()).or_else(|| self.further.pop());
        let (packet, bits) = waiting?;
        self.bucket.spend(bits);
        if self.first.waiting.is_empty() && self.further.waiting.is_empty() {
            self.drain = 0.0;
        }
        Some(packet)
    }

    /// When [`Pacer::pop`] has something again; `None` while nothing waits.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let empty = self.repairs.is_empty() && self.first.waiting.is_empty() && self.further.waiting.is_empty();
        (!empty).then(|| self.bucket.filled_at(self.drain))
    }
}

/// Bits that may be spent, refilled with time. It may be overdrawn by one packet, so that a packet larger than what it
/// holds is not stuck for ever.
#[derive(Debug)]
struct Bucket {
    /// `None` is without limit.
    rate: Option<f64>,
    bits: f64,
    depth: Duration,
    least_depth_bits: f64,
    refilled: Instant,
}

impl Bucket {
    fn new(depth: Duration, least_depth_bits: f64, now: Instant) -> Self {
        Self { rate: None, bits: 0.0, depth, least_depth_bits, refilled: now }
    }

    fn set_rate(&mut self, rate: Option<u64>, hurry: f64, now: Instant) {
        self.refill(hurry, now);
        let was_limited = self.rate.is_some();
        self.rate = rate.map(|rate| (rate as f64).max(1.0));
        let depth = self.rate.map_or(0.0, |rate| self.depth_at(rate));
        self.bits = if was_limited { self.bits.min(depth) } else { depth };
    }

    /// Refills at its rate, or at `hurry` when that is faster.
    fn refill(&mut self, hurry: f64, now: Instant) {
        if let Some(rate) = self.rate {
            let elapsed = now.saturating_duration_since(self.refilled).as_secs_f64();
            self.bits = (self.bits + elapsed * rate.max(hurry)).min(self.depth_at(rate));
        }
        self.refilled = self.refilled.max(now);
    }

    fn holds(&self, bits: f64) -> bool {
        self.rate.is_none() || self.bits >= bits
    }

    fn spend(&mut self, bits: f64) {
        if self.rate.is_some() {
            self.bits -= bits;
        }
    }

    fn overdrawn(&self) -> f64 {
        (-self.bits).max(0.0)
    }

    /// When it holds anything.
    fn filled_at(&self, hurry: f64) -> Instant {
        let missing = self.rate.map_or(0.0, |rate| self.overdrawn() / rate.max(hurry));
        // A microsecond more, so that rounding never makes it too early.
        self.refilled + Duration::from_secs_f64(missing) + Duration::from_micros(1)
    }

    fn depth_at(&self, rate: f64) -> f64 {
        (rate * self.depth.as_secs_f64()).max(self.least_depth_bits)
    }
}

#[cfg(test)]
mod tests;
