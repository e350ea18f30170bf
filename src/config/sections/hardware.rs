//! `[drive.pca9685]`, `[lap_sensor]` and `[bridge]`

use std::path::PathBuf;

use crate::config::reader::{Read, Reader, Reported};
use crate::config::{Origin, path_component};
use crate::drive::settings::{BridgeConfig, GpioLine, LapSensorConfig, Pca9685Config, Pull};
use crate::signal::settings::ChannelId;

/// Highest line offset accepted; the GPIO chips of our boards have at most a few hundred lines.
const MAX_LINE: u32 = 1023;

/// Longest path of a Unix socket on Linux, in bytes (`sun_path` without its NUL, unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// All PCA9685 boards on a bus answer to this address too (datasheet §7.3.7, LED All Call).
const ALL_CALL: u8 = 0x70;

pub(super) fn pca9685(reader: &mut Reader<'_>) -> Read<Pca9685Config> {
    let bus = reader.path("drive.pca9685.bus", "/dev/i2c-1");
    let address = address(reader);
    let frequency_hz = reader.integer("drive.pca9685.frequency_hz", 24..=1526, 60);
    let throttle_channel = reader.integer("drive.pca9685.throttle_channel", 0..=15, 0);
    let steering_channel = reader.integer("drive.pca9685.steering_channel", 0..=15, 1);
    let arming = reader.millis("drive.pca9685.arming_ms", 0..=60_000, 2000);
    let output_enable = output_enable(reader);
    let (throttle_channel, steering_channel) = (throttle_channel?, steering_channel?);
    if throttle_channel == steering_channel {
        let remedy = "must not be the throttle's channel: the servo and the ESC would get each other's pulses";
        return Err(reader.problem("drive.pca9685.steering_channel", remedy));
    }
    Ok(Pca9685Config {
        bus: bus?,
        address: address?,
        frequency_hz: frequency_hz?,
        throttle_channel,
        steering_channel,
        arming: arming?,
        output_enable: output_enable?,
    })
}

/// A board's address: 1, then six bits that are strapped, without those that I2C reserves (datasheet §7.1).
fn address(reader: &mut Reader<'_>) -> Read<u8> {
    let address = reader.integer("drive.pca9685.address", 0x40..=0x77, 0x40)?;
    if address == ALL_CALL {
        let remedy =
            "0x70 (112) is the address that every PCA9685 on the bus answers to: give the board's own, such as 0x40";
        return Err(reader.problem("drive.pca9685.address", remedy));
    }
    Ok(address)
}

fn output_enable(reader: &mut Reader<'_>) -> Read<Option<GpioLine>> {
    let chip = reader.path_if_given("drive.pca9685.oe_chip");
    let line = reader.integer_if_given("drive.pca9685.oe_line", 0..=MAX_LINE);
    match (chip?, line?) {
        (Some(chip), Some(line)) => Ok(Some(GpioLine { chip, line })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(reader.problem("drive.pca9685.oe_chip", "needs drive.pca9685.oe_line beside it")),
        (None, Some(_)) => Err(reader.problem("drive.pca9685.oe_line", "needs drive.pca9685.oe_chip beside it")),
    }
}

/// The lap sensor, when its table is there.
pub(super) fn lap_sensor(reader: &mut Reader<'_>) -> Read<Option<LapSensorConfig>> {
    let chip = reader.path("lap_sensor.chip", "/dev/gpiochip0");
    let lines = reader.integers("lap_sensor.lines", 0..=MAX_LINE, &[4, 17]);
    let pull = reader.choice("lap_sensor.pull", &[("up", Pull::Up), ("down", Pull::Down), ("none", Pull::None)]);
    let active_low = reader.boolean("lap_sensor.active_low", true);
    let debounce = reader.millis("lap_sensor.debounce_ms", 0..=1000, 2);
    let wanted = reader.is_switched_on("lap_sensor");
    let lines = match lines?[..] {
        [first, second] if first != second => [first, second],
        _ => return Err(reader.problem("lap_sensor.lines", "must be two different lines, such as [4, 17]")),
    };
    let sensor = LapSensorConfig { chip: chip?, lines, pull: pull?, active_low: active_low?, debounce: debounce? };
    Ok(wanted.then_some(sensor))
}

/// The bridge, when its table is there or the car is moved by it.
pub(super) fn bridge(
    reader: &mut Reader<'_>,
    channel: Option<&ChannelId>,
    moves_the_car: bool,
) -> Read<Option<BridgeConfig>> {
    let socket = socket(reader, channel);
    if !moves_the_car && !reader.is_switched_on("bridge") {
        return Ok(None);
    }
    let socket = socket?;
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        let remedy = format!("\"{}\" is longer than the {MAX_SOCKET_PATH} bytes of a socket's path", socket.display());
        return Err(reader.problem("bridge.socket", format!("{remedy}: give a shorter one")));
    }
    Ok(Some(BridgeConfig { socket }))
}

fn socket(reader: &mut Reader<'_>, channel: Option<&ChannelId>) -> Read<PathBuf> {
    if let Some(path) = reader.path_if_given("bridge.socket")? {
        return Ok(path);
    }
    let channel = channel.ok_or(Reported)?;
    let (folder, origin) = match reader.facts.folder("RUNTIME_DIRECTORY") {
        Some(folder) => (folder, Origin::Environment("RUNTIME_DIRECTORY".to_owned())),
        None => (PathBuf::from("/run/rtcpub"), Origin::Default),
    };
    let path = folder.join(format!("{}.sock", path_component(channel)));
    reader.derive("bridge.socket", path.display(), origin);
    Ok(path)
}
