//! `rtcpub park`: every output to neutral from a process of its own, whatever state the daemon is in: dead, killed in the
//! middle of a write, hanging, or never started. For `ExecStopPost=` and by hand.
//!
//! A daemon that lives goes on driving after it, as soon as its driver gives the next command.

use std::time::Instant;

use super::actuator::Output;
use super::actuator::kind::Refused;
use super::settings::DriveConfig;

/// An output may not be at neutral: why.
#[derive(Debug, thiserror::Error)]
#[error("not parked: {0}")]
pub struct ParkError(#[from] Refused);

/// Puts every output of the car at neutral, and tells in one line what was done. Takes a few milliseconds, a tenth of a
/// second when the bus is at fault, or three seconds when it hangs.
///
/// # Errors
/// An output that may not be at neutral, and why.
pub fn park(config: &DriveConfig) -> Result<String, ParkError> {
    let neutral = Output::neutral(&config.vehicle, now());
    let done = config.actuator.park(&neutral, config.bridge.as_ref())?;
    Ok(format!("parked: {done}"))
}

#[expect(clippy::disallowed_methods, reason = "a shell: an output has the time at which it was decided")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::drive::actuator::kind::ActuatorConfig;
    use crate::drive::bridge::{Bridge, BridgeActuatorConfig};
    use crate::drive::settings::{
        AxisConfig, BridgeConfig, Calibration, GateConfig, LimitsConfig, MaxSpeedConfig, Pulse, RawCalibration,
        ReverseConfig, StopBehaviour, VehicleConfig,
    };
    use crate::drive::simulated::SimulatedConfig;

    fn config(actuator: ActuatorConfig, bridge: Option<BridgeConfig>) -> DriveConfig {
        let pulse = |ticks| Pulse::new(ticks).unwrap();
        let raw = RawCalibration::example();
        let axis = AxisConfig::default();
        let reverse = ReverseConfig { brake_ticks: 50, brake: Duration::ZERO, neutral: Duration::ZERO };
        let limits = LimitsConfig { throttle_cap: 1.0, throttle_slew: None, steering_slew: None };
        DriveConfig {
            vehicle: VehicleConfig {
                calibration: Calibration::new(raw).unwrap(),
                throttle: axis,
                steering: axis,
                reverse,
            },
            gate: GateConfig {
                deadline: Duration::from_millis(500),
                neutral_first: true,
                stop: StopBehaviour::Coast,
                limits,
            },
            max_speed: MaxSpeedConfig { initial: None, ceiling: pulse(440), state_file: "/nowhere".into() },
            actuator,
            lap_sensor: None,
            bridge,
        }
    }

    #[test]
    fn a_simulated_car_has_nothing_to_park() {
        let said = park(&config(ActuatorConfig::new(SimulatedConfig), None)).unwrap();
        assert_eq!(said, "parked: the car is simulated, there is nothing to do");
    }

    #[test]
    fn a_bridge_is_parked_when_its_daemon_is_gone_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let bridge = BridgeConfig { socket: folder.path().join("car.sock") };
        let config = config(ActuatorConfig::new(BridgeActuatorConfig), Some(bridge.clone()));
        let daemon = Bridge::start(&bridge, None, |_| {}).unwrap();
        let error = park(&config).unwrap_err().to_string();
        assert!(error.starts_with("not parked: a daemon still serves "), "{error}");
        drop(daemon);
        let said = park(&config).unwrap();
        assert!(said.starts_with("parked: nobody serves ") && said.lines().count() == 1, "{said}");
    }
}
