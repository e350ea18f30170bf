//! Nothing grows: a daemon that loses its session again and again is afterwards as big as before.
//!
//! Short in every run; `RTCPUB_LONG=1` for 200 reconnects over a quarter of an hour. Memory, file descriptors, threads and
//! tasks are those that the daemon tells of itself, which are the kernel's figures.

mod common;

use std::time::Duration;

use common::TestHub;
use common::running::{Daemon, SMALL};
use common::switch::Switch;
use rtcpub::signal::tls::hex;
use rtcpub::status::document::Process;

/// What a run consists of.
struct Length {
    /// Before the first look: allocators and caches take their size.
    warm_up: usize,
    reconnects: usize,
    /// Between two of them, so that the long run also sees steady state.
    pause: Duration,
    /// How much resident memory may differ: allocators keep what they once had.
    memory_slack_kib: u64,
}

impl Length {
    fn wanted() -> Self {
        if std::env::var_os("RTCPUB_LONG").is_some_and(|value| value == "1") {
            let pause = Duration::from_millis(4200);
            return Self { warm_up: 20, reconnects: 200, pause, memory_slack_kib: 4096 };
        }
        Self { warm_up: 8, reconnects: 20, pause: Duration::ZERO, memory_slack_kib: 4096 }
    }
}

/// Descriptors, threads and tasks that may be on their way in or out at the moment of the look.
const SLACK: usize = 2;

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
        let now = daemon.status().await.process;
        smallest = Process {
            rss_kib: smallest.rss_kib.min(now.rss_kib),
            threads: smallest.threads.min(now.threads),
            open_files: smallest.open_files.min(now.open_files),
            tasks: smallest.tasks.min(now.tasks),
            ..now
        };
    }
    smallest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnecting_again_and_again_leaves_nothing_behind() {
    let length = Length::wanted();
    let hub = TestHub::start().await;
    let switch = Switch::to(hub.secure).await;
    let file = format!(
        "[server]\nurl = \"wss://{}\"\nretry_min_ms = 10\n[tls]\npin_sha256 = \"{}\"\n{SMALL}",
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
    eprintln!("before: {before:?}\nafter {} reconnects: {after:?}", length.reconnects);

    let count = |of: Option<usize>| of.expect("Linux tells");
    let (files, threads, tasks) = (count(after.open_files), count(after.threads), count(after.tasks));
    assert!(files <= count(before.open_files) + SLACK, "file descriptors: {before:?} {after:?}");
    assert!(threads <= count(before.threads) + SLACK, "threads: {before:?} {after:?}");
    assert!(tasks <= count(before.tasks) + SLACK, "tasks: {before:?} {after:?}");
    let memory = |of: &Process| of.rss_kib.expect("Linux tells");
    assert!(memory(&after) <= memory(&before) + length.memory_slack_kib, "memory: {before:?} {after:?}");

    let (code, lines) = daemon.stop().await;
    assert_eq!(code, Some(0), "{lines:#?}");
    hub.stop().await;
}
