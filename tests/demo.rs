//! `rtcpub demo` as a person meets it: the program itself, a browser, a car that obeys.

mod common;

use std::process::Stdio;
use std::time::Duration;

use common::chromium::{Chromium, Page};
use common::{page, within};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The demo on ports of the system's choice; what it says is to be read.
fn program(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtcpub"));
    command.args(["demo", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0"]).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

/// The demo, and the address it says to open.
async fn demo(options: &[&str]) -> (Child, String) {
    let mut child = program(options).arg("--no-browser").spawn().expect("the program");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let address = within("the address", async {
        while let Some(line) = lines.next_line().await.expect("it is read") {
            if let Some(address) = line.trim().strip_prefix("Open") {
                return address.trim().to_owned();
            }
        }
        panic!("the demo ended before it said where to look");
    })
    .await;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address)
}

/// What the car reports of itself, in the page's table of readings.
fn reading(name: &str) -> String {
    format!(
        "Number([...document.querySelectorAll('#log tr')].find((row) => row.cells[0].textContent === '{name}')\
         ?.cells[1].textContent)"
    )
}

/// How bright the test picture of 640x480 is where the throttle's bar is drawn for a car that goes forward, 0 … 255.
const THROTTLE_BAR: &str = "(() => { const canvas = new OffscreenCanvas(640, 480); \
     const context = canvas.getContext('2d', { willReadFrequently: true }); \
     context.drawImage(document.querySelector('video'), 0, 0, 640, 480); \
     const pixels = context.getImageData(440, 100, 40, 10).data; \
     return pixels.reduce((sum, value) => sum + value, -255 * 400) / 1200; })()";

/// Holds these keys until the page shows this. A busy machine may let the car's deadline pass in between: the car then
/// wants the keys released once, as it should.
async fn hold_until(browser: &mut Chromium, page: &Page, keys: &[&str], condition: &str) {
    let refuses = "document.querySelector('#drive-cause').textContent.startsWith('Let go')";
    for _ in 0..20 {
        for key in keys {
            browser.key_down(page, key).await;
        }
        browser.wait_for(page, &format!("({condition}) || {refuses}")).await;
        if browser.evaluate(page, condition).await == true {
            return;
        }
        for key in keys {
            browser.key_up(page, key).await;
        }
        browser.wait_for(page, &format!("!{refuses}")).await;
    }
    panic!("the car does not drive: {condition}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_shows_a_moving_picture_and_a_car_that_obeys_the_keys() {
    common::log_to_stderr();
    let (_demo, address) = demo(&["--width", "640", "--height", "480"]).await;
    let mut browser = Chromium::start().await;
    let page = page::open(&mut browser, &address).await;
    page::shows_moving_pictures(&mut browser, &page, 640, 480).await;
    page::shows(&mut browser, &page, "wheel-text", "You drive").await;
    page::shows(&mut browser, &page, "drive-state", "Parked").await;
    for panel in ["#toggle-stats", "#toggle-log"] {
        browser.click(&page, panel).await;
    }

    let drives = ["drive throttle", "drive steering", "car speed mps"].map(|name| format!("{} > 0", reading(name)));
    browser.wait_for(&page, &format!("{THROTTLE_BAR} < 120")).await;
    hold_until(&mut browser, &page, &["KeyW", "ArrowLeft"], &drives.join(" && ")).await;
    browser.wait_for(&page, &format!("{THROTTLE_BAR} > 180")).await;
    page::keep(&mut browser, &page, "demo-driving").await;

    let mut second = Chromium::start().await;
    let watching = page::open(&mut second, &address).await;
    let [_, from_peer, from_connected] = page::time_to_picture(&mut second, &watching).await;
    println!("second browser: picture {from_peer:.0} ms after asking, {from_connected:.0} ms after connecting");
    assert!(from_peer < 5000.0, "{from_peer} ms");
    page::shows(&mut second, &watching, "wheel-text", "Someone else drives").await;

    browser.key_up(&page, "ArrowLeft").await;
    browser.key_up(&page, "KeyW").await;
    page::shows(&mut browser, &page, "drive-state", "Parked").await;
    browser.wait_for(&page, &format!("{} === 0", reading("drive throttle"))).await;

    browser.key_down(&page, "Space").await;
    page::shows(&mut browser, &page, "drive-state", "Emergency stop").await;
    page::shows(&mut second, &watching, "drive-state", "Emergency stop").await;
    page::keep(&mut second, &watching, "demo-stopped").await;
    browser.key_up(&page, "Space").await;
    browser.click(&page, "#clear").await;
    page::shows(&mut browser, &page, "drive-state", "Parked").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_opens_a_browser_where_there_is_a_display_and_ends_on_ctrl_c() {
    let folder = tempfile::tempdir().expect("a folder");
    let (opener, opened) = (folder.path().join("xdg-open"), folder.path().join("opened"));
    std::fs::write(&opener, format!("#!/bin/sh\necho \"$1\" >'{}'\n", opened.display())).expect("it is written");
    std::fs::set_permissions(&opener, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    let mut command = program(&["--width", "320", "--height", "240"]);
    let mut child = command.env("PATH", folder.path()).env("DISPLAY", ":9").spawn().expect("the program");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut said = String::new();
    within("how to stop it", async {
        while !said.contains("Ctrl-C ends the demo.") {
            said += &lines.next_line().await.expect("it is read").expect("it has not ended");
        }
    })
    .await;
    within("the browser", async {
        while !std::fs::read_to_string(&opened)
            .is_ok_and(|address| said.contains(address.trim()) && address.ends_with('\n'))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let process = rustix::process::Pid::from_raw(child.id().expect("it runs") as i32).expect("a number");
    rustix::process::kill_process(process, rustix::process::Signal::INT).expect("it runs");
    let ended = tokio::time::timeout(Duration::from_secs(2), child.wait()).await.expect("in time").expect("it is ours");
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_tab_parks_the_car() {
    common::log_to_stderr();
    let (_demo, address) = demo(&["--width", "320", "--height", "240"]).await;
    let mut browser = Chromium::start().await;
    let driving = page::open(&mut browser, &address).await;
    page::shows(&mut browser, &driving, "wheel-text", "You drive").await;
    let watching = page::open(&mut browser, &address).await;
    page::shows(&mut browser, &watching, "wheel-text", "Someone else drives").await;
    let drives = "document.querySelector('#drive-state').textContent === 'Driving'";
    hold_until(&mut browser, &driving, &["KeyW"], drives).await;
    page::shows(&mut browser, &watching, "drive-state", "Driving").await;
    browser.close(&driving).await;
    page::shows(&mut browser, &watching, "drive-state", "Parked").await;
    page::shows(&mut browser, &watching, "wheel-text", "The wheel is free").await;
}
