//! What the last feedback says of the path: how long packets queue, and how fast they arrive. Pure.
//!
//! All times here are the receiver's: a packet's delay is its arrival on the receiver's clock less its departure on
//! ours, so the unknown offset between the clocks is in every delay alike and falls out of every difference.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A packet's delay is the path's own and what it stood in the queue. The queue is empty most of the time, so the path's
/// own is what a quarter of the last readings stayed below: the very shortest would take all jitter for a queue.
const BASE_WINDOW: Duration = Duration::from_secs(10);
/// See [`BASE_WINDOW`].
const BASE_QUANTILE: f64 = 0.25;
/// A reading is the shortest delay of this long: at least one picture at 10 frames a second.
const READING_WINDOW: Duration = Duration::from_millis(150);
/// Readings are no closer together than this.
const READING_INTERVAL: Duration = Duration::from_millis(45);
/// Arrivals kept for the rates.
const ARRIVAL_WINDOW: Duration = Duration::from_secs(1);
/// Arrivals kept at most: a second at 20 Mbit/s. Full: the oldest goes, and the window is shorter.
const ARRIVAL_CAPACITY: usize = 2048;
/// A packet delayed more than this beyond the base has stood in a queue.
const QUEUED: f64 = 0.015;

/// One packet that arrived.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    at: Duration,
    /// Delay in seconds, offset by the difference of the clocks.
    delay: f64,
    bytes: usize,
}

/// The arrivals of the last second and the path's own delay.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    epoch: Instant,
    recent: VecDeque<Arrival>,
    /// The shortest delay of each [`READING_WINDOW`].
    readings: VecDeque<(Duration, f64)>,
    base: Option<f64>,
}

impl Arrivals {
    /// `epoch` is any instant: departures are counted from it.
    pub(super) fn new(epoch: Instant) -> Self {
        Self { epoch, recent: VecDeque::new(), readings: VecDeque::new(), base: None }
    }

    /// Notes a packet. They come in the order they were sent, not always in the order they arrived.
    pub(super) fn add(&mut self, departure: Instant, at: Duration, bytes: usize) {
        if self.recent.back().is_some_and(|last| at + BASE_WINDOW < last.at) {
            // The receiver's clock started anew.
            *self = Self::new(self.epoch);
        }
        let delay = at.as_secs_f64() - departure.saturating_duration_since(self.epoch).as_secs_f64();
        self.recent.push_back(Arrival { at, delay, bytes });
        while self.recent.len() > ARRIVAL_CAPACITY
            || self.recent.front().is_some_and(|first| first.at + ARRIVAL_WINDOW < at)
        {
            self.recent.pop_front();
        }
    }

    /// To be called when the packets of a feedback have been added.
    pub(super) fn take_reading(&mut self) {
        let Some(at) = self.recent.back().map(|arrival| arrival.at) else { return };
        if self.readings.back().is_some_and(|(last, _)| at < *last + READING_INTERVAL) {
            return;
        }
        self.readings.extend(self.shortest_delay(READING_WINDOW).map(|delay| (at, delay)));
        while self.readings.front().is_some_and(|(since, _)| *since + BASE_WINDOW < at) {
            self.readings.pop_front();
        }
        let mut delays: Vec<f64> = self.readings.iter().map(|(_, delay)| *delay).collect();
        let rank = ((delays.len() - 1) as f64 * BASE_QUANTILE) as usize;
        let (_, base, _) = delays.select_nth_unstable_by(rank, f64::total_cmp);
        self.base = Some(*base);
    }

    /// Takes the delay of now for the path's own: it did not fall although less was sent.
    pub(super) fn accept_queue_as_path(&mut self) {
        self.readings.clear();
        self.take_reading();
    }

    /// Forgets how long the last packets took, but not how long the path takes.
    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// How long the queue has stood at its shortest over the last reading, in seconds. The shortest, because a picture is
    /// a burst that queues behind itself, and because jitter only ever adds.
    pub(super) fn standing_queue(&self) -> f64 {
        self.queue_over(READING_WINDOW)
    }

    /// The same over the last `window`.
    pub(super) fn queue_over(&self, window: Duration) -> f64 {
        match (self.shortest_delay(window), self.base) {
            (Some(shortest), Some(base)) => (shortest - base).max(0.0),
            _ => 0.0,
        }
    }

    /// How long the oldest packet that is remembered stood in the queue, in seconds.
    pub(super) fn first_queue(&self) -> f64 {
        match (self.recent.front(), self.base) {
            (Some(first), Some(base)) => (first.delay - base).max(0.0),
            _ => 0.0,
        }
    }

    /// Arrival rate in bit/s over the last `window`, when enough arrived to tell.
    pub(super) fn rate(&self, window: Duration) -> Option<f64> {
        let last = self.recent.back()?.at;
        let since = last.saturating_sub(window);
        rate_of(self.recent.iter().filter(|arrival| arrival.at >= since))
    }

    /// Arrival rate in bit/s while the queue stood, over at most the last `window`: what the link carries.
    pub(super) fn capacity(&self, window: Duration) -> Option<f64> {
        let last = self.recent.back()?.at;
        let base = self.base?;
        let since = last.saturating_sub(window);
        let queued =
            self.recent.iter().rev().take_while(|arrival| arrival.at >= since && arrival.delay > base + QUEUED);
        rate_of(queued).or_else(|| self.rate(window))
    }

    fn shortest_delay(&self, window: Duration) -> Option<f64> {
        let since = self.recent.back()?.at.saturating_sub(window);
        self.recent.iter().rev().filter(|arrival| arrival.at >= since).map(|arrival| arrival.delay).reduce(f64::min)
    }
}

/// Rate of some arrivals in bit/s. The first one's bytes came before the span began.
fn rate_of<'a>(arrivals: impl Iterator<Item = &'a Arrival>) -> Option<f64> {
    const FEWEST: usize = 4;
    const SHORTEST: Duration = Duration::from_millis(40);
    let (mut first, mut last) = (Duration::MAX, Duration::ZERO);
    let (mut count, mut bytes, mut first_bytes) = (0, 0, 0);
    for arrival in arrivals {
        if arrival.at < first {
            (first, first_bytes) = (arrival.at, arrival.bytes);
        }
        last = last.max(arrival.at);
        count += 1;
        bytes += arrival.bytes;
    }
    let span = last.saturating_sub(first);
    (count >= FEWEST && span >= SHORTEST).then(|| (bytes - first_bytes) as f64 * 8.0 / span.as_secs_f64())
}

/// What was sent over the last second, as far as the receiver has told of it.
#[derive(Clone, Debug, Default)]
pub(super) struct SentRate {
    recent: VecDeque<(Instant, usize)>,
    bytes: usize,
}

impl SentRate {
    pub(super) fn add(&mut self, departure: Instant, bytes: usize) {
        self.recent.push_back((departure, bytes));
        self.bytes += bytes;
        while self.recent.len() > ARRIVAL_CAPACITY
            || self.recent.front().is_some_and(|(first, _)| *first + ARRIVAL_WINDOW < departure)
        {
            self.bytes -= self.recent.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    /// In bit/s; `None` before half a second is known.
    pub(super) fn bps(&self) -> Option<f64> {
        let ((first, _), (last, _)) = (self.recent.front()?, self.recent.back()?);
        let span = last.saturating_duration_since(*first);
        (span >= ARRIVAL_WINDOW / 2).then(|| self.bytes as f64 * 8.0 / span.as_secs_f64())
    }
}
