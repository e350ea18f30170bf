//! The one controller of the pictures' rates. Pure: what is known of the link and of the encoder comes in, targets go out.
//!
//! ```text
//! feedback ─► budget ─► less repairs ─► share ─► less headers, less overshoot ─► encoder bit rate
//!                                                                       └─► ladder ─► frame rate, scale
//! ```
//!
//! - [`budget`]: what the link may carry, from the best feedback the peer gives, and never blindly more.
//! - [`share`]: what each picture gets of it, where there are several.
//! - [`overshoot`]: what the encoder makes of the rate it is asked for.
//! - [`ladder`]: when there are too few bits for a picture, first fewer pictures, then smaller ones.

mod budget;
mod further;
mod ladder;
mod overshoot;
mod picture;
mod share;

use std::time::{Duration, Instant};

use super::further::MOST_FURTHER;
use super::settings::{Bitrate, Framerate, RateConfig, Size};
use budget::Budget;
pub use budget::{Basis, silence_factor};
pub use further::FurtherPicture;
use further::FurtherRate;
pub use ladder::{Rung, Scale};
use picture::PictureRate;
pub use picture::PictureTargets;
use share::{Claim, shares};

/// Share of the budget that is left when headers are paid for: of IP, UDP, SRTP and RTP 58 bytes to 1100 of payload.
const PAYLOAD_SHARE: f64 = 0.95;
/// However many repairs the peer asks for, pictures keep this share of the budget.
const LEAST_PICTURE_SHARE: f64 = 0.5;
/// Packets leave at this multiple of the budget: the factor of the reference implementation (libwebrtc's
/// `PacingController::kDefaultPaceMultiplier`). An ordinary picture leaves at once; a key frame in a few bites.
const PACING_FACTOR: f64 = 2.5;
/// Repairs may take this share of the budget.
const REPAIR_SHARE: f64 = 0.5;

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
    /// Since when packets are under way of which that feedback has not told; `None` while it has told of all. Who sends
    /// nothing hears nothing: only the silence while an answer is due says something of the link.
    pub unanswered: Option<Instant>,
    /// What the receiver says it can take (REMB), in bit/s.
    pub remb: Option<Heard<f64>>,
    /// The latest receiver report.
    pub reception: Option<Heard<Reception>>,
    /// Bytes of repairs sent since the session began.
    pub repair_bytes: u64,
    /// Bytes the first picture's encoder has made since the session began.
    pub encoded_bytes: u64,
    /// And those of the further ones', in their order.
    pub further_bytes: [u64; MOST_FURTHER],
}

/// What is wanted of the first picture's encoder and pipeline, and of the link's pacer.
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

impl Targets {
    /// Of the first picture alone.
    pub fn picture(&self) -> PictureTargets {
        PictureTargets { bitrate: self.bitrate, rung: self.rung }
    }
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
    budget: Budget,
    repairs: RepairRate,
    first: PictureRate,
    further: Vec<FurtherRate>,
}

impl RateController {
    /// A controller for pictures of this size and rate.
    pub fn new(config: RateConfig, steering: Steering, size: Size, framerate: Framerate, now: Instant) -> Self {
        Self {
            budget: Budget::new(&config, now),
            repairs: RepairRate::new(now),
            first: PictureRate::new(config, steering, size, framerate, now),
            further: Vec::new(),
        }
    }

    /// The same, with these pictures beside the first, [`MOST_FURTHER`] at the most: they share the link.
    #[must_use]
    pub fn beside(mut self, further: impl IntoIterator<Item = FurtherPicture>, now: Instant) -> Self {
        let first = *self.first.config();
        let further = further.into_iter().take(MOST_FURTHER);
        self.further = further.map(|picture| FurtherRate::new(picture, &first, now)).collect();
        self.budget = Budget::new(&self.whole(), now);
        self
    }

    /// Goes by this from the next tick on: the limits at once, the start only in a new session.
    pub fn set_config(&mut self, config: RateConfig) {
        if config != *self.first.config() {
            self.first.set_config(config);
            self.further.iter_mut().for_each(|further| further.follow(&config));
            self.budget.set_limits(&self.whole());
        }
    }

    /// Steers such an encoder from the next tick on: a camera that was lost may come back with another.
    pub fn set_steering(&mut self, steering: Steering) {
        self.first.set_steering(steering);
    }

    /// As [`RateController::set_steering`], of the further pictures in their order.
    pub fn set_further_steering(&mut self, steering: impl IntoIterator<Item = Steering>) {
        self.further.iter_mut().zip(steering).for_each(|(further, steering)| further.set_steering(steering));
    }

    /// How the whole link is to be used.
    pub fn whole(&self) -> RateConfig {
        self.first.config().beside(self.further.iter().map(FurtherRate::bitrate))
    }

    /// What the rate is based on now.
    pub fn basis(&self) -> Basis {
        self.budget.basis()
    }

    /// What the link may carry, in bit/s, as of the last tick.
    pub fn budget_bps(&self) -> f64 {
        self.budget.bps()
    }

    /// Whether the first picture's bit rate can be changed at all: not that of a camera's own encoder.
    pub fn is_adaptable(&self) -> bool {
        self.first.is_adaptable()
    }

    /// What is wanted of the further pictures, in their order, as of the last tick.
    pub fn further(&self) -> impl Iterator<Item = PictureTargets> {
        self.further.iter().map(FurtherRate::targets)
    }

    /// To be called ten to twenty times a second.
    pub fn tick(&mut self, link: &LinkReading, now: Instant) -> Targets {
        let budget = self.budget.update(link, now);
        let repairs = self.repairs.update(link.repair_bytes, now);
        let pictures = (budget - repairs).max(budget * LEAST_PICTURE_SHARE);
        let others = self.share_out(pictures, link, now);
        self.first.get(pictures - others, link.encoded_bytes, now);
        let all_follow = self.is_adaptable() && self.further.iter().all(FurtherRate::is_adaptable);
        let PictureTargets { bitrate, rung } = self.first.targets();
        Targets {
            bitrate,
            rung,
            pacing_bps: (link.transport_cc && all_follow).then_some((budget * PACING_FACTOR) as u64),
            repair_bps: (budget * REPAIR_SHARE) as u64,
        }
    }

    /// Gives the further pictures their shares; returns what they take together.
    fn share_out(&mut self, bps: f64, link: &LinkReading, now: Instant) -> f64 {
        let mut claims = [None; MOST_FURTHER];
        for ((further, bytes), claim) in self.further.iter_mut().zip(link.further_bytes).zip(&mut claims) {
            *claim = further.claim(bytes, now);
        }
        let shares = shares(bps, Claim::of(self.first.config()), claims);
        self.further.iter_mut().zip(shares).for_each(|(further, bps)| further.get(bps, now));
        shares.iter().sum()
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
