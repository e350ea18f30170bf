//! One car: what the gate lets through → pulses, with the ESC's way into reverse. Pure.

use std::time::Instant;

use super::actuator::{Output, Pulses};
use super::gate::SafeDrive;
use super::mixer::{self, Thrust};
use super::settings::{Pulse, VehicleConfig};

/// A car's calibration, the highest forward pulse its driver allows, and what its ESC has seen.
#[derive(Clone, Debug)]
pub struct Vehicle {
    config: VehicleConfig,
    max_speed: Pulse,
    esc: Esc,
}

/// What the ESC was last told, as far as it matters for reverse: an ESC takes the first low pulse after driving forward
/// as a brake, and goes backwards only after a neutral (`shared/reference/vehicle.md`).
///
/// ```text
///            forward                 back                 brake over             neutral over
/// Released ──────────▶ Forward ─────────────▶ Braking ───────────────▶ Settling ──────────────▶ Released
///    (reverse            ▲  ▲  neutral           │       (neutral)        │         (reverse pulse while asked)
///     at once)           │  └────────────────────┘                        │
///                        └───────────── forward, from anywhere ───────────┘
/// ```
///
/// - Forward again in the middle: at once, and the whole sequence is due again.
/// - Neutral in the middle of the brake pulse: at once, and the whole sequence is due again. Neutral while settling:
///   it goes on settling, for a settled ESC needs no second brake.
/// - `back` repeated: the sequence goes on, it is never begun anew. Whatever comes, nothing waits.
/// - The gate's own brake (on a stop) counts for nothing here: the next `back` brakes again, which an ESC that is
///   already braked takes as a gentle reverse, and that is what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Esc {
    Released,
    Forward,
    Braking { until: Instant },
    Settling { until: Instant },
}

impl Vehicle {
    /// A car that stands still.
    pub fn new(config: VehicleConfig, max_speed: Pulse) -> Self {
        Self { config, max_speed, esc: Esc::Released }
    }

    /// Takes a new configuration. The ESC remembers what it was told, whatever the file says.
    pub fn reconfigure(&mut self, config: VehicleConfig, max_speed: Pulse) {
        (self.config, self.max_speed) = (config, max_speed);
    }

    /// The highest forward pulse from now on.
    pub fn set_max_speed(&mut self, max_speed: Pulse) {
        self.max_speed = max_speed;
    }

    /// The highest forward pulse.
    pub fn max_speed(&self) -> Pulse {
        self.max_speed
    }

    /// Neutral for this car.
    pub fn neutral(&self, at: Instant) -> Output {
        Output::neutral(&self.config, at)
    }

    /// The update that carries out `safe` at `now`.
    pub fn output(&mut self, safe: SafeDrive, now: Instant) -> Output {
        let thrust = self.thrust(safe, now);
        let throttle = mixer::throttle(&self.config, self.max_speed, thrust);
        let steering = mixer::steering(&self.config, safe.steering());
        Output::new(safe, Pulses { throttle, steering }, now)
    }

    /// When [`Vehicle::output`] changes by itself, while in the middle of the way into reverse.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.esc {
            Esc::Released | Esc::Forward => None,
            Esc::Braking { until } | Esc::Settling { until } => Some(until),
        }
    }

    fn thrust(&mut self, safe: SafeDrive, now: Instant) -> Thrust {
        if safe.is_brake() {
            return self.brake(now);
        }
        let throttle = safe.throttle();
        if throttle > 0.0 {
            self.esc = Esc::Forward;
            Thrust::Forward(throttle)
        } else if throttle < 0.0 {
            self.back(-throttle, now)
        } else {
            self.released(now)
        }
    }

    fn back(&mut self, fraction: f64, now: Instant) -> Thrust {
        let reverse = &self.config.reverse;
        if self.esc == Esc::Forward {
            self.esc = Esc::Braking { until: now + reverse.brake };
        }
        // Each phase is timed from when it began in fact, so that a late call shortens none of them.
        if matches!(self.esc, Esc::Braking { until } if until <= now) {
            self.esc = Esc::Settling { until: now + reverse.neutral };
        }
        if matches!(self.esc, Esc::Settling { until } if until <= now) {
            self.esc = Esc::Released;
        }
        match self.esc {
            Esc::Braking { .. } => Thrust::Brake,
            Esc::Settling { .. } => Thrust::Neutral,
            Esc::Forward | Esc::Released => Thrust::Back(fraction),
        }
    }

    fn released(&mut self, now: Instant) -> Thrust {
        match self.esc {
            Esc::Braking { .. } => self.esc = Esc::Forward,
            Esc::Settling { until } if until <= now => self.esc = Esc::Released,
            Esc::Settling { .. } | Esc::Forward | Esc::Released => {}
        }
        Thrust::Neutral
    }

    /// The gate's brake: a low pulse brakes only an ESC that was told to go forward; any other would take it as reverse.
    fn brake(&mut self, now: Instant) -> Thrust {
        if self.esc == Esc::Forward { Thrust::Brake } else { self.released(now) }
    }
}

impl Output {
    /// Neutral on both axes for a car of this configuration: what stops it whatever else is going on.
    pub fn neutral(config: &VehicleConfig, at: Instant) -> Self {
        let raw = config.calibration.raw();
        let throttle = mixer::throttle(config, raw.throttle_max, Thrust::Neutral);
        Self::new(SafeDrive::NEUTRAL, Pulses { throttle, steering: mixer::steering(config, 0.0) }, at)
    }
}

#[cfg(test)]
mod tests;
