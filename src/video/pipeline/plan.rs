//! What is going to run here: the encoder that works, the camera's mode, and the text of both ends.

use std::path::PathBuf;
use std::thread;

use gstreamer as gst;

use super::{encode, trial};
use crate::video::camera::{self, Output, SourceDescription, Surroundings};
use crate::video::devices;
use crate::video::encoder::{self, Circumstances, EncoderRow, PASSTHROUGH, Setup};
use crate::video::error::VideoError;
use crate::video::modes::{Format, Taken, Wanted};
use crate::video::settings::{CameraConfig, EncoderConfig, Framerate, Source, VideoConfig};

/// The part of a pipeline that encodes.
pub(super) struct Encoding {
    pub(super) row: &'static EncoderRow,
    pub(super) setup: Setup,
    pub(super) circumstances: Circumstances,
    /// What comes to it.
    pub(super) input: Output,
}

/// What is going to run.
pub(super) struct Plan {
    pub(super) row: &'static EncoderRow,
    pub(super) setup: Setup,
    pub(super) source: SourceDescription,
    pub(super) circumstances: Circumstances,
}

/// Looks for camera and encoder, and describes both.
pub(super) fn plan(config: &VideoConfig) -> Result<Plan, VideoError> {
    let device = device(&config.camera)?;
    let mode = device.as_ref().map(|(_, mode)| *mode);
    let circumstances = circumstances(&config.camera, mode);
    let row = match mode.map(|mode| mode.format) {
        Some(Format::H264) => {
            tracing::warn!(
                "the camera codes by itself: neither its bit rate nor its key frames can be steered from here"
            );
            &PASSTHROUGH
        }
        _ => encoder(&config.encoder, circumstances)?,
    };
    let source = camera::describe(
        &config.camera,
        &Surroundings {
            raw_formats: row.raw_formats,
            memory: row.memory,
            device: device.as_ref().map(|(path, mode)| (path.as_path(), *mode)),
            fit: false,
            has: &is_installed,
        },
    )?;

    Ok(Plan { row, setup: setup(row, &config.encoder, circumstances)?, source, circumstances })
}

/// The encoder behind two cameras, whatever they turn out to give: both are brought to what is configured.
pub(super) fn shared_encoder(config: &VideoConfig) -> Result<Encoding, VideoError> {
    let circumstances = circumstances(&config.camera, None);
    let row = encoder(&config.encoder, circumstances)?;
    let setup = setup(row, &config.encoder, circumstances)?;
    Ok(Encoding { row, setup, circumstances, input: Output::Raw(row.memory) })
}

/// A camera that shares the encoder of `row` with another.
pub(super) fn sharing_source(camera: &CameraConfig, row: &EncoderRow) -> Result<SourceDescription, VideoError> {
    let device = device(camera)?;
    camera::describe(
        camera,
        &Surroundings {
            // One form for both, so that the encoder goes on when they change places.
            raw_formats: &row.raw_formats[..1],
            memory: row.memory,
            device: device.as_ref().map(|(path, mode)| (path.as_path(), *mode)),
            fit: true,
            has: &is_installed,
        },
    )
}

fn encoder(config: &EncoderConfig, circumstances: Circumstances) -> Result<&'static EncoderRow, VideoError> {
    let works =
        |row| setup(row, config, circumstances).is_ok_and(|setup| trial::works(row, &setup, circumstances.size));
    Ok(encoder::choose(&config.choice, |element| encode::specimen(element).is_some(), works)?)
}

pub(super) fn setup(
    row: &EncoderRow,
    config: &EncoderConfig,
    circumstances: Circumstances,
) -> Result<Setup, VideoError> {
    let specimen = encode::specimen(row.element);
    let has = |property: &str| {
        use gstreamer::prelude::ObjectExt;
        specimen.as_ref().is_some_and(|element| element.has_property(property))
    };
    let (major, minor, micro, _) = gst::version();
    Ok(row.setup(config, circumstances, (major, minor, micro), has)?)
}

fn is_installed(element: &str) -> bool {
    gst::ElementFactory::find(element).is_some()
}

/// The device node and mode of a V4L2 camera.
fn device(camera: &CameraConfig) -> Result<Option<(PathBuf, Taken)>, VideoError> {
    let Source::Usb(usb) = &camera.source else { return Ok(None) };
    let wanted = Wanted { size: camera.captured_size(), framerate: camera.framerate, format: usb.format };
    let (node, taken) = devices::find(&usb.device, wanted)?;
    if taken.is_exact(wanted) {
        tracing::debug!(camera = %node.path.display(), card = node.card, mode = %taken, "camera");
    } else {
        tracing::info!(camera = %node.path.display(), card = node.card, asked = %wanted, taken = %taken, "camera: nearest mode");
    }
    Ok(Some((node.path, taken)))
}

fn circumstances(camera: &CameraConfig, mode: Option<Taken>) -> Circumstances {
    let rate = mode.and_then(|mode| Framerate::new(mode.rate.per_second().round() as u32));
    Circumstances {
        size: mode.map_or(camera.size, |mode| mode.size.turned(camera.orientation)),
        framerate: rate.map_or(camera.framerate, |rate| rate.min(camera.framerate)),
        processors: thread::available_parallelism().map_or(1, usize::from),
    }
}
