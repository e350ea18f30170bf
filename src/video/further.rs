//! Cameras whose pictures go out beside the first one's, each coded by itself and a track of its own.

use std::fmt;
use std::path::{Path, PathBuf};

use super::settings::{Bitrate, DeviceChoice, RateConfig, SensorChoice, Source, VideoConfig};

/// How many there may be: with the first one, four pictures.
pub const MOST_FURTHER: usize = 3;
/// On the worst of links a further picture takes no less than this, in kbit/s.
const LEAST_KBPS: u32 = Bitrate::MIN_KBPS;

/// A camera beside the first, with an encoder of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct FurtherCamera {
    /// What viewers know it by.
    pub name: CameraName,
    /// Camera and encoder; never two cameras before one encoder.
    pub video: VideoConfig,
}

/// The name of a camera beside the first: its track's id, and what telemetry tells of it by. 1 … 16 of `a-z0-9-`, and
/// not the first one's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CameraName(String);

impl CameraName {
    /// What the first camera goes by.
    pub const FIRST: &str = "camera";
    /// The longest there may be, in bytes.
    const MAX_BYTES: usize = 16;

    /// A name, or `None` unless it is one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len()) && text != Self::FIRST;
        let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        (fits && plain).then(|| Self(text.to_owned()))
    }

    /// As it stands in the file.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CameraName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RateConfig {
    /// How the rate of a further picture follows the link: up to what it is configured to take, with the first one's
    /// floor for the picture.
    #[must_use]
    pub fn of_further(&self, bitrate: Bitrate) -> Self {
        let least = Bitrate::from_kbps(LEAST_KBPS).expect("it is the least there is");
        let rates = Self::new(bitrate, least, bitrate).expect("no bit rate is below the least");
        rates.with_floor(self.bits_per_pixel(), self.slowest()).with_fec(self.fec())
    }

    /// How the rate of the whole link follows it: this picture's and those of these beside it.
    #[must_use]
    pub fn beside(&self, further: impl IntoIterator<Item = Bitrate>) -> Self {
        further.into_iter().map(|bitrate| self.of_further(bitrate)).fold(*self, |whole, further| {
            let sum = |of: fn(&Self) -> Bitrate| {
                let kbps = (of(&whole).kbps() + of(&further).kbps()).min(Bitrate::MAX_KBPS);
                Bitrate::from_kbps(kbps).expect("a sum is no less than the least, and capped at the most")
            };
            let rates = Self::new(sum(Self::start), sum(Self::min), sum(Self::max));
            let rates = rates.expect("sums keep the order of what is added");
            rates.with_floor(self.bits_per_pixel(), self.slowest()).with_fec(self.fec())
        })
    }
}

impl Source {
    /// Whether both open the same device, as far as the configuration alone tells: not whether one camera has two names.
    pub fn is_same_device(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Usb(one), Self::Usb(other)) => one.device == other.device,
            (Self::Csi(one), Self::Csi(other)) => number(&one.sensor) == number(&other.sensor),
            _ => self.nodes().iter().any(|node| other.nodes().contains(node)),
        }
    }

    /// The device nodes it names.
    fn nodes(&self) -> Vec<PathBuf> {
        match self {
            Self::Usb(usb) => match &usb.device {
                DeviceChoice::Path(path) => vec![path.clone()],
                DeviceChoice::Auto | DeviceChoice::Name(_) => Vec::new(),
            },
            Self::Pipeline(description) => {
                let values = description.split_whitespace().filter_map(|word| word.strip_prefix("device="));
                let paths = values.map(|value| value.trim_matches(['"', '\''])).map(Path::new);
                paths.filter(|path| path.is_absolute()).map(Path::to_owned).collect()
            }
            Self::Test | Self::Csi(_) => Vec::new(),
        }
    }
}

/// The first CSI camera has the number 0.
fn number(sensor: &SensorChoice) -> SensorChoice {
    match sensor {
        SensorChoice::Auto => SensorChoice::Id(0),
        named => named.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::settings::{CsiConfig, UsbConfig};

    fn kbps(kbps: u32) -> Bitrate {
        Bitrate::from_kbps(kbps).expect("a valid rate")
    }

    #[test]
    fn a_name_is_short_and_plain_and_not_the_first_ones() {
        for right in ["r", "rear", "left-2", "0123456789abcdef"] {
            assert_eq!(CameraName::new(right).as_ref().map(CameraName::as_str), Some(right));
        }
        for wrong in ["", "camera", "Rear", "rück", "a b", "a_b", "0123456789abcdefg"] {
            assert_eq!(CameraName::new(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_link_carries_what_its_pictures_may_take_together() {
        let first = RateConfig::new(kbps(800), kbps(150), kbps(3000)).expect("in order");
        assert_eq!(first.beside([]), first, "one picture is a link to itself");
        let whole = first.beside([kbps(400), kbps(300)]);
        assert_eq!([whole.start(), whole.min(), whole.max()].map(Bitrate::kbps), [1500, 250, 3700]);
        let most = RateConfig::up_to(kbps(Bitrate::MAX_KBPS)).beside([kbps(Bitrate::MAX_KBPS)]);
        assert_eq!((most.start(), most.max()), (kbps(Bitrate::MAX_KBPS), kbps(Bitrate::MAX_KBPS)));
    }

    #[test]
    fn two_cameras_on_one_device_are_told_where_their_words_tell_it() {
        let usb = |device| Source::Usb(UsbConfig { device, ..UsbConfig::default() });
        let at = |path: &str| usb(DeviceChoice::Path(path.into()));
        let csi = |sensor| Source::Csi(CsiConfig { sensor });
        let pipeline = |text: &str| Source::Pipeline(text.to_owned());
        let table = [
            (usb(DeviceChoice::Auto), usb(DeviceChoice::Auto), true),
            (at("/dev/video0"), at("/dev/video0"), true),
            (at("/dev/video0"), at("/dev/video2"), false),
            (at("/dev/video0"), pipeline("v4l2src device=/dev/video0 ! videoconvert"), true),
            (pipeline("v4l2src device=\"/dev/video1\" ! a"), pipeline("v4l2src device=/dev/video1 ! b"), true),
            (pipeline("videotestsrc"), pipeline("videotestsrc"), false),
            (csi(SensorChoice::Auto), csi(SensorChoice::Id(0)), true),
            (csi(SensorChoice::Id(0)), csi(SensorChoice::Id(1)), false),
            (Source::Test, Source::Test, false),
            (usb(DeviceChoice::Auto), csi(SensorChoice::Auto), false),
        ];
        for (one, other, same) in table {
            assert_eq!(one.is_same_device(&other), same, "{one:?} {other:?}");
            assert_eq!(other.is_same_device(&one), same, "{other:?} {one:?}");
        }
    }
}
