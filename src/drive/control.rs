//! The whole of the control flow but its ends: messages in, outputs out. Pure.

use std::time::Instant;

use super::actuator::Output;
use super::command::{Command, Message, Motion, Throttle};
use super::event::Direction;
use super::gate::{Gate, Input, Refusal, Scale};
use super::max_speed::{MaxSpeed, MaxSpeedRefusal};
use super::settings::{Calibration, DriveConfig, Pulse};
use super::vehicle::Vehicle;

/// The gate, the car behind it, and its top speed.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) gate: Gate,
    vehicle: Vehicle,
    max_speed: MaxSpeed,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Obeyed,
    /// Obeyed; the way the driver goes with it.
    Throttle(Option<Direction>),
    Refused(Refusal),
    MaxSpeed(Result<Pulse, MaxSpeedRefusal>),
}

impl Control {
    /// A car at rest. A `kept` top speed that is out of range is held within it, and the reason returned.
    pub(super) fn new(config: &DriveConfig, kept: Option<Pulse>, now: Instant) -> (Self, Option<MaxSpeedRefusal>) {
        let calibration = &config.vehicle.calibration;
        let mut max_speed = MaxSpeed::configured(&config.max_speed, calibration);
        let refusal = kept.and_then(|pulse| max_speed.restore(pulse));
        let gate = Gate::new(config.gate, scale(calibration), now);
        let vehicle = Vehicle::new(config.vehicle.clone(), max_speed.get());
        (Self { gate, vehicle, max_speed }, refusal)
    }

    pub(super) fn hear(&mut self, message: Message, arrived: Instant, now: Instant) -> Heard {
        match (self.gate.hear(message, arrived, now), message.command) {
            (Err(refusal), _) => Heard::Refused(refusal),
            (Ok(()), Command::MaxSpeed(ticks)) => Heard::MaxSpeed(self.set_max_speed(ticks)),
            (Ok(()), Command::Motion(Motion::Throttle(throttle))) => Heard::Throttle(direction(throttle)),
            (Ok(()), Command::Gone) => Heard::Throttle(None),
            (Ok(()), Command::Motion(Motion::Steering(_)) | Command::EStop(_)) => Heard::Obeyed,
        }
    }

    /// Stops, and takes what can change without a restart: the vehicle, the gate and the range of `maxSpeed`. Returns the
    /// top speed when it had to change.
    pub(super) fn reload(&mut self, config: &DriveConfig, now: Instant) -> Option<Pulse> {
        let calibration = &config.vehicle.calibration;
        let before = self.max_speed.get();
        self.gate.handle(Input::Reload(config.gate, scale(calibration)), now);
        self.max_speed.reconfigure(&config.max_speed, calibration);
        let after = self.max_speed.get();
        self.vehicle.reconfigure(config.vehicle.clone(), after);
        (before != after).then_some(after)
    }

    pub(super) fn output(&mut self, now: Instant) -> Output {
        self.vehicle.output(self.gate.output(now), now)
    }

    pub(super) fn neutral(&self, now: Instant) -> Output {
        self.vehicle.neutral(now)
    }

    pub(super) fn max_speed(&self) -> Pulse {
        self.max_speed.get()
    }

    /// When the output changes by itself.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let gate = self.gate.poll_timeout().map(|(at, _)| at);
        gate.into_iter().chain(self.vehicle.poll_timeout()).min()
    }

    fn set_max_speed(&mut self, ticks: u16) -> Result<Pulse, MaxSpeedRefusal> {
        let pulse = self.max_speed.set(ticks)?;
        self.vehicle.set_max_speed(pulse);
        Ok(pulse)
    }
}

fn direction(throttle: Throttle) -> Option<Direction> {
    match throttle {
        Throttle::Forward(_) => Some(Direction::Forward),
        Throttle::Back(_) => Some(Direction::Back),
        Throttle::Stop => None,
    }
}

fn scale(calibration: &Calibration) -> Scale {
    let raw = calibration.raw();
    Scale { throttle_steps: raw.throttle_steps, steering_steps: raw.steering_steps }
}
