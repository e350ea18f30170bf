//! From the messages of the bus to the pipeline's state.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio::sync::watch;

use super::{PipelineState, trial};
use crate::video::error::{CameraFault, VideoError, shown};
use crate::video::settings::View;

/// Where in a pipeline a fault is.
pub(super) enum Origin {
    /// In the source that this setting describes.
    Source(&'static str),
    /// In one of two cameras, which this setting describes: without the one that is not selected the picture goes on.
    OneOfTwo(View, &'static str),
    /// Anywhere else.
    Elsewhere,
}

/// Announces what the bus of `pipeline` says; `origin` tells where an element is. `broke` takes the faults of one of two
/// cameras.
pub(super) fn announce(
    pipeline: &gst::Pipeline,
    origin: impl Fn(&gst::Object) -> Origin + Send + Sync + 'static,
    broke: impl Fn(View, VideoError) + Send + Sync + 'static,
    state: watch::Sender<PipelineState>,
) {
    let bus = pipeline.bus().expect("a pipeline always has a bus");
    let warned = AtomicBool::new(false);
    // Handled where it is posted, so that nothing queues up on the bus and `start` knows the cause when it fails.
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Error(error) => {
                let (key, view) = match message.src().map_or(Origin::Elsewhere, &origin) {
                    Origin::Source(key) => (Some(key), None),
                    Origin::OneOfTwo(view, key) => (Some(key), Some(view)),
                    Origin::Elsewhere => (None, None),
                };
                let fault = fault(error, key);
                tracing::debug!(%fault, "video pipeline");
                if matches!(fault, VideoError::EncoderFailed { .. }) {
                    trial::forget_trials();
                }
                match view {
                    Some(view) => broke(view, fault),
                    None => finish(&state, PipelineState::Failed(fault)),
                }
            }
            gst::MessageView::Eos(_) => finish(&state, PipelineState::Ended),
            gst::MessageView::Warning(warning) => {
                let problem = problem(message.src(), &warning.error(), warning.debug().as_deref());
                // A camera that warns, warns at each frame.
                if warned.swap(true, Relaxed) {
                    tracing::debug!(problem, "video pipeline");
                } else {
                    tracing::warn!(problem, "video pipeline; further warnings are logged at debug level");
                }
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}

/// The first end counts.
pub(super) fn finish(state: &watch::Sender<PipelineState>, last: PipelineState) {
    state.send_if_modified(|state| {
        let open = matches!(state, PipelineState::Starting | PipelineState::Playing { .. });
        if open {
            *state = last;
        }
        open
    });
}

fn fault(message: &gst::message::Error, source_key: Option<&'static str>) -> VideoError {
    let error = message.error();
    let problem = problem(message.src(), &error, message.debug().as_deref());
    match source_key {
        Some(key) => VideoError::Camera { key, problem, fault: fault_of(message, &error) },
        None => VideoError::EncoderFailed { problem },
    }
}

/// The element, what it says, and the line of its debug text that tells the system's own error.
fn problem(from: Option<&gst::Object>, error: &gst::glib::Error, debug: Option<&str>) -> String {
    let element = from.map_or_else(|| "GStreamer".into(), |from| from.name());
    let message = shown(error.message().trim_end_matches('.'));
    match debug.and_then(|debug| debug.split_once('\n')) {
        Some((_, detail)) if !detail.trim().is_empty() => format!("{element}: {message} ({})", shown(detail)),
        _ => format!("{element}: {message}"),
    }
}

fn fault_of(message: &gst::message::Error, error: &gst::glib::Error) -> CameraFault {
    use gst::{CoreError, ResourceError, StreamError};

    let flow = message.details().and_then(|details| details.get::<i32>("flow-return").ok());
    let unusable =
        [gst::FlowReturn::NotNegotiated, gst::FlowReturn::NotLinked].map(gst::glib::translate::IntoGlib::into_glib);
    if flow.is_some_and(|flow| unusable.contains(&flow)) {
        return CameraFault::NotRawVideo;
    }
    match (error.kind::<ResourceError>(), error.kind::<StreamError>(), error.kind::<CoreError>()) {
        (Some(ResourceError::Busy), ..) => CameraFault::Busy,
        (Some(ResourceError::NotFound | ResourceError::OpenRead | ResourceError::OpenReadWrite), ..) => {
            CameraFault::Missing
        }
        (Some(ResourceError::Read), ..) => CameraFault::Lost,
        (_, Some(StreamError::CodecNotFound | StreamError::TypeNotFound), _) | (.., Some(CoreError::MissingPlugin)) => {
            CameraFault::NoElement
        }
        (_, Some(StreamError::WrongType | StreamError::Format), _)
        | (.., Some(CoreError::Negotiation | CoreError::Caps)) => CameraFault::NotRawVideo,
        _ => CameraFault::Other,
    }
}
