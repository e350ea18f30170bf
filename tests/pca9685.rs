//! The PCA9685 on a real kernel I2C bus: what stands in its registers.

#![allow(clippy::print_stdout, reason = "the process that is killed tells the test when it drives")]

mod common;

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use common::car::{self, Car};
use common::lab::{self, BrokenBus, Registers};
use rtcpub::drive::actuator::Actuator;
use rtcpub::drive::actuator::kind::ActuatorSettings;
use rtcpub::drive::pca9685::{GpioLine, Pca9685Config};
use rustix::process::{Pid, Signal, kill_process};

const NEUTRAL: [Option<u16>; 2] = [Some(375), Some(399)];
/// MODE1: auto-increment, awake. PRE_SCALE: 60 Hz.
const RUNNING: (u8, u8) = (0x20, 101);

fn actuator(config: &Pca9685Config) -> Box<dyn Actuator> {
    config.make(None).expect("the settings are good")
}

#[test]
fn the_registers_follow_the_driver() {
    if !lab::entered("the_registers_follow_the_driver") {
        return;
    }
    let (mut registers, mut actuator, mut car) = (Registers::open(), actuator(&car::board()), Car::ready());
    car::start(&mut *actuator);
    assert_eq!((registers.byte(0x00), registers.prescale()), RUNNING);
    assert_eq!(registers.pulses(), NEUTRAL);
    // vehicle.md's formulas for its example car, with 20 steps an axis.
    let table = [
        ("forward", 20, [Some(440), Some(399)]),
        ("forward", 10, [Some(419), Some(399)]),
        ("forward", 0, [Some(375), Some(399)]),
        ("back", 20, [Some(300), Some(399)]),
        ("left", 20, [Some(300), Some(479)]),
        ("right", 20, [Some(300), Some(319)]),
        ("right", 0, [Some(300), Some(399)]),
        ("left", 5, [Some(300), Some(419)]),
    ];
    for (key, value, expected) in table {
        actuator.apply(&car.motion(key, value)).expect("the board answers");
        assert_eq!(registers.pulses(), expected, "after {key} {value}");
    }
    actuator.apply(&car.stopped()).expect("the board answers");
    assert_eq!(registers.pulses(), NEUTRAL, "after a stop");
}

#[test]
fn whatever_the_board_held_a_start_ends_at_neutral() {
    if !lab::entered("whatever_the_board_held_a_start_ends_at_neutral") {
        return;
    }
    // MODE1, PRE_SCALE, then throttle's OFF registers: asleep, full throttle, the same at 200 Hz, full off.
    let table =
        [(0x11, 0x1E, [0x00, 0x10]), (0x20, 101, [0xB8, 0x01]), (0x20, 30, [0xB8, 0x01]), (0x20, 101, [0, 0x10])];
    for held in table {
        let (mode1, prescale, [low, high]) = held;
        let mut registers = Registers::open();
        for (register, byte) in [(0x00, mode1), (0xFE, prescale), (0x08, low), (0x09, high)] {
            registers.set(register, byte);
        }
        car::start(&mut *actuator(&car::board()));
        assert_eq!(registers.pulses(), NEUTRAL, "after {held:02x?}");
        assert_eq!((registers.byte(0x00), registers.prescale()), RUNNING, "after {held:02x?}");
    }
}

#[test]
fn channels_apart_are_written_without_touching_those_between() {
    if !lab::entered("channels_apart_are_written_without_touching_those_between") {
        return;
    }
    let config = Pca9685Config { throttle_channel: 15, steering_channel: 3, ..car::board() };
    let (mut registers, mut actuator, mut car) = (Registers::open(), actuator(&config), Car::ready());
    let others = |registers: &mut Registers| (0x06..0x46).map(|register| registers.byte(register)).collect::<Vec<_>>();
    (0x06..0x46).for_each(|register| registers.set(register, 0x05));
    car::start(&mut *actuator);
    actuator.apply(&car.motion("forward", 20)).expect("the board answers");
    actuator.apply(&car.motion("left", 20)).expect("the board answers");
    assert_eq!((registers.pulse(15), registers.pulse(3)), (Some(440), Some(479)));
    let untouched = others(&mut registers).iter().filter(|byte| **byte == 0x05).count();
    assert_eq!(untouched, 64 - 8);
}

#[test]
fn a_bus_that_fails_and_vanishes_is_taken_up_again_when_it_is_back() {
    if !lab::entered("a_bus_that_fails_and_vanishes_is_taken_up_again_when_it_is_back") {
        return;
    }
    let (mut actuator, mut car) = (actuator(&car::board()), Car::ready());
    car::start(&mut *actuator);
    let forward = car.motion("forward", 20);
    actuator.apply(&forward).expect("the board answers");

    let broken = BrokenBus::new();
    let first = actuator.apply(&forward).expect_err("nothing answers");
    assert!(first.to_string().contains("check power, wiring"), "{first}");
    actuator.apply(&forward).expect_err("nor at the retry");
    let error = actuator.start(&car::neutral()).expect_err("nor at the start");
    assert!(error.to_string().contains("0x40 on /dev/i2c-0"), "{error}");
    drop(broken);

    // Nobody has the bus open any more, so it can go away.
    lab::remove_bus();
    let error = actuator.start(&car::neutral()).expect_err("there is no bus");
    assert!(error.to_string().contains("there is no /dev/i2c-0"), "{error}");

    lab::bring_bus_back();
    car::start(&mut *actuator);
    let mut registers = Registers::open();
    assert_eq!(registers.pulses(), NEUTRAL, "a full start, not only a write");
    assert_eq!((registers.byte(0x00), registers.prescale()), RUNNING);
    actuator.apply(&car.motion("forward", 20)).expect("the board answers");
    assert_eq!(registers.pulses(), [Some(440), Some(399)]);
}

#[test]
fn oe_lets_pulses_out_only_while_the_outputs_are_good() {
    if !lab::entered("oe_lets_pulses_out_only_while_the_outputs_are_good") {
        return;
    }
    const LINE: u32 = 22;
    // The wiring's pull-up: what holds when nobody drives the line.
    lab::pull(LINE, true);
    assert!(lab::level(LINE), "off before the daemon starts");
    let output_enable = Some(GpioLine { chip: lab::gpio_chip(), line: LINE });
    let mut actuator = actuator(&Pca9685Config { output_enable, arming: Duration::from_secs(2), ..car::board() });
    assert_eq!(car::start(&mut *actuator), Duration::from_secs(2));
    assert!(!lab::level(LINE), "OE is low: pulses go out");

    let broken = BrokenBus::new();
    actuator.apply(&car::neutral()).expect_err("nothing answers");
    assert!(!lab::level(LINE), "one failure is retried first");
    actuator.apply(&car::neutral()).expect_err("nothing answers");
    assert!(lab::level(LINE), "OE is high: all outputs are low, without the bus");
    drop(broken);

    assert_eq!(car::start(&mut *actuator), Duration::from_secs(2), "without pulses the ESC has to arm again");
    assert!(!lab::level(LINE));
    drop(actuator);
    assert!(lab::level(LINE), "the pull-up holds it when the daemon is gone");
}

/// Set for the process that is killed.
const VICTIM: &str = "RTCPUB_TEST_VICTIM";

#[test]
fn park_stops_what_a_killed_or_a_hanging_daemon_left_driving() {
    if env::var_os(VICTIM).is_some() {
        drive_until_killed();
    }
    if !lab::entered("park_stops_what_a_killed_or_a_hanging_daemon_left_driving") {
        return;
    }
    let mut registers = Registers::open();
    for signal in [Signal::KILL, Signal::STOP] {
        let mut victim = victim("park_stops_what_a_killed_or_a_hanging_daemon_left_driving");
        kill_process(Pid::from_child(&victim), signal).expect("it runs");
        if signal == Signal::KILL {
            victim.wait().expect("it was killed");
        }
        assert_eq!(registers.pulses(), [Some(440), Some(399)], "nobody stopped it");

        let parked = car::board().park(&car::neutral(), None).expect("the board answers");
        assert_eq!(registers.pulses(), NEUTRAL, "{signal:?}");
        assert!(parked.contains("throttle 375, steering 399"), "{parked}");
        assert_eq!(parked.lines().count(), 1, "{parked}");
        let _ = victim.kill();
        let _ = victim.wait();
    }
}

#[test]
fn park_works_on_a_board_that_nobody_configured_and_tells_when_there_is_none() {
    if !lab::entered("park_works_on_a_board_that_nobody_configured_and_tells_when_there_is_none") {
        return;
    }
    Registers::open().set(0x00, 0x11);
    car::board().park(&car::neutral(), None).expect("the board answers");
    let mut registers = Registers::open();
    assert_eq!(registers.pulses(), NEUTRAL);
    assert!(registers.is_awake());
    drop(registers);

    lab::remove_bus();
    let error = car::board().park(&car::neutral(), None).expect_err("there is no bus");
    assert!(error.to_string().contains("there is no /dev/i2c-0"), "{error}");
}

/// A process that drives at full throttle.
fn victim(test: &str) -> Child {
    let this = env::current_exe().expect("the running test binary has a path");
    let mut command = Command::new(this);
    command.args(["--exact", test, "--nocapture"]).env(VICTIM, "1").stdout(Stdio::piped());
    let mut victim = command.spawn().expect("it starts");
    let lines = BufReader::new(victim.stdout.take().expect("it is piped")).lines();
    let driving = lines.map_while(Result::ok).find(|line| line.ends_with("driving"));
    assert!(driving.is_some(), "the victim did not come to drive");
    victim
}

#[expect(clippy::print_stdout, reason = "the word that the test waits for")]
fn drive_until_killed() -> ! {
    let mut actuator = actuator(&car::board());
    car::start(&mut *actuator);
    actuator.apply(&Car::ready().motion("forward", 20)).expect("the board answers");
    println!("driving");
    loop {
        thread::park();
    }
}
