//! What moves the car: one small trait, one file per home (`pca9685`, `bridge`, `simulated`).

use super::settings::Pulse;

/// The two pulses of one update. Made by the mixer out of what the gate lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulses {
    /// For the ESC.
    pub throttle: Pulse,
    /// For the servo.
    pub steering: Pulse,
}
