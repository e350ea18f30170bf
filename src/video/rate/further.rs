//! A picture beside the first: what it claims of the link, and while it claims it.

use std::time::{Duration, Instant};

use super::Steering;
use super::picture::{PictureRate, PictureTargets};
use super::share::Claim;
use crate::video::settings::{Bitrate, Framerate, RateConfig, Size};

/// A picture that has not come for this long, because its camera is lost or nobody takes it, claims nothing: longer than
/// between two pictures at one a second, or at the lowest rung of a few.
const GONE_AFTER: Duration = Duration::from_secs(4);

/// A picture beside the first.
#[derive(Clone, Copy, Debug)]
pub struct FurtherPicture {
    /// What it is configured to take.
    pub bitrate: Bitrate,
    /// How its encoder takes its bit rate.
    pub steering: Steering,
    /// Its full size.
    pub size: Size,
    /// Its full rate.
    pub framerate: Framerate,
}

#[derive(Clone, Debug)]
pub(super) struct FurtherRate {
    bitrate: Bitrate,
    picture: PictureRate,
    bytes: u64,
    grew: Instant,
}

impl FurtherRate {
    /// `first` is the first picture's.
    pub(super) fn new(picture: FurtherPicture, first: &RateConfig, now: Instant) -> Self {
        let FurtherPicture { bitrate, steering, size, framerate } = picture;
        let picture = PictureRate::new(first.of_further(bitrate), steering, size, framerate, now);
        Self { bitrate, picture, bytes: 0, grew: now }
    }

    pub(super) fn bitrate(&self) -> Bitrate {
        self.bitrate
    }

    pub(super) fn follow(&mut self, first: &RateConfig) {
        self.picture.set_config(first.of_further(self.bitrate));
    }

    pub(super) fn set_steering(&mut self, steering: Steering) {
        self.picture.set_steering(steering);
    }

    pub(super) fn is_adaptable(&self) -> bool {
        self.picture.is_adaptable()
    }

    pub(super) fn targets(&self) -> PictureTargets {
        self.picture.targets()
    }

    /// What it claims now that its encoder has made so many bytes.
    pub(super) fn claim(&mut self, bytes: u64, now: Instant) -> Option<Claim> {
        if std::mem::replace(&mut self.bytes, bytes) != bytes {
            self.grew = now;
        }
        let comes = now.saturating_duration_since(self.grew) < GONE_AFTER;
        comes.then(|| Claim::of(self.picture.config()))
    }

    /// It gets so many bit/s; nothing while it claims nothing.
    pub(super) fn get(&mut self, bps: f64, now: Instant) {
        if bps > 0.0 {
            self.picture.get(bps, self.bytes, now);
        }
    }
}
