//! Nothing grows: a daemon that loses its session or its camera again and again is afterwards as big as before.
//!
//! Short in every run; `RTCPUB_LONG=1` for 200 reconnects over a quarter of an hour and 50 camera faults. Memory, file
//! descriptors, threads and tasks are those that the daemon tells of itself, which are the kernel's figures.
#![expect(clippy::print_stderr, reason = "the figures are for those who look")]

mod common;

use std::time::Duration;

use common::TestHub;
use common::running::{Daemon, SMALL, server};
use common::switch::Switch;
use rtcpub::signal::tls::hex;
use rtcpub::status::document::Process;

/// What a run consists of.
struct Length {
    /// Before the first look: allocators and caches take their size.
    warm_up: usize,
    reconnects: usize,
    camera_warm_up: usize,
    camera_faults: usize,
    /// Over so many of them the process is looked at: allocators give back what they hold now and then, some 4 MiB apart.
    camera_looks: usize,
    /// Between two reconnects, so that the long run also sees steady state.
    pause: Duration,
    /// How much resident memory may differ: allocators keep what they once had.
    memory_slack_kib: u64,
    /// As much again while the warm-up is short: each of a pipeline's threads brings an arena of its own, and they reach
    /// their number (some 4.5 MiB more) after about eight pipelines.
    camera_memory_slack_kib: u64,
}

impl Length {
    fn wanted() -> Self {
        if std::env::var_os("RTCPUB_LONG").is_some_and(|value| value == "1") {
            let pause = Duration::from_millis(4200);
            return Self {
                warm_up: 20,
                reconnects: 200,
                camera_warm_up: 10,
                camera_faults: 50,
                camera_looks: 10,
                pause,
                memory_slack_kib: 4096,
                camera_memory_slack_kib: 4096,
            };
        }
        Self {
            warm_up: 8,
            reconnects: 20,
            camera_warm_up: 3,
            camera_faults: 5,
            camera_looks: 1,
            pause: Duration::ZERO,
            memory_slack_kib: 4096,
            camera_memory_slack_kib: 8192,
        }
    }
}

/// Descriptors, threads and tasks that may be on their way in or out at the moment of the look.
const SLACK: usize = 2;

fn nothing_grew(before: &Process, after: &Process, memory_slack_kib: u64) {
    eprintln!("before: {before:?}\nafter:  {after:?}");
    let count = |of: Option<usize>| of.expect("Linux tells");
    let (files, threads, tasks) = (count(after.open_files), count(after.threads), count(after.tasks));
    assert!(files <= count(before.open_files) + SLACK, "file descriptors: {before:?} {after:?}");
    assert!(threads <= count(before.threads) + SLACK, "threads: {before:?} {after:?}");
    assert!(tasks <= count(before.tasks) + SLACK, "tasks: {before:?} {after:?}");
    let memory = |of: &Process| of.rss_kib.expect("Linux tells");
    assert!(memory(after) <= memory(before) + memory_slack_kib, "memory: {before:?} {after:?}");
}

async fn reconnect(switch: &Switch, daemon: &Daemon, seen: &mut usize) {
    switch.cut();
    // In a new session beside the old one, or after it, when the hub was faster to end it.
    *seen = daemon.logs("reports: publishing", *seen).await;
}

/// The process once it has come to rest: as small as it gets within some seconds.
async fn at_rest(daemon: &Daemon) -> Process {
    let mut smallest = daemon.status().await.process;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        smallest = smaller(smallest, daemon.status().await.process);
    }
    smallest
}

/// In each figure.
fn smaller(one: Process, other: Process) -> Process {
    Process {
        rss_kib: one.rss_kib.min(other.rss_kib),
        threads: one.threads.min(other.threads),
        open_files: one.open_files.min(other.open_files),
        tasks: one.tasks.min(other.tasks),
        ..other
    }
}

/// The process at its smallest after each of the next `looks` losses of the camera.
async fn after_losses(looks: usize, daemon: &Daemon, seen: &mut usize) -> Process {
    *seen = daemon.logs("camera lost", *seen).await;
    let mut smallest = at_rest(daemon).await;
    for _ in 1..looks {
        *seen = daemon.logs("camera lost", *seen).await;
        smallest = smaller(smallest, at_rest(daemon).await);
    }
    smallest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnecting_again_and_again_leaves_nothing_behind() {
    let length = Length::wanted();
    let hub = TestHub::start().await;
    let switch = Switch::to(hub.secure).await;
    let file = format!(
        "[server]\nurl = \"wss://{}\"\nretry_min_ms = 10\nretry_max_ms = 50\n[tls]\npin_sha256 = \"{}\"\n{SMALL}",
        switch.address,
        hex(&hub.pin)
    );
    let daemon = Daemon::start(&file, &[]);
    let mut seen = daemon.logs("publishing", 0).await;
    for _ in 0..length.warm_up {
        reconnect(&switch, &daemon, &mut seen).await;
    }
    let before = at_rest(&daemon).await;
    for _ in 0..length.reconnects {
        reconnect(&switch, &daemon, &mut seen).await;
        tokio::time::sleep(length.pause).await;
    }
    let after = at_rest(&daemon).await;
    nothing_grew(&before, &after, length.memory_slack_kib);

    let (code, lines) = daemon.stop().await;
    assert_eq!(code, Some(0), "{lines:#?}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_the_camera_again_and_again_leaves_nothing_behind() {
    let length = Length::wanted();
    let hub = TestHub::start().await;
    // A camera that ends after it has been well for three seconds, so that it is tried for at once.
    let camera = "[camera]\nkind = \"pipeline\"\nwidth = 160\nheight = 120\nframerate = 15\n\
                  pipeline = \"videotestsrc is-live=true num-buffers=50 ! video/x-raw,width=160,height=120,framerate=15/1\"\n";
    let daemon = Daemon::start(&format!("{}{camera}", server(&hub)), &[]);
    let mut seen = daemon.logs("reports: publishing", 0).await;
    for _ in 0..length.camera_warm_up {
        seen = daemon.logs("camera lost", seen).await;
    }
    let before = after_losses(length.camera_looks, &daemon, &mut seen).await;
    for _ in 0..length.camera_faults {
        seen = daemon.logs("camera lost", seen).await;
    }
    let after = after_losses(length.camera_looks, &daemon, &mut seen).await;
    seen = daemon.logs("encoding", seen).await;
    nothing_grew(&before, &after, length.camera_memory_slack_kib);
    let status = daemon.status().await;
    assert_eq!((status.session.publishing, status.session.sessions), (true, 1), "the session has not noticed");

    let (code, lines) = daemon.stop().await;
    assert_eq!(code, Some(0), "{seen}: {lines:#?}");
    hub.stop().await;
}
