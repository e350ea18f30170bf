//! Fractions of full travel → pulses, by the formulas of `shared/reference/vehicle.md`. Pure.
//!
//! # Rounding
//! The reference truncates the forward formula's product and says nothing of the others: those are rounded to the
//! nearest tick, a half towards the axis's zero, so that the pulse is never more than half a tick from the formula and
//! never beyond what was asked for by that half.

use super::settings::{AxisConfig, Pulse, RawCalibration, VehicleConfig};

/// What is asked of the ESC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Thrust {
    /// Ahead by this fraction of full travel, above 0 and at most 1.
    Forward(f64),
    /// Standing still.
    Neutral,
    /// Against a forward roll.
    Brake,
    /// Backwards by this fraction of full travel, above 0 and at most 1.
    Back(f64),
}

/// The ESC's pulse. `max_speed` takes the place of `THROTTLE_MAX` in the forward formula, so that the user interface's
/// whole scale spans what the driver allowed himself.
pub(super) fn throttle(config: &VehicleConfig, max_speed: Pulse, thrust: Thrust) -> Pulse {
    let raw = config.calibration.raw();
    let zero = ticks(raw.throttle_zero);
    let pulse = match thrust {
        Thrust::Forward(fraction) => forward(raw, max_speed, fraction),
        Thrust::Neutral => zero,
        Thrust::Brake => zero - i32::from(config.reverse.brake_ticks),
        Thrust::Back(fraction) => zero - nearest(fraction, zero - ticks(raw.throttle_min)),
    };
    let highest = raw.throttle_max.max(max_speed);
    corrected(pulse, raw.throttle_zero, config.throttle, (raw.throttle_min, highest))
}

/// The servo's pulse for −1 (full right) … 1 (full left).
pub(super) fn steering(config: &VehicleConfig, fraction: f64) -> Pulse {
    let raw = config.calibration.raw();
    let zero = ticks(raw.steering_zero);
    let pulse = if fraction > 0.0 {
        zero + nearest(fraction, ticks(raw.steering_max) - zero)
    } else {
        zero - nearest(-fraction, zero - ticks(raw.steering_min))
    };
    corrected(pulse, raw.steering_zero, config.steering, (raw.steering_min, raw.steering_max))
}

/// A deflection of `steps` as a fraction of `full` steps; what is beyond full is full.
pub(super) fn fraction(steps: f64, full: u16) -> f64 {
    (steps / f64::from(full)).clamp(0.0, 1.0)
}

/// The fraction V / THROTTLE_STEP is a float, so a product that should be whole (or a half) may come out a hair to the
/// wrong side and cost a tick. For a whole V every other product is at least 1/131070 of a tick away: this bridges the
/// hair and nothing else.
const HAIR: f64 = 1e-9;

/// `FORWARD_ZERO + trunc(V * (THROTTLE_MAX - FORWARD_ZERO) / THROTTLE_STEP)`.
fn forward(raw: &RawCalibration, max_speed: Pulse, fraction: f64) -> i32 {
    let zero = ticks(raw.forward_zero);
    let span = (ticks(max_speed) - zero).max(0);
    // Never beyond max_speed, even where the owner's ceiling lies below forward_zero.
    (zero + (fraction * f64::from(span) + HAIR).trunc() as i32).min(ticks(max_speed))
}

/// `fraction` of `span` to the nearest tick, a half towards 0.
fn nearest(fraction: f64, span: i32) -> i32 {
    (fraction * f64::from(span) - 0.5 - HAIR).ceil().max(0.0) as i32
}

/// Mirrors about the axis's zero and shifts as configured, never beyond what the car can take.
fn corrected(pulse: i32, zero: Pulse, axis: AxisConfig, (lowest, highest): (Pulse, Pulse)) -> Pulse {
    let mirrored = if axis.invert { 2 * ticks(zero) - pulse } else { pulse };
    let shifted = mirrored + i32::from(axis.trim);
    let held = shifted.clamp(ticks(lowest), ticks(highest));
    u16::try_from(held).ok().and_then(Pulse::new).expect("lies between two pulses")
}

fn ticks(pulse: Pulse) -> i32 {
    i32::from(pulse.ticks())
}

#[cfg(test)]
mod tests;
