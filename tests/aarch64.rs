//! The program as the boards run it: an aarch64 binary, here under qemu, over loopback with a hub and a peer of this
//! machine's own kind. `.ci/cross` builds it and says where it is; what runs it is `cross/run`.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::decoder::decode;
use common::driver::{Driver, motion};
use common::running::{CHANNEL, Daemon, server};
use common::viewer::Viewer;
use common::{TestHub, within};
use rtc::rtp;
use rtcpub::video::overlay::Stamp;
use tokio::process::Command;

/// The binary, from the project's folder.
const BINARY: &str = "RTCPUB_TEST_AARCH64";

/// An emulated processor takes twenty times as long: the limits allow for it.
const FILE: &str = "[camera]\nwidth = 320\nheight = 240\nframerate = 10\nstall_ms = 60000\n[encoder]\nbitrate_kbps = 200\n\
                    [drive]\ndeadline_ms = 2000\n[telemetry]\nperiod_ms = 200\n";

const WIDTH: usize = 320;
const HEIGHT: usize = 240;

/// Packets of some seconds.
const PACKETS: usize = 150;

fn emulated(binary: &Path) -> Command {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(project.join("cross/run"));
    command.arg(project.join(binary));
    command
}

/// When each picture was drawn, by the strip in it.
fn drawn_at(packets: &[rtp::Packet]) -> Vec<Duration> {
    let stamps = decode(packets).into_iter().map(|picture| Stamp::read(&picture.luma, WIDTH, HEIGHT, WIDTH));
    stamps.into_iter().flatten().map(|stamp| stamp.drawn_at).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_is_seen_through_driven_and_stopped() {
    let Some(binary) = std::env::var_os(BINARY).map(PathBuf::from) else {
        eprintln!("skipped: {BINARY} does not say which binary; .ci/cross does");
        return;
    };
    // The first look at all plugins takes longer than a camera may.
    let devices = within("the devices", emulated(&binary).args(["devices", "--json"]).output()).await;
    let devices = devices.expect("qemu-user is installed");
    assert!(String::from_utf8_lossy(&devices.stdout).contains("x264enc"), "{devices:?}");

    let hub = TestHub::start().await;
    let daemon = Daemon::start_by(emulated(&binary), &format!("{}{FILE}", server(&hub)), &["--log-level", "debug"]);
    daemon.logs("publishing", 0).await;

    let mut viewer = Viewer::join(&hub, CHANNEL).await;
    let mut packets = Vec::with_capacity(PACKETS);
    while packets.len() < PACKETS {
        packets.push(viewer.packet().await);
    }
    viewer.leave().await;
    let drawn = drawn_at(&packets);
    assert!(drawn.len() >= 10, "pictures that can be read: {drawn:?}");
    assert!(drawn.is_sorted() && drawn.first() < drawn.last(), "one after the other: {drawn:?}");

    let mut driver = Driver::sit_down(hub.plain).await;
    driver.lets_go();
    driver.is_told(&["\"drive\"", "\"awaits_neutral\"", "0"]).await;
    driver.holds([motion("forward", 5), motion("left", 0)]);
    within("a car that obeys", async {
        while daemon.status().await.drive.throttle <= 0.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    driver.falls_silent();
    driver.is_told(&["\"parked\"", "\"deadline\""]).await;
    driver.leaves().await;

    let (code, lines) = daemon.stop().await;
    assert_eq!(code, Some(0), "{lines:#?}");
    let unasked: Vec<_> = lines.iter().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).collect();
    assert!(unasked.is_empty(), "{unasked:#?}");
    hub.stop().await;
}
