//! How soon the whole daemon obeys, and how soon it stops the car whatever happens: the release binary as a process of its
//! own, streaming 1280x720@30, a real peer over loopback.
//!
//! `cargo bench --bench safety -- [TRIALS [DEADLINE_MS]]`, 1000 trials at a deadline of 100 ms unless told otherwise. The
//! actuator is the bridge, because a PC has no I2C bus: the same gate, the same drive thread, and in place of the write to
//! `/dev/i2c-N` one to the bridge, which goes on to this program. So each figure that ends at a program is more than one
//! that ends at the bus by a thread and a socket, and each that begins at a peer is more than one that begins at the
//! message's arrival by the whole way through SCTP, DTLS and loopback. `tests/daemon_stops_the_car_whatever_fails.rs` prints
//! the same for a real bus in the lab.
//!
//! Only a debug build can be made to panic: how soon that stops the car, `tests/daemon_stops_the_car_whatever_fails.rs` prints.
//!
//! A machine that stands still (a virtual one does at times) is on time with nothing. So a real-time thread on each processor
//! that only sleeps notes when it wakes more than 1 ms late (`safety/standstill.rs`). Trials during which that happened are
//! counted and told in a row of their own, with what they are late by beyond the standstill; the others are the daemon's.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring program")]
#![allow(missing_docs, unreachable_pub, reason = "a program, not a library")]

#[path = "publish/figures.rs"]
mod figures;
#[path = "publish/link.rs"]
mod link;
#[path = "safety/scene.rs"]
mod scene;
#[path = "publish/server.rs"]
mod server;
#[path = "safety/standstill.rs"]
mod standstill;

use std::path::Path;
use std::time::{Duration, Instant};

use figures::{ms, percentile};
use rtcpub::status::document::Latency;
use rustix::process::Signal;
use scene::Scene;
use standstill::{Standstill, Watch};

const RELEASE: &str = env!("CARGO_BIN_EXE_rtcpub");

/// Each ends a daemon, so they are fewer.
const SIGNALS: usize = 20;
/// Long, so that it is not the deadline that stops the car.
const LONG: Duration = Duration::from_millis(2000);

fn main() {
    // cargo itself adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let mut number = |default| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (trials, deadline) = (number(1000) as usize, Duration::from_millis(number(100)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("| figure | p50 | p99 | max | goal |\n|---|---|---|---|---|");
        commands(trials, deadline).await;
        signals().await;
    });
}

/// Each trial commands motion once, and waits for the deadline to stop the car.
async fn commands(trials: usize, deadline: Duration) {
    let scene = Scene::start(Path::new(RELEASE), deadline).await;
    let watch = Watch::start();
    let (mut obeyed, mut obeyed_read) = (vec![], vec![]);
    let (mut stopped, mut stopped_from_sent, mut stopped_read) = (vec![], vec![], vec![]);
    let mut still = Still::default();
    for _ in 0..trials {
        let (said, motion) = scene.drive().await;
        let neutral = scene.next(false).expect("the failsafe");
        let due = said + deadline;
        // The command arrived a little before it was obeyed.
        let late = neutral.decided.saturating_duration_since(motion.decided + deadline);
        let stood = watch.within(said, neutral.read);
        if !stood.is_zero() {
            still.late.push(ms(late));
            still.beyond.push(ms(late.saturating_sub(watch.within(motion.decided + deadline, neutral.decided))));
            still.stood.push(ms(stood));
            continue;
        }
        obeyed.push(ms(motion.decided - said));
        obeyed_read.push(ms(motion.read - said));
        stopped.push(ms(late));
        stopped_from_sent.push(ms(neutral.decided.checked_duration_since(due).expect("not before the deadline")));
        stopped_read.push(ms(neutral.read - due));
    }
    arrival_to_write(&scene);
    table("command sent by the peer → write to the actuator begins", &mut obeyed, "");
    table("command sent by the peer → read by the program", &mut obeyed_read, "");
    let goal = "max ≤ 10 ms";
    table(&format!("{deadline:?} after a command was obeyed → write of neutral begins"), &mut stopped, goal);
    table(&format!("{deadline:?} after it was sent → write of neutral begins"), &mut stopped_from_sent, "");
    table(&format!("{deadline:?} after it was sent → neutral read by the program"), &mut stopped_read, "");
    still.tell(trials, deadline, watch.end());
}

/// By the daemon's own clock, of every command of this run, those during a standstill included.
fn arrival_to_write(scene: &Scene) {
    let took = scene.status().drive.control_latency.expect("commands were obeyed");
    let Latency { count, p50_ms, p99_ms, max_ms, .. } = took;
    let figure = "`stream` message received → write to the actuator begins";
    row(figure, count as usize, [p50_ms, p99_ms, max_ms], "p99 ≤ 1 ms");
}

/// The trials during which the machine stood still, in milliseconds.
#[derive(Default)]
struct Still {
    stood: Vec<f64>,
    late: Vec<f64>,
    /// What they were late by beyond the standstill.
    beyond: Vec<f64>,
}

impl Still {
    fn tell(mut self, trials: usize, deadline: Duration, (standstills, real_time): (Vec<Standstill>, bool)) {
        let longest = standstills.iter().map(|still| still.until - still.from).max().unwrap_or_default();
        let watchers = if real_time { "real-time threads" } else { "ordinary threads, for want of the right" };
        let (times, longest) = (standstills.len(), ms(longest));
        println!(
            "| the machine stood still for more than 1 ms, seen by {watchers} | | | {longest:.2} ms, {times} times | |"
        );
        if self.late.is_empty() {
            println!("| trials during which it did, in no row above | | | none of {trials} | |");
            return;
        }
        let count = self.late.len();
        table(
            &format!("trials during which it did, in no row above: {count} of {trials}; it stood"),
            &mut self.stood,
            "",
        );
        table(
            &format!("of these: {deadline:?} after a command was obeyed → write of neutral begins"),
            &mut self.late,
            "",
        );
        table("of these: the same without the standstill", &mut self.beyond, "max ≤ 10 ms");
    }
}

async fn signals() {
    let watch = Watch::start();
    let (mut stopped, mut still) = (Vec::new(), Vec::new());
    for _ in 0..SIGNALS {
        let scene = Scene::start(Path::new(RELEASE), LONG).await;
        scene.drive().await;
        let asked = Instant::now();
        scene.signal(Signal::TERM);
        let neutral = scene.next(false).expect("neutral").read;
        let stood = !watch.within(asked, neutral).is_zero();
        if stood { &mut still } else { &mut stopped }.push(ms(neutral - asked));
        assert_eq!(scene.exit_code(), Some(0));
    }
    table("SIGTERM → neutral read by the program", &mut stopped, "max ≤ 20 ms");
    if !still.is_empty() {
        table("the same while the machine stood still", &mut still, "");
    }
}

fn table(figure: &str, values: &mut [f64], goal: &str) {
    let count = values.len();
    assert!(count > 0, "{figure}: the machine stood still all the time");
    row(figure, count, [50.0, 99.0, 100.0].map(|rank| percentile(values, rank)), goal);
}

/// A row of the README's table of safety.
fn row(figure: &str, count: usize, [p50, p99, max]: [f64; 3], goal: &str) {
    println!("| {figure}, {count} times | {p50:.2} ms | {p99:.2} ms | {max:.2} ms | {goal} |");
}
