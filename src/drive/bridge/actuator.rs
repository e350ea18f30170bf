//! With `actuator = "bridge"` the owner's programs move the car.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{Bridge, BridgeHandle, is_served};
use crate::drive::actuator::kind::{ActuatorConfig, ActuatorKind, ActuatorSettings, Refused};
use crate::drive::actuator::{Actuator, ActuatorError, ActuatorFailure, Output};
use crate::drive::settings::BridgeConfig;

/// See [`crate::drive::actuator::kind`]. It has no keys: `[bridge]` is there with or without it.
pub(in crate::drive) static KIND: ActuatorKind =
    ActuatorKind { name: "bridge", read: |_| Ok(ActuatorConfig::new(BridgeActuatorConfig)) };

/// How often a program gets the gate's output: 50 times a second.
const OUTPUT_PERIOD: Duration = Duration::from_millis(20);

/// The owner's own program, over the bridge socket, at 50 Hz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeActuatorConfig;

/// Why a car that is moved by programs may not stand.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParkBridgeError {
    /// What its programs do is between the daemon's gate and them.
    #[error("a daemon still serves {}: end it (systemctl stop, or kill), and its programs stop", .0.display())]
    Served(PathBuf),
    #[error("is {} still served? {source}", .socket.display())]
    Unknown { socket: PathBuf, source: io::Error },
}

impl ActuatorSettings for BridgeActuatorConfig {
    fn make(&self, bridge: Option<&Bridge>) -> Result<Box<dyn Actuator>, Refused> {
        let bridge = bridge.ok_or("drive.actuator = \"bridge\" needs the bridge")?;
        Ok(Box::new(BridgeActuator(bridge.handle())))
    }

    fn park(&self, _neutral: &Output, bridge: Option<&BridgeConfig>) -> Result<String, Refused> {
        let Some(BridgeConfig { socket }) = bridge else { return Ok("there is no bridge".to_owned()) };
        let socket = socket.clone();
        match is_served(&socket) {
            Ok(false) => Ok(format!("nobody serves {}, so its programs have stopped by themselves", socket.display())),
            Ok(true) => Err(ParkBridgeError::Served(socket).into()),
            Err(source) => Err(ParkBridgeError::Unknown { socket, source }.into()),
        }
    }

    fn explain(&self) -> Vec<String> {
        vec!["Moved by your own program over the bridge socket, at 50 Hz.".to_owned()]
    }

    fn needs_bridge(&self) -> bool {
        true
    }
}

struct BridgeActuator(BridgeHandle);

impl BridgeActuator {
    fn failed<T>(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Result<T, ActuatorError> {
        let failure = ActuatorFailure::new("hand the output to a program", reason);
        Err(ActuatorError::new("bridge", vec![failure]))
    }
}

impl Actuator for BridgeActuator {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn period(&self) -> Duration {
        OUTPUT_PERIOD
    }

    fn start(&mut self, neutral: &Output) -> Result<Duration, ActuatorError> {
        self.apply(neutral).map(|()| Duration::ZERO)
    }

    /// Motion needs a program all the time since the last neutral: one that comes while the stick is held, or comes back,
    /// must not find a car that jumps off. Neutral needs none, for a program without a daemon stops by itself.
    fn apply(&mut self, output: &Output) -> Result<(), ActuatorError> {
        let shared = &self.0.0;
        if shared.has_ended() {
            return Self::failed("the bridge's thread has ended");
        }
        if !output.safe().is_motion() && !output.safe().is_brake() {
            shared.begin_anew();
        } else if shared.was_deserted() {
            return Self::failed("no program that moves the car is connected, or the last one has left");
        }
        self.0.output(output);
        Ok(())
    }
}
