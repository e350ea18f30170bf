//! `[camera]` and `[encoder]`

use crate::config::reader::{Read, Reader};
use crate::video::settings::{
    Bitrate, CameraConfig, EncoderChoice, EncoderConfig, Framerate, Size, Source, VideoConfig,
};

pub(super) fn read(reader: &mut Reader<'_>) -> Read<VideoConfig> {
    let camera = camera(reader);
    let encoder = encoder(reader);
    Ok(VideoConfig { camera: camera?, encoder: encoder? })
}

fn camera(reader: &mut Reader<'_>) -> Read<CameraConfig> {
    let source = source(reader);
    let size = size(reader);
    let framerate = reader.integer("camera.framerate", 1..=Framerate::MAX, 30);
    let stall = reader.millis("camera.stall_ms", 200..=60_000, 2000);
    let placeholder = reader.boolean("camera.placeholder", false);
    Ok(CameraConfig {
        source: source?,
        size: size?,
        framerate: Framerate::new(framerate?).expect("the range is that of Framerate"),
        stall: stall?,
        placeholder: placeholder?,
    })
}

/// The value of `camera.kind`.
#[derive(Clone, Copy)]
enum Kind {
    Test,
    Pipeline,
}

fn source(reader: &mut Reader<'_>) -> Read<Source> {
    let kind = reader.choice("camera.kind", &[("test", Kind::Test), ("pipeline", Kind::Pipeline)]);
    let pipeline = reader.parsed("camera.pipeline", |text| match text.trim() {
        "" => Err("must describe a GStreamer source that ends in raw video".to_owned()),
        _ if text.contains('\0') => Err("must not contain a NUL character".to_owned()),
        pipeline => Ok(pipeline.to_owned()),
    });
    match (kind?, pipeline?) {
        (Kind::Test, None) => Ok(Source::Test),
        (Kind::Pipeline, Some(description)) => Ok(Source::Pipeline(description)),
        (Kind::Test, Some(_)) => {
            Err(reader
                .problem("camera.pipeline", "is used by camera.kind = \"pipeline\" only: set that, or take this out"))
        }
        (Kind::Pipeline, None) => Err(reader.problem(
            "camera.pipeline",
            "missing: camera.kind = \"pipeline\" needs it, such as \"v4l2src device=/dev/video0 ! videoconvert\"",
        )),
    }
}

fn size(reader: &mut Reader<'_>) -> Read<Size> {
    let width = side(reader, "camera.width", 640);
    let height = side(reader, "camera.height", 480);
    Ok(Size::new(width?, height?).expect("each side is even and within the range of Size"))
}

fn side(reader: &mut Reader<'_>, key: &str, default: u32) -> Read<u32> {
    let side = reader.integer(key, Size::MIN..=Size::MAX, default)?;
    if side.is_multiple_of(2) { Ok(side) } else { Err(reader.problem(key, "must be even")) }
}

fn encoder(reader: &mut Reader<'_>) -> Read<EncoderConfig> {
    let choice = reader.text("encoder.name", "auto");
    let bitrate = reader.integer("encoder.bitrate_kbps", Bitrate::MIN_KBPS..=Bitrate::MAX_KBPS, 800);
    let key_frame_interval = reader.millis("encoder.key_frame_interval_ms", 100..=3_600_000, 10_000);
    let choice = match choice?.as_str() {
        "auto" => EncoderChoice::Auto,
        name if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') => {
            EncoderChoice::Named(name.to_owned())
        }
        _ => {
            return Err(reader.problem("encoder.name", "must be \"auto\" or a GStreamer element, such as \"x264enc\""));
        }
    };
    Ok(EncoderConfig {
        choice,
        bitrate: Bitrate::from_kbps(bitrate?).expect("the range is that of Bitrate"),
        key_frame_interval: key_frame_interval?,
    })
}
