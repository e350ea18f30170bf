//! What a path carries, from transport-wide feedback. Pure.
//!
//! Delay decides, as in Google congestion control (draft-ietf-rmcat-gcc-02), but on the length of the queue instead of
//! its slope: a queue that stands is drained to nothing, in a second, before anything else. The crate's own `Gcc` backs
//! off from the slope alone and then climbs by 60 kbit/s a second: it leaves the queue standing and needs half a minute
//! from 600 kbit/s back to 3 Mbit/s (`tests.rs` holds both to the same link).
//!
//! ```text
//!            the queue stands                         the queue is gone
//!  Growing ───────────────────► Draining ────────────────────────────────► Growing
//!            target = capacity × (0.9 − queue/1 s)    target = capacity × 0.9
//!                              │ the queue is very long                      ▲
//!                              └───────────► Standing ───────────────────────┘
//!                                            nothing is sent        all has arrived
//! ```
//!
//! A queue longer than [`STANDSTILL`] is not added to at all: pictures are left out until all that was sent has arrived,
//! for a picture that waits behind a second of others is worth less than none.
//!
//! A queue that does not shrink while we send less than the link carries is not ours (another path, another sender's
//! packets): it becomes part of the path's own delay. Loss counts only when it is heavy, for radio loses packets without
//! being full.

use std::time::{Duration, Instant};

use super::windows::{Arrivals, SentRate};
use crate::video::rate::silence_factor;

/// A queue that stands this long, in seconds, is congestion.
const CONGESTED: f64 = 0.026;
/// A queue shorter than this is no queue, in seconds.
const EMPTY: f64 = 0.010;
/// A queue this long over the last two pictures alone is congestion: a fall from 3 Mbit/s to 600 kbit/s must not go on
/// for longer than it takes to see it.
const COLLAPSING: f64 = 0.050;
/// See [`COLLAPSING`].
const COLLAPSE_WINDOW: Duration = Duration::from_millis(50);
/// A queue this long, in seconds, is left alone until it is gone.
const STANDSTILL: f64 = 0.5;
/// When the first packet after such a pause is later than this, in seconds, the queue was not ours: none was under way.
const LATE_AFTER_STANDSTILL: f64 = 0.1;
/// What a link carries is measured over this.
const CAPACITY_WINDOW: Duration = Duration::from_millis(300);
/// … or over this where that is too short to tell: below about 100 kbit/s hardly three packets arrive in it.
const LONG_CAPACITY_WINDOW: Duration = Duration::from_secs(1);
/// Share of the capacity that is sent.
const SHARE: f64 = 0.9;
/// However long the queue, at least this share of the capacity is sent.
const LEAST_SHARE: f64 = 0.4;
/// A queue is to be gone within this, in seconds.
const DRAIN_TIME: f64 = 1.0;
/// What draining may take beyond its own time: a round trip and two feedback intervals.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// After a congestion, nothing is asked for during this, in seconds …
const PAUSE: f64 = 0.5;
/// … then this much growth, per second …
const SLOWEST_GROWTH: f64 = 0.05;
/// … for this long, in seconds: enough to be back at what was too much …
const CAUTION: f64 = 2.0;
/// … and then it doubles in this, in seconds, as long as nothing objects …
const GROWTH_DOUBLES: f64 = 1.5;
/// … up to this.
const FASTEST_GROWTH: f64 = 0.40;
/// Two congestions that find capacities within this ratio of each other confirm it: growth is slow below it. Until then,
/// and beyond it, nothing is known and growth is fast: a mobile link changes by the second.
const SAME_CAPACITY: f64 = 1.2;
/// … and so it is well below it.
const WELL_BELOW: f64 = 0.8;
/// The target grows no further beyond what is sent than this: an encoder with nothing to say proves nothing.
const UNPROVEN: f64 = 1.35;

/// Loss is judged over this.
const LOSS_WINDOW: Duration = Duration::from_secs(1);
/// … and this many packets: fewer say nothing.
const FEWEST_FOR_LOSS: usize = 50;
/// Loss above what is accepted by this share of the packets is taken for congestion, and less is sent …
const HEAVY_LOSS: f64 = 0.07;
/// … by this factor …
const LOSS_DECREASE: f64 = 0.85;
/// … and if after that at least this much of it stays, it is the radio's, and accepted.
const UNMOVED_LOSS: f64 = 0.6;
/// This share of what is accepted too much is forgotten with each window.
const LOSS_FORGOTTEN: f64 = 0.1;

/// What became of one packet, as the receiver tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketFate {
    /// When it left.
    pub(super) departure: Instant,
    /// Its size, RTP header included.
    pub(super) bytes: usize,
    /// When it arrived, on the receiver's clock; `None` when it did not.
    pub(super) arrival: Option<Duration>,
}

/// Estimates in bit/s. See the module's diagram.
#[derive(Clone, Debug)]
pub(super) struct Estimator {
    target: f64,
    limits: (f64, f64),
    phase: Phase,
    arrivals: Arrivals,
    sent: SentRate,
    /// What the last congestion found the link to carry, and whether the one before it found the same.
    ceiling: Option<Ceiling>,
    losses: Losses,
    heard: Option<Instant>,
    /// Nothing has been heard since all had arrived.
    resumes: bool,
}

#[derive(Clone, Copy, Debug)]
struct Ceiling {
    capacity: f64,
    confirmed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Growing {
        since: Instant,
    },
    Draining {
        capacity: f64,
        queue: f64,
        until: Instant,
    },
    /// Nothing is sent until all has arrived. `None`: too little has, so far, to tell what the link carries.
    Standing {
        capacity: Option<f64>,
    },
}

impl Estimator {
    /// An estimator that starts at `start` bit/s and stays within `least` … `most`.
    pub(super) fn new(start: f64, least: f64, most: f64, now: Instant) -> Self {
        Self {
            target: start.clamp(least, most),
            limits: (least, most),
            phase: Phase::Growing { since: now },
            arrivals: Arrivals::new(now),
            sent: SentRate::default(),
            ceiling: None,
            losses: Losses::new(now),
            heard: None,
            resumes: false,
        }
    }

    /// Stays within `least` … `most` from the next feedback on.
    pub(super) fn set_limits(&mut self, least: f64, most: f64) {
        self.limits = (least, most);
    }

    /// The estimate in bit/s: RTP packets with their headers, repairs included.
    pub(super) fn target(&self) -> f64 {
        self.target
    }

    /// How long packets stand in the path's queue.
    pub(super) fn queueing_delay(&self) -> Duration {
        Duration::from_secs_f64(self.arrivals.standing_queue())
    }

    /// Whether nothing more is to be sent until what is under way has arrived.
    pub(super) fn is_standing(&self) -> bool {
        matches!(self.phase, Phase::Standing { .. })
    }

    /// Takes in one feedback; `all_told`: it tells of the last packet that was sent.
    pub(super) fn on_feedback(&mut self, fates: &[PacketFate], all_told: bool, now: Instant) {
        let heard = self.heard.replace(now).unwrap_or(now);
        let elapsed = now.saturating_duration_since(heard);
        // Who sends nothing hears nothing: before any of these had left, there was nothing to tell of.
        let due = fates.iter().map(|fate| fate.departure).min().map_or(heard, |first| first.max(heard));
        let silent = now.saturating_duration_since(due);
        for fate in fates {
            self.sent.add(fate.departure, fate.bytes);
            if let Some(arrival) = fate.arrival {
                self.arrivals.add(fate.departure, arrival, fate.bytes);
            }
        }
        if !self.is_standing() {
            // A queue that is known to stand says nothing of the path, and may stand for longer than readings are kept.
            self.arrivals.take_reading();
        }
        let after_silence = silence_factor(silent);
        if after_silence < 1.0 {
            // Nothing is known of the link that came back: what was learned of the one that went is void.
            self.target *= after_silence;
            self.phase = Phase::Growing { since: now };
            self.ceiling = None;
        }
        self.follow_delay(elapsed, all_told, now);
        self.follow_loss(fates, now);
        self.target = self.target.clamp(self.limits.0, self.limits.1);
    }

    fn follow_delay(&mut self, elapsed: Duration, all_told: bool, now: Instant) {
        let queue = self.arrivals.standing_queue();
        let latest_queue = self.arrivals.queue_over(COLLAPSE_WINDOW);
        if std::mem::take(&mut self.resumes) && self.arrivals.first_queue() > LATE_AFTER_STANDSTILL {
            self.accept_queue_as_path(now);
            return;
        }
        match self.phase {
            Phase::Standing { capacity } if all_told => {
                self.target = capacity.unwrap_or(self.limits.0) * SHARE;
                self.arrivals.forget_recent();
                self.resumes = true;
                self.phase = Phase::Growing { since: now };
            }
            Phase::Standing { capacity: None } => self.phase = Phase::Standing { capacity: self.find_capacity() },
            Phase::Standing { .. } => {}
            Phase::Growing { .. } if queue > CONGESTED || latest_queue > COLLAPSING => {
                self.congested(queue.max(latest_queue), now);
            }
            Phase::Growing { since } => {
                if queue < EMPTY && !self.losses.testing() {
                    self.grow(now.saturating_duration_since(since), elapsed);
                }
            }
            Phase::Draining { capacity, .. } if queue < EMPTY => {
                self.target = capacity * SHARE;
                self.phase = Phase::Growing { since: now };
            }
            Phase::Draining { queue: before, .. } if latest_queue > before * 1.25 + CONGESTED => {
                self.congested(latest_queue, now);
            }
            Phase::Draining { queue: before, until, .. } if now >= until => {
                if queue > before / 2.0 {
                    self.accept_queue_as_path(now);
                } else {
                    self.congested(queue, now);
                }
            }
            Phase::Draining { capacity, .. } => self.target = self.target.max(capacity * share(queue)),
        }
    }

    fn accept_queue_as_path(&mut self, now: Instant) {
        self.arrivals.accept_queue_as_path();
        self.ceiling = None;
        self.phase = Phase::Growing { since: now };
    }

    fn congested(&mut self, queue: f64, now: Instant) {
        let share = share(queue);
        let takes = Duration::from_secs_f64(queue / (1.0 - share));
        let found = self.find_capacity();
        self.phase = match found {
            capacity if queue > STANDSTILL => Phase::Standing { capacity },
            Some(capacity) => Phase::Draining { capacity, queue, until: now + takes + DRAIN_GRACE },
            None => return,
        };
        // Where too little arrives to tell what the link carries, and the queue is that long, it carries next to nothing.
        self.target = self.target.min(found.unwrap_or(self.limits.0) * share);
    }

    /// What the link carries now that it queues; `None` when too little has arrived to tell.
    fn find_capacity(&mut self) -> Option<f64> {
        let windows = [CAPACITY_WINDOW, LONG_CAPACITY_WINDOW];
        let capacity = windows.into_iter().find_map(|window| self.arrivals.capacity(window))?;
        let ratio = self.ceiling.map_or(f64::INFINITY, |before| capacity / before.capacity);
        self.ceiling = Some(Ceiling { capacity, confirmed: (1.0 / SAME_CAPACITY..SAME_CAPACITY).contains(&ratio) });
        Some(capacity)
    }

    fn grow(&mut self, calm: Duration, elapsed: Duration) {
        if self.sent.bps().is_some_and(|sent| self.target > sent * UNPROVEN) {
            return;
        }
        let growth = match self.ceiling {
            Some(Ceiling { capacity, confirmed: true })
                if (capacity * WELL_BELOW..capacity * SAME_CAPACITY).contains(&self.target) =>
            {
                growth_after(calm.as_secs_f64())
            }
            _ => FASTEST_GROWTH,
        };
        self.target *= (growth * elapsed.as_secs_f64().min(0.25)).exp();
    }

    fn follow_loss(&mut self, fates: &[PacketFate], now: Instant) {
        if self.losses.add(fates, now) == LossVerdict::SendLess {
            let arriving = self.arrivals.rate(LOSS_WINDOW).unwrap_or(self.target);
            self.target = self.target.min((arriving * 0.95).max(self.target * 0.5)).min(self.target * LOSS_DECREASE);
            if let Phase::Growing { since } = &mut self.phase {
                *since = now;
            }
        }
    }
}

fn share(queue: f64) -> f64 {
    (SHARE - queue / DRAIN_TIME).max(LEAST_SHARE)
}

fn growth_after(calm: f64) -> f64 {
    let doublings = (calm - PAUSE - CAUTION).max(0.0) / GROWTH_DOUBLES;
    if calm < PAUSE { 0.0 } else { (SLOWEST_GROWTH * doublings.exp2()).min(FASTEST_GROWTH) }
}

/// Loss over one window after another, and how much of it is the radio's own.
#[derive(Clone, Copy, Debug)]
struct Losses {
    since: Instant,
    sent: usize,
    lost: usize,
    accepted: f64,
    /// The loss that made us send less, and the windows since.
    test: Option<(f64, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LossVerdict {
    Fine,
    SendLess,
}

impl Losses {
    fn new(now: Instant) -> Self {
        Self { since: now, sent: 0, lost: 0, accepted: 0.0, test: None }
    }

    /// Less is sent to see whether the loss was ours.
    fn testing(&self) -> bool {
        self.test.is_some()
    }

    fn add(&mut self, fates: &[PacketFate], now: Instant) -> LossVerdict {
        self.sent += fates.len();
        self.lost += fates.iter().filter(|fate| fate.arrival.is_none()).count();
        if now.saturating_duration_since(self.since) < LOSS_WINDOW || self.sent < FEWEST_FOR_LOSS {
            return LossVerdict::Fine;
        }
        let verdict = self.judge(self.lost as f64 / self.sent as f64);
        (self.since, self.sent, self.lost) = (now, 0, 0);
        verdict
    }

    fn judge(&mut self, share: f64) -> LossVerdict {
        // What chance alone makes of the accepted loss in a window of this size (three standard deviations).
        let chance = 3.0 * (self.accepted * (1.0 - self.accepted) / self.sent as f64).sqrt();
        if share < self.accepted {
            self.accepted += (share - self.accepted) * LOSS_FORGOTTEN;
        }
        match self.test {
            // What was under way is in this window.
            Some((before, 0)) => self.test = Some((before, 1)),
            Some((before, _)) => {
                self.test = None;
                if share > before * UNMOVED_LOSS {
                    self.accepted = self.accepted.max((before + share) / 2.0);
                }
            }
            None if share > self.accepted + HEAVY_LOSS.max(chance) => {
                self.test = Some((share, 0));
                return LossVerdict::SendLess;
            }
            None => {}
        }
        LossVerdict::Fine
    }
}
