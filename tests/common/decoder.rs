//! What a viewer sees of the packets it has received.

use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use rtc::rtp;
use rtc::shared::marshal::Marshal;

use super::viewer::PAYLOAD_TYPE;

/// One decoded picture.
pub struct Decoded {
    pub width: u32,
    pub height: u32,
    /// Luma, a byte a pixel.
    pub luma: Vec<u8>,
}

impl Decoded {
    pub fn brightness(&self) -> u8 {
        let sum: usize = self.luma.iter().map(|sample| usize::from(*sample)).sum();
        u8::try_from(sum / self.luma.len()).expect("a mean of bytes")
    }

    pub fn differs_from(&self, other: &Self) -> bool {
        self.luma.iter().zip(&other.luma).any(|(one, two)| one.abs_diff(*two) > 50)
    }
}

/// The pictures in these packets of one track, repaired ones put where they belong.
pub fn decode(packets: &[rtp::Packet]) -> Vec<Decoded> {
    let first = packets[0].header.sequence_number;
    let mut packets: Vec<_> = packets.iter().collect();
    packets.sort_by_key(|packet| packet.header.sequence_number.wrapping_sub(first).cast_signed());
    let text = format!(
        "appsrc name=in format=time max-bytes=0 caps=application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload={PAYLOAD_TYPE} \
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
    let pictures = std::iter::from_fn(|| output.pull_sample().ok()).map(|sample| {
        let size = |name| {
            let caps = sample.caps().and_then(|caps| caps.structure(0)).expect("caps");
            u32::try_from(caps.get::<i32>(name).expect("a number")).expect("a size")
        };
        let luma = sample.buffer().expect("a buffer").map_readable().expect("readable").to_vec();
        Decoded { width: size("width"), height: size("height"), luma }
    });
    let pictures = pictures.collect();
    pipeline.set_state(gstreamer::State::Null).expect("it stops");
    pictures
}
