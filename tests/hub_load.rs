//! The hub as its own process, with many viewers: each gets every packet, and what one costs is told.
//!
//! `RTCPUB_HUB_BINARY=target/release/rtcpub RTCPUB_HUB_VIEWERS=1,5,10,20 cargo test --test hub_load -- --nocapture`
//! measures a release build: CPU of the hub's process alone, publisher and viewers being in the test's.
#![expect(clippy::disallowed_methods, reason = "the tests measure")]

mod common;

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::publisher::{self, Publisher};
use common::signal::Signal;
use common::viewer::{self, Viewer};
use common::within;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

const CHANNEL: &str = "c40hipepjh65aeq6ndj0";

struct HubProcess {
    child: Child,
    plain: SocketAddr,
    _state: tempfile::TempDir,
}

impl HubProcess {
    async fn start() -> Self {
        let binary = std::env::var("RTCPUB_HUB_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_rtcpub").to_owned());
        let state = tempfile::tempdir().expect("a directory");
        let (secure, plain) = (free_address().await, free_address().await);
        let mut child = Command::new(&binary)
            .args(["hub", "--listen-https", &secure.to_string(), "--listen-http", &plain.to_string()])
            .arg("--state-dir")
            .arg(state.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{binary}: {error}"));
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        within("the hub", async {
            while let Some(line) = lines.next_line().await.expect("it is read") {
                if line.contains("hub: page at") {
                    return;
                }
            }
            panic!("the hub ended before it listened");
        })
        .await;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, plain, _state: state }
    }

    /// User and system time so far, in seconds.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id().expect("it runs"))).expect("/proc");
        let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
        // Fields 14 and 15 of proc_pid_stat(5), counted here from the third; in hundredths of a second.
        (11..13).map(|field| fields[field].parse::<f64>().expect("a number")).sum::<f64>() / 100.0
    }

    fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id().expect("it runs"));
        let status = std::fs::read_to_string(path).expect("/proc");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a line");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    }
}

/// Free at this moment; taken by the hub a moment later.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.and_then(|listener| listener.local_addr()).expect("an address")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_viewer_gets_every_packet_at_a_small_price() {
    common::log_to_stderr();
    let counts = std::env::var("RTCPUB_HUB_VIEWERS").unwrap_or_else(|_| "1,4".to_owned());
    let measures = std::env::var_os("RTCPUB_HUB_BINARY").is_some();
    let hub = HubProcess::start().await;
    let path = format!("/live/ws/pub?channel={CHANNEL}");
    let signal = Signal::open(hub.plain, None, &path, &[]).await.expect("a publisher of this machine needs no TLS");
    let setup = publisher::Setup { width: 1280, height: 720, kbps: 1500, ..Default::default() };
    let publisher = Publisher::publish(signal, setup).await;
    let mut viewers = Vec::new();
    let bytes = Arc::new(AtomicU64::new(0));
    for count in counts.split(',').map(|count| count.parse::<usize>().expect("a number")) {
        while viewers.len() < count {
            let mut viewer = Viewer::join_at(hub.plain, CHANNEL, viewer::Setup::default()).await;
            viewer.packet().await;
            viewers.push(tokio::spawn(count_packets(viewer, bytes.clone())));
        }
        // The joining itself is not what is measured.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (start, cpu, before) = (Instant::now(), hub.cpu(), bytes.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_secs(if measures { 20 } else { 3 })).await;
        let seconds = start.elapsed().as_secs_f64();
        let load = (hub.cpu() - cpu) / seconds;
        let kbps = (bytes.load(Ordering::Relaxed) - before) as f64 * 0.008 / seconds / count as f64;
        println!(
            "{count:3} viewers of {kbps:.0} kbit/s: {:6.2} % of a core, {:5.2} % a viewer, peak {} MiB",
            100.0 * load,
            100.0 * load / count as f64,
            hub.resident_kib() / 1024
        );
        if measures && count >= 10 {
            assert!(load / count as f64 <= 0.01, "{load}");
        }
    }
    publisher.stop().await;
    for viewer in viewers {
        let (received, missing) = viewer.await.expect("no panic");
        assert!(received > 100, "{received}");
        assert_eq!(missing, 0, "of {received}");
    }
}

/// Receives until the picture stops; how many packets came, and how many numbers between them did not.
async fn count_packets(mut viewer: Viewer, bytes: Arc<AtomicU64>) -> (u64, u64) {
    let first = viewer.packet().await.header.sequence_number;
    let (mut received, mut newest) = (1_u64, 0_u64);
    while let Ok(packet) = tokio::time::timeout(Duration::from_secs(1), viewer.packet()).await {
        received += 1;
        bytes.fetch_add(packet.payload.len() as u64, Ordering::Relaxed);
        let ahead = packet.header.sequence_number.wrapping_sub(first.wrapping_add(newest as u16)) as i16;
        newest = newest.max(newest.saturating_add_signed(ahead.into()));
    }
    (received, (newest + 1).saturating_sub(received))
}
