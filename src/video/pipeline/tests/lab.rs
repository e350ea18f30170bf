//! A real kernel camera. The test runs itself a second time inside the lab's own kernel, where `/dev/video0` is one.

use std::path::Path;
use std::process::Command;

use super::*;

/// Set for the run inside.
const INSIDE: &str = "RTCPUB_TEST_INSIDE_LAB";

#[test]
fn the_kernel_camera_gives_access_units_that_decode() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        return runtime.expect("a runtime").block_on(capture());
    }
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/lab/uml/run");
    if !lab.exists() {
        println!("skipped: there is no lab at {}", lab.display());
        return;
    }
    let this = std::env::current_exe().expect("this program has a path");
    let test = format!("{}::the_kernel_camera_gives_access_units_that_decode", module_path!());
    let test = test.split_once("::").expect("the crate's name comes first").1;
    let command = format!("'{}' --exact {test} --nocapture --test-threads=1", this.display());
    let output = Command::new(lab).arg("-t").arg("120").arg(command).env(INSIDE, "1").output().expect("the lab starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn capture() {
    let source = "v4l2src device=/dev/video0 ! video/x-raw,width=640,height=360,framerate=30/1";
    let mut running = Running::start(&config(pipeline(source), 640, 360));
    let units = running.take(30).await;
    let pictures = decode::decode(&units);
    assert_eq!(pictures.len(), units.len());
    assert!(pictures.iter().all(|picture| (picture.width, picture.height) == (640, 360)));
    assert_ne!(pictures[0].luma, pictures[29].luma, "the camera's picture moves");
    assert!(rises(units.iter().map(|unit| unit.pts)));
    println!("{:?}", running.pipeline.control().stats());
    println!("{:?}", *running.pipeline.state().borrow());
    running.pipeline.stop().expect("it stops");
}
