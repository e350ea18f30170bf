//! Two cameras, one stream, from the driver's message to the viewer's decoded picture: the front camera's is white, the
//! rear one's black.

mod common;

use std::time::Duration;

use common::TestHub;
use common::running::{CHANNEL, Daemon, server};
use common::viewer::{PAYLOAD_TYPE, Setup, Viewer};
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use rtc::rtp;
use rtc::shared::marshal::Marshal;

const CAMERAS: &str = r#"
[camera]
kind = "pipeline"
pipeline = "videotestsrc is-live=true pattern=white ! video/x-raw,framerate=30/1"
width = 320
height = 240

[camera.rear]
kind = "pipeline"
pipeline = "videotestsrc is-live=true pattern=black ! video/x-raw,framerate=30/1"

[drive]
neutral_first = false
"#;

/// How long the picture is looked at after each change.
const LOOK: Duration = Duration::from_millis(500);

struct Watching {
    viewer: Viewer,
    packets: Vec<rtp::Packet>,
}

impl Watching {
    /// Says this, and looks at the picture once the car tells that it shows this camera.
    async fn say(&mut self, messages: &[&str], shown: u8) {
        for message in messages {
            self.viewer.drive(message).await;
        }
        self.viewer.metric_with(&format!(r#"{{"camera":{{"key":"shown","value":{shown}}}}}"#)).await;
        self.look().await;
    }

    async fn look(&mut self) {
        let look = async {
            loop {
                self.packets.push(self.viewer.packet().await);
            }
        };
        let _ = tokio::time::timeout(LOOK, look).await;
    }

    /// The colours seen, each once for as long as it lasted.
    fn colours(&self) -> Vec<&'static str> {
        let mut colours: Vec<_> =
            decode(&self.packets).into_iter().map(|white| if white { "white" } else { "black" }).collect();
        colours.dedup();
        colours
    }
}

/// Whether each picture is white.
fn decode(packets: &[rtp::Packet]) -> Vec<bool> {
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
    let pictures = std::iter::from_fn(|| output.pull_sample().ok());
    let white = pictures.map(|sample| {
        let luma = sample.buffer().expect("a buffer").map_readable().expect("readable");
        luma.iter().map(|sample| usize::from(*sample)).sum::<usize>() / luma.len() > 128
    });
    let white = white.collect();
    pipeline.set_state(gstreamer::State::Null).expect("it stops");
    white
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_follows_the_drivers_direction_and_whoever_selects_a_camera() {
    let hub = TestHub::start().await;
    let daemon = Daemon::start(&format!("{}{CAMERAS}", server(&hub)), &["--log-level", "debug"]);
    daemon.logs("publishing", 0).await;
    let viewer = Viewer::join_at(hub.plain, CHANNEL, Setup::default()).await;
    let mut watching = Watching { viewer, packets: Vec::new() };
    watching.look().await;
    watching.say(&[r#"{"motion":{"key":"back","value":5}}"#], 1).await;
    watching.say(&[r#"{"motion":{"key":"forward","value":5}}"#], 0).await;
    watching.say(&[r#"{"camera":{"key":"select","value":1}}"#], 1).await;
    watching.say(&[r#"{"camera":{"key":"select","value":7}}"#, r#"{"camera":{"key":"select","value":0}}"#], 0).await;
    assert_eq!(watching.colours(), ["white", "black", "white", "black", "white"]);
    assert_eq!(daemon.stop().await.0, Some(0));
}
