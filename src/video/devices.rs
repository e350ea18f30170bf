//! The cameras of this machine that V4L2 knows. The only importer of `v4l`: what it panics on (device names that are no
//! UTF-8, `/dev/video` without a number) is read from sysfs instead.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use v4l::Device;
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::video::Capture;

use super::error::{CameraFault, VideoError};
use super::modes::{Format, Mode, Rate, Rates, Steps, Taken, Wanted, choose};
use super::settings::{DeviceChoice, Framerate, Size};

const SYSFS: &str = "/sys/class/video4linux";
const BY_ID: &str = "/dev/v4l/by-id";
/// The setting that says which camera.
const KEY: &str = "camera.device";
/// Cards that offer pictures and are no camera, by how their names begin: the image processor of a Raspberry Pi gives
/// back what it is given.
const NO_CAMERAS: [&str; 1] = ["bcm2835-isp"];
/// The size that a camera with a range of sizes is shown at.
const SHOWN_AT: (u32, u32) = (640, 480);

const ANY_RATE: Rates = Rates::Between(Rate { frames: 1, seconds: 1 }, Rate { frames: Framerate::MAX, seconds: 1 });

/// A V4L2 device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `/dev/videoN`.
    pub path: PathBuf,
    /// The name of the device.
    pub card: String,
    /// Names in `/dev/v4l/by-id` that lead to it: they stay the same whichever port and order.
    pub by_id: Vec<String>,
    /// Whether it hangs on USB.
    pub usb: bool,
}

/// Every V4L2 node, by number. Encoders and metadata are among them: those have no [`modes`].
pub fn nodes() -> Vec<Node> {
    let entries = fs::read_dir(SYSFS).into_iter().flatten().flatten();
    let mut numbered: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number: u32 = name.strip_prefix("video")?.parse().ok()?;
            Some((number, node(&entry.path(), Path::new("/dev").join(&name))))
        })
        .collect();
    numbered.sort_by_key(|(number, _)| *number);
    numbered.into_iter().map(|(_, node)| node).collect()
}

fn node(sysfs: &Path, path: PathBuf) -> Node {
    let name = fs::read(sysfs.join("name")).unwrap_or_default();
    let subsystem = fs::read_link(sysfs.join("device/subsystem")).unwrap_or_default();
    let links = fs::read_dir(BY_ID).into_iter().flatten().flatten();
    let by_id = links
        .filter(|link| fs::canonicalize(link.path()).is_ok_and(|target| target == path))
        .map(|link| link.file_name().to_string_lossy().into_owned())
        .collect();
    // A name cut off within a character is no UTF-8, in both places; `query_caps` would panic.
    let card =
        std::str::from_utf8(&name).ok().and_then(|_| Some(Device::with_path(&path).ok()?.query_caps().ok()?.card));
    Node {
        path,
        card: card.unwrap_or_else(|| String::from_utf8_lossy(&name).trim().to_owned()),
        by_id,
        usb: subsystem.file_name().is_some_and(|name| name == "usb"),
    }
}

/// Finds the camera that the configuration means, and the mode of it to take.
///
/// # Errors
/// When there is no such camera now, it may not be opened, or has no mode near what is wanted.
pub fn find(choice: &DeviceChoice, wanted: Wanted) -> Result<(Node, Taken), VideoError> {
    let node = match choice {
        DeviceChoice::Auto => automatic(wanted),
        DeviceChoice::Path(path) => by_path(path),
        DeviceChoice::Name(name) => by_name(name),
    }?;
    let modes = modes(&node.path, Some(wanted.size)).map_err(|error| unopened(&node.path, &error))?;
    match choose(wanted, &modes) {
        Some(taken) => Ok((node, taken)),
        None => Err(no_mode(&node, wanted, &modes)),
    }
}

fn automatic(wanted: Wanted) -> Result<Node, VideoError> {
    let mut cameras: Vec<_> = nodes().into_iter().filter(|node| is_camera(node, wanted)).collect();
    // What somebody has plugged in is meant; what a board comes with may be a part of it.
    cameras.sort_by_key(|node| !node.usb);
    cameras.into_iter().next().ok_or_else(|| missing("no V4L2 camera is there".to_owned()))
}

fn is_camera(node: &Node, wanted: Wanted) -> bool {
    !is_processor(&node.card) && modes(&node.path, Some(wanted.size)).is_ok_and(|modes| !modes.is_empty())
}

fn is_processor(card: &str) -> bool {
    NO_CAMERAS.iter().any(|name| card.starts_with(name))
}

fn by_path(path: &Path) -> Result<Node, VideoError> {
    let target = fs::canonicalize(path).map_err(|error| unopened(path, &error))?;
    let known = nodes().into_iter().find(|node| node.path == target);
    Ok(known.unwrap_or(Node { path: target, card: String::new(), by_id: Vec::new(), usb: false }))
}

fn by_name(name: &str) -> Result<Node, VideoError> {
    let nodes = nodes();
    let named = nodes.iter().filter(|node| node.card == name || node.by_id.iter().any(|id| id == name));
    // A camera has several nodes of one name: the one that gives pictures is meant.
    let camera = named.clone().find(|node| modes(&node.path, None).is_ok_and(|modes| !modes.is_empty()));
    camera.cloned().ok_or_else(|| {
        let cards: Vec<_> = nodes.iter().map(|node| format!("{:?}", node.card)).collect();
        missing(format!("no camera is called {name:?}; there are: {}", cards.join(", ")))
    })
}

fn missing(problem: String) -> VideoError {
    VideoError::Camera { key: KEY, problem, fault: CameraFault::Missing }
}

fn unopened(path: &Path, error: &io::Error) -> VideoError {
    let fault = match error.kind() {
        io::ErrorKind::ResourceBusy => CameraFault::Busy,
        _ => CameraFault::Missing,
    };
    VideoError::Camera { key: KEY, problem: format!("{}: {error}", path.display()), fault }
}

fn no_mode(node: &Node, wanted: Wanted, modes: &[Mode]) -> VideoError {
    if modes.is_empty() {
        return missing(format!("{} ({}) gives no pictures that can be used now", node.path.display(), node.card));
    }
    let offered: Vec<_> = modes.iter().map(Mode::to_string).collect();
    let problem =
        format!("{} ({}) has nothing near {wanted}, but: {}", node.path.display(), node.card, offered.join("; "));
    VideoError::Camera { key: "camera.width", problem, fault: CameraFault::NoMode }
}

/// What the camera at `path` offers; of a range of sizes, the one nearest to `near`. Empty for what is no camera.
///
/// # Errors
/// When it cannot be opened.
pub fn modes(path: &Path, near: Option<Size>) -> io::Result<Vec<Mode>> {
    let device = Device::with_path(path)?;
    let mut modes = Vec::new();
    for description in device.enum_formats()? {
        let Some(format) = Format::from_fourcc(description.fourcc.repr) else { continue };
        for offered in device.enum_framesizes(description.fourcc).unwrap_or_default() {
            let (width, height) = sides(&offered.size, near);
            let Some(size) = Size::new(width, height) else { continue };
            let rates = rates(&device, description.fourcc, size);
            let mode = Mode { format, size, rates };
            if !modes.contains(&mode) {
                modes.push(mode);
            }
        }
    }
    Ok(modes)
}

fn sides(offered: &FrameSizeEnum, near: Option<Size>) -> (u32, u32) {
    match offered {
        FrameSizeEnum::Discrete(size) => (size.width, size.height),
        FrameSizeEnum::Stepwise(steps) => {
            let (width, height) = near.map_or(SHOWN_AT, |near| (near.width(), near.height()));
            let side = |min, max, step, wanted| Steps { min, max, step }.nearest(wanted);
            (
                side(steps.min_width, steps.max_width, steps.step_width, width),
                side(steps.min_height, steps.max_height, steps.step_height, height),
            )
        }
    }
}

fn rates(device: &Device, fourcc: v4l::FourCC, size: Size) -> Rates {
    let intervals = device.enum_frameintervals(fourcc, size.width(), size.height()).unwrap_or_default();
    let rate = |interval: &v4l::Fraction| Rate::of_interval(interval.numerator, interval.denominator);
    let range = intervals.iter().find_map(|interval| match &interval.interval {
        FrameIntervalEnum::Stepwise(steps) => Some(Rates::Between(rate(&steps.max)?, rate(&steps.min)?)),
        FrameIntervalEnum::Discrete(_) => None,
    });
    range.unwrap_or_else(|| {
        let listed = intervals.iter().filter_map(|interval| match &interval.interval {
            FrameIntervalEnum::Discrete(interval) => rate(interval),
            FrameIntervalEnum::Stepwise(_) => None,
        });
        let listed: Vec<_> = listed.collect();
        // Some drivers keep their rates to themselves.
        if intervals.is_empty() { ANY_RATE } else { Rates::Listed(listed) }
    })
}

/// A control of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlRange {
    /// As `camera.controls` takes it.
    pub name: String,
    /// The lowest value.
    pub minimum: i64,
    /// The highest value.
    pub maximum: i64,
    /// The value it has by itself.
    pub default: i64,
}

/// The controls of the camera at `path`; none when they cannot be listed: `v4l` gives up on kinds it does not know.
pub fn controls(path: &Path) -> Vec<ControlRange> {
    let listed = std::panic::catch_unwind(|| Device::with_path(path).and_then(|device| device.query_controls()));
    let listed = listed.unwrap_or_else(|_| Ok(Vec::new())).unwrap_or_default();
    let settable = listed.into_iter().filter(|control| {
        use v4l::control::Type;
        matches!(control.typ, Type::Integer | Type::Boolean | Type::Menu | Type::IntegerMenu | Type::Integer64)
    });
    settable
        .map(|control| ControlRange {
            name: control_name(&control.name),
            minimum: control.minimum,
            maximum: control.maximum,
            default: control.default,
        })
        .collect()
}

/// "White Balance, Automatic" → `white_balance_automatic`: as `v4l2-ctl` and GStreamer write it.
fn control_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_processor_of_a_raspberry_pi_is_not_taken_for_a_camera() {
        for card in ["bcm2835-isp", "bcm2835-isp-capture0"] {
            assert!(is_processor(card), "{card}");
        }
        for card in ["HD Pro Webcam C920", "unicam", "mmal service 16.1", ""] {
            assert!(!is_processor(card), "{card}");
        }
    }

    #[test]
    fn controls_are_named_as_v4l2_ctl_names_them() {
        for (name, written) in [
            ("Brightness", "brightness"),
            ("White Balance, Automatic", "white_balance_automatic"),
            ("Gain (dB)", "gain_db"),
        ] {
            assert_eq!(control_name(name), written);
        }
    }
}
