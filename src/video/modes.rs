//! Which of a camera's modes is taken. Pure.
//!
//! What was asked for is taken when it is offered, else what is nearest: in size and rate together first, then the format
//! that costs least (raw pictures before JPEG), then the rate that wastes least.

use std::fmt;

use super::settings::{Framerate, PixelFormat, Size};

/// How a camera hands out its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Uncompressed, by GStreamer's name.
    Raw(&'static str),
    /// Each picture a JPEG.
    Mjpeg,
    /// Coded by the camera itself.
    H264,
}

/// V4L2's four characters and GStreamer's name (`videodev2.h`, `gstv4l2object.c`). Bayer patterns and depths that no
/// converter takes are left out.
const RAW_FORMATS: &[([u8; 4], &str)] = &[
    (*b"NV12", "NV12"),
    (*b"YU12", "I420"),
    (*b"YV12", "YV12"),
    (*b"NV21", "NV21"),
    (*b"YUYV", "YUY2"),
    (*b"UYVY", "UYVY"),
    (*b"YVYU", "YVYU"),
    (*b"VYUY", "VYUY"),
    (*b"RGB3", "RGB"),
    (*b"BGR3", "BGR"),
    (*b"GREY", "GRAY8"),
];

impl Format {
    /// From V4L2's four characters; `None` for what cannot be used.
    pub fn from_fourcc(fourcc: [u8; 4]) -> Option<Self> {
        match &fourcc {
            b"MJPG" | b"JPEG" => Some(Self::Mjpeg),
            b"H264" => Some(Self::H264),
            _ => RAW_FORMATS.iter().find(|(known, _)| *known == fourcc).map(|(_, name)| Self::Raw(name)),
        }
    }

    /// What it costs to make raw 4:2:0 of it: nothing, a conversion with less or more to do, a decoder.
    fn cost(self) -> u8 {
        match self {
            Self::Raw("NV12" | "I420") => 0,
            Self::Raw("RGB" | "BGR") => 2,
            Self::Raw(_) => 1,
            Self::Mjpeg => 3,
            Self::H264 => 4,
        }
    }

    fn is_wanted(self, wanted: PixelFormat) -> bool {
        match wanted {
            // A coded stream cannot be steered: only on request.
            PixelFormat::Auto => self != Self::H264,
            PixelFormat::Raw => matches!(self, Self::Raw(_)),
            PixelFormat::Mjpeg => self == Self::Mjpeg,
            PixelFormat::H264 => self == Self::H264,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw(name) => name,
            Self::Mjpeg => "MJPEG",
            Self::H264 => "H.264",
        })
    }
}

/// Frames in a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Frames …
    pub frames: u32,
    /// … in so many seconds.
    pub seconds: u32,
}

impl Rate {
    /// From the time between two frames, as V4L2 has it; `None` for nonsense.
    pub fn of_interval(numerator: u32, denominator: u32) -> Option<Self> {
        (numerator > 0 && denominator > 0).then_some(Self { frames: denominator, seconds: numerator })
    }

    /// Frames a second.
    pub fn per_second(self) -> f64 {
        f64::from(self.frames) / f64::from(self.seconds)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.per_second();
        if rate.fract() == 0.0 { write!(f, "{rate}") } else { write!(f, "{rate:.2}") }
    }
}

/// The rates of a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rates {
    /// These.
    Listed(Vec<Rate>),
    /// Any between two.
    Between(Rate, Rate),
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(rates) => {
                let rates: Vec<_> = rates.iter().map(Rate::to_string).collect();
                f.write_str(&rates.join(", "))
            }
            Self::Between(slowest, fastest) => write!(f, "{slowest} … {fastest}"),
        }
    }
}

impl Rates {
    /// The slowest that is fast enough, else the fastest.
    fn best_for(&self, wanted: Framerate) -> Option<Rate> {
        let asked = f64::from(wanted.per_second());
        match self {
            Self::Listed(rates) => {
                let key = |rate: &Rate| {
                    let rate = rate.per_second();
                    (shortfall(rate, asked), rate)
                };
                rates.iter().copied().min_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal))
            }
            Self::Between(slowest, fastest) => {
                if asked >= fastest.per_second() {
                    Some(*fastest)
                } else if asked <= slowest.per_second() {
                    Some(*slowest)
                } else {
                    Some(Rate { frames: wanted.per_second(), seconds: 1 })
                }
            }
        }
    }
}

/// Sizes a camera offers in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Smallest side in pixels.
    pub min: u32,
    /// Largest side.
    pub max: u32,
    /// Distance from one to the next.
    pub step: u32,
}

impl Steps {
    /// The side nearest to `wanted`; never beyond the range.
    pub fn nearest(self, wanted: u32) -> u32 {
        // Twice the step where it is odd: 4:2:0 pictures have even sides.
        let step = if self.step.is_multiple_of(2) { self.step.max(1) } else { self.step.saturating_mul(2) };
        let range = self.max.saturating_sub(self.min);
        let above = wanted.clamp(self.min, self.min + range) - self.min;
        let steps = ((above + step / 2) / step).min(range / step);
        self.min + steps * step
    }
}

/// One thing a camera can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// How the pictures come.
    pub format: Format,
    /// Their size.
    pub size: Size,
    /// How many.
    pub rates: Rates,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.format, self.size, self.rates)
    }
}

/// What is asked of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Size of the pictures as they leave the camera.
    pub size: Size,
    /// How many.
    pub framerate: Framerate,
    /// How they come.
    pub format: PixelFormat,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            PixelFormat::Auto => {}
            PixelFormat::Raw => f.write_str("raw ")?,
            PixelFormat::Mjpeg => f.write_str("MJPEG ")?,
            PixelFormat::H264 => f.write_str("H.264 ")?,
        }
        write!(f, "{} at {}", self.size, self.framerate.per_second())
    }
}

/// What is taken of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// How the pictures come.
    pub format: Format,
    /// Their size.
    pub size: Size,
    /// How many.
    pub rate: Rate,
}

impl Taken {
    /// Whether it is what was asked for.
    pub fn is_exact(&self, wanted: Wanted) -> bool {
        self.size == wanted.size && shortfall(self.rate.per_second(), f64::from(wanted.framerate.per_second())) == 0.0
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.format, self.size, self.rate)
    }
}

/// A side this many times as long or as short as what was asked for does not fit.
const FARTHEST: f64 = 2.0;
/// Rates this close are the same: 29.97 is 30.
const SAME_RATE: f64 = 0.01;

/// Chooses the mode to take; `None` when nothing fits.
pub fn choose(wanted: Wanted, modes: &[Mode]) -> Option<Taken> {
    let asked = f64::from(wanted.framerate.per_second());
    let fitting = modes.iter().filter(|mode| mode.format.is_wanted(wanted.format));
    let candidates = fitting.filter_map(|mode| {
        let distance = distance(mode.size, wanted.size)?;
        let rate = mode.rates.best_for(wanted.framerate)?;
        let cost = (
            distance + shortfall(rate.per_second(), asked),
            f64::from(mode.format.cost()),
            (rate.per_second() / asked - 1.0).max(0.0),
        );
        Some((cost, Taken { format: mode.format, size: mode.size, rate }))
    });
    candidates.min_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal)).map(|(_, taken)| taken)
}

/// How far two sizes are apart: 0 when equal, `None` when too far.
fn distance(offered: Size, asked: Size) -> Option<f64> {
    let ratio = |offered: u32, asked: u32| (f64::from(offered) / f64::from(asked)).ln().abs();
    let (width, height) = (ratio(offered.width(), asked.width()), ratio(offered.height(), asked.height()));
    (width.max(height) <= FARTHEST.ln()).then_some(width + height)
}

/// How much is missing of a rate: 0 when it is fast enough.
fn shortfall(rate: f64, asked: f64) -> f64 {
    if rate >= asked * (1.0 - SAME_RATE) { 0.0 } else { (asked / rate).ln() }
}

#[cfg(test)]
mod tests;
