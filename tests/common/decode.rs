//! A viewer's packets back to pictures.

use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use rtc::rtp;
use rtc::shared::marshal::Marshal;

use super::viewer::PAYLOAD_TYPE;

/// What `look` sees in the luma of each picture that can be decoded.
pub fn pictures<T>(packets: &[rtp::Packet], look: impl Fn(&[u8]) -> T) -> Vec<T> {
    let caps = format!("application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload={PAYLOAD_TYPE}");
    let text = format!(
        "appsrc name=in format=time max-bytes=0 caps={caps} \
         ! rtph264depay ! h264parse ! openh264dec ! videoconvert ! video/x-raw,format=GRAY8 ! appsink name=out sync=false"
    );
    gstreamer::init().expect("GStreamer");
    let pipeline = gstreamer::parse::launch(&text).expect("the elements are installed");
    let pipeline = pipeline.downcast::<gstreamer::Pipeline>().expect("a pipeline");
    let input = pipeline.by_name("in").and_downcast::<AppSrc>().expect("an appsrc");
    let output = pipeline.by_name("out").and_downcast::<AppSink>().expect("an appsink");
    pipeline.set_state(gstreamer::State::Playing).expect("it plays");
    for packet in packets {
        let bytes = packet.marshal().expect("it was received");
        input.push_buffer(gstreamer::Buffer::from_slice(bytes)).expect("it is taken");
    }
    input.end_of_stream().expect("it is taken");
    let samples = std::iter::from_fn(|| output.pull_sample().ok());
    let seen = samples.map(|sample| look(&sample.buffer().expect("a buffer").map_readable().expect("readable")));
    let seen = seen.collect();
    pipeline.set_state(gstreamer::State::Null).expect("it stops");
    seen
}
