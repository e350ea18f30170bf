//! Looks at what would run, without running it: for `check`, `devices` and `snapshot`.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;

use super::{encode, plan, source, trial};
use crate::video::camera::Output;
use crate::video::encoder::{EncoderRow, TABLE, packages_of};
use crate::video::error::VideoError;
use crate::video::overlay::{Drawing, OverlaySource, OverlayState};
use crate::video::settings::{Bitrate, CameraConfig, EncoderChoice, EncoderConfig, Size, Source, VideoConfig, View};

/// How long a camera may take for a picture of its own.
const SNAPSHOT_DEADLINE: gst::ClockTime = gst::ClockTime::from_seconds(10);
/// Pictures let go by before one is taken: cameras set their exposure on the first ones.
const PICTURES_TO_SETTLE: u32 = 10;

/// What would run, as a command line that can be pasted; its picture goes nowhere.
///
/// # Errors
/// What keeps it from running.
pub fn command_line(config: &VideoConfig) -> Result<String, VideoError> {
    gst::init().map_err(|error| VideoError::GStreamer { problem: error.to_string() })?;
    if config.rear.is_some() {
        return two_cameras(config);
    }
    let plan = plan::plan(config)?;
    let source = pasteable(&config.camera, plan.source.launch_text);
    let line =
        format!("gst-launch-1.0 {source} ! {}", encode::text(&plan.setup, plan.row, plan.source.output, "fakesink"));
    Ok(quote_for_shell(&line))
}

fn two_cameras(config: &VideoConfig) -> Result<String, VideoError> {
    let plan::Encoding { row, setup, .. } = plan::shared_encoder(config)?;
    let encode = encode::text(&setup, row, Output::Raw(row.memory), "fakesink");
    let mut line = format!("gst-launch-1.0 input-selector name=cameras sync-streams=false ! {encode}");
    for view in View::ALL {
        let camera = config.camera_of(view);
        let source = plan::sharing_source(&camera, row).map_err(|error| error.of(view))?;
        let upload = match source.output {
            Output::Raw(memory) => encode::upload(memory, row),
            Output::H264 => "",
        };
        // Each has these names in a bin of its own; a command line has no bins.
        let source = pasteable(&camera, source.launch_text).replace(" name=camera ", " ").replace(" name=pace ", " ");
        line.push_str(&format!(" {source} ! {upload}cameras."));
    }
    Ok(quote_for_shell(&line))
}

/// The test picture is drawn by this program: the nearest that anybody can paste.
fn pasteable(camera: &CameraConfig, launch_text: String) -> String {
    match camera.source {
        Source::Test => format!(
            "videotestsrc is-live=true ! video/x-raw,format=I420,width={},height={},framerate={}/1",
            camera.size.width(),
            camera.size.height(),
            camera.framerate.per_second()
        ),
        _ => launch_text,
    }
}

/// Parentheses and braces mean something to a shell.
fn quote_for_shell(line: &str) -> String {
    let needs_quotes =
        |word: &str| word.contains(['(', ')', '{', '}', '[', ']', ';', '&', '$', '*']) && !word.contains('\'');
    let words: Vec<_> =
        line.split(' ').map(|word| if needs_quotes(word) { format!("'{word}'") } else { word.to_owned() }).collect();
    words.join(" ")
}

/// GStreamer's version: major, minor, micro; `None` when it does not start.
pub fn version() -> Option<(u32, u32, u32)> {
    gst::init().ok()?;
    let (major, minor, micro, _) = gst::version();
    Some((major, minor, micro))
}

/// An encoder, and why it cannot be used here, when it cannot.
pub type Usability = (&'static EncoderRow, Result<(), String>);

/// Every encoder of the table, and why it cannot be used here, when it cannot.
///
/// # Errors
/// When GStreamer cannot be used at all.
pub fn encoders() -> Result<Vec<Usability>, VideoError> {
    gst::init().map_err(|error| VideoError::GStreamer { problem: error.to_string() })?;
    Ok(TABLE.iter().map(|row| (row, usable(row))).collect())
}

fn usable(row: &'static EncoderRow) -> Result<(), String> {
    if encode::specimen(row.element).is_none() {
        return Err(format!("not installed: {}", packages_of([row])));
    }
    let config = EncoderConfig {
        choice: EncoderChoice::Named(row.element.to_owned()),
        bitrate: Bitrate::from_kbps(800).expect("800 kbit/s are within the range"),
        key_frame_interval: std::time::Duration::from_secs(10),
    };
    let size = Size::new(640, 480).expect("640x480 is within the range");
    let circumstances = crate::video::encoder::Circumstances {
        size,
        framerate: crate::video::settings::Framerate::new(30).expect("30 is within the range"),
        processors: 1,
    };
    let setup = plan::setup(row, &config, circumstances).map_err(|error| error.to_string())?;
    trial::try_out(row, &setup, size)
}

/// One picture of the configured camera, as a JPEG file's bytes.
///
/// # Errors
/// Why there is none.
pub fn snapshot(config: &VideoConfig) -> Result<Vec<u8>, VideoError> {
    gst::init().map_err(|error| VideoError::GStreamer { problem: error.to_string() })?;
    let plan = plan::plan(config)?;
    let key = config.camera.key();
    let drawing = Drawing::Test(OverlaySource::new(|| OverlayState::PARKED));
    let source = source::make(&plan.source, &config.camera, drawing)?;
    let decoder = match plan.source.output {
        Output::Raw(_) => "",
        Output::H264 => "h264parse ! decodebin ! ",
    };
    let unpack = if plan.row.memory == crate::video::encoder::Memory::Nvmm { "nvvidconv ! video/x-raw ! " } else { "" };
    let text =
        format!("{decoder}{unpack}videoconvert ! jpegenc quality=92 ! appsink name=picture sync=false max-buffers=1");
    let sink = gst::parse::bin_from_description(&text, true)
        .map_err(|error| VideoError::GStreamer { problem: error.to_string() })?;
    let picture = sink.by_name("picture").and_downcast::<AppSink>().expect("the description has it");
    let pipeline = gst::Pipeline::new();
    let whole = || -> Result<(), gst::glib::BoolError> {
        pipeline.add_many([&source, &sink])?;
        source.link(&sink)
    };
    whole().map_err(|error| VideoError::GStreamer { problem: error.to_string() })?;
    let fault = |problem: String| VideoError::Camera { key, problem, fault: crate::video::error::CameraFault::Other };
    let taken = pipeline.set_state(gst::State::Playing).map_err(|error| fault(error.to_string())).and_then(|_| {
        let mut last = None;
        for _ in 0..=PICTURES_TO_SETTLE {
            match picture.try_pull_sample(SNAPSHOT_DEADLINE) {
                Some(sample) => last = Some(sample),
                None => break,
            }
        }
        let sample = last.ok_or_else(|| fault(complaint(&pipeline)))?;
        let bytes = sample.buffer().and_then(|buffer| buffer.map_readable().ok()).map(|bytes| bytes.to_vec());
        bytes.ok_or_else(|| fault("its picture cannot be read".to_owned()))
    });
    // GStreamer never refuses this.
    let _ = pipeline.set_state(gst::State::Null);
    taken
}

fn complaint(pipeline: &gst::Pipeline) -> String {
    let error = pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    match error.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => crate::video::error::shown(&error.error().to_string()),
        _ => "no picture came".to_owned(),
    }
}
