//! `[drive.pca9685]`: what the board is told, and how it is read, made, parked and explained.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::board::LinuxBoard;
use super::{Driver, park};
use crate::drive::actuator::kind::{ActuatorConfig, ActuatorKind, ActuatorSettings, Read, Refused, Table};
use crate::drive::actuator::{Actuator, Output};
use crate::drive::bridge::Bridge;
use crate::drive::settings::BridgeConfig;

/// See [`crate::drive::actuator::kind`].
pub(in crate::drive) static KIND: ActuatorKind = ActuatorKind { name: "pca9685", read };

/// Highest line offset accepted; the GPIO chips of our boards have at most a few hundred lines.
const MAX_LINE: u32 = 1023;

/// All PCA9685 boards on a bus answer to this address too (data sheet §7.3.7, LED All Call).
const ALL_CALL: u32 = 0x70;

/// A PCA9685 PWM board on I2C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pca9685Config {
    /// The bus, e.g. `/dev/i2c-1`.
    pub bus: PathBuf,
    /// 7-bit address, 0x40 unless strapped otherwise.
    pub address: u8,
    /// PWM frequency in Hz, 24 … 1526 (data sheet §7.3.5).
    pub frequency_hz: u16,
    /// Channel of the ESC, 0 … 15.
    pub throttle_channel: u8,
    /// Channel of the servo, 0 … 15.
    pub steering_channel: u8,
    /// How long neutral is held before the first motion, for the ESC to arm.
    pub arming: Duration,
    /// A GPIO line wired to the board's OE (output enable, active low), when there is one.
    pub output_enable: Option<GpioLine>,
}

/// One line of a GPIO chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpioLine {
    /// The character device, e.g. `/dev/gpiochip0`.
    pub chip: PathBuf,
    /// Offset of the line on that chip (BCM number on a Raspberry Pi).
    pub line: u32,
}

impl ActuatorSettings for Pca9685Config {
    fn make(&self, _bridge: Option<&Bridge>) -> Result<Box<dyn Actuator>, Refused> {
        Ok(Box::new(Driver::new(LinuxBoard::new(self), self)?))
    }

    fn park(&self, neutral: &Output, _bridge: Option<&BridgeConfig>) -> Result<String, Refused> {
        Ok(park::park(self, neutral.pulses())?.to_string())
    }

    fn explain(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "PCA9685 at {:#04x} on {}: throttle on channel {}, steering on channel {}, {} Hz; neutral for {} s before it moves.",
            self.address,
            self.bus.display(),
            self.throttle_channel,
            self.steering_channel,
            self.frequency_hz,
            self.arming.as_secs_f64()
        )];
        lines.extend(
            self.output_enable
                .as_ref()
                .map(|line| format!("Its outputs are switched by line {} of {} (OE).", line.line, line.chip.display())),
        );
        lines
    }

    fn devices(&self) -> Vec<&Path> {
        let chip = self.output_enable.as_ref().map(|line| line.chip.as_path());
        [self.bus.as_path()].into_iter().chain(chip).collect()
    }

    fn pulse_frequency(&self) -> Option<u16> {
        Some(self.frequency_hz)
    }

    fn needs_calibration(&self) -> bool {
        true
    }
}

fn read(table: &mut dyn Table) -> Read<ActuatorConfig> {
    let bus = table.path("bus", "/dev/i2c-1");
    let address = address(table);
    let frequency_hz = table.integer("frequency_hz", 24..=1526, 60);
    let throttle_channel = table.integer("throttle_channel", 0..=15, 0);
    let steering_channel = table.integer("steering_channel", 0..=15, 1);
    let arming = table.millis("arming_ms", 0..=60_000, 2000);
    let output_enable = output_enable(table);
    let (throttle_channel, steering_channel) = (throttle_channel?, steering_channel?);
    if throttle_channel == steering_channel {
        let remedy = "must not be the throttle's channel: the servo and the ESC would get each other's pulses";
        return Err(table.problem("steering_channel", remedy));
    }
    Ok(ActuatorConfig::new(Pca9685Config {
        bus: bus?,
        address: narrow(address?),
        frequency_hz: narrow(frequency_hz?),
        throttle_channel: narrow(throttle_channel),
        steering_channel: narrow(steering_channel),
        arming: arming?,
        output_enable: output_enable?,
    }))
}

/// A board's address: 1, then six bits that are strapped, without those that I2C reserves (data sheet §7.1).
fn address(table: &mut dyn Table) -> Read<u32> {
    let address = table.integer("address", 0x40..=0x77, 0x40)?;
    if address == ALL_CALL {
        let remedy =
            "0x70 (112) is the address that every PCA9685 on the bus answers to: give the board's own, such as 0x40";
        return Err(table.problem("address", remedy));
    }
    Ok(address)
}

fn output_enable(table: &mut dyn Table) -> Read<Option<GpioLine>> {
    let chip = table.path_if_given("oe_chip");
    let line = table.integer_if_given("oe_line", 0..=MAX_LINE);
    match (chip?, line?) {
        (Some(chip), Some(line)) => Ok(Some(GpioLine { chip, line })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(table.problem("oe_chip", "needs drive.pca9685.oe_line beside it")),
        (None, Some(_)) => Err(table.problem("oe_line", "needs drive.pca9685.oe_chip beside it")),
    }
}

fn narrow<T: TryFrom<u32>>(number: u32) -> T {
    T::try_from(number).ok().expect("within the range that was asked for")
}
