//! What the link may carry, from the best feedback the peer gives.
//!
//! | basis | when | rate |
//! |---|---|---|
//! | transport-cc | negotiated, and no answer is long due | the estimator's, capped by REMB |
//! | REMB | else, when the receiver sends it | what it says |
//! | receiver reports | else | loss > 5 % or a queue: × 0.8, or less; loss < 1 % and no queue: × 1.2 |
//! | silence | the peer gave feedback once and has stopped | halved every second, down to the least |
//! | nothing | it never gave any | the start rate, for ever |
//!
//! A queue is told by the round trip, against the shortest of the last 10 … 20 s. The reference Go client rises below a
//! round trip of 100 ms only: over a distant relay or a mobile network it never would.

use std::time::{Duration, Instant};

use super::{LinkReading, Reception};
use crate::video::settings::RateConfig;

/// Transport-wide feedback comes every 50 … 250 ms while there is anything to tell of: after this the silence means
/// something …
const TRANSPORT_SILENCE: Duration = Duration::from_millis(350);
/// … and the rate is halved in each further such time, in seconds: what is sent into a link that stands still waits in
/// its queue.
const SILENCE_HALVES: f64 = 0.3;
/// After this it is given up, and other feedback is looked at.
const TRANSPORT_GONE: Duration = Duration::from_secs(3);
/// Reports come once a second, at the slowest every five (RFC 3550 §6.2): after this they have stopped.
const REPORTS_GONE: Duration = Duration::from_secs(8);
/// Time in which a silent link's rate is halved, in seconds.
const HALVED_IN: f64 = 1.0;

/// Loss above this is congestion (as the reference Go client has it).
const HIGH_LOSS: f64 = 0.05;
/// Loss below this, with a short round trip, leaves room for more.
const LOW_LOSS: f64 = 0.01;
/// A round trip is short below this (as the reference Go client has it) …
const SHORT_ROUND_TRIP: Duration = Duration::from_millis(100);
/// … and where it is hardly longer than the shortest, however far away the peer is.
const HARDLY_LONGER: Duration = Duration::from_millis(50);
/// A round trip this much longer than the shortest is a queue: a deep buffer loses nothing until it is seconds long.
const QUEUE: Duration = Duration::from_millis(200);
/// The shortest round trip is of this time and the one before: a path that has become longer is no queue, and a queue of
/// ours is gone by then.
const SHORTEST_OF: Duration = Duration::from_secs(10);
const DECREASE: f64 = 0.8;
/// Where more than that is lost, that is what is too much; but no more than half at once: an outage loses all.
const LARGEST_DECREASE: f64 = 0.5;
/// When more was too much, what arrives tells how much is not.
const SHARE_OF_ARRIVING: f64 = 0.9;
const INCREASE: f64 = 1.2;
/// Between two steps up, and between two down: the next report must have seen the step.
const STEP_INTERVAL: Duration = Duration::from_millis(900);
/// No step up while the encoder makes less than this share of what it may: nothing would be proven.
const PROVEN: f64 = 0.6;

/// What the rate is based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The estimate from transport-wide feedback.
    TransportCc,
    /// What the receiver says it can take.
    Remb,
    /// Loss and round trip from receiver reports.
    Reports,
    /// Feedback that has stopped.
    Silence,
    /// No feedback, ever.
    Nothing,
}

impl Basis {
    /// As it is written in telemetry.
    pub fn name(self) -> &'static str {
        match self {
            Self::TransportCc => "transport-cc",
            Self::Remb => "remb",
            Self::Reports => "reports",
            Self::Silence => "silence",
            Self::Nothing => "nothing",
        }
    }
}

/// What is left of an estimate after this long without transport-wide feedback, 0 … 1.
pub fn silence_factor(silent: Duration) -> f64 {
    (-silent.saturating_sub(TRANSPORT_SILENCE).as_secs_f64() / SILENCE_HALVES).exp2()
}

#[derive(Clone, Debug)]
pub(super) struct Budget {
    limits: (f64, f64),
    bps: f64,
    basis: Basis,
    updated: Instant,
    encoded: EncodedRate,
    /// The report that was acted upon last.
    report: Option<Instant>,
    stepped: Instant,
    shortest: ShortestRoundTrip,
}

impl Budget {
    pub(super) fn new(config: &RateConfig, now: Instant) -> Self {
        Self {
            limits: limits(config),
            bps: f64::from(config.start().bps()),
            basis: Basis::Nothing,
            updated: now,
            encoded: EncodedRate { bytes: 0, since: now, bps: 0.0 },
            report: None,
            stepped: now,
            shortest: ShortestRoundTrip { since: now, now: None, before: None },
        }
    }

    pub(super) fn set_limits(&mut self, config: &RateConfig) {
        self.limits = limits(config);
    }

    pub(super) fn basis(&self) -> Basis {
        self.basis
    }

    pub(super) fn bps(&self) -> f64 {
        self.bps
    }

    pub(super) fn update(&mut self, link: &LinkReading, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.updated);
        self.updated = now;
        self.encoded.update(link.encoded_bytes + link.further_bytes.iter().sum::<u64>(), now);
        self.basis = basis(link, self.basis, now);
        let remb = link.remb.filter(|remb| age(remb.at, now) < REPORTS_GONE).map(|remb| remb.value);
        match self.basis {
            Basis::TransportCc => {
                if let Some(estimate) = link.estimate {
                    self.bps = estimate.value * silence_factor(silence(estimate.at, link, now));
                }
                self.bps = remb.map_or(self.bps, |remb| self.bps.min(remb));
            }
            Basis::Remb => self.bps = remb.unwrap_or(self.bps),
            Basis::Reports => self.follow_reports(link, now),
            Basis::Silence => self.bps *= (-elapsed.as_secs_f64() / HALVED_IN).exp2(),
            Basis::Nothing => {}
        }
        // In this order what is no number becomes the least.
        self.bps = self.bps.max(self.limits.0).min(self.limits.1);
        self.bps
    }

    fn follow_reports(&mut self, link: &LinkReading, now: Instant) {
        let Some(report) = link.reception.filter(|report| self.report != Some(report.at)) else { return };
        self.report = Some(report.at);
        let Reception { loss, round_trip, arriving_bps, .. } = report.value;
        let longer = round_trip.map(|round_trip| round_trip.saturating_sub(self.shortest.with(round_trip, now)));
        if age(self.stepped, now) < STEP_INTERVAL {
            return;
        }
        let queued = longer.is_some_and(|longer| longer > QUEUE);
        let short =
            round_trip.zip(longer).is_some_and(|(all, longer)| all < SHORT_ROUND_TRIP || longer < HARDLY_LONGER);
        let proven = self.encoded.bps > self.bps * PROVEN;
        self.bps = if loss > HIGH_LOSS || queued {
            // Random loss alone must not follow itself down: what arrives is only asked for when there is a queue.
            let arriving = arriving_bps.filter(|_| queued).map_or(f64::INFINITY, |bps| bps * SHARE_OF_ARRIVING);
            (self.bps * (1.0 - loss).clamp(LARGEST_DECREASE, DECREASE)).min(arriving)
        } else if loss < LOW_LOSS && short && proven {
            self.bps * INCREASE
        } else {
            return;
        };
        self.stepped = now;
    }
}

fn limits(config: &RateConfig) -> (f64, f64) {
    (f64::from(config.min().bps()), f64::from(config.max().bps()))
}

fn basis(link: &LinkReading, before: Basis, now: Instant) -> Basis {
    let fresh = |at: Instant, gone: Duration| age(at, now) < gone;
    if link.estimate.is_some_and(|estimate| silence(estimate.at, link, now) < TRANSPORT_GONE) {
        Basis::TransportCc
    } else if link.remb.is_some_and(|remb| fresh(remb.at, REPORTS_GONE)) {
        Basis::Remb
    } else if link.reception.is_some_and(|report| fresh(report.at, REPORTS_GONE)) {
        Basis::Reports
    } else if before == Basis::Nothing {
        Basis::Nothing
    } else {
        Basis::Silence
    }
}

/// How long transport-wide feedback has been due that was last heard `at`.
fn silence(at: Instant, link: &LinkReading, now: Instant) -> Duration {
    match link.unanswered {
        Some(since) => age(at.max(since), now),
        None if link.transport_cc => Duration::ZERO,
        // What is sent is not numbered any more, and never will be told of.
        None => age(at, now),
    }
}

fn age(at: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(at)
}

/// The shortest round trip of late.
#[derive(Clone, Copy, Debug)]
struct ShortestRoundTrip {
    since: Instant,
    /// Of the time since, and of the time before it.
    now: Option<Duration>,
    before: Option<Duration>,
}

impl ShortestRoundTrip {
    /// With this one too.
    fn with(&mut self, round_trip: Duration, now: Instant) -> Duration {
        if age(self.since, now) >= SHORTEST_OF {
            (self.since, self.before) = (now, self.now.take());
        }
        let shortest = self.now.map_or(round_trip, |shortest| shortest.min(round_trip));
        self.now = Some(shortest);
        self.before.map_or(shortest, |before| before.min(shortest))
    }
}

/// What the encoder made over the last second or so.
#[derive(Clone, Copy, Debug)]
struct EncodedRate {
    bytes: u64,
    since: Instant,
    bps: f64,
}

impl EncodedRate {
    fn update(&mut self, bytes: u64, now: Instant) {
        let elapsed = age(self.since, now);
        if elapsed >= Duration::from_secs(1) {
            self.bps = bytes.saturating_sub(self.bytes) as f64 * 8.0 / elapsed.as_secs_f64();
            (self.bytes, self.since) = (bytes, now);
        }
    }
}
