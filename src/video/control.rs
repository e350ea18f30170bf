//! The handle through which others steer a running pipeline and read its counters. Nothing here waits: requests are left in
//! atomics, and the encoder's own thread picks them up before its next frame.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::encoder::EncoderRow;
use super::rate::{PictureTargets, Rung, Scale, Steering};
use super::settings::{Bitrate, Framerate};
use super::trace::LatencyTrace;
use super::views::Views;

/// Steers a pipeline, and every one that takes its place. Clones steer the same one; while none runs, what was asked last
/// waits for the next.
#[derive(Clone, Debug)]
pub struct VideoControl(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    encoder: Mutex<Encoder>,
    bitrate_ceiling_kbps: AtomicU32,
    bitrate_kbps: AtomicU32,
    /// A [`Rung`]: the frame rate in the lower half, the scale in the upper; 0 while nobody wants less than everything.
    rung: AtomicU32,
    key_frame_requests: AtomicU64,
    urgent: AtomicBool,
    views: Views,
    camera_controls: watch::Sender<CameraControls>,
    trace: LatencyTrace,
    counters: Counters,
}

/// What is steered now.
#[derive(Clone, Copy, Debug)]
struct Encoder {
    element: &'static str,
    steering: Steering,
}

/// Values of the controls of each [`View`](super::settings::View)'s camera; `None` for those that are configured.
pub type CameraControls = [Option<Vec<(String, i32)>>; 2];

/// What was counted since the first pipeline started. Each number stands for itself: no order among them is promised.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) frames_in: AtomicU64,
    pub(super) frames_dropped: AtomicU64,
    pub(super) units_out: AtomicU64,
    pub(super) units_dropped: AtomicU64,
    pub(super) key_frames: AtomicU64,
}

/// A reading of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoStats {
    /// GStreamer's name for the encoder; empty before there is one.
    pub encoder: &'static str,
    /// The rate the encoder is asked for now.
    pub bitrate: Bitrate,
    /// Frames that entered the encoder.
    pub frames_in: u64,
    /// Frames replaced by a newer one before the encoder was free. Frames captured are this and `frames_in`.
    pub frames_dropped: u64,
    /// Access units the encoder gave out.
    pub units_out: u64,
    /// Of these, the ones that found the queue to the track full, or built on one that did.
    pub units_dropped: u64,
    /// Of the ones given out, those a decoder can start at.
    pub key_frames: u64,
}

impl VideoControl {
    /// No pipeline yet; the first is to run at `bitrate`.
    pub fn new(bitrate: Bitrate) -> Self {
        Self(Arc::new(Shared {
            encoder: Mutex::new(Encoder { element: "", steering: Steering::ANY }),
            bitrate_ceiling_kbps: AtomicU32::new(Bitrate::MAX_KBPS),
            bitrate_kbps: AtomicU32::new(bitrate.kbps()),
            rung: AtomicU32::new(0),
            key_frame_requests: AtomicU64::new(0),
            urgent: AtomicBool::new(false),
            views: Views::default(),
            camera_controls: watch::Sender::default(),
            trace: LatencyTrace::default(),
            counters: Counters::default(),
        }))
    }

    /// A pipeline with this encoder, which must not be given more than `ceiling`, is steered from here on.
    pub(super) fn attach(&self, row: &EncoderRow, ceiling: Bitrate) {
        let encoder = Encoder { element: row.element, steering: row.steering() };
        *self.0.encoder.lock().unwrap_or_else(PoisonError::into_inner) = encoder;
        self.0.bitrate_ceiling_kbps.store(ceiling.kbps(), Relaxed);
    }

    /// Asks for a key frame: the next frame into the encoder, unless one was forced within the last
    /// [`QUIET_WINDOW`](super::key_frames::QUIET_WINDOW); then the first after it. Never lost, however often it is asked.
    pub fn request_idr(&self) {
        self.0.key_frame_requests.fetch_add(1, Relaxed);
    }

    /// As [`VideoControl::request_idr`], whenever the last was forced: the next frame has nothing to do with those before.
    pub(super) fn request_idr_at_once(&self) {
        self.0.urgent.store(true, Relaxed);
        self.request_idr();
    }

    /// Whether the request is to be answered at once; told once.
    pub(super) fn take_urgency(&self) -> bool {
        self.0.urgent.load(Relaxed) && self.0.urgent.swap(false, Relaxed)
    }

    /// Which of two cameras is to be shown.
    pub fn views(&self) -> &Views {
        &self.0.views
    }

    /// Gives the cameras these values of their controls, in place of the configured ones, from now on.
    pub fn set_camera_controls(&self, controls: CameraControls) {
        self.0.camera_controls.send_replace(controls);
    }

    /// Values of controls in place of the configured ones, and each change of them.
    pub(super) fn camera_controls(&self) -> watch::Receiver<CameraControls> {
        self.0.camera_controls.subscribe()
    }

    /// Where a picture's time goes.
    pub fn trace(&self) -> &LatencyTrace {
        &self.0.trace
    }

    /// Sets the bit rate from the next frame on; the newest value wins. Where the picture fits the level that our SDP
    /// promises, it is held within what that level allows.
    pub fn set_bitrate(&self, bitrate: Bitrate) {
        self.0.bitrate_kbps.store(bitrate.kbps(), Relaxed);
    }

    /// Sets how often and how large pictures are coded, from the next one on. Fewer cost nothing; another size starts with
    /// a key frame.
    pub fn set_rung(&self, rung: Rung) {
        self.0.rung.store(packed(rung), Relaxed);
    }

    /// Does what rate control wants of the encoder.
    pub fn follow(&self, targets: PictureTargets) {
        self.set_bitrate(targets.bitrate);
        self.set_rung(targets.rung);
    }

    /// How the encoder can be steered; before there is one, as if it could be in every way.
    pub fn steering(&self) -> Steering {
        self.now().steering
    }

    /// The counters now.
    pub fn stats(&self) -> VideoStats {
        let counters = &self.0.counters;
        VideoStats {
            encoder: self.encoder(),
            bitrate: self.bitrate(),
            frames_in: counters.frames_in.load(Relaxed),
            frames_dropped: counters.frames_dropped.load(Relaxed),
            units_out: counters.units_out.load(Relaxed),
            units_dropped: counters.units_dropped.load(Relaxed),
            key_frames: counters.key_frames.load(Relaxed),
        }
    }

    pub(super) fn encoder(&self) -> &'static str {
        self.now().element
    }

    fn now(&self) -> Encoder {
        *self.0.encoder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bitrate(&self) -> Bitrate {
        let kbps = self.0.bitrate_kbps.load(Relaxed).min(self.0.bitrate_ceiling_kbps.load(Relaxed));
        Bitrate::from_kbps(kbps).expect("only the kbps of a Bitrate are ever stored")
    }

    /// `None` while nobody wants less than everything.
    pub(super) fn rung(&self) -> Option<Rung> {
        unpacked(self.0.rung.load(Relaxed))
    }

    pub(super) fn key_frame_requests(&self) -> u64 {
        self.0.key_frame_requests.load(Relaxed)
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.0.counters
    }
}

const SCALES: [Scale; 3] = [Scale::Full, Scale::ThreeQuarters, Scale::Half];

fn packed(rung: Rung) -> u32 {
    let scale = SCALES.iter().position(|scale| *scale == rung.scale).unwrap_or(0);
    (scale as u32) << 16 | rung.framerate.per_second()
}

fn unpacked(packed: u32) -> Option<Rung> {
    let scale = SCALES.get(packed as usize >> 16).copied().unwrap_or(Scale::Full);
    Framerate::new(packed & 0xffff).map(|framerate| Rung { framerate, scale })
}

/// Counts one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::encoder;

    fn kbps(kbps: u32) -> Bitrate {
        Bitrate::from_kbps(kbps).expect("a valid rate")
    }

    fn row(element: &str) -> &'static EncoderRow {
        encoder::row(element).expect("the table has it")
    }

    #[test]
    fn a_rung_is_handed_over_whole() {
        let control = VideoControl::new(kbps(800));
        assert_eq!(control.rung(), None, "everything, until less is wanted");
        for scale in SCALES {
            for framerate in [1, 15, Framerate::MAX] {
                let rung = Rung { framerate: Framerate::new(framerate).expect("a valid rate"), scale };
                control.set_rung(rung);
                assert_eq!(control.rung(), Some(rung));
            }
        }
    }

    #[test]
    fn each_encoder_is_steered_as_it_can_be() {
        let control = VideoControl::new(kbps(800));
        let highest = Bitrate::from_kbps(Bitrate::MAX_KBPS).expect("a valid rate");
        let rows = [
            (row("x264enc"), Steering::Adaptable { step_kbps: 1, resizes: true }),
            (row("v4l2h264enc"), Steering::Adaptable { step_kbps: 25, resizes: false }),
            (&encoder::PASSTHROUGH, Steering::Passthrough),
        ];
        for (row, steering) in rows {
            control.attach(row, highest);
            assert_eq!(control.steering(), steering, "{}", row.element);
        }
    }

    #[test]
    fn the_bit_rate_never_exceeds_the_ceiling() {
        let control = VideoControl::new(kbps(20_000));
        control.attach(row("x264enc"), kbps(14_000));
        assert_eq!(control.stats().bitrate, kbps(14_000));
        control.clone().set_bitrate(kbps(800));
        assert_eq!(control.stats().bitrate, kbps(800));
        control.set_bitrate(kbps(30_000));
        assert_eq!(control.stats().bitrate, kbps(14_000));
    }

    #[test]
    fn what_was_asked_of_one_pipeline_holds_for_the_next() {
        let control = VideoControl::new(kbps(20_000));
        control.attach(row("x264enc"), kbps(14_000));
        control.attach(row("openh264enc"), Bitrate::from_kbps(Bitrate::MAX_KBPS).expect("a valid rate"));
        assert_eq!((control.stats().encoder, control.stats().bitrate), ("openh264enc", kbps(20_000)));
    }
}
