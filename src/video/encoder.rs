//! **The one table of encoder knowledge.** Everything that differs between encoders is a column of [`TABLE`]; nothing
//! outside this folder may ask which encoder runs. A new encoder is a new row (`encoder/table.rs`), and a new way of doing
//! something a new variant (`encoder/kinds.rs`), which the compiler then demands of the pipeline.

use std::fmt::Write as _;

use super::rate::Steering;
use super::settings::{Bitrate, EncoderChoice, EncoderConfig, Framerate, Size};

mod kinds;
mod table;

pub use kinds::{BitrateControl, BitrateSteps, BitrateUnit, BitsPer, EncoderRow, KeyFrameControl, Memory, Value};
pub use table::{PASSTHROUGH, TABLE};

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
