//! The reference's example car, driven by `stream` messages through the real gate.

use std::time::{Duration, Instant};

use rtcpub::drive::actuator::{Actuator, Output};
use rtcpub::drive::command::{self, Parsed};
use rtcpub::drive::gate::{Gate, Input, Scale, StopCause};
use rtcpub::drive::pca9685::Pca9685Config;
use rtcpub::drive::settings::{
    AxisConfig, Calibration, GateConfig, LimitsConfig, Pulse, RawCalibration, ReverseConfig, StopBehaviour,
    VehicleConfig,
};
use rtcpub::drive::vehicle::Vehicle;

use super::lab;

/// `shared/reference/vehicle.md`, with an ESC that reverses at once.
pub(crate) fn vehicle() -> VehicleConfig {
    let pulse = |ticks| Pulse::new(ticks).expect("a pulse");
    let raw = RawCalibration {
        throttle_zero: pulse(375),
        forward_zero: pulse(399),
        throttle_min: pulse(300),
        throttle_max: pulse(440),
        steering_zero: pulse(399),
        steering_min: pulse(319),
        steering_max: pulse(479),
        throttle_steps: 20,
        steering_steps: 20,
    };
    VehicleConfig {
        calibration: Calibration::new(raw).expect("the reference's car makes sense"),
        throttle: AxisConfig::default(),
        steering: AxisConfig::default(),
        reverse: ReverseConfig { brake_ticks: 50, brake: Duration::ZERO, neutral: Duration::ZERO },
    }
}

/// The lab's board, wired as the reference says.
pub(crate) fn board() -> Pca9685Config {
    Pca9685Config {
        bus: lab::BUS.into(),
        address: lab::ADDRESS,
        frequency_hz: 60,
        throttle_channel: 0,
        steering_channel: 1,
        arming: Duration::ZERO,
        output_enable: None,
    }
}

/// Gate and vehicle, as the drive thread joins them.
pub(crate) struct Car {
    gate: Gate,
    vehicle: Vehicle,
}

impl Car {
    /// With the link up and an actuator that is ready.
    pub(crate) fn ready() -> Self {
        let limits = LimitsConfig { throttle_cap: 1.0, throttle_slew: None, steering_slew: None };
        let deadline = Duration::from_secs(2);
        let config = GateConfig { deadline, neutral_first: false, stop: StopBehaviour::Coast, limits };
        let now = now();
        let mut gate = Gate::new(config, Scale { throttle_steps: 20, steering_steps: 20 }, now);
        gate.handle(Input::ActuatorReady(now), now);
        gate.handle(Input::LinkUp, now);
        Self { gate, vehicle: Vehicle::new(vehicle(), vehicle().calibration.raw().throttle_max) }
    }

    /// What a `stream` message makes of it.
    pub(crate) fn told(&mut self, message: &str) -> Output {
        let Ok(Parsed::Drive(message)) = command::parse(message.as_bytes()) else { panic!("{message} is a command") };
        let now = now();
        self.gate.hear(message, now, now).expect("the gate obeys");
        self.output()
    }

    /// `{"motion":{"key":KEY,"value":VALUE}}`.
    pub(crate) fn motion(&mut self, key: &str, value: u32) -> Output {
        self.told(&format!(r#"{{"motion":{{"key":"{key}","value":{value}}}}}"#))
    }

    /// What a stop makes of it.
    pub(crate) fn stopped(&mut self) -> Output {
        self.gate.handle(Input::Stop(StopCause::ChannelClosed), now());
        self.output()
    }

    fn output(&mut self) -> Output {
        let now = now();
        self.vehicle.output(self.gate.output(now), now)
    }
}

/// Neutral for the example car.
pub(crate) fn neutral() -> Output {
    Output::neutral(&vehicle(), now())
}

/// Brings an actuator up.
pub(crate) fn start(actuator: &mut dyn Actuator) -> Duration {
    actuator.start(&neutral()).expect("the actuator starts")
}

#[expect(clippy::disallowed_methods, reason = "tests on real devices run in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
