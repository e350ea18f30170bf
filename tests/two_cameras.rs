//! Two cameras, one stream, from the driver's message to the viewer's decoded picture: the front camera's is white, the
//! rear one's black.

mod common;

use std::time::Duration;

use common::TestHub;
use common::decode::pictures;
use common::running::{CHANNEL, Daemon, server};
use common::viewer::{Setup, Viewer};
use rtc::rtp;

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
    pictures(packets, |luma| luma.iter().map(|sample| usize::from(*sample)).sum::<usize>() / luma.len() > 128)
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
