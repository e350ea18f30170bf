//! What the driver asks for, within the limits.

use std::time::{Duration, Instant};

use crate::drive::command::{Motion, Steering, Throttle};
use crate::drive::mixer::fraction;
use crate::drive::settings::LimitsConfig;

/// Full travel on the user interface's scale, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// `THROTTLE_STEP`.
    pub throttle_steps: u16,
    /// `STEERING_STEP`.
    pub steering_steps: u16,
}

/// How often a slewing axis is moved on: about one period of a servo's pulses.
const SLEW_STEP: Duration = Duration::from_millis(20);

/// Both axes: where they are asked to be, and where the slew rate has let them come.
#[derive(Debug)]
pub(super) struct Axes {
    throttle: Axis,
    steering: Axis,
    /// The moment the axes stand at.
    at: Instant,
}

#[derive(Debug, Default)]
struct Axis {
    target: f64,
    current: f64,
    /// When the command behind `target` arrived, since the last stop.
    arrived: Option<Instant>,
}

impl Axes {
    pub(super) fn new(now: Instant) -> Self {
        Self { throttle: Axis::default(), steering: Axis::default(), at: now }
    }

    /// Forgets what was asked for: both axes are at neutral at once.
    pub(super) fn clear(&mut self) {
        (self.throttle, self.steering) = (Axis::default(), Axis::default());
    }

    /// Lets the axes travel up to `now`.
    pub(super) fn advance(&mut self, limits: &LimitsConfig, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.throttle.advance(limits.throttle_slew, seconds);
        self.steering.advance(limits.steering_slew, seconds);
    }

    /// Takes a command, unless one that arrived later is known already. The axes must have advanced to now before.
    #[must_use]
    pub(super) fn aim(&mut self, motion: Motion, arrived: Instant, scale: Scale, limits: &LimitsConfig) -> bool {
        let (axis, target, slew) = match motion {
            Motion::Throttle(throttle) => {
                let target = match throttle {
                    Throttle::Forward(steps) => fraction(steps.get(), scale.throttle_steps).min(limits.throttle_cap),
                    Throttle::Back(steps) => -fraction(steps.get(), scale.throttle_steps).min(limits.throttle_cap),
                    Throttle::Stop => 0.0,
                };
                (&mut self.throttle, target, limits.throttle_slew)
            }
            Motion::Steering(steering) => {
                let target = match steering {
                    Steering::Left(steps) => fraction(steps.get(), scale.steering_steps),
                    Steering::Right(steps) => -fraction(steps.get(), scale.steering_steps),
                    Steering::Centre => 0.0,
                };
                (&mut self.steering, target, limits.steering_slew)
            }
        };
        if axis.arrived.is_some_and(|known| arrived < known) {
            return false;
        }
        (axis.target, axis.arrived) = (target, Some(arrived));
        axis.advance(slew, 0.0);
        true
    }

    /// Where throttle and steering are now, as fractions of full travel.
    pub(super) fn current(&self) -> (f64, f64) {
        (self.throttle.current, self.steering.current)
    }

    /// Whether the throttle stick is away from neutral.
    pub(super) fn throttle_held(&self) -> bool {
        self.throttle.target != 0.0
    }

    /// When a slewing axis moves on by itself.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let settled = |axis: &Axis| axis.current == axis.target;
        (!settled(&self.throttle) || !settled(&self.steering)).then(|| self.at + SLEW_STEP)
    }
}

impl Axis {
    /// Away from neutral at most at the slew rate; towards neutral at once.
    fn advance(&mut self, slew: Option<f64>, seconds: f64) {
        let Some(slew) = slew else {
            self.current = self.target;
            return;
        };
        if self.current * self.target < 0.0 {
            self.current = 0.0;
        }
        if self.target.abs() <= self.current.abs() {
            self.current = self.target;
            return;
        }
        let reached = (self.current.abs() + slew * seconds).min(self.target.abs());
        self.current = reached.copysign(self.target);
    }
}
