//! Tries encoders for real: three pictures through each, and what came of it is remembered.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::encode::upload;
use crate::video::encoder::{EncoderRow, Memory, Setup};
use crate::video::settings::Size;

/// How long an encoder may take for its first pictures before it counts as broken.
const TRIAL_DEADLINE: gst::ClockTime = gst::ClockTime::from_seconds(3);

/// What came of trying an encoder at a size, in this process: a camera that comes back need not wait for another trial.
/// Hardware does not come and go; what fails later is tried again (see [`forget_trials`]).
static TRIALS: Mutex<Vec<(&str, Size, bool)>> = Mutex::new(Vec::new());

fn trials() -> MutexGuard<'static, Vec<(&'static str, Size, bool)>> {
    TRIALS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An encoder has failed: what is known of any may be out of date.
pub(super) fn forget_trials() {
    trials().clear();
}

/// Whether the encoder, set up so, really codes pictures of this size here. Says in the log why not, the first time.
pub(super) fn works(row: &'static EncoderRow, setup: &Setup, size: Size) -> bool {
    let known = trials().iter().find(|(element, at, _)| (*element, *at) == (row.element, size)).map(|trial| trial.2);
    known.unwrap_or_else(|| {
        let works = tried(row, setup, size);
        trials().push((row.element, size, works));
        works
    })
}

fn tried(row: &'static EncoderRow, setup: &Setup, size: Size) -> bool {
    let tried = try_out(row, setup, size);
    if let Err(problem) = &tried {
        tracing::warn!(encoder = row.element, problem, "this encoder is installed and does not work; trying the next");
    }
    tried.is_ok()
}

/// As [`works`], silently.
pub(super) fn try_out(row: &'static EncoderRow, setup: &Setup, size: Size) -> Result<(), String> {
    let text = format!(
        "videotestsrc num-buffers=3 ! video/x-raw,format={},width={},height={},framerate=30/1 ! {}{} ! \
         fakesink name=out sync=false async=false",
        row.raw_formats.first().copied().unwrap_or("I420"),
        size.width(),
        size.height(),
        upload(Memory::System, row),
        setup.text
    );
    let trial = gst::parse::launch(&text).map_err(|error| error.to_string())?;
    let trial = trial.downcast::<gst::Pipeline>().map_err(|_| "not a pipeline".to_owned())?;
    let coded = Arc::new(AtomicBool::new(false));
    let entry = trial.by_name("out").and_then(|out| out.static_pad("sink")).expect("the description has it");
    let seen = coded.clone();
    entry.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        seen.store(true, Relaxed);
        gst::PadProbeReturn::Ok
    });
    let bus = trial.bus().expect("a pipeline always has a bus");
    let ended = trial.set_state(gst::State::Playing).map_err(|error| error.to_string()).and_then(|_| {
        let last = bus.timed_pop_filtered(TRIAL_DEADLINE, &[gst::MessageType::Eos, gst::MessageType::Error]);
        match last.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Eos(_)) if coded.load(Relaxed) => Ok(()),
            Some(gst::MessageView::Eos(_)) => Err("it gives nothing out".to_owned()),
            Some(gst::MessageView::Error(error)) => Err(error.error().to_string()),
            _ => Err("it does not finish".to_owned()),
        }
    });
    // A stop that hangs would hang here; the pipeline proper would hang just the same.
    let _ = trial.set_state(gst::State::Null);
    ended
}
