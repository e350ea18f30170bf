//! The one controller of the picture's rate. Pure: what is known of the link and of the encoder comes in, targets go out.
//!
//! ```text
//! feedback ─► budget ─► less repairs, less headers, less overshoot ─► encoder bit rate ─► ladder ─► frame rate, scale
//! ```
//!
//! - [`budget`]: what the link may carry, from the best feedback the peer gives, and never blindly more.
//! - [`overshoot`]: what the encoder makes of the rate it is asked for.
//! - [`ladder`]: when there are too few bits for a picture, first fewer pictures, then smaller ones.

mod budget;
mod ladder;
mod overshoot;

use std::time::{Duration, Instant};

use super::settings::{Bitrate, Framerate, RateConfig, Size};
use budget::Budget;
pub use budget::{Basis, silence_factor};
use ladder::{Floor, Ladder};
pub use ladder::{Rung, Scale};
use overshoot::Overshoot;

/// Share of the budget that is left when headers are paid for: of IP, UDP, SRTP and RTP 58 bytes to 1100 of payload.
const PAYLOAD_SHARE: f64 = 0.95;
/// However many repairs the peer asks for, pictures keep this share of the budget.
const LEAST_PICTURE_SHARE: f64 = 0.5;
/// Packets leave at this multiple of the budget: the factor of the reference implementation (libwebrtc's
/// `PacingController::kDefaultPaceMultiplier`). An ordinary picture leaves at once; a key frame in a few bites.
const PACING_FACTOR: f64 = 2.5;
/// Repairs may take this share of the budget.
const REPAIR_SHARE: f64 = 0.5;
/// An encoder is asked for more only when it is this much more …
const WORTH_RAISING: f64 = 1.04;
/// … and this long after the last change.
const RAISE_INTERVAL: Duration = Duration::from_millis(250);
/// It is asked for less when it is this much less.
const WORTH_LOWERING: f64 = 0.985;

/// Something the peer told us, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard<T> {
    /// What.
    pub value: T,
    /// When it arrived here.
    pub at: Instant,
}

/// What a receiver report says of our stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reception {
    /// Share of the packets lost since the report before, 0 … 1.
    pub loss: f64,
    /// Interarrival jitter.
    pub jitter: Duration,
    /// Round trip time, from the report's LSR and DLSR; `None` before the peer has seen a sender report.
    pub round_trip: Option<Duration>,
    /// What arrived since the report before, in bit/s; `None` in the first.
    pub arriving_bps: Option<f64>,
}

/// What is known of the link at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkReading {
    /// The peer has agreed to transport-wide feedback: there may be an estimate, and there is a pacer.
    pub transport_cc: bool,
    /// What the estimator makes of that feedback, in bit/s.
    pub estimate: Option<Heard<f64>>,
    /// What the receiver says it can take (REMB), in bit/s.
    pub remb: Option<Heard<f64>>,
    /// The latest receiver report.
    pub reception: Option<Heard<Reception>>,
    /// Bytes of repairs sent since the session began.
    pub repair_bytes: u64,
    /// Bytes the encoder has made since the session began.
    pub encoded_bytes: u64,
}

/// What is wanted of encoder, pipeline and pacer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Targets {
    /// The encoder's bit rate.
    pub bitrate: Bitrate,
    /// How often and how large pictures are to be.
    pub rung: Rung,
    /// Packets leave no faster than this, in bit/s; `None` is at once.
    pub pacing_bps: Option<u64>,
    /// Repairs may take this much, in bit/s.
    pub repair_bps: u64,
}

/// How finely and how far an encoder can be steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// Its bit rate can be changed while it runs.
    Adaptable {
        /// It takes multiples of this, in kbit/s: 25 on a Raspberry Pi, 1 elsewhere.
        step_kbps: u32,
        /// It goes on with pictures of another size.
        resizes: bool,
    },
    /// The camera's own encoder: the stream is passed through as it comes.
    Passthrough,
}

impl Steering {
    /// What is assumed before there is an encoder.
    pub const ANY: Self = Self::Adaptable { step_kbps: 1, resizes: true };

    fn resizes(self) -> bool {
        matches!(self, Self::Adaptable { resizes: true, .. })
    }
}

/// The controller. One for each session: a new peer is a new link.
#[derive(Clone, Debug)]
pub struct RateController {
    config: RateConfig,
    steering: Steering,
    budget: Budget,
    overshoot: Overshoot,
    ladder: Ladder,
    repairs: RepairRate,
    asked: Bitrate,
    asked_at: Instant,
}

impl RateController {
    /// A controller for pictures of this size and rate.
    pub fn new(config: RateConfig, steering: Steering, size: Size, framerate: Framerate, now: Instant) -> Self {
        let start = config.start();
        Self {
            config,
            steering,
            budget: Budget::new(&config, now),
            overshoot: Overshoot::new(now),
            ladder: Ladder::new(size, framerate, floor(&config, steering)),
            repairs: RepairRate::new(now),
            asked: start,
            asked_at: now,
        }
    }

    /// Goes by this from the next tick on: the limits at once, the start only in a new session.
    pub fn set_config(&mut self, config: RateConfig) {
        if config != self.config {
            self.config = config;
            self.budget.set_limits(&config);
            self.ladder.set_floor(floor(&config, self.steering));
        }
    }

    /// Steers such an encoder from the next tick on: a camera that was lost may come back with another.
    pub fn set_steering(&mut self, steering: Steering) {
        if steering != self.steering {
            self.steering = steering;
            self.ladder.set_floor(floor(&self.config, steering));
        }
    }

    /// What the rate is based on now.
    pub fn basis(&self) -> Basis {
        self.budget.basis()
    }

    /// What the link may carry, in bit/s, as of the last tick.
    pub fn budget_bps(&self) -> f64 {
        self.budget.bps()
    }

    /// Whether the bit rate can be changed at all: not that of a camera's own encoder.
    pub fn is_adaptable(&self) -> bool {
        matches!(self.steering, Steering::Adaptable { .. })
    }

    /// To be called ten to twenty times a second.
    pub fn tick(&mut self, link: &LinkReading, now: Instant) -> Targets {
        let budget = self.budget.update(link, now);
        let repairs = self.repairs.update(link.repair_bytes, now);
        let pictures = (budget - repairs).max(budget * LEAST_PICTURE_SHARE) * PAYLOAD_SHARE;
        if let Steering::Adaptable { step_kbps, .. } = self.steering {
            let wanted = pictures.clamp(f64::from(self.config.min().bps()), f64::from(self.config.max().bps()));
            let command = self.overshoot.correct(wanted, link.encoded_bytes, now);
            self.ask(command, step_kbps, now);
            self.ladder.update(wanted, now);
        }
        let pacing_bps = (link.transport_cc && self.is_adaptable()).then_some((budget * PACING_FACTOR) as u64);
        Targets {
            bitrate: self.asked,
            rung: self.ladder.rung(),
            pacing_bps,
            repair_bps: (budget * REPAIR_SHARE) as u64,
        }
    }

    /// Lowers at once, raises in steps that are worth it.
    fn ask(&mut self, bps: f64, step_kbps: u32, now: Instant) {
        let step = step_kbps.max(1);
        let kbps = ((bps / 1000.0) as u32 / step * step).max(self.config.min().kbps());
        let Some(bitrate) = Bitrate::from_kbps(kbps) else { return };
        let ratio = f64::from(bitrate.kbps()) / f64::from(self.asked.kbps());
        let at_the_end = bitrate >= self.config.max() || bitrate <= self.config.min();
        let waited = now.saturating_duration_since(self.asked_at) >= RAISE_INTERVAL;
        let raise = ratio >= WORTH_RAISING || (at_the_end && ratio > 1.0);
        let lower = ratio <= WORTH_LOWERING || (at_the_end && ratio < 1.0);
        if (raise && waited) || lower {
            self.asked = bitrate;
            self.asked_at = now;
        }
    }
}

fn floor(config: &RateConfig, steering: Steering) -> Floor {
    Floor {
        bits_per_pixel: config.bits_per_pixel(),
        most_bps: f64::from(config.max().bps()),
        slowest: config.slowest(),
        resizes: steering.resizes(),
    }
}

/// Rate of the repairs, smoothed over about a second.
#[derive(Clone, Copy, Debug)]
struct RepairRate {
    bytes: u64,
    at: Instant,
    bps: f64,
}

impl RepairRate {
    fn new(now: Instant) -> Self {
        Self { bytes: 0, at: now, bps: 0.0 }
    }

    fn update(&mut self, bytes: u64, now: Instant) -> f64 {
        const TIME_CONSTANT: f64 = 1.0;
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        if elapsed > 0.0 {
            let bps = bytes.saturating_sub(self.bytes) as f64 * 8.0 / elapsed;
            self.bps += (bps - self.bps) * (1.0 - (-elapsed / TIME_CONSTANT).exp());
            (self.bytes, self.at) = (bytes, now);
        }
        self.bps
    }
}

#[cfg(test)]
mod tests;
