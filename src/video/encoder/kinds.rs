//! The columns: in what encoders differ, and by what names.

use crate::video::settings::Bitrate;

/// What is known of one encoder.
// Each field is a column: one thing in which encoders differ.
#[derive(Debug)]
pub struct EncoderRow {
    /// GStreamer's name for it.
    pub element: &'static str,
    /// Whether it needs a device: then being installed is not enough.
    pub hardware: bool,
    /// Properties set once. They come and go between builds: one that this build lacks is left out.
    pub properties: &'static [(&'static str, Value)],
    /// Controls of its device, set as one structure (`extra-controls`).
    pub controls: &'static [(&'static str, Value)],
    /// How the bit rate is set, at start and while it runs: the first that this build has.
    pub bitrate: &'static [BitrateControl],
    /// The bit rates it takes, where not all of them.
    pub steps: Option<BitrateSteps>,
    /// What its bit rate means when frames are left out before it.
    pub bits_per: BitsPer,
    /// Whether it goes on with pictures of another size.
    pub resizes: bool,
    /// How a key frame is forced.
    pub key_frame: KeyFrameControl,
    /// Raw formats it takes, the one that costs least first.
    pub raw_formats: &'static [&'static str],
    /// Where it takes pictures from.
    pub memory: Memory,
    /// The form of its output.
    pub output: &'static str,
    /// Whether it takes its level from the caps behind it.
    pub level_in_caps: bool,
    /// Whether `h264parse` must put SPS and PPS before each IDR.
    pub parse: bool,
    /// Which package has it: distribution, package.
    pub packages: &'static [(&'static str, &'static str)],
}

/// Where pictures lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// In memory that every element can read.
    System,
    /// In that of a Jetson's video hardware.
    Nvmm,
}

/// The value of a property.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// Always this, as `gst-launch-1.0` would take it.
    Text(&'static str),
    /// The number of threads worth having on this board.
    Threads,
    /// The longest distance between key frames, in frames.
    GroupOfPictures,
    /// As before, but never 1.
    LongGroupOfPictures,
}

/// How an encoder takes its bit rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitrateControl {
    /// An unsigned property that may be set while the encoder runs.
    Property {
        /// The property.
        name: &'static str,
        /// What it counts.
        unit: BitrateUnit,
    },
    /// A control of its device in bit/s, in the `extra-controls` structure, which is set as a whole each time.
    Control {
        /// The control.
        name: &'static str,
    },
    /// Not at all.
    None,
}

/// Which bit rates an encoder takes.
#[derive(Clone, Copy, Debug)]
pub struct BitrateSteps {
    /// The lowest.
    pub min_kbps: u32,
    /// The highest.
    pub max_kbps: u32,
    /// The distance from one to the next.
    pub step_kbps: u32,
}

impl BitrateSteps {
    /// The highest that is not above `bitrate`.
    pub fn fit(self, bitrate: Bitrate) -> Bitrate {
        let kbps = bitrate.kbps().clamp(self.min_kbps, self.max_kbps);
        let kbps = self.min_kbps + (kbps - self.min_kbps) / self.step_kbps * self.step_kbps;
        Bitrate::from_kbps(kbps).unwrap_or(bitrate)
    }
}

/// What an encoder's bit rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitrateUnit {
    /// 1000 bits a second.
    Kbps,
    /// Bits a second.
    Bps,
}

impl BitrateUnit {
    /// `bitrate` in this unit.
    pub fn of(self, bitrate: Bitrate) -> u32 {
        match self {
            Self::Kbps => bitrate.kbps(),
            Self::Bps => bitrate.bps(),
        }
    }
}

/// What an encoder spends its bit rate on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitsPer {
    /// Each frame gets its share of a second at the rate announced at start: half the frames make half the bits.
    Frame,
    /// Frames are weighed by their own times.
    Second,
}

/// How an encoder is told to make its next frame a key frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFrameControl {
    /// The upstream event `GstForceKeyUnit`, which every `GstVideoEncoder` honours.
    Event,
    /// An action signal of the element, which must not be given before its first output.
    Signal(&'static str),
    /// The event where GStreamer passes it on to the device (1.22.4 and later, 1.24), before that this button control.
    EventOrControl(&'static str),
    /// Not at all.
    None,
}

impl KeyFrameControl {
    /// What holds for this version of GStreamer (major, minor, micro).
    pub fn in_version(self, version: (u32, u32, u32)) -> Self {
        match self {
            Self::EventOrControl(_) if version >= (1, 22, 4) => Self::Event,
            other => other,
        }
    }
}
