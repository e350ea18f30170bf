//! What a channel may ask of its picture, as types that cannot hold a wrong value.

use std::path::PathBuf;
use std::time::Duration;

use super::control::CameraControls;

mod quantities;

pub use quantities::{Bitrate, Framerate, Size};

/// Everything the picture flow needs to start.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoConfig {
    /// Where raw pictures come from.
    pub camera: CameraConfig,
    /// A second camera that can take the first one's place in the picture.
    pub rear: Option<RearConfig>,
    /// How they are coded.
    pub encoder: EncoderConfig,
}

impl VideoConfig {
    /// The camera of this view; the only one where there is no second.
    pub fn camera_of(&self, view: View) -> CameraConfig {
        match (&self.rear, view) {
            (Some(rear), View::Rear) => {
                CameraConfig { source: rear.source.clone(), orientation: rear.orientation, ..self.camera.clone() }
            }
            _ => self.camera.clone(),
        }
    }

    /// The values of the controls of this view's camera, where it has any.
    pub fn controls_mut(&mut self, view: View) -> Option<&mut Vec<(String, i32)>> {
        let source = match (&mut self.rear, view) {
            (Some(rear), View::Rear) => &mut rear.source,
            (None, View::Rear) => return None,
            (_, View::Front) => &mut self.camera.source,
        };
        match source {
            Source::Usb(usb) => Some(&mut usb.controls),
            Source::Test | Source::Pipeline(_) | Source::Csi(_) => None,
        }
    }

    /// Takes over other values of the cameras' controls.
    pub(super) fn set_controls(&mut self, changed: &CameraControls) {
        for (view, changed) in View::ALL.into_iter().zip(changed) {
            if let (Some(changed), Some(controls)) = (changed, self.controls_mut(view)) {
                controls.clone_from(changed);
            }
        }
    }

    /// The setting to blame when this view has no picture.
    pub fn key(&self, view: View) -> &'static str {
        view.key(self.camera_of(view).key())
    }
}

/// Which of two cameras the picture is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Ahead.
    #[default]
    Front,
    /// Back.
    Rear,
}

impl View {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Front, Self::Rear];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Front => Self::Rear,
            Self::Rear => Self::Front,
        }
    }

    /// Its number on the wire: 0 or 1.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Rear => "rear",
        }
    }

    /// The setting of this view's camera that is for the front one's what `front` is.
    pub fn key(self, front: &'static str) -> &'static str {
        match (self, front) {
            (Self::Rear, "camera.kind") => "camera.rear.kind",
            (Self::Rear, "camera.pipeline") => "camera.rear.pipeline",
            (Self::Rear, "camera.device") => "camera.rear.device",
            (Self::Rear, "camera.sensor") => "camera.rear.sensor",
            _ => front,
        }
    }
}

/// A second camera. Its pictures have the size and rate of the first one's: it is one stream.
#[derive(Clone, Debug, PartialEq)]
pub struct RearConfig {
    /// Which source.
    pub source: Source,
    /// How its pictures are turned.
    pub orientation: Orientation,
    /// What the camera does that is not shown.
    pub idle: Idle,
    /// Whether driving back shows it, and driving forward the first one.
    pub on_reverse: bool,
}

/// What a camera does that is not shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// It runs on, so that it is shown at once when it is selected.
    #[default]
    Warm,
    /// It is closed: it takes as long to be shown as it takes to open.
    Stopped,
}

/// The source of raw pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraConfig {
    /// Which source.
    pub source: Source,
    /// Picture size in pixels.
    pub size: Size,
    /// Frames a second.
    pub framerate: Framerate,
    /// How pictures are turned. Their size is the size after it.
    pub orientation: Orientation,
    /// A camera that plays and gives no picture for this long is lost, and opened anew.
    pub stall: Duration,
    /// Whether viewers are shown, while the camera is lost, that it is.
    pub placeholder: bool,
}

impl CameraConfig {
    /// A camera with everything else as it is by default.
    pub fn new(source: Source, size: Size, framerate: Framerate) -> Self {
        let orientation = Orientation::default();
        Self { source, size, framerate, orientation, stall: Duration::from_secs(2), placeholder: false }
    }

    /// Size of the pictures as they leave the camera.
    pub fn captured_size(&self) -> Size {
        self.size.turned(self.orientation)
    }

    /// The setting to blame when there is no picture.
    pub fn key(&self) -> &'static str {
        match self.source {
            Source::Test => "camera.kind",
            Source::Pipeline(_) => "camera.pipeline",
            Source::Usb(_) => "camera.device",
            Source::Csi(_) => "camera.sensor",
        }
    }
}

/// Which source makes the pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A moving pattern with frame number, wall clock and the car's state drawn in.
    Test,
    /// A GStreamer source description (`gst-launch-1.0` syntax) that ends in raw video.
    Pipeline(String),
    /// A camera that V4L2 knows, usually on USB.
    Usb(UsbConfig),
    /// A camera on the board's own connector.
    Csi(CsiConfig),
}

/// A camera that V4L2 knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsbConfig {
    /// Which.
    pub device: DeviceChoice,
    /// How its pictures come.
    pub format: PixelFormat,
    /// Its controls by name, as `v4l2-ctl --list-ctrls` has them.
    pub controls: Vec<(String, i32)>,
}

/// Which V4L2 camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first on USB, else the first.
    #[default]
    Auto,
    /// The device node, or a link to it.
    Path(PathBuf),
    /// Its name in `/dev/v4l/by-id`, or its card name.
    Name(String),
}

/// How a camera's pictures come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PixelFormat {
    /// Raw where that is fast enough, else JPEG.
    #[default]
    Auto,
    /// Uncompressed.
    Raw,
    /// JPEG pictures.
    Mjpeg,
    /// Coded by the camera, sent as it is.
    H264,
}

/// A camera on the board's own connector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsiConfig {
    /// Which.
    pub sensor: SensorChoice,
}

/// Which CSI camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SensorChoice {
    /// The first.
    #[default]
    Auto,
    /// By number (`nvarguscamerasrc sensor-id`).
    Id(u8),
    /// By name (`libcamerasrc camera-name`).
    Name(String),
}

/// How a picture is turned: flipped first, then rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Mirrored.
    pub flip: Flip,
    /// Turned clockwise.
    pub rotation: Rotation,
}

/// How a picture is mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flip {
    /// Not.
    #[default]
    None,
    /// Left for right.
    Horizontal,
    /// Top for bottom.
    Vertical,
}

/// How a picture is turned, in degrees clockwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotation {
    /// Not.
    #[default]
    R0,
    /// A quarter.
    R90,
    /// A half.
    R180,
    /// Three quarters.
    R270,
}

impl Orientation {
    /// Whether width and height change places.
    pub fn swaps_sides(self) -> bool {
        matches!(self.rotation, Rotation::R90 | Rotation::R270)
    }

    /// Whether nothing is to be done.
    pub fn is_upright(self) -> bool {
        self == Self::default()
    }
}

/// How pictures are coded.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// Which encoder of the table, or the best that works here.
    pub choice: EncoderChoice,
    /// Bit rate at start; changeable while running.
    pub bitrate: Bitrate,
    /// Longest time between two key frames; others come on request (PLI, FIR, a new viewer).
    pub key_frame_interval: Duration,
}

/// Which encoder to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncoderChoice {
    /// The first of the encoder table that exists here.
    Auto,
    /// This GStreamer element, an entry of the encoder table.
    Named(String),
}

/// Whether pictures carry what lost packets can be rebuilt from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fec {
    /// They do not.
    #[default]
    Off,
    /// FlexFEC (draft-ietf-payload-flexible-fec-scheme-03), while packets get lost on a long way.
    FlexFec03,
}

/// How the picture's rate follows the link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateConfig {
    start: Bitrate,
    min: Bitrate,
    max: Bitrate,
    bits_per_pixel: f64,
    slowest: Framerate,
    fec: Fec,
}

impl RateConfig {
    /// The default of [`RateConfig::bits_per_pixel`].
    pub const BITS_PER_PIXEL: f64 = 0.02;
    /// The default of [`RateConfig::slowest`].
    pub const SLOWEST: Framerate = Framerate::new(10).expect("10 is within the range of Framerate");

    /// Rates at the start of a session, at the least and at the most; `None` unless `min` ≤ `start` ≤ `max`.
    pub fn new(start: Bitrate, min: Bitrate, max: Bitrate) -> Option<Self> {
        let (bits_per_pixel, slowest) = (Self::BITS_PER_PIXEL, Self::SLOWEST);
        (min <= start && start <= max).then_some(Self { start, min, max, bits_per_pixel, slowest, fec: Fec::Off })
    }

    /// The same rates, with another floor for the picture: see [`RateConfig::bits_per_pixel`] and
    /// [`RateConfig::slowest`].
    #[must_use]
    pub fn with_floor(self, bits_per_pixel: f64, slowest: Framerate) -> Self {
        Self { bits_per_pixel, slowest, ..self }
    }

    /// The same rates, with forward error correction or without.
    #[must_use]
    pub fn with_fec(self, fec: Fec) -> Self {
        Self { fec, ..self }
    }

    /// `start` at the most, and as little as a picture can be had for.
    pub fn up_to(start: Bitrate) -> Self {
        let least = Bitrate::from_kbps(150).expect("150 kbit/s are within the range of Bitrate");
        Self::new(start, least.min(start), start).expect("the least is no more than the start")
    }

    /// At the start of a session.
    pub fn start(&self) -> Bitrate {
        self.start
    }

    /// At the least, whatever the link.
    pub fn min(&self) -> Bitrate {
        self.min
    }

    /// At the most, however good the link.
    pub fn max(&self) -> Bitrate {
        self.max
    }

    /// Fewer bits than this for each pixel coded is mush: below it the frame rate, then the size steps down; 0 never
    /// does. H.264 baseline needs about 0.02 … 0.05 for a camera that moves.
    pub fn bits_per_pixel(&self) -> f64 {
        self.bits_per_pixel
    }

    /// The frame rate never steps down below this.
    pub fn slowest(&self) -> Framerate {
        self.slowest
    }

    /// Whether lost packets can be rebuilt by a peer that agrees to it; from the next session on.
    pub fn fec(&self) -> Fec {
        self.fec
    }
}
