//! **The one table of encoder knowledge.** Everything that differs between encoders is a column of [`TABLE`]; nothing
//! outside this file may ask which encoder runs. A new encoder is a new row, and a new way of doing something a new
//! variant, which the compiler then demands of the pipeline.

use std::fmt::Write as _;

use super::settings::{Bitrate, EncoderChoice, EncoderConfig, Framerate, Size};

/// Encoders, best first: the order of the automatic choice.
pub static TABLE: &[EncoderRow] = &[
    EncoderRow {
        element: "x264enc",
        properties: &[
            // No lookahead, no frame threads, no B-frames: a frame is out before the next one is in.
            ("tune", Value::Text("zerolatency")),
            // The fastest preset that deblocks, and with motion vectors finer than a pixel.
            ("speed-preset", Value::Text("superfast")),
            ("bframes", Value::Text("0")),
            ("b-adapt", Value::Text("false")),
            ("rc-lookahead", Value::Text("0")),
            ("sync-lookahead", Value::Text("0")),
            // Slices of one frame side by side: latency is divided, not multiplied, by the number of threads.
            ("sliced-threads", Value::Text("true")),
            ("threads", Value::Threads),
            ("key-int-max", Value::GroupOfPictures),
            // A key frame may take this many milliseconds of the link. Shorter makes it mush, longer makes it late.
            ("vbv-buf-capacity", Value::Text("120")),
            // RTP marks the end of an access unit; a delimiter would be six bytes a frame for nothing.
            ("aud", Value::Text("false")),
            // A camera swept over a scene must not cause key frames nobody asked for.
            ("option-string", Value::Text("scenecut=0")),
        ],
        bitrate: BitrateControl::Property { name: "bitrate", unit: BitrateUnit::Kbps },
        key_frame: KeyFrameControl::Event,
        raw_formats: &["I420", "NV12"],
        packages: &[
            ("Debian, Ubuntu, Raspberry Pi OS, JetPack", "gstreamer1.0-plugins-ugly"),
            ("Fedora with RPM Fusion", "gstreamer1-plugins-ugly"),
        ],
    },
    EncoderRow {
        element: "openh264enc",
        properties: &[
            ("complexity", Value::Text("low")),
            ("rate-control", Value::Text("bitrate")),
            ("scene-change-detection", Value::Text("false")),
            ("background-detection", Value::Text("false")),
            // Without this its rate control gives up on hard scenes and sends many times the bit rate (measured).
            ("enable-frame-skip", Value::Text("true")),
            ("slice-mode", Value::Text("auto")),
            ("multi-thread", Value::Threads),
            ("gop-size", Value::GroupOfPictures),
        ],
        bitrate: BitrateControl::Property { name: "bitrate", unit: BitrateUnit::Bps },
        key_frame: KeyFrameControl::Event,
        raw_formats: &["I420"],
        packages: &[
            ("Debian 12, Ubuntu 24.04 and later", "gstreamer1.0-plugins-bad"),
            ("Fedora", "gstreamer1-plugin-openh264"),
        ],
    },
];

/// What is known of one encoder.
#[derive(Debug)]
pub struct EncoderRow {
    /// GStreamer's name for it.
    pub element: &'static str,
    /// Properties set once. They come and go between builds: one that this build lacks is left out.
    pub properties: &'static [(&'static str, Value)],
    /// How the bit rate is set, at start and while it runs.
    pub bitrate: BitrateControl,
    /// How a key frame is forced.
    pub key_frame: KeyFrameControl,
    /// Raw formats it takes, the one that costs least first.
    pub raw_formats: &'static [&'static str],
    /// Which package has it: distribution, package.
    pub packages: &'static [(&'static str, &'static str)],
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
}

/// How an encoder takes its bit rate.
#[derive(Clone, Copy, Debug)]
pub enum BitrateControl {
    /// An unsigned property that may be set while the encoder runs.
    Property {
        /// The property.
        name: &'static str,
        /// What it counts.
        unit: BitrateUnit,
    },
}

/// What an encoder's bit rate counts.
#[derive(Clone, Copy, Debug)]
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

/// How an encoder is told to make its next frame a key frame.
#[derive(Clone, Copy, Debug)]
pub enum KeyFrameControl {
    /// The upstream event `GstForceKeyUnit`, which every `GstVideoEncoder` honours.
    Event,
}

/// What keeps an encoder from being used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncoderError {
    /// The configuration names one that the table does not have.
    #[error("encoder.name = {name:?}: not a known encoder; use \"auto\" or one of: {}", names().join(", "))]
    Unknown {
        /// The name that was asked for.
        name: String,
    },
    /// The configuration names one that is not installed.
    #[error("encoder.name = {element:?}: not installed here; install the package {packages}, or use \"auto\"")]
    NotInstalled {
        /// The element that was asked for.
        element: &'static str,
        /// Where to get it.
        packages: String,
    },
    /// None of the table is installed.
    #[error("no H.264 encoder is installed; install the package {packages}")]
    NoneInstalled {
        /// Where to get each.
        packages: String,
    },
    /// This build of it cannot be steered.
    #[error("{element} of this GStreamer has no property {property:?}; set encoder.name to another encoder of: {}", names().join(", "))]
    NotSteerable {
        /// The element.
        element: &'static str,
        /// What it lacks.
        property: &'static str,
    },
}

/// Chooses the encoder: the named one, or the best of the table that `is_installed`.
///
/// # Errors
/// When the name is unknown, or nothing fitting is installed.
pub fn choose(
    choice: &EncoderChoice,
    is_installed: impl Fn(&str) -> bool,
) -> Result<&'static EncoderRow, EncoderError> {
    match choice {
        EncoderChoice::Auto => TABLE
            .iter()
            .find(|row| is_installed(row.element))
            .ok_or_else(|| EncoderError::NoneInstalled { packages: packages_of(TABLE) }),
        EncoderChoice::Named(name) => {
            let row = TABLE.iter().find(|row| row.element == name);
            let row = row.ok_or_else(|| EncoderError::Unknown { name: name.clone() })?;
            is_installed(row.element).then_some(row).ok_or_else(|| EncoderError::NotInstalled {
                element: row.element,
                packages: packages_of(std::slice::from_ref(row)),
            })
        }
    }
}

/// The circumstances an encoder is set up for.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// Size of the pictures.
    pub size: Size,
    /// Their highest rate.
    pub framerate: Framerate,
    /// Processors of this board.
    pub processors: usize,
}

/// GStreamer name of the encoder element in [`EncoderRow::launch_text`].
pub const ENCODER_NAME: &str = "encoder";

impl EncoderRow {
    /// The encoder and the form its output must have, as `gst-launch-1.0` takes them. `has` tells which properties this
    /// build of the element has.
    ///
    /// # Errors
    /// When the build lacks the property that sets the bit rate.
    pub fn launch_text(
        &self,
        config: &EncoderConfig,
        circumstances: Circumstances,
        has: impl Fn(&str) -> bool,
    ) -> Result<String, EncoderError> {
        let mut text = format!("{} name={ENCODER_NAME}", self.element);
        for (property, value) in self.properties.iter().filter(|(property, _)| has(property)) {
            let value = value.resolve(config, circumstances);
            write!(text, " {property}={value}").expect("writing to a string does not fail");
        }
        let BitrateControl::Property { name, unit } = self.bitrate;
        if !has(name) {
            return Err(EncoderError::NotSteerable { element: self.element, property: name });
        }
        let bitrate = unit.of(config.bitrate.min(bitrate_ceiling(circumstances)));
        write!(text, " {name}={bitrate} ! {OUTPUT_CAPS}").expect("writing to a string does not fail");
        Ok(text)
    }
}

/// What a WebRTC peer takes: RFC 6184 packets are made from whole access units, and every browser decodes this profile.
const OUTPUT_CAPS: &str = "video/x-h264,profile=constrained-baseline,stream-format=byte-stream,alignment=au";

/// More slices than this cost quality and win nothing at the sizes a car sends.
const MOST_THREADS: usize = 4;

impl Value {
    fn resolve(self, config: &EncoderConfig, circumstances: Circumstances) -> String {
        match self {
            Self::Text(text) => text.to_owned(),
            Self::Threads => circumstances.processors.clamp(1, MOST_THREADS).to_string(),
            Self::GroupOfPictures => {
                let frames = config.key_frame_interval.as_secs_f64() * f64::from(circumstances.framerate.per_second());
                // Saturates: an interval beyond what an encoder can count is as good as "never".
                (frames.round() as i32).max(1).to_string()
            }
        }
    }
}

/// The highest bit rate an encoder may be given. Encoders write a level into the SPS that covers size, frame rate **and**
/// bit rate; our SDP promises level 3.1 (42e01f), so where the picture fits that level, the bit rate is held inside it.
pub fn bitrate_ceiling(circumstances: Circumstances) -> Bitrate {
    let kbps = if fits_level_3_1(circumstances) { LEVEL_3_1_MAX_KBPS } else { Bitrate::MAX_KBPS };
    Bitrate::from_kbps(kbps).expect("both ceilings are within the range of Bitrate")
}

/// `MaxBR` of level 3.1 for the baseline profiles, ITU-T H.264 table A-1.
const LEVEL_3_1_MAX_KBPS: u32 = 14_000;

/// Whether pictures of this size and rate are within level 3.1: `MaxFS` and `MaxMBPS`, ITU-T H.264 table A-1.
fn fits_level_3_1(circumstances: Circumstances) -> bool {
    const MAX_FRAME_MACROBLOCKS: u32 = 3_600;
    const MAX_MACROBLOCKS_PER_SECOND: u32 = 108_000;
    let macroblocks = circumstances.size.width().div_ceil(16) * circumstances.size.height().div_ceil(16);
    macroblocks <= MAX_FRAME_MACROBLOCKS
        && macroblocks * circumstances.framerate.per_second() <= MAX_MACROBLOCKS_PER_SECOND
}

fn names() -> Vec<&'static str> {
    TABLE.iter().map(|row| row.element).collect()
}

fn packages_of(rows: &[EncoderRow]) -> String {
    let of_row = |row: &EncoderRow| {
        let packages: Vec<_> =
            row.packages.iter().map(|(distribution, package)| format!("{package} ({distribution})")).collect();
        packages.join(" or ")
    };
    rows.iter().map(of_row).collect::<Vec<_>>().join("; or ")
}

#[cfg(test)]
mod tests;
