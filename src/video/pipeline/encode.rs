//! Makes the encode bin: raw video in, access units out, steered by what others left in [`VideoControl`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks};

use super::plan::Encoding;
use super::{Exit, PipelineState};
use crate::video::camera;
use crate::video::control::{VideoControl, count};
use crate::video::encoder::{
    BitrateControl, BitsPer, CONTROLS, ENCODER_NAME, EncoderRow, KeyFrameControl, Memory, Setup,
};
use crate::video::error::VideoError;
use crate::video::frame::AccessUnit;
use crate::video::h264;
use crate::video::key_frames::KeyFrames;
use crate::video::pace::Pace;
use crate::video::rate::Scale;
use crate::video::settings::{Bitrate, Framerate, Size};
use crate::video::units::Offered;

// The names of threads: GStreamer calls a queue's thread "NAME:src", and benches tell the encoder's time by it.
/// GStreamer name of the queue before the encoder.
pub(super) const QUEUE_NAME: &str = "encode";
const QUEUE: &str = "queue name=encode max-size-buffers=1 max-size-bytes=0 max-size-time=0 leaky=downstream";
// Hands buffers through untouched while the size is the camera's. On the encoder's thread, like all behind the queue.
const SCALE: &str = "videoscale name=scale ! capsfilter name=size ! ";
// Nothing here waits: no clock, no preroll, no copy kept of the last buffer.
const SINK: &str =
    "appsink name=units sync=false async=false qos=false enable-last-sample=false max-buffers=1 drop=false";

/// One of these elements, to look at; `None` when there are none here.
pub(super) fn specimen(element: &str) -> Option<gst::Element> {
    gst::ElementFactory::make(element).build().ok()
}

/// Makes the bin, ready to be linked to a source. `bitrate` is what the encoder is set up for.
pub(super) fn make(encoding: Encoding, bitrate: Bitrate, exit: Exit) -> Result<gst::Bin, VideoError> {
    let text = text(&encoding.setup, encoding.row, encoding.input, SINK);
    let bin = gst::parse::bin_from_description(&text, true)
        .map_err(|error| VideoError::GStreamer { problem: error.to_string() })?;
    let element = |name| bin.by_name(name).expect("the description names it");
    let encoder_entry = element(ENCODER_NAME).static_pad("sink").expect("an encoder has a sink pad");

    let (queue, size) = (bin.by_name(QUEUE_NAME), bin.by_name("size"));
    if let Some(queue) = &queue {
        count_leaks(queue, exit.control.clone());
    }
    // Pictures that are left out must not cost the scaler's time; those that are coded already must not be left out.
    // Behind the queue's own pad, where the guard between two cameras has looked at them.
    let behind_queue = queue.as_ref().and_then(|queue| queue.static_pad("src")?.peer());
    let entry = behind_queue.unwrap_or_else(|| encoder_entry.clone());
    let steering = Arc::new(Steering::new(encoding, bitrate, exit.control.clone()));
    let output = Output { encoder_entry: encoder_entry.downgrade(), steering: steering.clone(), exit, started: false };
    let (encoder, size) = (element(ENCODER_NAME).downgrade(), size.map(|size| size.downgrade()));
    entry.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(encoder) = encoder.upgrade() else { return gst::PadProbeReturn::Ok };
        let size = size.as_ref().and_then(|size| size.upgrade());
        let pts = info.buffer().and_then(|buffer| buffer.pts()).map(Duration::from);
        match steering.before_frame(pts, &encoder, size.as_ref()) {
            Wanted::Yes => {
                if steering.control.trace().is_on() {
                    follow(&steering.control, pad, &encoder, info);
                }
                gst::PadProbeReturn::Ok
            }
            // Not `Drop`: the bindings free the buffer for it, and GStreamer would free it again.
            Wanted::No => gst::PadProbeReturn::Handled,
        }
    });
    output.receive_from(&element("units").downcast().expect("the description makes it an appsink"));
    Ok(bin)
}

/// Notes when the picture was captured and that it is here now.
fn follow(control: &VideoControl, entry: &gst::Pad, encoder: &gst::Element, info: &gst::PadProbeInfo<'_>) {
    let segment = entry.sticky_event::<gst::event::Segment>(0);
    let segment = segment.as_ref().and_then(|event| event.segment().downcast_ref::<gst::ClockTime>());
    let captured = segment.zip(info.buffer()).and_then(|(segment, buffer)| segment.to_running_time(buffer.pts()));
    if let (Some(captured), Some(now)) = (captured, encoder.current_running_time()) {
        control.trace().entered(captured.into(), now.saturating_sub(captured).into());
    }
}

/// Everything behind the source.
pub(super) fn text(setup: &Setup, row: &EncoderRow, output: camera::Output, sink: &str) -> String {
    match output {
        camera::Output::Raw(memory) => {
            let scale = if row.resizes && memory == Memory::System { SCALE } else { "" };
            format!("{QUEUE} ! {scale}{}{} ! {sink}", upload(memory, row), setup.text)
        }
        // What is coded already must not be dropped here.
        camera::Output::H264 => format!("{} ! {sink}", setup.text),
    }
}

/// What brings pictures to where the encoder takes them.
pub(super) fn upload(from: Memory, row: &EncoderRow) -> &'static str {
    match (from, row.memory) {
        (Memory::System, Memory::Nvmm) => "nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! ",
        (Memory::System | Memory::Nvmm, _) => "",
    }
}

/// The queue tells that it is full each time before it lets go of its oldest frame.
fn count_leaks(queue: &gst::Element, control: VideoControl) {
    queue.connect("overrun", false, move |_| {
        count(&control.counters().frames_dropped);
        None
    });
}

/// Whether a frame is to be coded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Yes,
    No,
}

/// What is done to the encoder before each frame.
struct Steering {
    row: &'static EncoderRow,
    setup: Setup,
    /// Whether pictures can still be left out: not those that are coded already.
    raw: bool,
    size: Size,
    framerate: Framerate,
    control: VideoControl,
    applied: Mutex<Applied>,
}

struct Applied {
    /// What the encoder was told, compensation for left-out frames included.
    bitrate: Bitrate,
    scale: Scale,
    pace: Pace,
    key_frames: KeyFrames,
    gave_output: bool,
}

impl Steering {
    fn new(encoding: Encoding, bitrate: Bitrate, control: VideoControl) -> Self {
        let Encoding { row, setup, circumstances, input } = encoding;
        let applied = Applied {
            bitrate: row.fit(bitrate),
            scale: Scale::Full,
            pace: Pace::default(),
            key_frames: KeyFrames::default(),
            gave_output: false,
        };
        Self {
            row,
            setup,
            raw: matches!(input, camera::Output::Raw(_)),
            size: circumstances.size,
            framerate: circumstances.framerate,
            control,
            applied: Mutex::new(applied),
        }
    }

    /// Done on the encoder's thread, where setting a property cannot wait for a frame that is being encoded.
    fn before_frame(&self, pts: Option<Duration>, encoder: &gst::Element, size: Option<&gst::Element>) -> Wanted {
        let rung = self.control.rung().filter(|_| self.raw);
        let framerate = rung.map_or(self.framerate, |rung| rung.framerate);
        // Where pictures cannot be scaled, they stay as they are.
        let scale = rung.filter(|_| size.is_some()).map_or(Scale::Full, |rung| rung.scale);
        let mut applied = self.applied();
        if pts.is_some_and(|pts| !applied.pace.admit(pts, framerate, self.framerate)) {
            return Wanted::No;
        }
        count(&self.control.counters().frames_in);
        let bitrate = self.encoder_bitrate(framerate);
        let rescale = std::mem::replace(&mut applied.scale, scale) != scale;
        let retune = std::mem::replace(&mut applied.bitrate, bitrate) != bitrate;
        if applied.gave_output && self.control.take_urgency() {
            applied.key_frames.end_quiet_window();
        }
        // The first picture is a key frame anyway, and an order before it can upset an encoder.
        let force = applied.gave_output && applied.key_frames.should_force(self.control.key_frame_requests(), now());
        drop(applied);
        if retune {
            self.set_bitrate(encoder, bitrate);
        }
        if let Some(size) = size.filter(|_| rescale) {
            // A new size makes the encoder start anew, with a key frame.
            size.set_property("caps", size_caps(scale.of(self.size)));
        }
        if force {
            self.force_key_frame(encoder, bitrate);
        }
        Wanted::Yes
    }

    /// The bit rate to ask for so that the wanted one comes out while frames are left out.
    fn encoder_bitrate(&self, framerate: Framerate) -> Bitrate {
        let wanted = self.control.bitrate();
        if self.row.bits_per == BitsPer::Second || framerate >= self.framerate {
            return self.row.fit(wanted);
        }
        let kbps =
            u64::from(wanted.kbps()) * u64::from(self.framerate.per_second()) / u64::from(framerate.per_second());
        let kbps = kbps.min(u64::from(Bitrate::MAX_KBPS)) as u32;
        self.row.fit(Bitrate::from_kbps(kbps).expect("between the wanted rate and the highest"))
    }

    fn came_out(&self, idr: bool) {
        let mut applied = self.applied();
        applied.gave_output = true;
        if idr {
            applied.key_frames.idr_came_out(self.control.key_frame_requests());
        }
    }

    fn set_bitrate(&self, encoder: &gst::Element, bitrate: Bitrate) {
        match self.setup.bitrate {
            BitrateControl::Property { name, unit } => {
                encoder.set_property_from_str(name, &unit.of(bitrate).to_string());
            }
            BitrateControl::Control { .. } => {
                encoder.set_property_from_str(CONTROLS, &self.setup.controls(bitrate, None));
            }
            BitrateControl::None => {}
        }
    }

    fn force_key_frame(&self, encoder: &gst::Element, bitrate: Bitrate) {
        match self.setup.key_frame {
            KeyFrameControl::Event => {
                // What gst_video_event_new_upstream_force_key_unit makes, without a running time: the next frame.
                let order = gst::Structure::builder("GstForceKeyUnit")
                    .field("running-time", gst::ClockTime::NONE)
                    .field("all-headers", true)
                    .field("count", 0_u32)
                    .build();
                encoder.send_event(gst::event::CustomUpstream::new(order));
            }
            KeyFrameControl::Signal(signal) => encoder.emit_by_name::<()>(signal, &[]),
            KeyFrameControl::EventOrControl(button) => {
                encoder.set_property_from_str(CONTROLS, &self.setup.controls(bitrate, Some(button)));
            }
            KeyFrameControl::None => {}
        }
    }

    fn applied(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Square pixels: otherwise the scaler would rather change their shape than the picture's.
fn size_caps(size: Size) -> gst::Caps {
    gst::Caps::builder("video/x-raw")
        .field("width", size.width() as i32)
        .field("height", size.height() as i32)
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .build()
}

/// Where access units leave GStreamer.
struct Output {
    encoder_entry: gst::glib::WeakRef<gst::Pad>,
    steering: Arc<Steering>,
    exit: Exit,
    started: bool,
}

impl Output {
    fn receive_from(mut self, sink: &AppSink) {
        let new_sample = move |sink: &AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if !self.started {
                self.exit.units.start_at(sink.base_time().map_or(Duration::ZERO, Duration::from));
            }
            self.send(access_unit(&sample, sink.current_running_time())?);
            Ok(gst::FlowSuccess::Ok)
        };
        sink.set_callbacks(AppSinkCallbacks::builder().new_sample(new_sample).build());
    }

    fn send(&mut self, unit: AccessUnit) {
        let Exit { control, units, progress, .. } = &mut self.exit;
        count(&control.counters().units_out);
        if unit.idr {
            count(&control.counters().key_frames);
        }
        self.steering.came_out(unit.idr);
        progress.note(unit.encoded_at);
        control.trace().encoded(&unit);
        match units.offer(unit) {
            Offered::Queued => {}
            Offered::DroppedFull | Offered::Closed | Offered::Superseded => count(&control.counters().units_dropped),
            Offered::DroppedAskKeyFrame => {
                count(&control.counters().units_dropped);
                control.request_idr();
            }
        }
        if !self.started {
            self.started = true;
            self.announce_playing();
        }
    }

    fn announce_playing(&self) {
        let caps = self.encoder_entry.upgrade().and_then(|pad| pad.current_caps());
        let playing = PipelineState::Playing {
            encoder: self.exit.control.encoder(),
            input: caps.map(|caps| caps.to_string()).unwrap_or_default(),
        };
        self.exit.state.send_if_modified(|state| {
            let starting = *state == PipelineState::Starting;
            if starting {
                *state = playing;
            }
            starting
        });
    }
}

/// `now` is for sources that do not stamp their buffers.
fn access_unit(sample: &gst::Sample, now_running: Option<gst::ClockTime>) -> Result<AccessUnit, gst::FlowError> {
    let buffer = sample.buffer_owned().ok_or(gst::FlowError::Error)?;
    let segment = sample.segment().and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
    let pts = segment.and_then(|segment| segment.to_running_time(buffer.pts())).or(now_running);
    // The encoder's own memory, unmapped when the last packet made from it is gone.
    let data = Bytes::from_owner(buffer.into_mapped_buffer_readable().map_err(|_| gst::FlowError::Error)?);
    let idr = h264::starts_decoding(&data);
    Ok(AccessUnit { data, pts: pts.map_or(Duration::ZERO, Duration::from), idr, encoded_at: now() })
}

#[expect(clippy::disallowed_methods, reason = "key frames are kept apart, and delays measured, by the real clock")]
fn now() -> Instant {
    Instant::now()
}
