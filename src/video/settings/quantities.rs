//! Sizes and rates that are within what cameras and encoders take.

use std::fmt;
use std::time::Duration;

use super::Orientation;

/// Picture size in pixels: both even (4:2:0 chroma), 16 … 8192.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    width: u32,
    height: u32,
}

impl Size {
    /// Smallest side accepted, in pixels: one H.264 macroblock.
    pub const MIN: u32 = 16;
    /// Largest side accepted, in pixels.
    pub const MAX: u32 = 8192;

    /// A size, or `None` unless both sides are even and within [`Size::MIN`] … [`Size::MAX`].
    pub fn new(width: u32, height: u32) -> Option<Self> {
        let fits = |side: u32| (Self::MIN..=Self::MAX).contains(&side) && side.is_multiple_of(2);
        (fits(width) && fits(height)).then_some(Self { width, height })
    }

    /// The size of a picture of this size once it is turned, and the other way round.
    pub fn turned(self, orientation: Orientation) -> Self {
        if orientation.swaps_sides() { Self { width: self.height, height: self.width } } else { self }
    }

    /// Width in pixels.
    pub fn width(self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(self) -> u32 {
        self.height
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Frames a second, 1 … 240.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Framerate(u32);

impl Framerate {
    /// Highest rate accepted, in frames a second.
    pub const MAX: u32 = 240;

    /// A frame rate, or `None` outside 1 … [`Framerate::MAX`].
    pub const fn new(frames_per_second: u32) -> Option<Self> {
        if frames_per_second >= 1 && frames_per_second <= Self::MAX { Some(Self(frames_per_second)) } else { None }
    }

    /// Frames a second.
    pub fn per_second(self) -> u32 {
        self.0
    }

    /// Time between two frames.
    pub fn interval(self) -> Duration {
        Duration::from_secs(1) / self.0
    }
}

/// A bit rate, 50 … 100 000 kbit/s. Encoders take it in their own unit: see the encoder table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bitrate(u32);

impl Bitrate {
    /// Lowest rate accepted, in kbit/s: below it no encoder here gives a picture worth driving by.
    pub const MIN_KBPS: u32 = 50;
    /// Highest rate accepted, in kbit/s.
    pub const MAX_KBPS: u32 = 100_000;

    /// A bit rate in kbit/s (1 kbit = 1000 bit), or `None` outside the accepted range.
    pub fn from_kbps(kbps: u32) -> Option<Self> {
        (Self::MIN_KBPS..=Self::MAX_KBPS).contains(&kbps).then_some(Self(kbps))
    }

    /// In kbit/s.
    pub fn kbps(self) -> u32 {
        self.0
    }

    /// In bit/s.
    pub fn bps(self) -> u32 {
        self.0 * 1000
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kbit/s", self.0)
    }
}
