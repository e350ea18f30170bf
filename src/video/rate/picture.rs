//! What one picture's encoder is asked for, out of the bits it gets.

use std::time::{Duration, Instant};

use super::ladder::{Floor, Ladder, Rung};
use super::overshoot::Overshoot;
use super::{PAYLOAD_SHARE, Steering};
use crate::video::settings::{Bitrate, Framerate, RateConfig, Size};

/// An encoder is asked for more only when it is this much more …
const WORTH_RAISING: f64 = 1.04;
/// … and this long after the last change.
const RAISE_INTERVAL: Duration = Duration::from_millis(250);
/// It is asked for less when it is this much less.
const WORTH_LOWERING: f64 = 0.985;

/// What is wanted of one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PictureTargets {
    /// The encoder's bit rate: above the highest where it makes less than that because pictures are left out.
    pub bitrate: Bitrate,
    /// How often and how large pictures are to be.
    pub rung: Rung,
}

/// Steers one picture.
#[derive(Clone, Debug)]
pub(super) struct PictureRate {
    config: RateConfig,
    steering: Steering,
    overshoot: Overshoot,
    ladder: Ladder,
    asked: Bitrate,
    asked_at: Instant,
}

impl PictureRate {
    pub(super) fn new(config: RateConfig, steering: Steering, size: Size, framerate: Framerate, now: Instant) -> Self {
        Self {
            config,
            steering,
            overshoot: Overshoot::new(now),
            ladder: Ladder::new(size, framerate, floor(&config, steering)),
            asked: config.start(),
            asked_at: now,
        }
    }

    pub(super) fn config(&self) -> &RateConfig {
        &self.config
    }

    pub(super) fn set_config(&mut self, config: RateConfig) {
        self.config = config;
        self.ladder.set_floor(floor(&config, self.steering));
    }

    pub(super) fn set_steering(&mut self, steering: Steering) {
        if steering != self.steering {
            self.steering = steering;
            self.ladder.set_floor(floor(&self.config, steering));
        }
    }

    pub(super) fn is_adaptable(&self) -> bool {
        matches!(self.steering, Steering::Adaptable { .. })
    }

    pub(super) fn targets(&self) -> PictureTargets {
        PictureTargets { bitrate: self.asked, rung: self.ladder.rung() }
    }

    /// It gets so many bit/s of the link from now on; `encoded_bytes` is all its encoder has made so far.
    pub(super) fn get(&mut self, bps: f64, encoded_bytes: u64, now: Instant) {
        if let Steering::Adaptable { step_kbps, .. } = self.steering {
            let (least, most) = (f64::from(self.config.min().bps()), f64::from(self.config.max().bps()));
            let wanted = (bps * PAYLOAD_SHARE).clamp(least, most);
            let command = self.overshoot.correct(wanted, encoded_bytes, self.ladder.pictures_for_one(), now);
            self.ask(command, step_kbps, now);
            self.ladder.update(wanted, now);
        }
    }

    /// Lowers at once, raises in steps that are worth it.
    fn ask(&mut self, bps: f64, step_kbps: u32, now: Instant) {
        let step = step_kbps.max(1);
        let kbps = ((bps / 1000.0) as u32 / step * step).clamp(self.config.min().kbps(), Bitrate::MAX_KBPS);
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
