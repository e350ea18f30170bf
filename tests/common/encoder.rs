//! Real H.264, made while the test runs.

use std::time::Duration;

use bytes::Bytes;
use gstreamer::prelude::*;
use tokio::sync::mpsc;

/// One coded picture.
pub struct Picture {
    pub data: Bytes,
    pub key: bool,
}

/// x264 on a moving pattern at 30 pictures a second, with a key frame on request and every 20 s.
pub struct Encoder {
    pipeline: gstreamer::Pipeline,
    pub pictures: mpsc::Receiver<Picture>,
}

pub const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 30);

impl Encoder {
    pub fn start(width: u32, height: u32, kbps: u32) -> Self {
        gstreamer::init().expect("GStreamer");
        let description = format!(
            "videotestsrc is-live=true pattern=ball motion=sweep background-color=0xff204060 \
             ! video/x-raw,width={width},height={height},framerate=30/1 \
             ! x264enc tune=zerolatency speed-preset=ultrafast bitrate={kbps} key-int-max=600 b-adapt=false name=encoder \
             ! video/x-h264,profile=constrained-baseline ! h264parse config-interval=-1 \
             ! video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=sink max-buffers=4 drop=false sync=false"
        );
        let pipeline = gstreamer::parse::launch(&description).expect("gstreamer1.0-plugins-{base,bad,ugly}");
        let pipeline = pipeline.downcast::<gstreamer::Pipeline>().expect("a pipeline");
        let sink = pipeline.by_name("sink").expect("named").downcast::<gstreamer_app::AppSink>().expect("an appsink");
        let (sender, pictures) = mpsc::channel(8);
        sink.set_callbacks(
            gstreamer_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gstreamer::FlowError::Eos)?;
                    let buffer = sample.buffer_owned().ok_or(gstreamer::FlowError::Error)?;
                    let key = !buffer.flags().contains(gstreamer::BufferFlags::DELTA_UNIT);
                    let data = buffer.into_mapped_buffer_readable().map_err(|_| gstreamer::FlowError::Error)?;
                    let data = Bytes::copy_from_slice(&data);
                    // Full: the test does not read any more.
                    let _ = sender.try_send(Picture { data, key });
                    Ok(gstreamer::FlowSuccess::Ok)
                })
                .build(),
        );
        pipeline.set_state(gstreamer::State::Playing).expect("it plays");
        Self { pipeline, pictures }
    }

    pub fn force_key_frame(&self) -> bool {
        let structure = gstreamer::Structure::builder("GstForceKeyUnit").field("all-headers", true).build();
        let encoder = self.pipeline.by_name("encoder").expect("named");
        let source = encoder.static_pad("src").expect("a pad");
        source.send_event(gstreamer::event::CustomUpstream::new(structure))
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gstreamer::State::Null);
    }
}
