//! Makes the source bin: elements from their description, with one pad of raw video.

use gstreamer as gst;
use gstreamer::prelude::*;

use super::test_picture;
use crate::video::camera::{PACE_NAME, SourceDescription};
use crate::video::error::{CameraFault, VideoError, shown};
use crate::video::overlay::Drawing;
use crate::video::plugins::package_of;
use crate::video::settings::CameraConfig;

/// Makes the source, ready to be linked to the encode bin.
pub(super) fn make(
    description: &SourceDescription,
    camera: &CameraConfig,
    drawing: Drawing,
) -> Result<gst::Bin, VideoError> {
    let bin = parse(description, camera.key())?;
    let pace = bin.by_name(PACE_NAME).expect("every source description ends in it");
    if description.drawn {
        test_picture::draw_into(&bin, &pace, camera, drawing)?;
    } else {
        let entry = pace.static_pad("sink").expect("identity has a sink pad");
        entry.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, |pad, _| do_not_pace_if_live(pad));
    }
    let exit = pace.static_pad("src").expect("identity has a source pad");
    let ghost = gst::GhostPad::with_target(&exit).expect("the pad is not yet exposed");
    bin.add_pad(&ghost).expect("the bin has no other pads");
    Ok(bin)
}

fn parse(description: &SourceDescription, key: &'static str) -> Result<gst::Bin, VideoError> {
    // Pads are exposed by `make`: which ones GStreamer would find depends on what else is unlinked.
    let ghost_unlinked_pads = false;
    let mut context = gst::ParseContext::new();
    let bin = gst::parse::bin_from_description_full(
        &description.launch_text,
        ghost_unlinked_pads,
        Some(&mut context),
        gst::ParseFlags::FATAL_ERRORS,
    );
    bin.map(|bin| bin.downcast().expect("the call makes a bin")).map_err(|error| {
        let missing = context.missing_elements();
        let packages = missing.iter().filter_map(|element| Some(format!("; {element} is in {}", package_of(element)?)));
        let problem = shown(error.message()) + &packages.collect::<String>();
        VideoError::Camera { key, problem, fault: fault_of(&error) }
    })
}

fn fault_of(error: &gst::glib::Error) -> CameraFault {
    use gst::ParseError;

    match error.kind::<ParseError>() {
        Some(ParseError::NoSuchElement) => CameraFault::NoElement,
        Some(ParseError::NoSuchProperty | ParseError::CouldNotSetProperty) => CameraFault::Property,
        Some(ParseError::Link) => CameraFault::NotRawVideo,
        _ => CameraFault::Syntax,
    }
}

/// A live source gives each picture when it is there; waiting for its time would only add the latency it reports. Anything
/// else (a file) would run as fast as it can. Which it is, is known for certain when the first picture comes.
fn do_not_pace_if_live(entry: &gst::Pad) -> gst::PadProbeReturn {
    let mut query = gst::query::Latency::new();
    let live = entry.peer_query(&mut query) && query.result().0;
    if let Some(pace) = entry.parent_element() {
        pace.set_property("sync", !live);
    }
    gst::PadProbeReturn::Remove
}
