use std::time::{Duration, Instant};

use super::super::settings::{AxisConfig, Calibration, RawCalibration, ReverseConfig};
use super::*;

const FORWARD: u16 = 419;
const NEUTRAL: u16 = 375;
const BRAKE: u16 = 325;
const REVERSE: u16 = 338;

/// The reference's car on virtual time: brake 160 ms, neutral 120 ms.
struct Drive {
    vehicle: Vehicle,
    now: Instant,
}

impl Drive {
    #[expect(clippy::disallowed_methods, reason = "virtual time needs some moment to begin at")]
    fn new() -> Self {
        let pulse = |ticks| Pulse::new(ticks).unwrap();
        let calibration = Calibration::new(RawCalibration {
            throttle_zero: pulse(NEUTRAL),
            forward_zero: pulse(399),
            throttle_min: pulse(300),
            throttle_max: pulse(440),
            steering_zero: pulse(399),
            steering_min: pulse(319),
            steering_max: pulse(479),
            throttle_steps: 20,
            steering_steps: 20,
        })
        .unwrap();
        let reverse =
            ReverseConfig { brake_ticks: 50, brake: Duration::from_millis(160), neutral: Duration::from_millis(120) };
        let (throttle, steering) = (AxisConfig::default(), AxisConfig::default());
        let config = VehicleConfig { calibration, throttle, steering, reverse };
        Self { vehicle: Vehicle::new(config, pulse(440)), now: Instant::now() }
    }

    fn throttle(&mut self, throttle: f64) -> u16 {
        self.vehicle.output(SafeDrive::for_test(throttle, 0.0), self.now).pulses().throttle.ticks()
    }

    fn after(&mut self, milliseconds: u64) -> &mut Self {
        self.now += Duration::from_millis(milliseconds);
        self
    }

    fn wake_in(&self) -> Option<Duration> {
        self.vehicle.poll_timeout().map(|at| at - self.now)
    }
}

#[test]
fn back_after_forward_brakes_then_waits_at_neutral_then_reverses() {
    let mut car = Drive::new();
    assert_eq!(car.throttle(0.5), FORWARD);
    assert_eq!(car.wake_in(), None);
    assert_eq!(car.after(500).throttle(-0.5), BRAKE);
    assert_eq!(car.wake_in(), Some(Duration::from_millis(160)));
    assert_eq!(car.after(159).throttle(-0.5), BRAKE);
    assert_eq!(car.after(1).throttle(-0.5), NEUTRAL);
    assert_eq!(car.wake_in(), Some(Duration::from_millis(120)));
    assert_eq!(car.after(119).throttle(-0.5), NEUTRAL);
    assert_eq!(car.after(1).throttle(-0.5), REVERSE);
    assert_eq!(car.wake_in(), None);
    assert_eq!(car.after(5000).throttle(-0.5), REVERSE);
}

#[test]
fn a_car_that_did_not_drive_forward_reverses_at_once() {
    let mut car = Drive::new();
    assert_eq!(car.throttle(-0.5), REVERSE);
    assert_eq!(car.after(10).throttle(0.0), NEUTRAL);
    assert_eq!(car.after(10).throttle(-0.5), REVERSE);
}

#[test]
fn standing_at_neutral_for_long_does_not_spare_the_brake() {
    let mut car = Drive::new();
    car.throttle(0.5);
    assert_eq!(car.after(10).throttle(0.0), NEUTRAL);
    assert_eq!(car.after(60_000).throttle(-0.5), BRAKE);
}

#[test]
fn forward_in_the_middle_goes_forward_at_once_and_the_sequence_is_due_again() {
    for (pause, phase) in [(10, BRAKE), (200, NEUTRAL)] {
        let mut car = Drive::new();
        car.throttle(0.5);
        assert_eq!(car.throttle(-0.5), BRAKE);
        let mut seen = BRAKE;
        for _ in 0..pause / 10 {
            seen = car.after(10).throttle(-0.5);
        }
        assert_eq!(seen, phase);
        assert_eq!(car.after(1).throttle(0.5), FORWARD);
        assert_eq!(car.wake_in(), None);
        assert_eq!(car.after(1).throttle(-0.5), BRAKE);
        assert_eq!(car.wake_in(), Some(Duration::from_millis(160)));
    }
}

#[test]
fn neutral_in_the_middle_of_the_brake_is_neutral_at_once_and_the_brake_is_due_again() {
    let mut car = Drive::new();
    car.throttle(0.5);
    assert_eq!(car.throttle(-0.5), BRAKE);
    assert_eq!(car.after(50).throttle(0.0), NEUTRAL);
    assert_eq!(car.wake_in(), None);
    assert_eq!(car.after(1000).throttle(-0.5), BRAKE);
}

#[test]
fn neutral_while_settling_goes_on_settling() {
    let mut car = Drive::new();
    car.throttle(0.5);
    car.throttle(-0.5);
    assert_eq!(car.after(160).throttle(-0.5), NEUTRAL);
    assert_eq!(car.after(50).throttle(0.0), NEUTRAL);
    assert_eq!(car.after(20).throttle(-0.5), NEUTRAL);
    assert_eq!(car.after(50).throttle(-0.5), REVERSE);

    car.throttle(0.5);
    car.throttle(-0.5);
    assert_eq!(car.after(160).throttle(-0.5), NEUTRAL);
    assert_eq!(car.after(500).throttle(0.0), NEUTRAL);
    assert_eq!(car.wake_in(), None, "a timeout in the past would make the thread spin");
    assert_eq!(car.throttle(-0.5), REVERSE);
}

#[test]
fn a_late_call_shortens_no_phase() {
    let mut car = Drive::new();
    car.throttle(0.5);
    car.throttle(-0.5);
    assert_eq!(car.after(10_000).throttle(-0.5), NEUTRAL);
    assert_eq!(car.after(119).throttle(-0.5), NEUTRAL);
    assert_eq!(car.after(1).throttle(-0.5), REVERSE);
}

#[test]
fn phases_of_no_length_are_left_out() {
    let mut car = Drive::new();
    (car.vehicle.config.reverse.brake, car.vehicle.config.reverse.neutral) = (Duration::ZERO, Duration::ZERO);
    car.throttle(0.5);
    assert_eq!(car.throttle(-0.5), REVERSE);
}

#[test]
fn the_gates_brake_is_a_brake_pulse_only_for_a_car_that_went_forward() {
    let brake = |car: &mut Drive| car.vehicle.output(SafeDrive::brake_for_test(), car.now).pulses().throttle.ticks();
    let mut car = Drive::new();
    assert_eq!(brake(&mut car), NEUTRAL);
    car.throttle(-0.5);
    assert_eq!(brake(&mut car), NEUTRAL);
    car.throttle(0.5);
    assert_eq!(brake(&mut car), BRAKE);
    assert_eq!(car.after(1000).throttle(0.0), NEUTRAL);
    assert_eq!(car.throttle(-0.5), BRAKE, "the gate's brake does not stand for the one before reverse");
}

#[test]
fn a_new_max_speed_counts_from_the_next_update() {
    let mut car = Drive::new();
    assert_eq!(car.throttle(1.0), 440);
    car.vehicle.set_max_speed(Pulse::new(420).unwrap());
    assert_eq!(car.throttle(1.0), 420);
}

#[test]
fn the_neutral_output_carries_the_trims() {
    let mut car = Drive::new();
    (car.vehicle.config.throttle.trim, car.vehicle.config.steering.trim) = (3, -4);
    let neutral = Output::neutral(&car.vehicle.config, car.now);
    assert_eq!((neutral.pulses().throttle.ticks(), neutral.pulses().steering.ticks()), (378, 395));
    assert_eq!(neutral, car.vehicle.output(SafeDrive::NEUTRAL, car.now));
}
