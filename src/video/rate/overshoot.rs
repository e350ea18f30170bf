//! What an encoder makes of the bit rate it is asked for: measured, and corrected when it is too much, or when it is too
//! little because pictures are left out.

use std::time::{Duration, Instant};

/// The output is compared with what was wanted over this: several pictures, and a key frame weighs no more than it costs.
const WINDOW: Duration = Duration::from_secs(1);
/// More than this above what was wanted is too much, when it is so twice in a row: a key frame, or a rate that was just
/// lowered, is no habit.
const TOLERANCE: f64 = 1.05;
/// The correction never goes below this: an encoder that makes twice what it is asked for is at its own floor.
const LEAST: f64 = 0.5;
/// The correction is taken back by this factor a window, at most.
const RELAX: f64 = 1.1;
/// More than is wanted is asked for only where less than this share of it is made, twice in a row: a rate that is being
/// raised is asked for later than it is wanted.
const FAR_TOO_LITTLE: f64 = 0.8;

#[derive(Clone, Debug)]
pub(super) struct Overshoot {
    correction: f64,
    since: Instant,
    updated: Instant,
    /// Bits wanted in this window.
    wanted: f64,
    bytes_before: u64,
    /// What was made of what was wanted in the window before.
    ratio_before: f64,
}

impl Overshoot {
    pub(super) fn new(now: Instant) -> Self {
        Self { correction: 1.0, since: now, updated: now, wanted: 0.0, bytes_before: 0, ratio_before: 0.0 }
    }

    /// What to ask of the encoder so that it makes `wanted` bit/s. `encoded_bytes` is all it has made so far.
    ///
    /// `most` is the largest correction, 1 at the least: of so many pictures it gets one. An encoder that gives each its
    /// share of a second at the full rate makes the less, and as what is not sent proves nothing of the link, it would
    /// never be given enough again for all of them. For others this is but a moment: one window with too much ends it.
    pub(super) fn correct(&mut self, wanted: f64, encoded_bytes: u64, most: f64, now: Instant) -> f64 {
        self.wanted += wanted * now.saturating_duration_since(self.updated).as_secs_f64();
        self.updated = now;
        if now.saturating_duration_since(self.since) >= WINDOW {
            let made = encoded_bytes.saturating_sub(self.bytes_before) as f64 * 8.0;
            let ratio = made / self.wanted.max(1.0);
            let before = std::mem::replace(&mut self.ratio_before, ratio);
            let habit = ratio.min(before);
            let factor = match ratio {
                _ if habit > TOLERANCE => 1.0 / habit,
                ratio if ratio > TOLERANCE && self.correction > 1.0 => (1.0 / ratio).max(1.0 / self.correction),
                // No picture came, of whatever size.
                _ if made == 0.0 => 1.0,
                ratio if ratio > 1.0 => 1.0,
                ratio => (1.0 / ratio.max(0.01)).min(RELAX),
            };
            let ceiling = if ratio.max(before) < FAR_TOO_LITTLE { most } else { self.correction.max(1.0) };
            self.correction = (self.correction * factor).clamp(LEAST, ceiling);
            (self.since, self.wanted, self.bytes_before) = (now, 0.0, encoded_bytes);
        }
        self.correction = self.correction.min(most);
        wanted * self.correction
    }
}
