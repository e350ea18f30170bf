//! A real kernel camera. Each test runs itself a second time inside the lab's own kernel, where `/dev/video0` is one.

use std::path::Path;
use std::process::Command;

use super::*;

/// Set for the run inside.
const INSIDE: &str = "RTCPUB_TEST_INSIDE_LAB";

/// The camera, whichever number it has: v4l2src of GStreamer 1.22 never closes its device (`v4l2src ! fakesink` leaks it
/// too), so a camera that comes back to the same process gets the next number.
fn camera_at_640x360() -> VideoConfig {
    let device = (0..8).map(|number| format!("/dev/video{number}")).find(|device| Path::new(device).exists());
    let device = device.expect("the lab has a camera");
    config(pipeline(&format!("v4l2src device={device} ! video/x-raw,width=640,height=360,framerate=30/1")), 640, 360)
}

/// Runs `claim` where there is a camera; `test` is the name of the test that calls.
fn with_kernel_camera(test: &str, claim: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        return runtime.expect("a runtime").block_on(claim);
    }
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/lab/uml/run");
    if !lab.exists() {
        println!("skipped: there is no lab at {}", lab.display());
        return;
    }
    let this = std::env::current_exe().expect("this program has a path");
    let (_crate, module) = module_path!().split_once("::").expect("the crate's name comes first");
    let command = format!("'{}' --exact {module}::{test} --nocapture", this.display());
    let output = Command::new(lab).arg("-t").arg("120").arg(command).env(INSIDE, "1").output().expect("the lab starts");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
    assert!(output.status.success() && said.contains("1 passed"), "inside the lab: {}\n{said}", output.status);
}

#[test]
fn the_kernel_camera_gives_access_units_that_decode() {
    with_kernel_camera("the_kernel_camera_gives_access_units_that_decode", async {
        let mut running = Running::start(&camera_at_640x360());
        let units = running.take(30).await;
        let pictures = decode::decode(&units);
        assert_eq!(pictures.len(), units.len());
        assert!(pictures.iter().all(|picture| (picture.width, picture.height) == (640, 360)));
        assert_ne!(pictures[0].luma, pictures[29].luma, "the camera's picture moves");
        assert!(rises(units.iter().map(|unit| unit.pts)));
        running.pipeline.stop().expect("it stops");
    });
}

#[test]
fn a_mode_the_kernel_camera_does_not_have_is_refused() {
    with_kernel_camera("a_mode_the_kernel_camera_does_not_have_is_refused", async {
        let source = "v4l2src device=/dev/video0 ! video/x-raw,width=123,height=45";
        let running = Running::start(&config(pipeline(source), 640, 360));
        match running.last_state().await {
            PipelineState::Failed(error @ VideoError::Camera { .. }) => {
                assert!(error.to_string().starts_with("camera.pipeline: v4l2src0: "), "{error}");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_kernel_camera_that_is_unplugged_is_announced_and_can_be_started_again() {
    with_kernel_camera("a_kernel_camera_that_is_unplugged_is_announced_and_can_be_started_again", async {
        let mut running = Running::start(&camera_at_640x360());
        running.take(5).await;
        std::fs::write("/sys/bus/platform/drivers/vivid/unbind", "vivid.0").expect("the lab's camera can be unplugged");
        match running.last_state().await {
            PipelineState::Failed(VideoError::Camera { key: "camera.pipeline", .. }) => {}
            other => panic!("{other:?}"),
        }
        running.pipeline.stop().expect("it stops without its device");
        std::fs::write("/sys/bus/platform/drivers/vivid/bind", "vivid.0").expect("and plugged in again");
        let mut again = Running::start(&camera_at_640x360());
        assert!(again.take(5).await[0].idr);
    });
}
