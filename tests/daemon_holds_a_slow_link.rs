//! The whole daemon, its hub and a driver on a link like a mobile network's: late, uneven, out of order; and on a machine
//! whose clock is set while it drives.

#![allow(clippy::disallowed_methods, reason = "the test measures")]

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::lab;
use common::outputs::NEUTRAL;
use common::scene::Scene;

/// Enough for a daemon, a hub and a viewer.
const MEMORY: &str = "512M";

/// 100 ms ± 30 ms on every packet, a quarter of which overtake: so on both halves of the way, to the hub and from it.
const SLOW: [&str; 6] = ["delay", "100ms", "30ms", "reorder", "25%", "50%"];

/// Both halves of the way at their slowest, one repetition of a lost turn, and what a busy machine adds.
const OBEYED_WITHIN: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_uneven_link_that_reorders_keeps_its_session_and_the_car_obeys() {
    if !lab::entered_with("a_late_uneven_link_that_reorders_keeps_its_session_and_the_car_obeys", MEMORY) {
        return;
    }
    let mut scene = Scene::in_the_lab(&[]).await;
    scene.drive().await;
    slow_down_loopback();

    let begin = Instant::now();
    let mut slowest = Duration::ZERO;
    while begin.elapsed() < Duration::from_secs(15) {
        scene.drive().await;
        scene.driver.sees_the_picture().await;
        let let_go = Instant::now();
        scene.driver.lets_go();
        slowest = slowest.max(scene.outputs.reach(NEUTRAL).await.saturating_duration_since(let_go));
    }
    println!("at most {slowest:?} from the key's release to neutral");
    assert!(slowest < OBEYED_WITHIN, "{slowest:?}");

    let log = scene.daemon.process.log();
    let said = |part: &str| log.iter().filter(|line| line.text.contains(part)).count();
    assert_eq!((said("reports: publishing"), said("restarting ICE"), said("no session")), (1, 0, 0), "{log:#?}");
}

fn slow_down_loopback() {
    let tc = ["qdisc", "add", "dev", "lo", "root", "netem"];
    let status = Command::new("tc").args(tc).args(SLOW).status().expect("iproute2");
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_system_clock_may_jump_and_nothing_comes_of_it() {
    if !lab::entered_with("the_system_clock_may_jump_and_nothing_comes_of_it", MEMORY) {
        return;
    }
    let mut scene = Scene::in_the_lab(&[]).await;
    scene.drive().await;
    // As when a board without a battery hears of the time, and when somebody sets it by hand.
    for jump in ["+400 days", "-4000 days"] {
        let status = Command::new("date").args(["--set", jump]).status().expect("coreutils");
        assert!(status.success());
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(6) {
            scene.driver.sees_the_picture().await;
            scene.drive().await;
        }
        let let_go = Instant::now();
        scene.driver.lets_go();
        let stopped = scene.outputs.reach(NEUTRAL).await.saturating_duration_since(let_go);
        assert!(stopped < OBEYED_WITHIN, "{jump}: {stopped:?}");
    }
    let log = scene.daemon.process.log();
    let said = |part: &str| log.iter().filter(|line| line.text.contains(part)).count();
    assert_eq!((said("reports: publishing"), said("restarting ICE"), said("no session")), (1, 0, 0), "{log:#?}");
}
