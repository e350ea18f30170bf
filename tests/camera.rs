//! The daemon's picture from a real kernel camera, which is unplugged and plugged in again; a viewer's end decodes it.

#![allow(clippy::disallowed_methods, reason = "the test tells how long the camera takes to come back")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::daemon::{CHANNEL, ChannelFile, Daemon, Hub};
use common::lab;
use common::running;
use common::viewer::{Setup, Viewer};
use rtcpub::video::control::VideoControl;
use rtcpub::video::error::VideoError;
use rtcpub::video::frame::AccessUnit;
use rtcpub::video::h264::ProfileLevel;
use rtcpub::video::keeper::Keeper;
use rtcpub::video::overlay::{OverlaySource, OverlayState};
use rtcpub::video::recovery::{CameraState, LossCause};
use rtcpub::video::settings::{
    Bitrate, CameraConfig, DeviceChoice, EncoderChoice, EncoderConfig, Framerate, PixelFormat, Size, Source, UsbConfig,
    VideoConfig,
};
use rtcpub::video::units::{AccessUnitReceiver, access_unit_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

fn usb(format: PixelFormat, width: u32, height: u32, rate: u32) -> CameraConfig {
    on(UsbConfig { format, ..UsbConfig::default() }, width, height, rate)
}

fn on(usb: UsbConfig, width: u32, height: u32, rate: u32) -> CameraConfig {
    let size = Size::new(width, height).expect("a valid size");
    CameraConfig::new(Source::Usb(usb), size, Framerate::new(rate).expect("a valid rate"))
}

struct Kept {
    units: AccessUnitReceiver,
    state: watch::Receiver<CameraState>,
    control: VideoControl,
    shutdown: CancellationToken,
    keeping: JoinHandle<Result<(), VideoError>>,
}

impl Kept {
    fn start(camera: CameraConfig) -> Self {
        let bitrate = Bitrate::from_kbps(500).expect("a valid rate");
        let encoder =
            EncoderConfig { choice: EncoderChoice::Auto, bitrate, key_frame_interval: Duration::from_secs(600) };
        let (units_in, units) = access_unit_channel();
        let (announce, state) = watch::channel(CameraState::Starting);
        let control = VideoControl::new(bitrate);
        let keeper = Keeper {
            name: None,
            config: VideoConfig { camera, rear: None, encoder },
            overlay: OverlaySource::new(|| OverlayState::PARKED),
            units: units_in,
            control: control.clone(),
            state: announce,
        };
        let shutdown = CancellationToken::new();
        let keeping = tokio::spawn(keeper.keep(shutdown.clone()));
        Self { units, state, control, shutdown, keeping }
    }

    async fn unit(&mut self) -> AccessUnit {
        tokio::time::timeout(PATIENCE, self.units.recv()).await.expect("in time").expect("the queue stays open")
    }

    async fn until(&mut self, name: &str) -> CameraState {
        let mut state = self.state.clone();
        let units = &mut self.units;
        let draining = async { while units.recv().await.is_some() {} };
        tokio::select! {
            found = tokio::time::timeout(PATIENCE, state.wait_for(|state| state.name() == name)) =>
                found.expect("in time").expect("it is kept").clone(),
            () = draining => panic!("the queue is closed"),
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        assert_eq!(tokio::time::timeout(PATIENCE, self.keeping).await.expect("in time").expect("no panic"), Ok(()));
    }
}

/// Width and height from an SPS of a profile without chroma fields (ITU-T H.264 §7.3.2.1.1).
fn coded_size(unit: &AccessUnit) -> (u32, u32) {
    let start = unit.data.windows(4).position(|bytes| bytes[..3] == [0, 0, 1] && bytes[3] & 0x1f == 7);
    let sps = &unit.data[start.expect("an SPS") + 7..];
    let mut at = 0;
    let mut bit = || {
        at += 1;
        u32::from(sps[(at - 1) / 8] >> (7 - (at - 1) % 8) & 1)
    };
    let golomb = |bit: &mut dyn FnMut() -> u32| {
        let zeros = (0..32).take_while(|_| bit() == 0).count();
        (0..zeros).fold(1, |value, _| value << 1 | bit()) - 1
    };
    let (_id, _log2_max_frame_num, order) = (golomb(&mut bit), golomb(&mut bit), golomb(&mut bit));
    if order == 0 {
        golomb(&mut bit);
    }
    assert_ne!(order, 1, "no encoder here counts pictures so");
    golomb(&mut bit);
    bit();
    let (width, height) = (golomb(&mut bit) + 1, golomb(&mut bit) + 1);
    assert_eq!(bit(), 1, "frames only");
    bit();
    let crop: Vec<_> = if bit() == 1 { (0..4).map(|_| golomb(&mut bit)).collect() } else { vec![0; 4] };
    (width * 16 - 2 * (crop[0] + crop[1]), height * 16 - 2 * (crop[2] + crop[3]))
}

fn in_lab(name: &str, work: impl Future<Output = ()>) {
    if lab::entered_lab(name, &[("UML_MEM", "512M"), ("LOOPBACK", "1")]) {
        common::log_to_stderr();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(work);
    }
}

#[test]
fn the_mode_that_fits_is_taken_and_else_the_nearest() {
    in_lab("the_mode_that_fits_is_taken_and_else_the_nearest", async {
        // Asked for, and what the camera has: 320x180, 640x360, 640x480?, 1280x720 and up.
        let table = [
            ((640, 360, 30), (640, 360)),
            ((320, 180, 15), (320, 180)),
            ((1280, 720, 10), (1280, 720)),
            ((636, 364, 25), (640, 360)),
        ];
        for ((width, height, rate), expected) in table {
            let mut kept = Kept::start(usb(PixelFormat::Auto, width, height, rate));
            let first = kept.unit().await;
            assert!(first.idr && ProfileLevel::of(&first.data).is_some());
            assert_eq!(coded_size(&first), expected, "{width}x{height}");
            let mut stamps = vec![first.pts];
            for _ in 0..10 {
                stamps.push(kept.unit().await.pts);
            }
            assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
            kept.stop().await;
        }
    });
}

#[test]
fn a_format_the_camera_does_not_have_is_refused_with_the_list_of_what_it_has() {
    in_lab("a_format_the_camera_does_not_have_is_refused_with_the_list_of_what_it_has", async {
        let camera = UsbConfig {
            device: DeviceChoice::Path("/dev/video0".into()),
            format: PixelFormat::Mjpeg,
            ..UsbConfig::default()
        };
        let kept = Kept::start(on(camera, 640, 360, 30));
        let ended = tokio::time::timeout(PATIENCE, kept.keeping).await.expect("in time").expect("no panic");
        let refusal = ended.expect_err("refused").to_string();
        for part in ["/dev/video0", "MJPEG 640x360 at 30", "640x360", "1280x720", "YUY2"] {
            assert!(refusal.contains(part), "{part} is missing in {refusal}");
        }
    });
}

fn plug(how: &str) {
    fs::write(format!("/sys/bus/platform/drivers/vivid/{how}"), "vivid.0").expect("the lab's camera");
}

#[test]
fn unplugged_and_plugged_in_five_times_the_picture_comes_back_on_one_queue() {
    in_lab("unplugged_and_plugged_in_five_times_the_picture_comes_back_on_one_queue", async {
        let mut kept = Kept::start(on(
            UsbConfig { device: DeviceChoice::Name("vivid".into()), ..UsbConfig::default() },
            640,
            360,
            30,
        ));
        let mut last = kept.unit().await.pts;
        for _ in 0..5 {
            kept.until("playing").await;
            plug("unbind");
            let lost = kept.until("lost").await;
            assert!(lost.cause().is_some());
            let mut state = kept.state.clone();
            let missing = state.wait_for(|state| state.cause() == Some(LossCause::Missing));
            tokio::time::timeout(PATIENCE, missing).await.expect("in time").expect("it is kept");
            while kept.units.try_recv().is_some() {}
            plug("bind");
            let back = Instant::now();
            let unit = kept.unit().await;
            eprintln!("back on the bus to the first access unit: {:?}", back.elapsed());
            assert!(unit.idr, "viewers can start at the first new picture");
            assert!(unit.pts > last);
            last = unit.pts;
        }
        kept.until("playing").await;
        kept.stop().await;
    });
}

#[test]
fn a_running_cameras_controls_can_be_changed() {
    const BRIGHTNESS: u32 = 0x0098_0900;
    in_lab("a_running_cameras_controls_can_be_changed", async {
        let camera = UsbConfig {
            device: DeviceChoice::Path("/dev/video0".into()),
            controls: vec![("brightness".into(), 40)],
            ..UsbConfig::default()
        };
        let mut kept = Kept::start(on(camera, 320, 180, 10));
        let brightness = || {
            let control = v4l::Device::with_path("/dev/video0").and_then(|device| device.control(BRIGHTNESS));
            control.expect("the lab's camera has it").value
        };
        kept.unit().await;
        assert_eq!(brightness(), v4l::control::Value::Integer(40));
        kept.control.set_camera_controls([Some(vec![("brightness".into(), 77)]), None]);
        let changed = async {
            while brightness() != v4l::control::Value::Integer(77) {
                kept.unit().await;
            }
        };
        tokio::time::timeout(PATIENCE, changed).await.expect("in time");
        kept.stop().await;
    });
}

#[test]
fn jpeg_pictures_are_decoded() {
    in_lab("jpeg_pictures_are_decoded", async {
        let mut feeding = std::process::Command::new("gst-launch-1.0")
            .args("videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 ! jpegenc".split(' '))
            .args("! image/jpeg,parsed=true ! identity drop-allocation=true ! v4l2sink device=/dev/video10".split(' '))
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("gst-launch-1.0 is installed");
        let camera = UsbConfig {
            device: DeviceChoice::Path("/dev/video10".into()),
            format: PixelFormat::Mjpeg,
            ..UsbConfig::default()
        };
        // Until the writer has set its format the device offers nothing: that is waited for like any camera.
        let mut kept = Kept::start(on(camera, 320, 240, 30));
        let first = kept.unit().await;
        assert_eq!(coded_size(&first), (320, 240));
        kept.stop().await;
        feeding.kill().expect("it runs");
        feeding.wait().expect("it ends");
    });
}

#[test]
fn a_viewer_keeps_its_one_session_while_the_camera_is_unplugged_five_times() {
    in_lab("a_viewer_keeps_its_one_session_while_the_camera_is_unplugged_five_times", async {
        let hub = Hub::start().await;
        let file = ChannelFile::for_hub(&hub);
        let camera = ["camera.kind=usb", "camera.width=320", "camera.height=180", "drive.actuator=simulated"];
        let mut daemon = Daemon::start(&file, &camera);
        daemon.publishes().await;
        let mut viewer = Viewer::join_at(hub.plain, CHANNEL, Setup::default()).await;
        let mut last = viewer.packet().await.header;
        for _ in 0..5 {
            plug("unbind");
            viewer.metric_with(r#"{"video":{"key":"state","value":"lost","cause":"missing"}}"#).await;
            // What was sent before the loss may still be waiting here.
            while let Ok(packet) = tokio::time::timeout(Duration::from_millis(200), viewer.packet()).await {
                last = packet.header;
            }
            plug("bind");
            let back = Instant::now();
            let first = viewer.packet().await.header;
            eprintln!("back on the bus to the first packet at the viewer: {:?}", back.elapsed());
            assert_ne!(first.timestamp, last.timestamp, "a new picture");
            viewer.metric_with(r#"{"video":{"key":"state","value":"playing"}}"#).await;
            for _ in 0..100 {
                let next = viewer.packet().await.header;
                assert_eq!(next.ssrc, last.ssrc, "one track");
                assert!(next.timestamp.wrapping_sub(last.timestamp) < 1 << 31, "time goes on");
                last = next;
            }
        }
        let sessions = daemon.process.log().iter().filter(|line| line.text.contains("publishing channel")).count();
        assert_eq!(sessions, 1, "no new session");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_pictures_time_goes_is_told_when_a_viewer_asks_and_not_before() {
    let hub = common::TestHub::start().await;
    let file = format!("{}{}", running::server(&hub), running::SMALL);
    let daemon = running::Daemon::start(&file, &[]);
    let mut viewer = Viewer::join_at(hub.plain, CHANNEL, Setup::default()).await;
    viewer.metric_with(r#"{"video":{"key":"fps_out""#).await;
    viewer.metric_with(r#"{"video":{"key":"fps_out""#).await;
    viewer.drive(r#"{"trace":{"key":"latency","value":1}}"#).await;
    for stage in ["capture", "encode", "packetise", "send", "whole"] {
        let told = viewer.metric_with(&format!(r#"{{"latency":{{"key":"{stage}""#)).await;
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        let quantile = |name: &str| told["latency"]["value"][name].as_f64().expect("a number");
        let (p50, p95, max) = (quantile("p50_ms"), quantile("p95_ms"), quantile("max_ms"));
        assert!(0.0 <= p50 && p50 <= p95 && p95 <= max && max < 1000.0, "{told}");
    }
    viewer.drive(r#"{"trace":{"key":"latency","value":0}}"#).await;
    let (code, lines) = daemon.stop().await;
    assert_eq!(code, Some(0));
    assert!(!lines.iter().any(|line| line.contains("latency p50")), "only the flag writes it to the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_pictures_time_goes_is_logged_when_the_flag_says_so() {
    let hub = common::TestHub::start().await;
    let file = format!("{}{}", running::server(&hub), running::SMALL);
    let daemon = running::Daemon::start(&file, &["--trace-latency"]);
    daemon.logs("latency p50/p95/max: capture", 0).await;
    assert_eq!(daemon.stop().await.0, Some(0));
}
