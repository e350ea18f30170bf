use std::time::Duration;

use proptest::prelude::*;

use super::super::settings::{Calibration, ReverseConfig};
use super::*;

fn pulse(ticks: u16) -> Pulse {
    Pulse::new(ticks).unwrap()
}

fn car(raw: RawCalibration, throttle: AxisConfig, steering: AxisConfig) -> VehicleConfig {
    let reverse =
        ReverseConfig { brake_ticks: 50, brake: Duration::from_millis(100), neutral: Duration::from_millis(100) };
    VehicleConfig { calibration: Calibration::new(raw).unwrap(), throttle, steering, reverse }
}

fn straight() -> VehicleConfig {
    car(RawCalibration::example(), AxisConfig::default(), AxisConfig::default())
}

fn forward_steps(config: &VehicleConfig, max_speed: u16, steps: f64) -> u16 {
    let full = config.calibration.raw().throttle_steps;
    throttle(config, pulse(max_speed), Thrust::Forward(fraction(steps, full))).ticks()
}

fn back_steps(config: &VehicleConfig, steps: f64) -> u16 {
    let full = config.calibration.raw().throttle_steps;
    throttle(config, pulse(440), Thrust::Back(fraction(steps, full))).ticks()
}

// Worked out apart from this program (exact fractions), V = 1 … 20.
const FORWARD: [u16; 20] =
    [401, 403, 405, 407, 409, 411, 413, 415, 417, 419, 421, 423, 425, 427, 429, 431, 433, 435, 437, 440];
const FORWARD_AT_420: [u16; 20] =
    [400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 420];
const BACK: [u16; 20] =
    [371, 368, 364, 360, 356, 353, 349, 345, 341, 338, 334, 330, 326, 323, 319, 315, 311, 308, 304, 300];
const LEFT: [u16; 20] =
    [403, 407, 411, 415, 419, 423, 427, 431, 435, 439, 443, 447, 451, 455, 459, 463, 467, 471, 475, 479];
const RIGHT: [u16; 20] =
    [395, 391, 387, 383, 379, 375, 371, 367, 363, 359, 355, 351, 347, 343, 339, 335, 331, 327, 323, 319];

#[test]
fn the_example_car_gets_the_references_pulse_for_every_value() {
    let config = straight();
    for index in 0..20 {
        let steps = f64::from(u8::try_from(index + 1).unwrap());
        assert_eq!(forward_steps(&config, 440, steps), FORWARD[index], "forward {steps}");
        assert_eq!(forward_steps(&config, 420, steps), FORWARD_AT_420[index], "forward {steps} at maxSpeed 420");
        assert_eq!(back_steps(&config, steps), BACK[index], "back {steps}");
        assert_eq!(steering(&config, fraction(steps, 20)).ticks(), LEFT[index], "left {steps}");
        assert_eq!(steering(&config, -fraction(steps, 20)).ticks(), RIGHT[index], "right {steps}");
    }
    assert_eq!(throttle(&config, pulse(440), Thrust::Neutral).ticks(), 375);
    assert_eq!(throttle(&config, pulse(440), Thrust::Brake).ticks(), 325);
    assert_eq!(steering(&config, 0.0).ticks(), 399);
}

#[test]
fn values_past_the_step_count_are_full_and_fractions_fall_between() {
    let config = straight();
    assert_eq!(forward_steps(&config, 440, 65_535.0), 440);
    assert_eq!(back_steps(&config, 21.0), 300);
    assert_eq!(forward_steps(&config, 440, 0.4), 399);
    assert_eq!(forward_steps(&config, 440, 0.5), 400);
    assert_eq!(forward_steps(&config, 440, 7.4), 414);
    assert_eq!(back_steps(&config, 0.1), 375);
    assert_eq!(back_steps(&config, 0.14), 374);
}

#[test]
fn invert_mirrors_about_zero_and_trim_shifts_and_neither_leaves_the_cars_range() {
    let inverted = AxisConfig { invert: true, trim: 0 };
    let trimmed = AxisConfig { invert: false, trim: 7 };
    let both = AxisConfig { invert: true, trim: -7 };
    // throttle axis: neutral, forward 10, forward 20, back 10, back 20, brake
    let throttle_table = [
        (AxisConfig::default(), [375, 419, 440, 338, 300, 325]),
        (inverted, [375, 331, 310, 412, 440, 425]),
        (trimmed, [382, 426, 440, 345, 307, 332]),
        (both, [368, 324, 303, 405, 440, 418]),
    ];
    for (axis, expected) in throttle_table {
        let config = car(RawCalibration::example(), axis, AxisConfig::default());
        let thrusts = [
            Thrust::Neutral,
            Thrust::Forward(0.5),
            Thrust::Forward(1.0),
            Thrust::Back(0.5),
            Thrust::Back(1.0),
            Thrust::Brake,
        ];
        assert_eq!(thrusts.map(|thrust| throttle(&config, pulse(440), thrust).ticks()), expected, "{axis:?}");
    }
    // steering axis: straight, left 10, left 20, right 10, right 20
    let steering_table = [
        (inverted, [399, 359, 319, 439, 479]),
        (trimmed, [406, 446, 479, 366, 326]),
        (both, [392, 352, 319, 432, 472]),
    ];
    for (axis, expected) in steering_table {
        let config = car(RawCalibration::example(), AxisConfig::default(), axis);
        let asked = [0.0, 0.5, 1.0, -0.5, -1.0];
        assert_eq!(asked.map(|fraction| steering(&config, fraction).ticks()), expected, "{axis:?}");
    }
}

#[test]
fn a_brake_pulse_is_never_below_full_reverse() {
    let mut config = straight();
    config.reverse.brake_ticks = 500;
    assert_eq!(throttle(&config, pulse(440), Thrust::Brake).ticks(), 300);
}

#[test]
fn a_max_speed_the_owner_allows_beyond_throttle_max_is_reached() {
    assert_eq!(forward_steps(&straight(), 450, 20.0), 450);
    assert_eq!(forward_steps(&straight(), 390, 20.0), 390, "nor is one below forward_zero exceeded");
}

/// A calibration that makes sense, with any number of steps.
fn calibrations() -> impl Strategy<Value = RawCalibration> {
    (1u16..4000, 1u16..90, 0u16..60, 1u16..90, 1u16..=u16::MAX).prop_filter_map(
        "pulses are 0 … 4095",
        |(zero, below, gap, above, steps)| {
            let at = |ticks: i32| u16::try_from(ticks).ok().and_then(Pulse::new);
            let zero = i32::from(zero);
            Some(RawCalibration {
                throttle_zero: at(zero)?,
                forward_zero: at(zero + i32::from(gap))?,
                throttle_min: at(zero - i32::from(below))?,
                throttle_max: at(zero + i32::from(gap) + i32::from(above))?,
                steering_zero: at(zero)?,
                steering_min: at(zero - i32::from(below))?,
                steering_max: at(zero + i32::from(above))?,
                throttle_steps: steps,
                steering_steps: steps,
            })
        },
    )
}

proptest! {
    #[test]
    fn whole_steps_give_exactly_what_whole_number_arithmetic_gives(raw in calibrations(), part in 0.0f64..=1.0) {
        let config = car(raw, AxisConfig::default(), AxisConfig::default());
        let full = i64::from(raw.throttle_steps);
        let steps = ((part * full as f64) as i64).max(1);
        let span = |from: Pulse, to: Pulse| i64::from(to.ticks()) - i64::from(from.ticks());
        // Nearest with a half towards 0: ceil((2ab − c) / 2c) for the product ab / c.
        let nearest = |span: i64| (2 * steps * span - full + 2 * full - 1).div_euclid(2 * full);
        let (zero, forward_zero) = (i64::from(raw.throttle_zero.ticks()), i64::from(raw.forward_zero.ticks()));
        let exact_forward = forward_zero + steps * span(raw.forward_zero, raw.throttle_max) / full;
        let exact_back = zero - nearest(span(raw.throttle_min, raw.throttle_zero));
        let exact_left = zero + nearest(span(raw.steering_zero, raw.steering_max));
        let asked = fraction(steps as f64, raw.throttle_steps);
        prop_assert_eq!(i64::from(throttle(&config, raw.throttle_max, Thrust::Forward(asked)).ticks()), exact_forward);
        prop_assert_eq!(i64::from(throttle(&config, raw.throttle_max, Thrust::Back(asked)).ticks()), exact_back);
        prop_assert_eq!(i64::from(steering(&config, asked).ticks()), exact_left);
    }

    #[test]
    fn no_pulse_leaves_the_cars_range(
        raw in calibrations(), invert: bool, trim in -50i16..=50, asked in -1.0f64..=1.0
    ) {
        let axis = AxisConfig { invert, trim };
        let config = car(raw, axis, axis);
        let thrust = if asked > 0.0 { Thrust::Forward(asked) } else { Thrust::Back(-asked) };
        let throttle_pulse = throttle(&config, raw.throttle_max, thrust);
        prop_assert!(raw.throttle_min <= throttle_pulse && throttle_pulse <= raw.throttle_max);
        let steering_pulse = steering(&config, asked);
        prop_assert!(raw.steering_min <= steering_pulse && steering_pulse <= raw.steering_max);
    }
}
