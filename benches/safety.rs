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
//! The floor is a real-time thread of the same run that does nothing but sleep: what it is late by is the machine's.
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

use std::path::Path;
use std::time::{Duration, Instant};

use figures::{ms, percentile, row};
use rustix::process::Signal;
use scene::Scene;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

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
        println!("| figure | measured | goal |\n|---|---|---|");
        commands(trials, deadline).await;
        signals().await;
    });
}

/// Each trial commands motion once, and waits for the deadline to stop the car.
async fn commands(trials: usize, deadline: Duration) {
    let scene = Scene::start(Path::new(RELEASE), deadline).await;
    let floor = std::thread::spawn(move || sleep_late(trials, deadline));
    let (mut obeyed, mut obeyed_read) = (vec![], vec![]);
    let (mut stopped, mut stopped_from_sent, mut stopped_read) = (vec![], vec![], vec![]);
    for _ in 0..trials {
        let (said, motion) = scene.drive().await;
        obeyed.push(ms(motion.decided - said));
        obeyed_read.push(ms(motion.read - said));
        let neutral = scene.next(false).expect("the failsafe");
        let due = said + deadline;
        stopped_from_sent.push(ms(neutral.decided.checked_duration_since(due).expect("not before the deadline")));
        stopped_read.push(ms(neutral.read - due));
        // The command arrived a little before it was obeyed.
        stopped.push(ms(neutral.decided.saturating_duration_since(motion.decided + deadline)));
    }
    let goal = "p99 ≤ 1 ms";
    table("command sent by the peer → write to the actuator begins", &mut obeyed, goal);
    table("command sent by the peer → read by the program", &mut obeyed_read, goal);
    let goal = "max ≤ 10 ms";
    table(&format!("{deadline:?} after a command was obeyed → write of neutral begins"), &mut stopped, goal);
    table(&format!("{deadline:?} after it was sent → write of neutral begins"), &mut stopped_from_sent, goal);
    table(&format!("{deadline:?} after it was sent → neutral read by the program"), &mut stopped_read, goal);
    table("floor: how late a thread wakes that only sleeps", &mut floor.join().unwrap(), "");
}

async fn signals() {
    let mut stopped = Vec::new();
    for _ in 0..SIGNALS {
        let scene = Scene::start(Path::new(RELEASE), LONG).await;
        scene.drive().await;
        let asked = Instant::now();
        scene.signal(Signal::TERM);
        stopped.push(ms(scene.next(false).expect("neutral").read - asked));
        assert_eq!(scene.exit_code(), Some(0));
    }
    table("SIGTERM → neutral read by the program", &mut stopped, "max ≤ 20 ms");
}

/// How late a real-time thread wakes from each sleep, in milliseconds.
fn sleep_late(times: usize, sleep: Duration) -> Vec<f64> {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    // Denied, it is the floor of a drive thread that is denied it as well.
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
    let late = |_| {
        let due = Instant::now() + sleep;
        std::thread::sleep(sleep);
        ms(Instant::now().saturating_duration_since(due))
    };
    (0..times).map(late).collect()
}

fn table(figure: &str, values: &mut [f64], goal: &str) {
    let count = values.len();
    let [p50, p99, max] = [50.0, 99.0, 100.0].map(|rank| percentile(values, rank));
    row(figure, &format!("p50 {p50:.2}, p99 {p99:.2}, max {max:.2} ms ({count} times)"), goal);
}
