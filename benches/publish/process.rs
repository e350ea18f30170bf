//! The daemon as a process of its own, and what `/proc` says of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::server::Server;

/// Another one to compare with: `RTCPUB_BENCH_BINARY=/path/to/rtcpub`.
fn binary() -> PathBuf {
    std::env::var_os("RTCPUB_BENCH_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_rtcpub").into(), PathBuf::from)
}

/// A running `rtcpub run`; killed when dropped.
pub struct Daemon {
    child: Child,
    pub started: Instant,
}

/// Names of our threads; everything else in the process belongs to GStreamer and the encoder.
const OURS: [&str; 7] = ["rtcpub", "rtcpub-main", "rtcpub-io", "drive", "max-speed", "bridge", "lap sensor"];

pub fn binary_megabytes() -> f64 {
    fs::metadata(binary()).unwrap().len() as f64 / 1e6
}

impl Daemon {
    pub fn start(folder: &Path, server: &Server, width: u32, height: u32, kbps: u32) -> Self {
        let file = folder.join("c40hipepjh65aeq6ndj0.toml");
        let state = folder.join("max-speed.json");
        let text = format!(
            "[server]\nurl = \"ws://{}\"\n[camera]\nkind = \"test\"\nwidth = {width}\nheight = {height}\nframerate = 30\n\
             [encoder]\nbitrate_kbps = {kbps}\n[log]\nlevel = \"warn\"\n[drive.max_speed]\nstate_file = \"{}\"\n",
            server.address(),
            state.display()
        );
        fs::write(&file, text).unwrap();
        let started = Instant::now();
        let child = Command::new(binary())
            .args(["run", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self { child, started }
    }

    /// CPU-seconds of our threads since the process started.
    pub fn our_cpu_seconds(&self) -> f64 {
        self.cpu_by_thread().into_iter().filter(|(name, _)| OURS.contains(&name.as_str())).map(|(_, cpu)| cpu).sum()
    }

    /// CPU-seconds a second of each thread name over the whole run.
    pub fn loads(&self) -> Vec<(String, f64)> {
        let age = self.started.elapsed().as_secs_f64();
        self.cpu_by_thread().into_iter().map(|(name, cpu)| (name, cpu / age)).collect()
    }

    fn cpu_by_thread(&self) -> BTreeMap<String, f64> {
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap() {
            let path = task.unwrap().path();
            // A thread may end between the listing and the reading.
            let (Ok(name), Ok(schedstat)) =
                (fs::read_to_string(path.join("comm")), fs::read_to_string(path.join("schedstat")))
            else {
                continue;
            };
            // Time on a processor in nanoseconds comes first (Documentation/scheduler/sched-stats).
            let nanoseconds: f64 = schedstat.split(' ').next().unwrap().parse().unwrap();
            *threads.entry(name.trim().to_owned()).or_default() += nanoseconds / 1e9;
        }
        threads
    }

    pub fn peak_rss_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
