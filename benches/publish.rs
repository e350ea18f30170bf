//! Measures the publisher from outside: the release binary as its own process, a real peer in this one, on loopback.
//!
//! `cargo bench --bench publish` prints the README's table. Ratios and differences are within one run: the encode-only
//! floor is measured by the same program right before. `-- cpu echo` measures these only (start, first, cpu, latency,
//! key-frames, echo), and `RTCPUB_BENCH_BINARY` names another binary to compare with.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring program")]
#![allow(missing_docs, unreachable_pub, reason = "a program, not a library")]

#[path = "publish/decode.rs"]
mod decode;
#[path = "publish/figures.rs"]
mod figures;
#[path = "publish/link.rs"]
mod link;
#[path = "publish/process.rs"]
mod process;
#[path = "publish/server.rs"]
mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use decode::{Coded, Depacketizer};
use figures::{median, ms, percentile, row};
use link::{Link, connect};
use process::Daemon;
use rtcpub::rtc::relay::{Event, PublisherPeer};
use rtcpub::video::overlay::{OverlaySource, OverlayState};
use rtcpub::video::pipeline::Pipeline;
use rtcpub::video::settings::{
    Bitrate, CameraConfig, EncoderChoice, EncoderConfig, Framerate, Size, Source, VideoConfig,
};
use rtcpub::video::units::access_unit_channel;
use server::Server;
use tokio::task::JoinHandle;

struct Case {
    width: u32,
    height: u32,
    kbps: u32,
    cpu_limit: f64,
    rss_limit_mib: f64,
}

const CASES: [Case; 2] = [
    Case { width: 640, height: 480, kbps: 800, cpu_limit: 0.006, rss_limit_mib: 32.0 },
    Case { width: 1280, height: 720, kbps: 1500, cpu_limit: 0.010, rss_limit_mib: 45.0 },
];
const FRAMERATE: u32 = 30;
/// Length of one CPU window; five are taken and the median is told.
const WINDOW: Duration = Duration::from_secs(10);
const WINDOWS: usize = 5;
/// How often a session is begun, to see how soon its first picture comes.
const FIRST_PICTURES: usize = 5;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("release binary: {:.1} MB\n", process::binary_megabytes());
        for case in &CASES {
            println!("## {}x{}@{FRAMERATE}, {} kbit/s\n", case.width, case.height, case.kbps);
            println!("| figure | measured | goal |\n|---|---|---|");
            let floor = encode_only(case).await;
            measure(case, &floor).await;
            println!();
        }
    });
}

/// Drawn → encoded, in milliseconds, of the same source and encoder with nothing behind them.
async fn encode_only(case: &Case) -> Vec<f64> {
    let config = VideoConfig {
        camera: CameraConfig::new(
            Source::Test,
            Size::new(case.width, case.height).unwrap(),
            Framerate::new(FRAMERATE).unwrap(),
        ),
        rear: None,
        encoder: EncoderConfig {
            choice: EncoderChoice::Auto,
            bitrate: Bitrate::from_kbps(case.kbps).unwrap(),
            key_frame_interval: Duration::from_secs(10),
        },
    };
    let (sender, mut units) = access_unit_channel();
    let pipeline = Pipeline::start(&config, OverlaySource::new(|| OverlayState::PARKED), sender).unwrap();
    let mut coded = Vec::new();
    let end = Instant::now() + WINDOW;
    while Instant::now() < end {
        let unit = units.recv().await.unwrap();
        let age = unit.encoded_at.elapsed();
        coded.push(Coded { data: unit.data.to_vec(), at: wall_clock() - age });
    }
    pipeline.stop().unwrap();
    decode::delays_ms(&coded)
}

async fn measure(case: &Case, floor: &[f64]) {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    if wanted("start") {
        starts(case, &server, folder.path()).await;
    }
    let interval = 1000.0 / f64::from(FRAMERATE);
    if wanted("first") {
        first_pictures(case, &server, folder.path(), interval + percentile(&mut floor.to_vec(), 50.0)).await;
    }

    let Session { daemon, mut peer, socket, mut link } = Session::start(folder.path(), &server, case).await;

    // What is measured is the daemon, not how long this peer waits for a core.
    let preferred = rustix::process::nice(-10).is_ok();
    if wanted("cpu") {
        cpu(case, &daemon, &link).await;
    }
    if wanted("latency") {
        latency(&link, floor).await;
    }
    if wanted("key-frames") {
        key_frames(&link, interval + percentile(&mut floor.to_vec(), 95.0)).await;
    }
    if wanted("echo") {
        echo(&mut peer, &mut link).await;
    }
    row("peak RSS", &format!("{:.1} MiB", daemon.peak_rss_mib()), &format!("≤ {} MiB", case.rss_limit_mib));
    socket.abort();
    if preferred {
        rustix::process::nice(10).unwrap();
    }
    println!("\nthreads, CPU-seconds a second over the whole run:");
    for (name, load) in daemon.loads() {
        println!("  {load:.4}  {name}");
    }
}

/// Whether this figure was asked for; all are when none is named.
fn wanted(figure: &str) -> bool {
    // cargo itself adds `--bench`.
    let mut named = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).peekable();
    named.peek().is_none() || named.any(|argument| argument == figure)
}

async fn starts(case: &Case, server: &Server, folder: &Path) {
    let mut starts = Vec::new();
    for _ in 0..5 {
        let daemon = Daemon::start(folder, server, case.width, case.height, case.kbps);
        starts.push(ms(server.offer().await.arrived - daemon.started));
        drop(daemon);
    }
    row("process start → offer sent, median of 5", &format!("{:.1} ms", median(&mut starts)), "≤ 30 ms");
}

async fn first_pictures(case: &Case, server: &Server, folder: &Path, goal: f64) {
    let mut firsts = Vec::new();
    for _ in 0..FIRST_PICTURES {
        let session = Session::start(folder, server, case).await;
        firsts.push(session.link.first_packet);
    }
    row(
        &format!("connected → first packet of the first IDR, median of {FIRST_PICTURES}"),
        &format!("{:.1} ms (max {:.1})", median(&mut firsts), percentile(&mut firsts, 100.0)),
        &format!("≤ {goal:.1} ms"),
    );
}

/// A daemon that publishes to a peer here.
struct Session {
    daemon: Daemon,
    peer: PublisherPeer,
    socket: JoinHandle<()>,
    link: Link,
}

impl Session {
    async fn start(folder: &Path, server: &Server, case: &Case) -> Self {
        let daemon = Daemon::start(folder, server, case.width, case.height, case.kbps);
        let offer = server.offer().await;
        let mut peer = PublisherPeer::new(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
        let (link, socket) = connect(offer, &mut peer).await;
        Self { daemon, peer, socket, link }
    }
}

/// CPU of every thread that neither captures nor encodes.
async fn cpu(case: &Case, daemon: &Daemon, link: &Link) {
    let mut windows = Vec::new();
    for _ in 0..WINDOWS {
        let before = daemon.our_cpu_seconds();
        drain(link, WINDOW).await;
        windows.push((daemon.our_cpu_seconds() - before) / WINDOW.as_secs_f64());
    }
    let told = format!("{:.4}", median(&mut windows));
    row("CPU outside capture and encoder, CPU-s/s, median of 5", &told, &format!("≤ {}", case.cpu_limit));
}

async fn drain(link: &Link, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        link.track.receive().await.unwrap();
    }
}

/// Frame drawn → its last packet received, beyond what encoding alone takes.
async fn latency(link: &Link, floor: &[f64]) {
    let mut depacketizer = Depacketizer::default();
    let mut coded = Vec::new();
    link.track.request_key_frame().await;
    let end = Instant::now() + WINDOW;
    while Instant::now() < end {
        let packet = link.track.receive().await.unwrap();
        let at = wall_clock();
        if let Some(data) = depacketizer.take(&packet) {
            coded.push(Coded { data, at });
        }
    }
    let mut delays = decode::delays_ms(&coded);
    let mut floor = floor.to_vec();
    for (rank, goal) in [(50.0, 1.0), (95.0, 2.0)] {
        let (whole, encode) = (percentile(&mut delays, rank), percentile(&mut floor, rank));
        let told = format!("{:.2} ms ({whole:.2} − {encode:.2} encode-only)", whole - encode);
        row(&format!("drawn → last packet received, beyond encoding, p{rank}"), &told, &format!("≤ {goal} ms"));
    }
}

/// PLI → first packet of an IDR.
async fn key_frames(link: &Link, goal: f64) {
    const ROUNDS: u32 = 40;
    let mut delays = Vec::new();
    for round in 0..ROUNDS {
        // Not in step with the frames, and outside the quiet window of the one before.
        drain(link, Duration::from_millis(500 + u64::from(round * 7 % 33))).await;
        let asked = Instant::now();
        link.track.request_key_frame().await;
        loop {
            let packet = link.track.receive().await.unwrap();
            if packet.payload[0] & 0x1f == 24 {
                break;
            }
        }
        delays.push(ms(asked.elapsed()));
    }
    let told = format!("{:.1} ms (p50 {:.1})", percentile(&mut delays, 95.0), percentile(&mut delays, 50.0));
    row("PLI → first packet of the IDR, p95", &told, &format!("≤ {goal:.1} ms"));
}

/// `maxSpeed` on `stream` → its echo on `metric`, at 50 Hz while the picture streams.
async fn echo(peer: &mut PublisherPeer, link: &mut Link) {
    const ROUNDS: u16 = 1000;
    let drained = Arc::clone(&link.track);
    let video = tokio::spawn(async move { while drained.receive().await.is_some() {} });
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let mut delays = Vec::new();
    for round in 0..ROUNDS {
        ticks.tick().await;
        let value = 400 + round % 40;
        let message = format!(r#"{{"speed":{{"key":"maxSpeed","value":{value}}}}}"#);
        let sent = Instant::now();
        link.stream.send(&message).await.unwrap();
        loop {
            if let Event::Message { text, .. } = peer.inbox.next().await
                && text == message
            {
                break;
            }
        }
        delays.push(ms(sent.elapsed()));
    }
    video.abort();
    let [p50, p99, max] = [50.0, 99.0, 100.0].map(|rank| percentile(&mut delays, rank));
    row(
        "maxSpeed on stream → echo on metric, 50 Hz, p99",
        &format!("{p99:.2} ms (p50 {p50:.2}, max {max:.2})"),
        "≤ 1.0 ms",
    );
}

fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}
