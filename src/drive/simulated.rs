//! A car without a car: speed follows throttle, heading follows steering.

use std::f64::consts::TAU;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::actuator::kind::{ActuatorConfig, ActuatorKind, ActuatorSettings, Refused};
use super::actuator::{Actuator, ActuatorError, Output};
use super::bridge::Bridge;
use super::gate::SafeDrive;
use super::settings::BridgeConfig;

/// See [`super::actuator::kind`]. It has no keys.
pub(super) static KIND: ActuatorKind =
    ActuatorKind { name: "simulated", read: |_| Ok(ActuatorConfig::new(SimulatedConfig)) };

/// Speed at full throttle, in metres a second.
const TOP_SPEED: f64 = 3.0;
/// How long the speed takes for two thirds of the way to what the throttle asks for.
const INERTIA: Duration = Duration::from_millis(500);
/// The same while braking.
const BRAKED_INERTIA: Duration = Duration::from_millis(100);
/// Slower than this a car stands, in metres a second.
const STANDSTILL: f64 = 0.001;
/// How often a car that moves is moved.
const STEP: Duration = Duration::from_millis(20);
/// How often one that stands is looked at: never sooner, for a board that waits with an idle car has better things to do.
const REST: Duration = Duration::from_secs(1);
/// Radius of the tightest turn, in metres.
const TIGHTEST_TURN: f64 = 0.8;

/// Where a simulated car is and how fast it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CarState {
    /// In metres a second, negative backwards.
    pub speed: f64,
    /// Counter-clockwise from where it started, in degrees, 0 … 360.
    pub heading: f64,
    /// Metres ahead of where it started.
    pub x: f64,
    /// Metres to the left of where it started.
    pub y: f64,
}

/// No hardware: a simulated car, shown in the test picture and in telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulatedConfig;

impl ActuatorSettings for SimulatedConfig {
    fn make(&self, _bridge: Option<&Bridge>) -> Result<Box<dyn Actuator>, Refused> {
        Ok(Box::new(Simulated::new().0))
    }

    fn park(&self, _neutral: &Output, _bridge: Option<&BridgeConfig>) -> Result<String, Refused> {
        Ok("the car is simulated, there is nothing to do".to_owned())
    }

    fn explain(&self) -> Vec<String> {
        vec!["Simulated: nothing moves.".to_owned()]
    }
}

/// The actuator of a simulated car.
#[derive(Debug)]
pub struct Simulated {
    car: SimulatedCar,
    since: Option<Instant>,
    /// What has been in force since then.
    safe: SafeDrive,
}

/// A view of the simulated car, for telemetry.
#[derive(Clone, Debug, Default)]
pub struct SimulatedCar(Arc<Mutex<CarState>>);

impl SimulatedCar {
    /// Where it is.
    pub fn state(&self) -> CarState {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Simulated {
    /// A car at rest, and a view of it.
    pub fn new() -> (Self, SimulatedCar) {
        let car = SimulatedCar::default();
        (Self { car: car.clone(), since: None, safe: SafeDrive::NEUTRAL }, car)
    }

    fn advance(&mut self, output: &Output) {
        let elapsed = self.since.map_or(Duration::ZERO, |since| output.at().saturating_duration_since(since));
        let mut car = self.car.0.lock().unwrap_or_else(PoisonError::into_inner);
        *car = car.after(self.safe, elapsed);
        (self.since, self.safe) = (Some(output.at()), output.safe());
    }
}

impl Actuator for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn period(&self) -> Duration {
        let stands = self.safe.throttle() == 0.0 && self.car.state().speed == 0.0;
        if stands { REST } else { STEP }
    }

    fn simulated_car(&self) -> Option<SimulatedCar> {
        Some(self.car.clone())
    }

    fn start(&mut self, neutral: &Output) -> Result<Duration, ActuatorError> {
        self.advance(neutral);
        Ok(Duration::ZERO)
    }

    fn apply(&mut self, output: &Output) -> Result<(), ActuatorError> {
        self.advance(output);
        Ok(())
    }
}

impl CarState {
    /// The car after `elapsed` under `safe`.
    fn after(self, safe: SafeDrive, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        let inertia = if safe.is_brake() { BRAKED_INERTIA } else { INERTIA };
        let asked = safe.throttle() * TOP_SPEED;
        let speed = asked + (self.speed - asked) * (-seconds / inertia.as_secs_f64()).exp();
        let speed = if asked == 0.0 && speed.abs() < STANDSTILL { 0.0 } else { speed };
        let way = (self.speed + speed) / 2.0 * seconds;
        let turned = way * safe.steering() / TIGHTEST_TURN;
        let heading = self.heading.to_radians();
        let along = heading + turned / 2.0;
        Self {
            speed,
            heading: (heading + turned).rem_euclid(TAU).to_degrees(),
            x: self.x + way * along.cos(),
            y: self.y + way * along.sin(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: CarState, throttle: f64, steering: f64, seconds: u64) -> CarState {
        let safe = SafeDrive::for_test(throttle, steering);
        (0..seconds * 50).fold(start, |car, _| car.after(safe, Duration::from_millis(20)))
    }

    #[test]
    fn speed_follows_throttle() {
        let ahead = after(CarState::default(), 1.0, 0.0, 5);
        assert!((ahead.speed - TOP_SPEED).abs() < 0.01 && ahead.x > 10.0 && ahead.y == 0.0 && ahead.heading == 0.0);
        assert!(after(CarState::default(), -0.5, 0.0, 5).speed < -1.4);
        assert!(after(ahead, 0.0, 0.0, 5).speed < 0.01);
    }

    #[test]
    fn a_car_comes_to_rest_and_is_then_left_alone() {
        let (mut actuator, car) = Simulated::new();
        assert_eq!(actuator.period(), REST);
        actuator.safe = SafeDrive::for_test(1.0, 0.0);
        assert_eq!(actuator.period(), STEP);
        let rolling = after(CarState::default(), 1.0, 0.0, 5);
        *car.0.lock().expect("not poisoned") = rolling;
        actuator.safe = SafeDrive::NEUTRAL;
        assert_eq!(actuator.period(), STEP, "it rolls");
        *car.0.lock().expect("not poisoned") = after(rolling, 0.0, 0.0, 5);
        assert_eq!((car.state().speed, actuator.period()), (0.0, REST));
    }

    #[test]
    fn heading_follows_steering_while_it_moves() {
        let left = after(CarState::default(), 0.5, 1.0, 1);
        assert!(left.heading > 10.0 && left.heading < 180.0 && left.y > 0.0);
        let right = after(CarState::default(), 0.5, -1.0, 1);
        assert!(right.heading < 350.0 && right.heading > 180.0 && right.y < 0.0);
        assert_eq!(after(CarState::default(), 0.0, 1.0, 1), CarState::default());
    }

    #[test]
    fn a_brake_stops_it_sooner_than_coasting() {
        let fast = CarState { speed: 3.0, ..CarState::default() };
        let quarter = Duration::from_millis(250);
        let braked = fast.after(SafeDrive::brake_for_test(), quarter).speed;
        assert!(braked < 0.3 && fast.after(SafeDrive::NEUTRAL, quarter).speed > 1.5);
    }
}
