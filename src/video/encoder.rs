//! **The one table of encoder knowledge.** Everything that differs between encoders is a column of [`TABLE`]; nothing
//! outside this file may ask which encoder runs. A new encoder is a new row, and a new way of doing something a new
//! variant, which the compiler then demands of the pipeline.

use std::fmt::Write as _;

use super::rate::Steering;
use super::settings::{Bitrate, EncoderChoice, EncoderConfig, Framerate, Size};

/// Encoders, best first: the order of the automatic choice.
pub static TABLE: &[EncoderRow] = &[
    // Jetson with NVENC.
    EncoderRow {
        element: "nvv4l2h264enc",
        hardware: true,
        properties: &[
            // CBR.
            ("control-rate", Value::Text("1")),
            // Constrained baseline, fastest preset, highest clocks.
            ("profile", Value::Text("0")),
            ("preset-level", Value::Text("1")),
            ("maxperf-enable", Value::Text("1")),
            ("insert-sps-pps", Value::Text("1")),
            ("insert-vui", Value::Text("1")),
            ("num-B-Frames", Value::Text("0")),
            // Pictures leave in the order they came: no decoder holds one back.
            ("poc-type", Value::Text("2")),
            ("iframeinterval", Value::GroupOfPictures),
            ("idrinterval", Value::GroupOfPictures),
        ],
        controls: &[],
        bitrate: &[BitrateControl::Property { name: "bitrate", unit: BitrateUnit::Bps }],
        steps: None,
        // Not run: taken for one that errs on the side of less.
        bits_per: BitsPer::Second,
        resizes: false,
        key_frame: KeyFrameControl::Signal("force-IDR"),
        raw_formats: &["NV12"],
        memory: Memory::Nvmm,
        output: "video/x-h264,stream-format=byte-stream,alignment=au",
        level_in_caps: false,
        parse: true,
        packages: &[("JetPack", "nvidia-l4t-gstreamer")],
    },
    // Raspberry Pi up to 4 (bcm2835-codec), and other V4L2 memory-to-memory encoders.
    EncoderRow {
        element: "v4l2h264enc",
        hardware: true,
        properties: &[("gop-size", Value::LongGroupOfPictures)],
        controls: &[
            ("repeat_sequence_header", Value::Text("1")),
            // CBR.
            ("video_bitrate_mode", Value::Text("1")),
            // 1 hangs the Pi's encoder.
            ("h264_i_frame_period", Value::LongGroupOfPictures),
        ],
        bitrate: &[
            // From GStreamer 1.30.
            BitrateControl::Property { name: "bitrate", unit: BitrateUnit::Bps },
            BitrateControl::Control { name: "video_bitrate" },
        ],
        // The Pi's firmware: 25 000 … 25 000 000 bit/s in steps of 25 000.
        steps: Some(BitrateSteps { min_kbps: 25, max_kbps: 25_000, step_kbps: 25 }),
        // Not run: taken for one that errs on the side of less.
        bits_per: BitsPer::Second,
        resizes: false,
        key_frame: KeyFrameControl::EventOrControl("force_key_frame"),
        raw_formats: &["NV12", "I420"],
        memory: Memory::System,
        output: OUTPUT_CAPS,
        level_in_caps: true,
        parse: true,
        packages: &[("Debian, Ubuntu, Raspberry Pi OS", "gstreamer1.0-plugins-good")],
    },
    // Jetson up to JetPack 4 and Raspberry Pi OS up to Buster.
    EncoderRow {
        element: "omxh264enc",
        hardware: true,
        properties: &[
            // Constant.
            ("control-rate", Value::Text("2")),
            ("insert-sps-pps", Value::Text("true")),
            ("inline-header", Value::Text("true")),
            ("iframeinterval", Value::GroupOfPictures),
            ("interval-intraframes", Value::GroupOfPictures),
        ],
        controls: &[],
        bitrate: &[
            BitrateControl::Property { name: "target-bitrate", unit: BitrateUnit::Bps },
            BitrateControl::Property { name: "bitrate", unit: BitrateUnit::Bps },
        ],
        steps: None,
        // Not run: taken for one that errs on the side of less.
        bits_per: BitsPer::Second,
        resizes: false,
        key_frame: KeyFrameControl::Event,
        raw_formats: &["NV12", "I420"],
        memory: Memory::System,
        output: "video/x-h264,stream-format=byte-stream,alignment=au",
        level_in_caps: false,
        parse: true,
        packages: &[("JetPack up to 4", "nvidia-l4t-gstreamer"), ("Raspberry Pi OS up to 10", "gstreamer1.0-omx-rpi")],
    },
    EncoderRow {
        element: "x264enc",
        hardware: false,
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
        controls: &[],
        bitrate: &[BitrateControl::Property { name: "bitrate", unit: BitrateUnit::Kbps }],
        steps: None,
        // Measured.
        bits_per: BitsPer::Frame,
        resizes: true,
        key_frame: KeyFrameControl::Event,
        raw_formats: &["I420", "NV12"],
        memory: Memory::System,
        output: OUTPUT_CAPS,
        level_in_caps: false,
        parse: false,
        packages: &[
            ("Debian, Ubuntu, Raspberry Pi OS, JetPack", "gstreamer1.0-plugins-ugly"),
            ("Fedora with RPM Fusion", "gstreamer1-plugins-ugly"),
        ],
    },
    EncoderRow {
        element: "openh264enc",
        hardware: false,
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
        controls: &[],
        bitrate: &[BitrateControl::Property { name: "bitrate", unit: BitrateUnit::Bps }],
        steps: None,
        // Measured.
        bits_per: BitsPer::Second,
        resizes: true,
        key_frame: KeyFrameControl::Event,
        raw_formats: &["I420"],
        memory: Memory::System,
        output: OUTPUT_CAPS,
        level_in_caps: false,
        parse: false,
        packages: &[
            ("Debian 12, Ubuntu 24.04 and later", "gstreamer1.0-plugins-bad"),
            ("Fedora", "gstreamer1-plugin-openh264"),
        ],
    },
];

/// Not an encoder: the camera has coded its pictures itself. They are put into shape and nothing can be asked of them.
pub static PASSTHROUGH: EncoderRow = EncoderRow {
    element: "h264parse",
    hardware: true,
    properties: &[("config-interval", Value::Text("-1"))],
    controls: &[],
    bitrate: &[BitrateControl::None],
    steps: None,
    bits_per: BitsPer::Second,
    resizes: false,
    key_frame: KeyFrameControl::None,
    raw_formats: &[],
    memory: Memory::System,
    output: "video/x-h264,stream-format=byte-stream,alignment=au",
    level_in_caps: false,
    parse: false,
    packages: &[("Debian, Ubuntu, Raspberry Pi OS, JetPack", "gstreamer1.0-plugins-bad")],
};

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

/// Chooses the encoder: the named one, or the best of the table that `is_installed` and, when it needs hardware, `works`.
///
/// # Errors
/// When the name is unknown, or nothing fitting is installed.
pub fn choose(
    choice: &EncoderChoice,
    is_installed: impl Fn(&str) -> bool,
    works: impl Fn(&'static EncoderRow) -> bool,
) -> Result<&'static EncoderRow, EncoderError> {
    match choice {
        EncoderChoice::Auto => TABLE
            .iter()
            .find(|row| is_installed(row.element) && (!row.hardware || works(row)))
            .ok_or_else(|| EncoderError::NoneInstalled { packages: packages_of(software()) }),
        EncoderChoice::Named(name) => {
            let row = row(name).ok_or_else(|| EncoderError::Unknown { name: name.clone() })?;
            is_installed(row.element)
                .then_some(row)
                .ok_or_else(|| EncoderError::NotInstalled { element: row.element, packages: packages_of([row]) })
        }
    }
}

/// The row of this element.
pub fn row(element: &str) -> Option<&'static EncoderRow> {
    TABLE.iter().find(|row| row.element == element)
}

/// What anybody can install.
fn software() -> impl Iterator<Item = &'static EncoderRow> {
    TABLE.iter().filter(|row| !row.hardware)
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

/// GStreamer name of the encoder element in [`Setup::text`].
pub const ENCODER_NAME: &str = "encoder";

/// An encoder ready to be made and steered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The encoder and the form its output must have, as `gst-launch-1.0` takes them.
    pub text: String,
    /// How its bit rate is set.
    pub bitrate: BitrateControl,
    /// How a key frame is forced.
    pub key_frame: KeyFrameControl,
    /// Controls of its device that stay as they are.
    controls: Vec<String>,
}

impl Setup {
    /// The whole `extra-controls` structure: it replaces what was set before. `pressed` is a button to press.
    pub fn controls(&self, bitrate: Bitrate, pressed: Option<&str>) -> String {
        let bitrate = match self.bitrate {
            BitrateControl::Control { name } => Some(format!("{name}={}", bitrate.bps())),
            BitrateControl::Property { .. } | BitrateControl::None => None,
        };
        let pressed = pressed.map(|button| format!("{button}=1"));
        let controls: Vec<_> = ["controls".to_owned()]
            .into_iter()
            .chain(self.controls.iter().cloned())
            .chain(bitrate)
            .chain(pressed)
            .collect();
        controls.join(",")
    }
}

impl EncoderRow {
    /// Sets the encoder up. `has` tells which properties this build of the element has; `version` is GStreamer's.
    ///
    /// # Errors
    /// When the build lacks what sets the bit rate.
    pub fn setup(
        &self,
        config: &EncoderConfig,
        circumstances: Circumstances,
        version: (u32, u32, u32),
        has: impl Fn(&str) -> bool,
    ) -> Result<Setup, EncoderError> {
        let mut text = format!("{} name={ENCODER_NAME}", self.element);
        for (property, value) in self.properties.iter().filter(|(property, _)| has(property)) {
            let value = value.resolve(config, circumstances);
            write!(text, " {property}={value}").expect("writing to a string does not fail");
        }
        let available = |control: &&BitrateControl| match control {
            BitrateControl::Property { name, .. } => has(name),
            BitrateControl::Control { .. } => has(CONTROLS),
            BitrateControl::None => true,
        };
        let Some(control) = self.bitrate.iter().find(available) else {
            let property = match self.bitrate.first() {
                Some(BitrateControl::Property { name, .. }) => name,
                _ => CONTROLS,
            };
            return Err(EncoderError::NotSteerable { element: self.element, property });
        };
        let bitrate = self.fit(config.bitrate.min(bitrate_ceiling(circumstances)));
        let resolved = |(name, value): &(&str, Value)| format!("{name}={}", value.resolve(config, circumstances));
        let mut setup = Setup {
            text: String::new(),
            bitrate: *control,
            key_frame: self.key_frame.in_version(version),
            controls: self.controls.iter().map(resolved).collect(),
        };
        if let BitrateControl::Property { name, unit } = control {
            write!(text, " {name}={}", unit.of(bitrate)).expect("writing to a string does not fail");
        }
        if !self.controls.is_empty() && has(CONTROLS) {
            write!(text, " {CONTROLS}=\"{}\"", setup.controls(bitrate, None))
                .expect("writing to a string does not fail");
        }
        let level = if self.level_in_caps { format!(",level=(string){}", level(circumstances)) } else { String::new() };
        write!(text, " ! {}{level}", self.output).expect("writing to a string does not fail");
        if self.parse {
            text.push_str(PARSER);
        }
        setup.text = text;
        Ok(setup)
    }

    /// How rate control may steer it.
    pub fn steering(&self) -> Steering {
        if self.bitrate.contains(&BitrateControl::None) {
            return Steering::Passthrough;
        }
        Steering::Adaptable { step_kbps: self.steps.map_or(1, |steps| steps.step_kbps), resizes: self.resizes }
    }

    /// The bit rate it takes that is nearest to this one from below.
    pub fn fit(&self, bitrate: Bitrate) -> Bitrate {
        self.steps.map_or(bitrate, |steps| steps.fit(bitrate))
    }
}

/// The property that holds the controls of an encoder's device.
pub const CONTROLS: &str = "extra-controls";

/// Puts SPS and PPS before each IDR where the encoder leaves them out.
const PARSER: &str = " ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au";

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
            Self::LongGroupOfPictures => match Self::GroupOfPictures.resolve(config, circumstances) {
                shortest if shortest == "1" => "2".to_owned(),
                longer => longer,
            },
        }
    }
}

/// The highest bit rate an encoder may be given. Encoders write a level into the SPS that covers size, frame rate **and**
/// bit rate; our SDP promises level 3.1 (42e01f), so where the picture fits that level, the bit rate is held inside it.
pub fn bitrate_ceiling(circumstances: Circumstances) -> Bitrate {
    let kbps = if fits_level_3_1(circumstances) { LEVEL_3_1_MAX_KBPS } else { Bitrate::MAX_KBPS };
    Bitrate::from_kbps(kbps).expect("both ceilings are within the range of Bitrate")
}

/// The level to write into the stream: the one our SDP promises where the picture fits it, else what the picture needs
/// at the Pi's highest (its encoder refuses more than level 4).
fn level(circumstances: Circumstances) -> &'static str {
    if fits_level_3_1(circumstances) { "3.1" } else { "4" }
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

/// Which package has it, by distribution.
pub fn packages_of(rows: impl IntoIterator<Item = &'static EncoderRow>) -> String {
    let of_row = |row: &EncoderRow| {
        let packages: Vec<_> =
            row.packages.iter().map(|(distribution, package)| format!("{package} ({distribution})")).collect();
        packages.join(" or ")
    };
    rows.into_iter().map(of_row).collect::<Vec<_>>().join("; or ")
}

#[cfg(test)]
mod tests;
