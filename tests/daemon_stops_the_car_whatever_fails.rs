//! The whole daemon on a real kernel I2C bus: link, driver, board and the process itself fail in turn while the car is at
//! full throttle, and neutral stands in the registers.

#![allow(clippy::disallowed_methods, reason = "the test measures")]

mod common;

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use common::daemon::{ChannelFile, Daemon, Exited, Hub};
use common::driver::{Driver, motion};
use common::lab::{self, BrokenBus};
use common::outputs::{Change, NEUTRAL, Outputs};
use common::scene::{BOARD, FORWARD, Scene};
use rustix::process::Signal;

/// Enough for a daemon, a hub and a viewer.
const MEMORY: &str = "512M";

/// The deadline, as it comes, and what a busy machine may add to what is seen of it from outside.
const DEADLINE: Duration = Duration::from_millis(500);
const SLACK: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_who_falls_silent_has_a_car_at_rest_by_the_deadline() {
    if !lab::entered_with("a_driver_who_falls_silent_has_a_car_at_rest_by_the_deadline", MEMORY) {
        return;
    }
    let mut scene = Scene::in_the_lab(&[]).await;
    for _ in 0..3 {
        scene.drive().await;
        scene.driver.forgets();
        scene.driver.falls_silent();
        let silent = Instant::now();
        let stopped = scene.outputs.reach(NEUTRAL).await;
        let cause = scene.driver.is_told(&["state", "parked"]).await;
        println!("{:?} after the last command: {cause}", stopped - silent);
        assert!(cause.contains("deadline") || cause.contains("stalled"), "{cause}");
        assert!(stopped - silent < DEADLINE + SLACK, "{:?}", stopped - silent);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_who_leaves_has_stopped_the_car_and_the_next_can_drive() {
    if !lab::entered_with("a_driver_who_leaves_has_stopped_the_car_and_the_next_can_drive", MEMORY) {
        return;
    }
    let mut scene = Scene::in_the_lab(&[]).await;
    for _ in 0..2 {
        scene.drive().await;
        let (left, hub) = (Instant::now(), scene.hub.plain);
        scene.driver.leaves().await;
        let stopped = scene.outputs.reach(NEUTRAL).await;
        println!("{:?} after the driver left", stopped - left);
        assert!(stopped - left < DEADLINE + SLACK, "{:?}", stopped - left);
        scene.driver = Driver::sit_down(hub).await;
    }
    scene.drive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_is_killed_leaves_a_car_at_rest() {
    if !lab::entered_with("a_hub_that_is_killed_leaves_a_car_at_rest", MEMORY) {
        return;
    }
    let mut scene = Scene::in_the_lab(&[]).await;
    scene.drive().await;
    scene.hub.process.signal(Signal::KILL);
    let killed = Instant::now();
    let stopped = scene.outputs.reach(NEUTRAL).await;
    println!("{:?} after the hub was killed", stopped - killed);
    assert!(stopped - killed < DEADLINE + SLACK, "{:?}", stopped - killed);
    scene.daemon.process.signal(Signal::TERM);
    assert_eq!(scene.daemon.process.exited().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_goes_away_stops_the_car_which_can_be_driven_when_it_is_back() {
    if !lab::entered_with("a_network_that_goes_away_stops_the_car_which_can_be_driven_when_it_is_back", MEMORY) {
        return;
    }
    let mut scene = Scene::in_the_lab(&[]).await;
    scene.drive().await;
    network("down");
    let gone = Instant::now();
    let stopped = scene.outputs.reach(NEUTRAL).await;
    println!("{:?} after the network went", stopped - gone);
    assert!(stopped - gone < DEADLINE + SLACK, "{:?}", stopped - gone);
    scene.daemon.process.says("drive parked cause=\"ice_lost\"").await;
    network("up");
    scene.drive().await;
}

fn network(state: &str) {
    let status = Command::new("ip").args(["link", "set", "lo", state]).status().expect("iproute2");
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_that_vanishes_latches_the_car_which_can_be_driven_when_it_is_back() {
    if !lab::entered_with("a_board_that_vanishes_latches_the_car_which_can_be_driven_when_it_is_back", MEMORY) {
        return;
    }
    let mut scene = Scene::in_the_lab(&[]).await;
    for _ in 0..2 {
        scene.drive().await;
        scene.driver.forgets();
        // While somebody has the bus open, it can fail but not go away.
        drop(scene.outputs);
        let broken = BrokenBus::of(scene.daemon.process.id());
        scene.driver.is_told(&["state", "latched", "actuator_fault"]).await;
        scene.driver.is_told(&["fault", "0x40", "/dev/i2c-0"]).await;
        lab::remove_bus_soon();
        drop(broken);
        lab::bring_bus_back();
        scene.driver.is_told(&["state", "parked", "actuator_fault"]).await;
        scene.outputs = Outputs::of_board();
        assert_eq!(scene.outputs.now(), Some(NEUTRAL), "although the driver still holds the throttle");
    }
    scene.drive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_signal_ends_the_daemon_the_car_is_at_rest() {
    if !lab::entered_with("whatever_signal_ends_the_daemon_the_car_is_at_rest", MEMORY) {
        return;
    }
    let mut scene = Scene::in_the_lab(&[]).await;
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        scene.drive().await;
        scene.daemon.process.signal(signal);
        let asked = Instant::now();
        let Exited { code, .. } = scene.daemon.process.exited().await;
        println!("{signal:?}: neutral after {:?}", scene.outputs.reach(NEUTRAL).await - asked);
        assert_eq!(lab::Registers::open().pulses(), NEUTRAL, "{signal:?}");
        assert_eq!(code, Some(0), "{signal:?}");
        scene.restart(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_told_to_suspend_itself_goes_on_watching_over_the_car() {
    if !lab::entered_with("a_daemon_that_is_told_to_suspend_itself_goes_on_watching_over_the_car", MEMORY) {
        return;
    }
    let mut scene = Scene::in_the_lab(&[]).await;
    scene.drive().await;
    scene.daemon.process.signal(Signal::TSTP);
    scene.daemon.process.says("not suspended").await;
    scene.driver.falls_silent();
    scene.outputs.reach(NEUTRAL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_configuration_of_the_drive_stops_the_car_first() {
    if !lab::entered_with("a_new_configuration_of_the_drive_stops_the_car_first", MEMORY) {
        return;
    }
    let mut scene = Scene::in_the_lab(&[]).await;
    scene.drive().await;
    scene.file.append("[drive.limits]\nthrottle_cap = 0.5\n");
    scene.driver.forgets();
    scene.daemon.process.signal(Signal::HUP);
    scene.driver.is_told(&["state", "parked", "reload"]).await;
    scene.outputs.reach(NEUTRAL).await;
    scene.driver.lets_go();
    let half = [Some(419), Some(399)];
    scene.outputs.are_driven_to(half, &scene.driver, &[motion("forward", 20)]).await;
}

/// The goal is 50 ms; the rest is for a busy machine. Resolving a backtrace first would take longer.
const AFTER_PANIC: Duration = Duration::from_millis(250);

/// Each place that can be made to panic, and what passes it.
const PLACES: [(&str, Poke); 17] = [
    ("publisher", Poke::Nothing),
    ("telemetry", Poke::Nothing),
    ("camera", Poke::Nothing),
    ("camera state", Poke::Nothing),
    ("video", Poke::Nothing),
    ("signs of life", Poke::Nothing),
    ("service manager", Poke::Nothing),
    ("reload", Poke::Nothing),
    ("status", Poke::Nothing),
    ("metrics", Poke::Nothing),
    ("stream", Poke::Nothing),
    ("picture", Poke::Nothing),
    ("drive", Poke::Nothing),
    ("drive thread", Poke::MaxSpeed),
    ("key frame", Poke::SecondViewer),
    ("bridge", Poke::Program),
    ("lap sensor", Poke::Lap),
];

enum Poke {
    /// It is passed all the time.
    Nothing,
    MaxSpeed,
    SecondViewer,
    Program,
    Lap,
}

#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_task_or_thread_stops_the_car_and_ends_the_daemon_with_its_own_code() {
    if !lab::entered_with("a_panic_in_any_task_or_thread_stops_the_car_and_ends_the_daemon_with_its_own_code", MEMORY) {
        return;
    }
    const LINES: [u32; 2] = [4, 17];
    LINES.into_iter().for_each(|line| lab::pull(line, true));
    let hub = Hub::start().await;
    let file = ChannelFile::for_hub(&hub);
    let chip = format!("lap_sensor.chip={}", lab::gpio_chip().display());
    let [_, bridge] = file.bridge();
    let lap = ["lap_sensor.pull=none", "lap_sensor.debounce_ms=5"];
    let settings = [BOARD, &chip, lap[0], lap[1], &bridge, "metrics.listen=127.0.0.1:0"];
    // Only who has a watchdog is looked after.
    let service_manager = file.beside("notify");
    let _service_manager = UnixDatagram::bind(&service_manager).expect("a socket");
    for (place, poke) in PLACES {
        let mut daemon = Daemon::start_with(&file, &settings, |command| {
            command
                .env("RTCPUB_TEST_PANIC", "1")
                .env("NOTIFY_SOCKET", &service_manager)
                .env("WATCHDOG_USEC", "5000000");
            // The car must not wait for it. Not everywhere: to write one takes many seconds in the lab.
            if ["publisher", "drive thread"].contains(&place) {
                command.env("RUST_BACKTRACE", "1");
            }
        });
        daemon.publishes().await;
        let driver = Driver::sit_down(hub.plain).await;
        let mut outputs = Outputs::of_board();
        outputs.are_driven_to(FORWARD, &driver, &[motion("forward", 20)]).await;

        driver.says(&format!(r#"{{"panic":{{"key":"{place}","value":0}}}}"#)).await;
        daemon.process.says("a panic is asked for").await;
        match poke {
            Poke::Nothing => {}
            // What it is already: it is kept for the places that follow.
            Poke::MaxSpeed => driver.says(r#"{"speed":{"key":"maxSpeed","value":440}}"#).await,
            Poke::SecondViewer => drop(Driver::sit_down(hub.plain).await),
            Poke::Program => Outputs::of_bridge(&file.bridge_socket()).await.say(r#"{"metric":{"a":{}}}"#).await,
            Poke::Lap => {
                LINES.into_iter().for_each(|line| lab::pull(line, false));
                tokio::time::sleep(Duration::from_millis(100)).await;
                LINES.into_iter().for_each(|line| lab::pull(line, true));
            }
        }
        let exited = daemon.process.exited().await;
        assert_eq!(lab::Registers::open().pulses(), NEUTRAL, "{place}");
        assert_eq!(exited.code, Some(70), "{place}\n{}", exited.text());
        let panicked = exited.said(&format!("provoked in {place}")).written();
        let took = outputs.reach(NEUTRAL).await.saturating_duration_since(panicked);
        println!("{place}: {:.1} ms from the panic to neutral", took.as_secs_f64() * 1e3);
        assert!(took < AFTER_PANIC, "{place}: {took:?}");
    }
}

#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_what_the_daemon_ended_of_although_something_else_ends_it_before_the_panic_is_told() {
    let name = "a_panic_is_what_the_daemon_ended_of_although_something_else_ends_it_before_the_panic_is_told";
    if !lab::entered_with(name, MEMORY) {
        return;
    }
    let hub = Hub::start().await;
    let file = ChannelFile::for_hub(&hub);
    let mut daemon = Daemon::start_with(&file, &[BOARD], |command| {
        command.env("RTCPUB_TEST_PANIC", "1");
    });
    daemon.publishes().await;
    let mut driver = Driver::sit_down(hub.plain).await;
    let mut outputs = Outputs::of_board();
    outputs.are_driven_to(FORWARD, &driver, &[motion("forward", 20)]).await;
    driver.says(r#"{"panic":{"key":"picture","value":30000}}"#).await;
    driver.is_told(&["state", "latched", "panic"]).await;
    outputs.reach(NEUTRAL).await;
    daemon.process.signal(Signal::TERM);
    let exited = daemon.process.exited().await;
    assert_eq!(exited.code, Some(70), "{}", exited.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn park_stops_the_car_of_a_daemon_that_was_killed_and_of_one_that_hangs() {
    if !lab::entered_with("park_stops_the_car_of_a_daemon_that_was_killed_and_of_one_that_hangs", MEMORY) {
        return;
    }
    let mut scene = Scene::in_the_lab(&[]).await;
    for signal in [Signal::KILL, Signal::STOP] {
        scene.drive().await;
        scene.daemon.process.signal(signal);
        scene.driver.falls_silent();
        tokio::time::sleep(DEADLINE + SLACK).await;
        assert_eq!(scene.outputs.now(), Some(FORWARD), "nobody stopped it");
        let parked = scene.file.park(&[BOARD]).await;
        scene.outputs.reach(NEUTRAL).await;
        let said = String::from_utf8(parked.stdout).expect("text");
        assert_eq!((parked.status.code(), said.lines().count()), (Some(0), 1), "{said}");
        assert!(said.contains("throttle 375, steering 399"), "{said}");
        if signal == Signal::KILL {
            scene.restart(&[]).await;
        }
    }
    // Once it goes on it finds that it was stopped, and its car stays where it is.
    scene.outputs.news();
    scene.daemon.process.signal(Signal::CONT);
    scene.driver.is_told(&["state", "parked", "stalled"]).await;
    assert_eq!(moving(&scene.outputs.news()), [], "nothing moved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_hangs_does_not_hold_up_the_end_and_is_told() {
    if !lab::entered_with("a_bus_that_hangs_does_not_hold_up_the_end_and_is_told", MEMORY) {
        return;
    }
    let mut scene = Scene::in_the_lab(&[]).await;
    scene.drive().await;
    let _hanging = BrokenBus::hanging(scene.daemon.process.id());
    scene.daemon.process.signal(Signal::TERM);
    let asked = Instant::now();
    // The last it says: then it is gone but for the thread that the debugger holds in its write.
    let told = scene.daemon.process.says("the car may still move").await;
    println!("told after {:?}", told.at - asked);
    assert!(told.at - asked < Duration::from_secs(2) + SLACK, "{:?}", told.at - asked);
    let exited = scene.daemon.process.exited().await;
    assert_eq!(exited.code, Some(1), "{}", exited.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_was_stopped_for_a_while_obeys_nothing_that_was_said_meanwhile() {
    if !lab::entered_with("a_daemon_that_was_stopped_for_a_while_obeys_nothing_that_was_said_meanwhile", MEMORY) {
        return;
    }
    let mut scene = Scene::in_the_lab(&[]).await;
    scene.drive().await;
    scene.daemon.process.freezes().await;
    // The driver goes on holding the throttle, at another value: its pulse would show that it was obeyed.
    scene.driver.holds([motion("forward", 10)]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(scene.outputs.now(), Some(FORWARD), "a stopped process stops nothing");
    scene.driver.forgets();
    scene.outputs.news();
    scene.daemon.process.signal(Signal::CONT);
    scene.driver.is_told(&["state", "parked", "stalled"]).await;
    scene.outputs.reach(NEUTRAL).await;
    // Not even what is said now, for the stick was never let go.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = scene.outputs.news();
    assert_eq!(moving(&after), [], "{after:?}");
    scene.driver.lets_go();
    scene.drive().await;
}

/// Changes to anything but neutral.
fn moving(changes: &[Change]) -> Vec<Change> {
    changes.iter().copied().filter(|change| change.pulses != NEUTRAL).collect()
}
