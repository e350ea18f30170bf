//! Access units back to pictures.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};

use crate::video::frame::AccessUnit;

pub(in crate::video) struct Picture {
    pub(in crate::video) luma: Vec<u8>,
    pub(in crate::video) width: usize,
    pub(in crate::video) height: usize,
    pub(in crate::video) stride: usize,
}

/// Decodes a stream that begins with an IDR. Panics when the decoder complains.
pub(in crate::video) fn decode(units: &[AccessUnit]) -> Vec<Picture> {
    let pipeline = gst::parse::launch(
        "appsrc name=in format=time max-bytes=0 caps=video/x-h264,stream-format=byte-stream,alignment=au \
         ! h264parse ! openh264dec ! videoconvert ! video/x-raw,format=I420 ! appsink name=out sync=false",
    );
    let pipeline =
        pipeline.expect("gstreamer1.0-plugins-bad is installed").downcast::<gst::Pipeline>().expect("a pipeline");
    let input = pipeline.by_name("in").and_downcast::<AppSrc>().expect("an appsrc");
    let output = pipeline.by_name("out").and_downcast::<AppSink>().expect("an appsink");
    pipeline.set_state(gst::State::Playing).expect("it plays");
    for unit in units {
        let mut buffer = gst::Buffer::from_slice(unit.data.clone());
        let pts = gst::ClockTime::try_from(unit.pts).expect("a time");
        buffer.get_mut().expect("not shared yet").set_pts(pts);
        input.push_buffer(buffer).expect("the decoder takes it");
    }
    input.end_of_stream().expect("the decoder takes the end");
    let pictures = std::iter::from_fn(|| output.pull_sample().ok()).map(|sample| picture(&sample)).collect();
    let complaint = pipeline.bus().expect("a bus").pop_filtered(&[gst::MessageType::Error, gst::MessageType::Warning]);
    pipeline.set_state(gst::State::Null).expect("it stops");
    assert!(complaint.is_none(), "{complaint:?}");
    pictures
}

fn picture(sample: &gst::Sample) -> Picture {
    let caps = sample.caps().and_then(|caps| caps.structure(0)).expect("caps");
    let side = |name| usize::try_from(caps.get::<i32>(name).expect("a fixed size")).expect("positive");
    let (width, height) = (side("width"), side("height"));
    let stride = width.next_multiple_of(4);
    let luma = sample.buffer().expect("a buffer").map_readable().expect("readable")[..stride * height].to_vec();
    Picture { luma, width, height, stride }
}
