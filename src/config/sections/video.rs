//! `[camera]` and `[encoder]`

use crate::config::reader::{Read, Reader};
use crate::config::schema::join;
use crate::video::settings::{
    Bitrate, CameraConfig, CsiConfig, DeviceChoice, EncoderChoice, EncoderConfig, Flip, Framerate, Idle, Orientation,
    PixelFormat, RearConfig, Rotation, SensorChoice, Size, Source, UsbConfig, VideoConfig,
};

const CAMERA: &str = "camera";
const REAR: &str = "camera.rear";

pub(super) fn read(reader: &mut Reader<'_>) -> Read<VideoConfig> {
    let camera = camera(reader);
    let rear = rear(reader);
    let encoder = encoder(reader);
    let (camera, rear) = (camera?, rear?);
    if rear.is_some() {
        for (table, source) in [(CAMERA, Some(&camera.source)), (REAR, rear.as_ref().map(|rear| &rear.source))] {
            if matches!(source, Some(Source::Usb(usb)) if usb.format == PixelFormat::H264) {
                let remedy = "two cameras share one encoder, and this one codes by itself: take another format";
                return Err(reader.problem(&join(table, "format"), remedy));
            }
        }
    }
    Ok(VideoConfig { camera, rear, encoder: encoder? })
}

fn rear(reader: &mut Reader<'_>) -> Read<Option<RearConfig>> {
    let source = source(reader, REAR);
    let orientation = orientation(reader, REAR);
    let idle = reader.choice("camera.idle", &[("warm", Idle::Warm), ("stopped", Idle::Stopped)]);
    let on_reverse = reader.boolean("camera.switch_on_reverse", true);
    if !reader.is_switched_on(REAR) {
        let changed =
            [("camera.idle", idle == Ok(Idle::Stopped)), ("camera.switch_on_reverse", on_reverse == Ok(false))];
        for (key, changed) in changed {
            if changed {
                return Err(
                    reader.problem(key, "is used with a second camera only: add [camera.rear], or take this out")
                );
            }
        }
        return Ok(None);
    }
    let (source, orientation, idle) = (source?, orientation?, idle?);
    Ok(Some(RearConfig { source, orientation, idle, on_reverse: on_reverse? }))
}

fn camera(reader: &mut Reader<'_>) -> Read<CameraConfig> {
    let source = source(reader, CAMERA);
    let size = size(reader, CAMERA);
    let framerate = reader.integer("camera.framerate", 1..=Framerate::MAX, 30);
    let orientation = orientation(reader, CAMERA);
    let stall = reader.millis("camera.stall_ms", 200..=60_000, 2000);
    let placeholder = reader.boolean("camera.placeholder", false);
    Ok(CameraConfig {
        source: source?,
        size: size?,
        framerate: Framerate::new(framerate?).expect("the range is that of Framerate"),
        orientation: orientation?,
        stall: stall?,
        placeholder: placeholder?,
    })
}

/// The value of `camera.kind`.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Test,
    Pipeline,
    Usb,
    Csi,
}

impl Kind {
    const WORDS: [(&str, Self); 4] =
        [("test", Self::Test), ("pipeline", Self::Pipeline), ("usb", Self::Usb), ("csi", Self::Csi)];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, kind)| *kind == self).map_or("test", |(word, _)| word)
    }
}

pub(super) fn source(reader: &mut Reader<'_>, table: &str) -> Read<Source> {
    let kind = reader.choice(&join(table, "kind"), &Kind::WORDS);
    let pipeline = reader.parsed(&join(table, "pipeline"), |text| match text.trim() {
        "" => Err("must describe a GStreamer source that ends in raw video".to_owned()),
        _ if text.contains('\0') => Err("must not contain a NUL character".to_owned()),
        pipeline => Ok(pipeline.to_owned()),
    });
    let usb = usb(reader, table);
    let sensor = sensor(reader, table);
    let (kind, pipeline, usb, sensor) = (kind?, pipeline?, usb?, sensor?);
    let owned = [
        ("pipeline", Kind::Pipeline, pipeline.is_some()),
        ("device", Kind::Usb, usb.device != DeviceChoice::Auto),
        ("format", Kind::Usb, usb.format != PixelFormat::Auto),
        ("controls", Kind::Usb, !usb.controls.is_empty()),
        ("sensor", Kind::Csi, sensor != SensorChoice::Auto),
    ];
    for (key, owner, given) in owned {
        if given && owner != kind {
            let remedy = format!("is used by {table}.kind = \"{}\" only: set that, or take this out", owner.word());
            return Err(reader.problem(&join(table, key), remedy));
        }
    }
    match kind {
        Kind::Test => Ok(Source::Test),
        Kind::Usb => Ok(Source::Usb(usb)),
        Kind::Csi => Ok(Source::Csi(CsiConfig { sensor })),
        Kind::Pipeline => pipeline.map(Source::Pipeline).ok_or_else(|| {
            reader.problem(
                &join(table, "pipeline"),
                format!(
                    "missing: {table}.kind = \"pipeline\" needs it, such as \"v4l2src device=/dev/video0 ! videoconvert\""
                ),
            )
        }),
    }
}

fn usb(reader: &mut Reader<'_>, table: &str) -> Read<UsbConfig> {
    let device = reader.text(&join(table, "device"), "auto");
    let formats = [
        ("auto", PixelFormat::Auto),
        ("raw", PixelFormat::Raw),
        ("mjpeg", PixelFormat::Mjpeg),
        ("h264", PixelFormat::H264),
    ];
    let format = reader.choice(&join(table, "format"), &formats);
    let controls = reader.assignments(&join(table, "controls"));
    let device = match device?.as_str() {
        "auto" => DeviceChoice::Auto,
        name if name.is_empty() || name.contains(['\0', '\n']) => {
            let remedy = "must be \"auto\", a device node such as \"/dev/video0\", or a camera's name (rtcpub devices)";
            return Err(reader.problem(&join(table, "device"), remedy));
        }
        path if path.starts_with('/') => DeviceChoice::Path(path.into()),
        name => DeviceChoice::Name(name.to_owned()),
    };
    Ok(UsbConfig { device, format: format?, controls: controls? })
}

fn sensor(reader: &mut Reader<'_>, table: &str) -> Read<SensorChoice> {
    let sensor = reader.text(&join(table, "sensor"), "auto")?;
    if let Ok(id) = sensor.parse() {
        return Ok(SensorChoice::Id(id));
    }
    match sensor.as_str() {
        "auto" => Ok(SensorChoice::Auto),
        name if !name.is_empty() && !name.contains(['\0', '\n', '"']) => Ok(SensorChoice::Name(name.to_owned())),
        _ => {
            Err(reader.problem(&join(table, "sensor"), "must be \"auto\", a number such as \"0\", or libcamera's name"))
        }
    }
}

pub(super) fn orientation(reader: &mut Reader<'_>, table: &str) -> Read<Orientation> {
    let flips = [("none", Flip::None), ("horizontal", Flip::Horizontal), ("vertical", Flip::Vertical)];
    let flip = reader.choice(&join(table, "flip"), &flips);
    let rotation = match reader.integer(&join(table, "rotation"), 0..=270, 0)? {
        0 => Rotation::R0,
        90 => Rotation::R90,
        180 => Rotation::R180,
        270 => Rotation::R270,
        _ => return Err(reader.problem(&join(table, "rotation"), "must be 0, 90, 180 or 270")),
    };
    Ok(Orientation { flip: flip?, rotation })
}

pub(super) fn size(reader: &mut Reader<'_>, table: &str) -> Read<Size> {
    let width = side(reader, &join(table, "width"), 640);
    let height = side(reader, &join(table, "height"), 480);
    Ok(Size::new(width?, height?).expect("each side is even and within the range of Size"))
}

fn side(reader: &mut Reader<'_>, key: &str, default: u32) -> Read<u32> {
    let side = reader.integer(key, Size::MIN..=Size::MAX, default)?;
    if side.is_multiple_of(2) { Ok(side) } else { Err(reader.problem(key, "must be even")) }
}

fn encoder(reader: &mut Reader<'_>) -> Read<EncoderConfig> {
    let choice = encoder_choice(reader, "encoder.name");
    let bitrate = reader.integer("encoder.bitrate_kbps", Bitrate::MIN_KBPS..=Bitrate::MAX_KBPS, 800);
    let key_frame_interval = reader.millis("encoder.key_frame_interval_ms", 100..=3_600_000, 10_000);
    Ok(EncoderConfig {
        choice: choice?,
        bitrate: Bitrate::from_kbps(bitrate?).expect("the range is that of Bitrate"),
        key_frame_interval: key_frame_interval?,
    })
}

pub(super) fn encoder_choice(reader: &mut Reader<'_>, key: &str) -> Read<EncoderChoice> {
    match reader.text(key, "auto")?.as_str() {
        "auto" => Ok(EncoderChoice::Auto),
        name if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') => {
            Ok(EncoderChoice::Named(name.to_owned()))
        }
        _ => Err(reader.problem(key, "must be \"auto\" or a GStreamer element, such as \"x264enc\"")),
    }
}
