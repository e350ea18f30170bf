//! `rtcpub park`: every output to neutral from a process of its own, whatever state the daemon is in: dead, killed in the
//! middle of a write, hanging, or never started. For `ExecStopPost=` and by hand.
//!
//! A daemon that lives goes on driving after it, as soon as its driver gives the next command.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use super::actuator::Output;
use super::bridge;
use super::pca9685::{self, ParkPca9685Error, Parked};
use super::settings::{ActuatorConfig, DriveConfig};

/// What was done; its `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParkReport {
    /// A PCA9685 puts neutral out, read back.
    Pca9685(Parked),
    /// No daemon serves this bridge: its programs have lost their connection, on which they stop.
    BridgeEnded(PathBuf),
    /// The car is simulated: nothing moves.
    Nothing,
}

impl fmt::Display for ParkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pca9685(parked) => write!(f, "parked: {parked}"),
            Self::BridgeEnded(socket) => {
                write!(f, "parked: nobody serves {}, so its programs have stopped by themselves", socket.display())
            }
            Self::Nothing => f.write_str("parked: the car is simulated, there is nothing to do"),
        }
    }
}

/// Why an output may not be at neutral.
#[derive(Debug, thiserror::Error)]
pub enum ParkError {
    /// The board.
    #[error("not parked: {0}")]
    Pca9685(#[from] ParkPca9685Error),
    /// A daemon still serves the bridge: what its programs do is between its gate and them.
    #[error("not parked: a daemon still serves {}: end it (systemctl stop, or kill), and its programs stop", .0.display())]
    BridgeServed(PathBuf),
    /// Whether a daemon serves the bridge could not be found out.
    #[error("not parked: is {} still served? {source}", .socket.display())]
    BridgeUnknown {
        /// The bridge's socket.
        socket: PathBuf,
        /// What came back.
        source: io::Error,
    },
}

/// Puts every output of the car at neutral. Takes a few milliseconds, or a tenth of a second when the bus is at fault.
///
/// # Errors
/// An output that may not be at neutral, and why.
pub fn park(config: &DriveConfig) -> Result<ParkReport, ParkError> {
    match &config.actuator {
        ActuatorConfig::Simulated => Ok(ParkReport::Nothing),
        ActuatorConfig::Pca9685(board) => {
            let neutral = Output::neutral(&config.vehicle, now());
            Ok(ParkReport::Pca9685(pca9685::park(board, neutral.pulses())?))
        }
        ActuatorConfig::Bridge => match &config.bridge {
            Some(bridge) => park_bridge(bridge.socket.clone()),
            None => Ok(ParkReport::Nothing),
        },
    }
}

fn park_bridge(socket: PathBuf) -> Result<ParkReport, ParkError> {
    match bridge::is_served(&socket) {
        Ok(false) => Ok(ParkReport::BridgeEnded(socket)),
        Ok(true) => Err(ParkError::BridgeServed(socket)),
        Err(source) => Err(ParkError::BridgeUnknown { socket, source }),
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell: an output has the time at which it was decided")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::drive::bridge::Bridge;
    use crate::drive::settings::{
        AxisConfig, BridgeConfig, Calibration, GateConfig, LimitsConfig, MaxSpeedConfig, Pulse, RawCalibration,
        ReverseConfig, StopBehaviour, VehicleConfig,
    };

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
        assert_eq!(park(&config(ActuatorConfig::Simulated, None)).unwrap(), ParkReport::Nothing);
    }

    #[test]
    fn a_bridge_is_parked_when_its_daemon_is_gone_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let bridge = BridgeConfig { socket: folder.path().join("car.sock") };
        let config = config(ActuatorConfig::Bridge, Some(bridge.clone()));
        let daemon = Bridge::start(&bridge, None, |_| {}).unwrap();
        let error = park(&config).unwrap_err();
        assert!(matches!(error, ParkError::BridgeServed(_)), "{error}");
        drop(daemon);
        let report = park(&config).unwrap();
        assert_eq!(report, ParkReport::BridgeEnded(bridge.socket));
        assert_eq!(report.to_string().lines().count(), 1);
    }
}
