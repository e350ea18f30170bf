//! Two cameras, one stream, from whoever selects one to the viewer's decoded picture: the front camera's is white, the
//! rear one's black.

mod common;

use std::time::Duration;

use common::chromium::{Chromium, Page};
use common::decoder::decode;
use common::running::{CHANNEL, Daemon, server};
use common::viewer::{Setup, Viewer};
use common::{TestHub, page};
use rtc::rtp;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

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

/// What tells that this camera is shown.
fn shown(camera: u8) -> String {
    format!(r#"{{"camera":{{"key":"shown","value":{camera}}}}}"#)
}

/// How long the picture is looked at after each change.
const LOOK: Duration = Duration::from_millis(500);

struct Watching {
    viewer: Viewer,
    packets: Vec<rtp::Packet>,
}

impl Watching {
    /// Says this, and looks at the picture of the camera that is then shown.
    async fn say(&mut self, messages: &[&str], camera: u8) {
        for message in messages {
            self.viewer.drive(message).await;
        }
        self.sees(camera).await;
    }

    /// Looks at the picture once the car tells that it shows this camera.
    async fn sees(&mut self, camera: u8) {
        self.viewer.metric_with(&shown(camera)).await;
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
            decode(&self.packets).iter().map(|it| if it.brightness() > 128 { "white" } else { "black" }).collect();
        colours.dedup();
        colours
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_program_on_the_bridge_selects_a_camera() {
    let hub = TestHub::start().await;
    let bridge = tempfile::tempdir().expect("a folder");
    let socket = bridge.path().join("car.sock");
    let file = format!("{}{CAMERAS}[bridge]\nsocket = \"{}\"\n", server(&hub), socket.display());
    let daemon = Daemon::start(&file, &["--log-level", "debug"]);
    daemon.logs("publishing", 0).await;
    let viewer = Viewer::join_at(hub.plain, CHANNEL, Setup::default()).await;
    let mut watching = Watching { viewer, packets: Vec::new() };
    watching.look().await;
    let mut program = UnixStream::connect(&socket).await.expect("the bridge listens");
    for camera in [1, 0, 1] {
        let line = format!("{{\"camera\":{{\"key\":\"select\",\"value\":{camera}}}}}\n");
        program.write_all(line.as_bytes()).await.expect("the bridge reads");
        watching.sees(camera).await;
    }
    assert_eq!(watching.colours(), ["white", "black", "white", "black"]);
    assert_eq!(daemon.stop().await.0, Some(0));
}

/// Somebody at the page.
struct Person {
    browser: Chromium,
    page: Page,
}

impl Person {
    async fn presses(&mut self, key: &str) {
        self.browser.key_down(&self.page, key).await;
    }

    async fn lets_go(&mut self, key: &str) {
        self.browser.key_up(&self.page, key).await;
    }

    /// Waits until the page has been told of this camera, and until the picture it has decoded is that camera's.
    async fn sees(&mut self, camera: u8) {
        self.browser.wait_for(&self.page, &format!("window.told.at(-1) === {camera}")).await;
        // Video levels, decoded: near enough to white and to black.
        let colour = if camera == 0 { "level > 230" } else { "level < 25" };
        let pixel = "(() => { const canvas = new OffscreenCanvas(1, 1), context = canvas.getContext('2d'); \
             context.drawImage(document.querySelector('video'), 0, 0, 1, 1); \
             return context.getImageData(0, 0, 1, 1).data[1]; })()";
        self.browser.wait_for(&self.page, &format!("((level) => {colour})({pixel})")).await;
    }

    /// Which cameras the page was told of, each once for as long as it was shown.
    async fn told(&mut self) -> Vec<u64> {
        let told = self.browser.evaluate(&self.page, "window.told").await;
        let mut told: Vec<_> = told.as_array().expect("a list").iter().flat_map(serde_json::Value::as_u64).collect();
        told.dedup();
        told
    }
}

/// Notes what comes on `metric` of the camera that is shown.
const WATCH_CAMERA: &str = "window.told = []; \
     const create = RTCPeerConnection.prototype.createDataChannel; \
     RTCPeerConnection.prototype.createDataChannel = function (label, ...given) { \
       const channel = create.call(this, label, ...given); \
       if (label === 'metric') channel.addEventListener('message', ({ data }) => { \
         const { camera } = JSON.parse(data); if (camera?.key === 'shown') window.told.push(camera.value); }); \
       return channel; };";

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_key_c_shows_the_other_camera_and_so_does_driving_its_way() {
    let hub = TestHub::start().await;
    let daemon = Daemon::start(&format!("{}{CAMERAS}", server(&hub)), &["--log-level", "debug"]);
    daemon.logs("publishing", 0).await;
    let mut browser = Chromium::start().await;
    let page = page::open_with(&mut browser, &hub.page(), &[WATCH_CAMERA]).await;
    page::says(&mut browser, &page, "Live").await;
    page::shows(&mut browser, &page, "wheel-text", "You drive").await;
    let mut person = Person { browser, page };
    person.sees(0).await;
    for (key, camera) in [("KeyC", 1), ("KeyC", 0), ("KeyS", 1), ("KeyW", 0), ("ArrowDown", 1), ("KeyC", 0)] {
        person.presses(key).await;
        person.sees(camera).await;
        person.lets_go(key).await;
    }
    assert_eq!(person.told().await, [0, 1, 0, 1, 0, 1, 0]);
    assert_eq!(daemon.stop().await.0, Some(0));
}
