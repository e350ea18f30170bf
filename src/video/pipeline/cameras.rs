//! Two cameras before one encoder.
//!
//! ```text
//! ┌ source bin ─────────────────────────────────────┐  ┌ encode bin ─────────────
//! │ ┌ front ──────────────┐ admit                   ├──┤ queue ─ guard ─ encoder …
//! │ │ camera's elements … ├─────▶ input-selector ───┤  └─────────────────────────
//! │ └─────────────────────┘ admit      ▲            │
//! │ ┌ rear ───────────────┐   │        │            │
//! │ │ …                   ├───┴────────┘            │
//! └─────────────────────────────────────────────────┘
//! ```
//!
//! The first frame of the selected camera moves the selector, on that camera's own thread: until then the other's pass, so
//! the gap is one frame interval. Each frame is marked with the number of the change it belongs to (in its `offset`, which
//! nothing behind reads): one of the old camera that was already on its way is dropped by the guard, so that none follows
//! the first of the new, and that one is forced to be a key frame.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio::sync::watch;

use super::bus::{self, Origin};
use super::{PipelineState, encode, plan, source};
use crate::video::camera::Output;
use crate::video::control::{CameraControls, VideoControl};
use crate::video::encoder::EncoderRow;
use crate::video::error::{CameraFault, VideoError};
use crate::video::overlay::{Drawing, OverlaySource};
use crate::video::settings::{VideoConfig, View};
use crate::video::views::{Chore, Views};

/// How much earlier than the last frame of the old camera the first of the new may have been taken and still be put in
/// its order: more is not a matter of two cameras' delays.
const OVERLAP: gst::ClockTime = gst::ClockTime::from_seconds(1);
/// By how much it is put later then.
const STEP: gst::ClockTime = gst::ClockTime::from_mseconds(1);

/// Opens and closes the cameras of a pipeline that has two.
#[derive(Debug)]
pub(crate) struct Cameras {
    config: VideoConfig,
    controls: watch::Receiver<CameraControls>,
    row: &'static EncoderRow,
    overlay: OverlaySource,
    first: View,
    bin: gst::Bin,
    selector: gst::Element,
    seats: Mutex<[Option<Seat>; 2]>,
    /// The pipeline goes, or has gone, to NULL.
    ended: AtomicBool,
    switch: Arc<Switch>,
}

/// A camera that is open, and where it enters the selector.
#[derive(Debug)]
struct Seat {
    camera: gst::Bin,
    entry: gst::Pad,
}

impl Cameras {
    /// The selected camera is opened, the other not yet.
    pub(super) fn new(
        config: &VideoConfig,
        row: &'static EncoderRow,
        overlay: OverlaySource,
        control: &VideoControl,
        state: watch::Sender<PipelineState>,
    ) -> Result<Self, VideoError> {
        let (views, controls) = (control.views().clone(), control.camera_controls());
        let first = views.selected();
        let (bin, selector) = selector().map_err(|error| VideoError::GStreamer { problem: error.to_string() })?;
        let keys = View::ALL.map(|view| config.key(view));
        let switch =
            Arc::new(Switch { views, keys, passing: Mutex::default(), broken: watch::Sender::default(), state });
        let (config, seats, ended) = (config.clone(), Mutex::default(), AtomicBool::new(false));
        let cameras = Self { config, controls, row, overlay, first, bin, selector, seats, ended, switch };
        cameras.open(first)?;
        Ok(cameras)
    }

    /// The pipeline is about to go to NULL: a camera that is being opened closes itself.
    pub(super) fn end(&self) {
        self.ended.store(true, SeqCst);
    }

    /// The camera that was opened first.
    pub(crate) fn first(&self) -> View {
        self.first
    }

    /// What gives the pictures of whichever camera is shown.
    pub(super) fn bin(&self) -> &gst::Bin {
        &self.bin
    }

    /// Where an element of the pipeline is.
    pub(super) fn origin(&self) -> impl Fn(&gst::Object) -> Origin + Send + Sync + use<> {
        let switch = self.switch.clone();
        move |element| {
            let within = |view: &View| {
                let mut around = std::iter::successors(Some(element.clone()), GstObjectExt::parent);
                around.any(|element| element.name() == bin_name(*view))
            };
            match View::ALL.into_iter().find(within) {
                Some(view) => Origin::OneOfTwo(view, switch.keys[view as usize]),
                None => Origin::Elsewhere,
            }
        }
    }

    /// What takes the faults of a camera.
    pub(super) fn broke(&self) -> impl Fn(View, VideoError) + Send + Sync + use<> {
        let switch = self.switch.clone();
        move |view, fault| switch.broke(view, fault)
    }

    /// An element of this view's camera, while it is open.
    pub(super) fn element(&self, view: View, name: &str) -> Option<gst::Element> {
        self.seats()[view as usize].as_ref().and_then(|seat| seat.camera.by_name(name))
    }

    /// What is wrong with each camera that failed while it was not selected, until it is closed.
    pub(crate) fn broken(&self) -> watch::Receiver<[Option<VideoError>; 2]> {
        self.switch.broken.subscribe()
    }

    /// Does what is to be done. Blocks while a device is opened or closed.
    ///
    /// # Errors
    /// When a camera cannot be opened; it is closed then.
    pub(crate) fn carry_out(&self, chore: Chore) -> Result<(), VideoError> {
        match chore {
            Chore::Open(view) => self.open(view),
            Chore::Close(view) => {
                self.close(view);
                Ok(())
            }
        }
    }

    fn open(&self, view: View) -> Result<(), VideoError> {
        let camera = self.make(view).map_err(|error| error.of(view))?;
        let entry = self.selector.request_pad_simple("sink_%u").expect("a selector gives pads");
        let exit = camera.static_pad("src").expect("it was made with one");
        self.switch.watch_over(view, &exit, &self.selector, &entry);
        self.seats()[view as usize] = Some(Seat { camera: camera.clone(), entry: entry.clone() });
        let join = || {
            self.bin.add(&camera).map_err(|error| error.to_string())?;
            exit.link(&entry).map_err(|error| error.to_string())?;
            camera.sync_state_with_parent().map_err(|error| error.to_string())
        };
        let joined = join();
        if self.ended.load(SeqCst) {
            // The pipeline may have gone by without this camera.
            self.close(view);
            return Err(VideoError::Ended { key: self.switch.keys[view as usize] });
        }
        joined.map_err(|problem| {
            let told = self.switch.broken.borrow()[view as usize].clone();
            let key = self.switch.keys[view as usize];
            self.close(view);
            told.unwrap_or(VideoError::Camera { key, problem, fault: CameraFault::Other })
        })
    }

    /// The camera's elements in a bin of its name.
    fn make(&self, view: View) -> Result<gst::Bin, VideoError> {
        let mut config = self.config.clone();
        config.set_controls(&self.controls.borrow());
        let config = config.camera_of(view);
        let description = plan::sharing_source(&config, self.row)?;
        let source = source::make(&description, &config, Drawing::Test(self.overlay.clone()))?;
        let upload = match description.output {
            Output::Raw(memory) => encode::upload(memory, self.row),
            Output::H264 => "",
        };
        let camera = gst::Bin::with_name(bin_name(view));
        let assemble = || -> Result<(), String> {
            camera.add(&source).map_err(|error| error.to_string())?;
            let mut last = source.clone().upcast::<gst::Element>();
            if let Some(upload) = upload.strip_suffix(" ! ") {
                let upload = gst::parse::bin_from_description(upload, true).map_err(|error| error.to_string())?;
                camera.add(&upload).map_err(|error| error.to_string())?;
                source.link(&upload).map_err(|error| error.to_string())?;
                last = upload.upcast();
            }
            let exit = last.static_pad("src").ok_or("no pictures come out")?;
            let exit =
                gst::GhostPad::builder_with_target(&exit).map_err(|error| error.to_string())?.name("src").build();
            camera.add_pad(&exit).map_err(|error| error.to_string())
        };
        assemble().map_err(|problem| VideoError::GStreamer { problem })?;
        Ok(camera)
    }

    fn close(&self, view: View) {
        let Some(Seat { camera, entry }) = self.seats()[view as usize].take() else { return };
        camera.set_locked_state(true);
        // GStreamer never refuses this; what a driver cannot release shows in the log of its element.
        let _ = camera.set_state(gst::State::Null);
        // Neither is refused for what was added and requested here.
        let _ = self.bin.remove(&camera);
        self.selector.release_request_pad(&entry);
        self.switch.broken.send_modify(|broken| broken[view as usize] = None);
    }

    fn seats(&self) -> MutexGuard<'_, [Option<Seat>; 2]> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A selector in a bin that gives what it gives.
fn selector() -> Result<(gst::Bin, gst::Element), gst::glib::BoolError> {
    let selector = gst::ElementFactory::make("input-selector").property("sync-streams", false).build()?;
    let bin = gst::Bin::new();
    bin.add(&selector)?;
    bin.add_pad(&gst::GhostPad::with_target(&selector.static_pad("src").expect("a selector has a source pad"))?)?;
    Ok((bin, selector))
}

fn bin_name(view: View) -> &'static str {
    match view {
        View::Front => "front-camera",
        View::Rear => "rear-camera",
    }
}

/// Which camera's frames pass.
#[derive(Debug)]
struct Switch {
    views: Views,
    /// The setting to blame for each.
    keys: [&'static str; 2],
    passing: Mutex<Passing>,
    broken: watch::Sender<[Option<VideoError>; 2]>,
    state: watch::Sender<PipelineState>,
}

#[derive(Debug, Default)]
struct Passing {
    shown: Option<View>,
    /// How many changes there were.
    change: u64,
}

impl Switch {
    fn watch_over(self: &Arc<Self>, view: View, exit: &gst::Pad, selector: &gst::Element, entry: &gst::Pad) {
        let (switch, selector, entry) = (self.clone(), selector.downgrade(), entry.downgrade());
        exit.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let admitted = selector.upgrade().zip(entry.upgrade());
            let admitted = admitted.and_then(|(selector, entry)| switch.admit(view, &selector, &entry));
            // Not `Drop`, here as in `guard`.
            let (Some(change), Some(buffer)) = (admitted, info.buffer_mut()) else {
                return gst::PadProbeReturn::Handled;
            };
            buffer.make_mut().set_offset(change);
            gst::PadProbeReturn::Ok
        });
        let switch = self.clone();
        exit.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            match info.event().map(|event| event.type_()) {
                // The selector would hold it back until the other camera ends too.
                Some(gst::EventType::Eos) => {
                    switch.broke(view, VideoError::Ended { key: switch.keys[view as usize] });
                    // Not Drop: that leaves GStreamer 1.22 with an event less than it releases.
                    drop(info.data.take());
                    gst::PadProbeReturn::Handled
                }
                _ => gst::PadProbeReturn::Ok,
            }
        });
    }

    /// The number of the change that a frame of this camera belongs to; `None` when it is not shown.
    fn admit(&self, view: View, selector: &gst::Element, entry: &gst::Pad) -> Option<u64> {
        let mut passing = self.passing.lock().unwrap_or_else(PoisonError::into_inner);
        if passing.shown != Some(view) {
            if self.views.selected() != view {
                return None;
            }
            selector.set_property("active-pad", entry);
            *passing = Passing { shown: Some(view), change: passing.change + 1 };
            self.views.show(view);
        }
        Some(passing.change)
    }

    /// A camera gives nothing any more: its first fault tells why. The selected one's end is the pipeline's.
    fn broke(&self, view: View, fault: VideoError) {
        let mut first = fault;
        self.broken.send_modify(|broken| first = broken[view as usize].get_or_insert(first.clone()).clone());
        if self.views.selected() == view {
            bus::finish(&self.state, PipelineState::Failed(first));
        }
    }
}

/// Keeps the order of frames, and of their times, at a change, and has the first of the new camera coded as a key frame.
pub(super) fn guard(encode: &gst::Bin, control: VideoControl) {
    let queue = encode.by_name(encode::QUEUE_NAME).expect("raw pictures are queued");
    let exit = queue.static_pad("src").expect("a queue has a source pad");
    let seen = Mutex::new(Seen::default());
    exit.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.take(buffer.offset(), buffer.pts()) {
            // Not `Drop`: the bindings free the buffer for it, and GStreamer would free it again.
            Verdict::Stale => return gst::PadProbeReturn::Handled,
            Verdict::Goes { pts, first } => {
                if pts != buffer.pts() {
                    buffer.make_mut().set_pts(pts);
                }
                if first {
                    control.request_idr_at_once();
                }
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// What has passed the guard.
#[derive(Debug, Default)]
struct Seen {
    change: u64,
    last: Option<gst::ClockTime>,
}

#[derive(Debug, PartialEq)]
enum Verdict {
    /// Of a camera that is shown no more.
    Stale,
    Goes {
        pts: Option<gst::ClockTime>,
        /// Whether the one before was of the other camera.
        first: bool,
    },
}

impl Seen {
    fn take(&mut self, change: u64, pts: Option<gst::ClockTime>) -> Verdict {
        if change < self.change {
            return Verdict::Stale;
        }
        let first = change > self.change && self.change != 0;
        self.change = change;
        let late = |(pts, last): (gst::ClockTime, gst::ClockTime)| pts <= last && last - pts < OVERLAP;
        let pts = match self.last.filter(|last| pts.is_some_and(|pts| late((pts, *last)))) {
            Some(last) => Some(last + STEP),
            None => pts,
        };
        self.last = pts.or(self.last);
        Verdict::Goes { pts, first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Option<gst::ClockTime> {
        Some(gst::ClockTime::from_mseconds(ms))
    }

    #[test]
    fn nothing_of_the_old_camera_follows_the_first_of_the_new_and_time_goes_on() {
        let goes = |pts, first| Verdict::Goes { pts: ms(pts), first };
        let mut seen = Seen::default();
        let table = [
            ((1, 0), goes(0, false)),
            ((1, 33), goes(33, false)),
            ((2, 20), goes(34, true)),
            ((1, 66), Verdict::Stale),
            ((2, 53), goes(53, false)),
            ((3, 60), goes(60, true)),
            ((3, 60), goes(61, false)),
        ];
        for ((change, pts), expected) in table {
            assert_eq!(seen.take(change, ms(pts)), expected, "{change} at {pts} ms");
        }
    }

    #[test]
    fn a_camera_with_quite_another_idea_of_time_keeps_it() {
        let mut seen = Seen::default();
        seen.take(1, ms(900_000));
        assert_eq!(seen.take(2, ms(5)), Verdict::Goes { pts: ms(5), first: true });
        assert_eq!(seen.take(2, None), Verdict::Goes { pts: None, first: false });
    }
}
