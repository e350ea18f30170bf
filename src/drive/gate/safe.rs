//! What comes out of the gate.

/// What the gate lets through at one moment. Its fields and constructors are private to the gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SafeDrive(Kind);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Travel { throttle: f64, steering: f64 },
    Brake,
}

impl SafeDrive {
    /// Standing still, wheels straight. Anyone may have this one.
    pub const NEUTRAL: Self = Self(Kind::Travel { throttle: 0.0, steering: 0.0 });

    /// The brake pulse of a stop.
    pub(super) const BRAKE: Self = Self(Kind::Brake);

    /// What an armed gate lets through, in fractions of full travel.
    pub(super) const fn travel(throttle: f64, steering: f64) -> Self {
        Self(Kind::Travel { throttle, steering })
    }

    /// Throttle as a fraction of full travel: −1 full reverse, 0 neutral, 1 full forward. 0 while braking.
    pub const fn throttle(self) -> f64 {
        match self.0 {
            Kind::Travel { throttle, .. } => throttle,
            Kind::Brake => 0.0,
        }
    }

    /// Steering as a fraction of full travel: −1 full right, 0 straight ahead, 1 full left. 0 while braking.
    pub const fn steering(self) -> f64 {
        match self.0 {
            Kind::Travel { steering, .. } => steering,
            Kind::Brake => 0.0,
        }
    }

    /// Whether this is the brake pulse of a stop: a moment of counter-thrust, never travel.
    pub const fn is_brake(self) -> bool {
        matches!(self.0, Kind::Brake)
    }

    /// Whether the car is asked to move or to turn its wheels.
    pub fn is_motion(self) -> bool {
        self.throttle() != 0.0 || self.steering() != 0.0
    }

    /// For tests of what comes behind the gate.
    #[cfg(test)]
    pub(in crate::drive) const fn for_test(throttle: f64, steering: f64) -> Self {
        Self::travel(throttle, steering)
    }

    /// For tests of what comes behind the gate.
    #[cfg(test)]
    pub(in crate::drive) const fn brake_for_test() -> Self {
        Self::BRAKE
    }
}
