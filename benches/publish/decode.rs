//! Packets back to access units, and access units to the time at which each was drawn (the strip in the test picture).

use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use rtcpub::rtc::relay::MediaPacket;
use rtcpub::video::h264;
use rtcpub::video::overlay::Stamp;

/// One access unit, and when it was there.
pub struct Coded {
    pub data: Vec<u8>,
    /// Since 1970.
    pub at: Duration,
}

/// RFC 6184 packetization-mode 1, without loss.
#[derive(Default)]
pub struct Depacketizer {
    unit: Vec<u8>,
}

const START_CODE: [u8; 4] = [0, 0, 0, 1];

impl Depacketizer {
    /// Takes a packet; returns the access unit it completes.
    pub fn take(&mut self, packet: &MediaPacket) -> Option<Vec<u8>> {
        let payload = &packet.payload[..];
        match payload[0] & 0x1f {
            24 => {
                let mut rest = &payload[1..];
                while let [high, low, tail @ ..] = rest {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    self.unit.extend_from_slice(&START_CODE);
                    self.unit.extend_from_slice(&tail[..length]);
                    rest = &tail[length..];
                }
            }
            28 => {
                if payload[1] & 0x80 != 0 {
                    self.unit.extend_from_slice(&START_CODE);
                    self.unit.push((payload[0] & 0xe0) | (payload[1] & 0x1f));
                }
                self.unit.extend_from_slice(&payload[2..]);
            }
            _ => {
                self.unit.extend_from_slice(&START_CODE);
                self.unit.extend_from_slice(payload);
            }
        }
        packet.marker.then(|| std::mem::take(&mut self.unit))
    }
}

/// Drawn → there, of every access unit from the first IDR on whose strip is legible, in milliseconds.
pub fn delays_ms(coded: &[Coded]) -> Vec<f64> {
    gst::init().unwrap();
    let decoder = ["avdec_h264", "openh264dec"].into_iter().find(|name| gst::ElementFactory::find(name).is_some());
    let decoder = decoder.expect("a decoder: gstreamer1.0-plugins-bad has openh264dec");
    let text = format!(
        "appsrc name=in format=time caps=video/x-h264,stream-format=byte-stream,alignment=au \
         ! h264parse ! {decoder} ! videoconvert ! video/x-raw,format=I420 ! appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let input = pipeline.by_name("in").unwrap().downcast::<AppSrc>().unwrap();
    let output = pipeline.by_name("out").unwrap().downcast::<AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let from = coded.iter().position(|unit| h264::starts_decoding(&unit.data)).expect("an IDR");
    let mut delays = Vec::new();
    // The presentation time carries the index through the decoder.
    for (index, unit) in coded.iter().enumerate().skip(from) {
        let mut buffer = gst::Buffer::from_mut_slice(unit.data.clone());
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(index as u64));
        input.push_buffer(buffer).unwrap();
    }
    input.end_of_stream().unwrap();
    while let Ok(sample) = output.pull_sample() {
        let structure = sample.caps().unwrap().structure(0).unwrap();
        let side = |name| usize::try_from(structure.get::<i32>(name).unwrap()).unwrap();
        let (width, height) = (side("width"), side("height"));
        let buffer = sample.buffer().unwrap();
        let index = buffer.pts().unwrap().mseconds() as usize;
        let map = buffer.map_readable().unwrap();
        let stride = width.next_multiple_of(4);
        if let Some(stamp) = Stamp::read(&map, width, height, stride) {
            let delay = coded[index].at.as_secs_f64() - stamp.drawn_at.as_secs_f64();
            delays.push(delay * 1000.0);
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(delays.len() > (coded.len() - from) / 2, "only {} of {} strips were legible", delays.len(), coded.len());
    delays
}
