//! Measures cameras: what the daemon costs above `gst-launch-1.0` of the same capture and encoding, how soon a picture is
//! there, how long one takes from the encoder to the network, and the gap when two cameras change places.
//!
//! `cargo bench --bench camera` prints a table. How soon an unplugged camera is back at the viewer is told by the lab:
//! `cargo test --test camera a_viewer_keeps -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring program")]
#![allow(missing_docs, unreachable_pub, reason = "a program, not a library")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::TestHub;
use common::running::{CHANNEL, Daemon, server};
use common::viewer::{Setup, Viewer};
use rtcpub::video::control::VideoControl;
use rtcpub::video::keeper::Keeper;
use rtcpub::video::overlay::{OverlaySource, OverlayState};
use rtcpub::video::pipeline::{Pipeline, inspect};
use rtcpub::video::recovery::CameraState;
use rtcpub::video::settings::{
    Bitrate, CameraConfig, EncoderChoice, EncoderConfig, Framerate, Idle, Orientation, RearConfig, Size, Source,
    VideoConfig, View,
};
use rtcpub::video::units::access_unit_channel;
use tokio_util::sync::CancellationToken;

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;
/// A camera that delivers at once, with movement in its picture.
const CAMERA: &str = "videotestsrc is-live=true pattern=ball ! video/x-raw,framerate=30/1";
/// How long CPU time is counted, for each of the two programs in turn.
const WINDOW: Duration = Duration::from_secs(10);
/// How often each is counted; the median is told.
const WINDOWS: usize = 5;
const STARTS: usize = 10;
const SWITCHES: usize = 40;

fn main() {
    // A short run shows that it works; a real one is `cargo bench`.
    let brief = !std::env::args().any(|argument| argument == "--bench");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("| figure | measured | goal |\n|---|---|---|");
        starts(if brief { 2 } else { STARTS }).await;
        for idle in [Idle::Warm, Idle::Stopped] {
            switches(idle, if brief { 4 } else { SWITCHES }).await;
        }
        let (window, windows) = if brief { (Duration::from_secs(2), 1) } else { (WINDOW, WINDOWS) };
        against_gst_launch(window, windows).await;
    });
}

fn config(rear: Option<RearConfig>) -> VideoConfig {
    let source = Source::Pipeline(CAMERA.to_owned());
    VideoConfig {
        camera: CameraConfig::new(source, Size::new(WIDTH, HEIGHT).unwrap(), Framerate::new(30).unwrap()),
        rear,
        encoder: EncoderConfig {
            choice: EncoderChoice::Auto,
            bitrate: Bitrate::from_kbps(800).unwrap(),
            key_frame_interval: Duration::from_secs(10),
        },
    }
}

async fn starts(count: usize) {
    let mut times = Vec::new();
    for _ in 0..count {
        let (sender, mut units) = access_unit_channel();
        let begun = Instant::now();
        let pipeline = Pipeline::start(&config(None), OverlaySource::new(|| OverlayState::PARKED), sender).unwrap();
        units.recv().await.unwrap();
        times.push(ms(begun.elapsed()));
        pipeline.stop().unwrap();
    }
    row("start → first frame coded, median", &spread(&mut times), "≤ 300 ms");
}

async fn switches(idle: Idle, count: usize) {
    let source = Source::Pipeline(CAMERA.replace("ball", "smpte"));
    let rear = RearConfig { source, orientation: Orientation::default(), idle, on_reverse: true };
    let (sender, mut units) = access_unit_channel();
    let config = config(Some(rear));
    let control = VideoControl::new(config.encoder.bitrate);
    let (state, _) = tokio::sync::watch::channel(CameraState::Starting);
    let overlay = OverlaySource::new(|| OverlayState::PARKED);
    let keeper = Keeper { name: None, config, overlay, units: sender, control: control.clone(), state };
    let shutdown = CancellationToken::new();
    let keeping = tokio::spawn(keeper.keep(shutdown.clone()));
    let mut last = units.recv().await.unwrap();
    let (mut gaps, mut waits) = (Vec::new(), Vec::new());
    // The first waits for the rear camera to open in either case.
    for change in 0..=count {
        for _ in 0..10 {
            last = units.recv().await.unwrap();
        }
        let asked = Instant::now();
        control.views().select(if change % 2 == 0 { View::Rear } else { View::Front });
        loop {
            let unit = units.recv().await.unwrap();
            let gap = unit.pts - last.pts;
            last = unit;
            if last.idr {
                gaps.push(ms(gap));
                waits.push(ms(asked.elapsed()));
                break;
            }
        }
    }
    shutdown.cancel();
    keeping.await.unwrap().unwrap();
    let (gaps, waits) = (&mut gaps[1..].to_vec(), &mut waits[1..].to_vec());
    let how = if idle == Idle::Warm { "warm" } else { "stopped" };
    row(&format!("front/rear switch, {how}: picture gap, median"), &spread(gaps), "≤ 70 ms");
    let goal = if idle == Idle::Warm { "≤ 66.7 ms" } else { "" };
    row(&format!("front/rear switch, {how}: selected → first frame coded, median"), &spread(waits), goal);
}

/// The daemon with a viewer, and the command line that `rtcpub check` prints for it, in turn.
async fn against_gst_launch(window: Duration, windows: usize) {
    let hub = TestHub::start().await;
    let camera = format!(
        "[camera]\nkind = \"pipeline\"\npipeline = \"{CAMERA}\"\nwidth = {WIDTH}\nheight = {HEIGHT}\n[drive]\nactuator = \"simulated\"\n"
    );
    let line = inspect::command_line(&config(None)).unwrap();
    let (mut daemons, mut launches, mut delays) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..windows {
        let daemon = Daemon::start(&format!("{}{camera}", server(&hub)), &["--trace-latency"]);
        let mut viewer = Viewer::join_at(hub.plain, CHANNEL, Setup::default()).await;
        viewer.packet().await;
        let draining = tokio::spawn(async move {
            loop {
                viewer.packet().await;
            }
        });
        daemons.push(load(daemon.id(), window).await);
        let lines = daemon.stop().await.1;
        draining.abort();
        delays.extend(lines.into_iter().filter(|line| line.contains("latency p50")));

        let mut launched =
            Command::new("sh").args(["-c", &format!("exec {line}")]).stdout(Stdio::null()).spawn().unwrap();
        launches.push(load(launched.id(), window).await);
        launched.kill().unwrap();
        launched.wait().unwrap();
    }
    let (daemon, launch) = (median(&mut daemons), median(&mut launches));
    let above = (daemon / launch - 1.0) * 100.0;
    row(
        "CPU above gst-launch-1.0 of the same capture and encoding",
        &format!("{above:.1} % ({daemon:.4} and {launch:.4} CPU-seconds a second)"),
        "≤ 3 %",
    );
    println!(
        "\ncapture, encoder, packets, sending; p50/p95/max of each second (encoder out → sent is the third and the fourth; goal ≤ 0.5/1 ms):"
    );
    delays.iter().filter_map(|line| line.split_once("max: ")).for_each(|(_, delays)| println!("  {delays}"));
}

/// CPU-seconds a second of a process, once it has settled.
async fn load(process: u32, window: Duration) -> f64 {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, begun) = (cpu_seconds(process), Instant::now());
    tokio::time::sleep(window).await;
    (cpu_seconds(process) - before) / begun.elapsed().as_secs_f64()
}

/// Of all its threads, in nanoseconds exact (`schedstat`, first field).
fn cpu_seconds(process: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    let spent = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    spent.sum::<f64>() / 1e9
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn spread(values: &mut [f64]) -> String {
    let median = median(values);
    format!("{median:.1} ms (max {:.1})", values[values.len() - 1])
}

fn row(figure: &str, measured: &str, goal: &str) {
    println!("| {figure} | {measured} | {goal} |");
}
