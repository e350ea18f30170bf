//! The lap sensor on real kernel GPIO lines.

mod common;

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::lab;
use rtcpub::drive::lap_sensor::{LapPass, LapSensor};
use rtcpub::drive::settings::{LapSensorConfig, Pull};

/// As wired in the lab; a low level means "magnet present".
fn config(debounce_ms: u64) -> LapSensorConfig {
    LapSensorConfig {
        chip: lab::gpio_chip(),
        lines: [4, 17],
        pull: Pull::None,
        active_low: true,
        debounce: Duration::from_millis(debounce_ms),
    }
}

fn start(debounce_ms: u64) -> (LapSensor, Receiver<LapPass>) {
    let (sender, passes) = mpsc::channel();
    let on_pass = move |pass| sender.send(pass).expect("the test listens");
    (LapSensor::start(config(debounce_ms), on_pass).expect("the lab has the lines"), passes)
}

#[expect(clippy::disallowed_methods, reason = "the time a person would see on the clock")]
fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is past 1970").as_secs_f64()
}

const LONG: Duration = Duration::from_secs(5);

#[test]
fn a_magnet_over_both_lines_is_one_pass_with_the_time_it_left() {
    if !lab::entered("a_magnet_over_both_lines_is_one_pass_with_the_time_it_left") {
        return;
    }
    [4, 17].into_iter().for_each(|line| lab::pull(line, true));
    let (sensor, passes) = start(20);
    for lap in 0..3 {
        lab::pull(4, false);
        lab::pull(17, false);
        thread::sleep(Duration::from_millis(60));
        lab::pull(4, true);
        let before = unix_seconds();
        lab::pull(17, true);
        let after = unix_seconds();
        let pass = passes.recv_timeout(LONG).expect("a pass");
        // Two clock readings apart, the kernel's stamp and ours may differ by their resolution under this kernel.
        let slack = 0.01;
        assert!(
            (before - slack..=after + slack).contains(&pass.unix_seconds),
            "lap {lap}: {} is not in {before} … {after}",
            pass.unix_seconds
        );
        assert!(after + 0.02 - slack > pass.unix_seconds, "not the time at which the debouncing ended");
    }
    // One line alone, and a bounce of the other: nothing.
    lab::pull(4, false);
    thread::sleep(Duration::from_millis(60));
    lab::pull(17, false);
    lab::pull(17, true);
    thread::sleep(Duration::from_millis(60));
    lab::pull(4, true);
    assert_eq!(passes.recv_timeout(Duration::from_millis(200)), Err(RecvTimeoutError::Timeout));
    drop(sensor);
    assert_eq!(passes.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected), "its thread has ended");
}

#[test]
fn lines_that_cannot_be_had_are_named() {
    if !lab::entered("lines_that_cannot_be_had_are_named") {
        return;
    }
    let (_sensor, _passes) = start(2);
    let error = LapSensor::start(config(2), |_| {}).expect_err("the lines are taken");
    assert!(error.to_string().contains("lines [4, 17]"), "{error}");
    let elsewhere = LapSensorConfig { chip: "/dev/gpiochip9".into(), ..config(2) };
    let error = LapSensor::start(elsewhere, |_| {}).expect_err("there is no such chip");
    assert!(error.to_string().contains("/dev/gpiochip9"), "{error}");
}
