//! When there are too few bits for a picture: first fewer pictures, then smaller ones, and back with patience.

use std::time::{Duration, Instant};

use crate::video::settings::{Framerate, Size};

/// Too few bits for this long: fewer pictures.
const SLOWER_AFTER: Duration = Duration::from_millis(500);
/// Too few bits for even that, for this long: smaller pictures. They cost a key frame, and a sudden fall of the link is
/// over sooner.
const SMALLER_AFTER: Duration = Duration::from_secs(2);
/// Bits for the rung above and this much more …
const UP_MARGIN: f64 = 1.3;
/// No rung needs more than this share of the highest rate: with that, and [`UP_MARGIN`], and what headers and a few
/// repairs take, the full picture is always come back to. Who asks for a large picture at a low rate gets it.
const LARGEST_NEED: f64 = 0.65;
/// … for this long is a step up.
const UP_AFTER: Duration = Duration::from_secs(3);
/// A step up that was taken back within this was a mistake, and the next waits twice as long …
const MISTAKE_WITHIN: Duration = Duration::from_secs(10);
/// … but no longer than this.
const LONGEST_UP_AFTER: Duration = Duration::from_secs(24);

/// How much of the picture's size is kept. An enum, not a fraction: each size is a new set of parameters for a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scale {
    /// Half of each side.
    Half,
    /// Three quarters of each side.
    ThreeQuarters,
    /// All of it.
    Full,
}

impl Scale {
    /// The size that `full` is scaled to; sides are even (4:2:0 chroma).
    pub fn of(self, full: Size) -> Size {
        let (numerator, denominator) = match self {
            Self::Half => (1, 2),
            Self::ThreeQuarters => (3, 4),
            Self::Full => return full,
        };
        let side = |side: u32| (side * numerator / denominator / 2 * 2).max(Size::MIN);
        Size::new(side(full.width()), side(full.height())).expect("even sides between the least and a size's own")
    }
}

/// One way to spend bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Pictures a second.
    pub framerate: Framerate,
    /// Their size.
    pub scale: Scale,
}

/// What a picture must at least have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    pub(super) bits_per_pixel: f64,
    /// The highest rate there will ever be.
    pub(super) most_bps: f64,
    /// The lowest frame rate.
    pub(super) slowest: Framerate,
    /// Whether pictures may become smaller.
    pub(super) resizes: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Ladder {
    size: Size,
    framerate: Framerate,
    /// The dearest first.
    rungs: Vec<(Rung, f64)>,
    current: usize,
    /// Since when there are too few bits.
    poor: Option<Instant>,
    /// Since when there would be enough for the rung above.
    rich: Option<Instant>,
    up_after: Duration,
    stepped_up: Option<Instant>,
}

impl Ladder {
    pub(super) fn new(size: Size, framerate: Framerate, floor: Floor) -> Self {
        let rungs = rungs(size, framerate, floor);
        let (current, up_after) = (0, UP_AFTER);
        Self { size, framerate, rungs, current, poor: None, rich: None, up_after, stepped_up: None }
    }

    /// Takes another floor of bits a pixel, or of pictures a second. Starts at the top again when the rungs differ.
    pub(super) fn set_floor(&mut self, floor: Floor) {
        let rungs = rungs(self.size, self.framerate, floor);
        if rungs != self.rungs {
            *self = Self::new(self.size, self.framerate, floor);
        }
    }

    pub(super) fn rung(&self) -> Rung {
        self.rungs[self.current].0
    }

    /// For so many of the camera's pictures one is coded, 1 at the least.
    pub(super) fn pictures_for_one(&self) -> f64 {
        f64::from(self.framerate.per_second()) / f64::from(self.rung().framerate.per_second())
    }

    /// Follows the bit rate the pictures get.
    pub(super) fn update(&mut self, bps: f64, now: Instant) {
        if let Some(lower) = self.lower(bps, now) {
            if self.stepped_up.is_some_and(|at| now.saturating_duration_since(at) < MISTAKE_WITHIN) {
                self.up_after = (self.up_after * 2).min(LONGEST_UP_AFTER);
            }
            (self.current, self.rich, self.stepped_up) = (lower, None, None);
        } else if self.may_rise(bps, now) {
            (self.current, self.rich, self.stepped_up) = (self.current - 1, None, Some(now));
        } else if self.stepped_up.is_some_and(|at| now.saturating_duration_since(at) >= MISTAKE_WITHIN) {
            self.up_after = UP_AFTER;
        }
    }

    /// The rung to step down to, when it is time.
    fn lower(&mut self, bps: f64, now: Instant) -> Option<usize> {
        let last = self.rungs.len() - 1;
        let affordable = self.rungs.iter().position(|(_, needs)| *needs <= bps).unwrap_or(last);
        if affordable <= self.current {
            self.poor = None;
            return None;
        }
        let poor_for = now.saturating_duration_since(*self.poor.get_or_insert(now));
        let scale = self.rung().scale;
        let wanted = match poor_for {
            long if long >= SMALLER_AFTER => affordable,
            some if some >= SLOWER_AFTER => {
                self.rungs[..=affordable].iter().rposition(|(rung, _)| rung.scale == scale).unwrap_or(self.current)
            }
            _ => self.current,
        };
        (wanted > self.current).then_some(wanted)
    }

    fn may_rise(&mut self, bps: f64, now: Instant) -> bool {
        let above = self.current.checked_sub(1).map(|above| self.rungs[above].1);
        if above.is_none_or(|needs| bps < needs * UP_MARGIN) {
            self.rich = None;
            return false;
        }
        now.saturating_duration_since(*self.rich.get_or_insert(now)) >= self.up_after
    }
}

/// Each way to spend bits, and how many it needs, the dearest first.
fn rungs(size: Size, framerate: Framerate, floor: Floor) -> Vec<(Rung, f64)> {
    let slowed = |divisor: u32| {
        let slow = (framerate.per_second() / divisor).max(floor.slowest.per_second());
        Framerate::new(slow.min(framerate.per_second())).expect("no more than the full rate and no less than 1")
    };
    let mut rungs: Vec<(Rung, f64)> = Vec::new();
    let pixels_at = |rung: &Rung| {
        let scaled = rung.scale.of(size);
        f64::from(scaled.width()) * f64::from(scaled.height()) * f64::from(rung.framerate.per_second())
    };
    let full = pixels_at(&Rung { framerate, scale: Scale::Full });
    let bits_per_pixel = floor.bits_per_pixel.min(floor.most_bps * LARGEST_NEED / full);
    let ways: &[_] = if floor.resizes {
        &[(1, Scale::Full), (2, Scale::Full), (2, Scale::ThreeQuarters), (2, Scale::Half), (3, Scale::Half)]
    } else {
        &[(1, Scale::Full), (2, Scale::Full), (3, Scale::Full)]
    };
    for (divisor, scale) in ways.iter().copied() {
        let rung = Rung { framerate: slowed(divisor), scale };
        if rungs.last().is_none_or(|(last, _)| *last != rung) {
            rungs.push((rung, pixels_at(&rung) * bits_per_pixel));
        }
    }
    rungs
}
