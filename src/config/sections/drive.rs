//! `[drive]`, `[drive.limits]` and `[drive.max_speed]`

use std::path::PathBuf;

use super::{hardware, vehicle};
use crate::config::reader::{Read, Reader, Reported};
use crate::config::{Origin, path_component};
use crate::drive::actuator::kind::ActuatorKind;
use crate::drive::settings::{Calibration, DriveConfig, GateConfig, LimitsConfig, MaxSpeedConfig, StopBehaviour};
use crate::signal::settings::ChannelId;

pub(super) fn read(reader: &mut Reader<'_>, channel: Option<&ChannelId>, kinds: &[&ActuatorKind]) -> Read<DriveConfig> {
    let names: Vec<_> = kinds.iter().enumerate().map(|(index, kind)| (kind.name, index)).collect();
    let chosen = reader.choice("drive.actuator", &names);
    let gate = gate(reader);
    let vehicle = vehicle::read(reader);
    let calibration = vehicle.as_ref().ok().map(|vehicle| &vehicle.calibration);
    let max_speed = max_speed(reader, calibration, channel);
    let actuators = hardware::actuators(reader, kinds);
    let actuator = actuators.and_then(|actuators| Ok(actuators[chosen?].clone()));
    let lap_sensor = hardware::lap_sensor(reader);
    let needs_bridge = actuator.as_ref().is_ok_and(|actuator| actuator.needs_bridge());
    let bridge = hardware::bridge(reader, channel, needs_bridge);
    if let (Ok(chosen), Ok(actuator)) = (chosen, &actuator)
        && actuator.needs_calibration()
    {
        vehicle::demand_calibration(reader, kinds[chosen].name)?;
    }
    Ok(DriveConfig {
        vehicle: vehicle?,
        gate: gate?,
        max_speed: max_speed?,
        actuator: actuator?,
        lap_sensor: lap_sensor?,
        bridge: bridge?,
    })
}

/// The value of `drive.stop`.
#[derive(Clone, Copy)]
enum Stop {
    Coast,
    Brake,
}

fn gate(reader: &mut Reader<'_>) -> Read<GateConfig> {
    let deadline = reader.millis("drive.deadline_ms", 100..=2000, 500);
    let neutral_first = reader.boolean("drive.neutral_first", true);
    let stop = reader.choice("drive.stop", &[("coast", Stop::Coast), ("brake", Stop::Brake)]);
    let stop_brake = reader.millis("drive.stop_brake_ms", 10..=2000, 150);
    let throttle_cap = reader.decimal("drive.limits.throttle_cap", 0.0..=1.0, 1.0);
    let throttle_slew = reader.decimal_if_given("drive.limits.throttle_slew_per_s", 0.01..=1000.0);
    let steering_slew = reader.decimal_if_given("drive.limits.steering_slew_per_s", 0.01..=1000.0);
    let stop_brake = stop_brake?;
    Ok(GateConfig {
        deadline: deadline?,
        neutral_first: neutral_first?,
        stop: match stop? {
            Stop::Coast => StopBehaviour::Coast,
            Stop::Brake => StopBehaviour::Brake(stop_brake),
        },
        limits: LimitsConfig {
            throttle_cap: throttle_cap?,
            throttle_slew: throttle_slew?,
            steering_slew: steering_slew?,
        },
    })
}

fn max_speed(
    reader: &mut Reader<'_>,
    calibration: Option<&Calibration>,
    channel: Option<&ChannelId>,
) -> Read<MaxSpeedConfig> {
    let initial = vehicle::pulse_if_given(reader, "drive.max_speed.initial");
    let ceiling = vehicle::pulse_if_given(reader, "drive.max_speed.ceiling");
    let state_file = state_file(reader, channel);
    let (initial, ceiling, state_file) = (initial?, ceiling?, state_file?);

    let Some(calibration) = calibration.map(Calibration::raw) else { return Err(Reported) };
    let from = "drive.calibration.throttle_max";
    let ceiling = ceiling.unwrap_or_else(|| {
        reader.derive_integer("drive.max_speed.ceiling", calibration.throttle_max.ticks(), from);
        calibration.throttle_max
    });
    let zero = calibration.throttle_zero;
    if ceiling < zero {
        let remedy = format!("must not be below drive.calibration.throttle_zero ({}): that is reverse", zero.ticks());
        return Err(reader.problem("drive.max_speed.ceiling", remedy));
    }
    if initial.is_some_and(|initial| initial < zero || initial > ceiling) {
        let remedy = format!(
            "must be a pulse from drive.calibration.throttle_zero ({}) to drive.max_speed.ceiling ({})",
            zero.ticks(),
            ceiling.ticks()
        );
        return Err(reader.problem("drive.max_speed.initial", remedy));
    }
    Ok(MaxSpeedConfig { initial, ceiling, state_file })
}

fn state_file(reader: &mut Reader<'_>, channel: Option<&ChannelId>) -> Read<PathBuf> {
    const KEY: &str = "drive.max_speed.state_file";
    if let Some(path) = reader.path_if_given(KEY)? {
        return Ok(path);
    }
    let channel = channel.ok_or(Reported)?;
    let (folder, origin) = match reader.facts.folder("STATE_DIRECTORY") {
        Some(folder) => (folder, Origin::Environment("STATE_DIRECTORY".to_owned())),
        None => ("/var/lib/rtcpub".into(), Origin::Default),
    };
    let path = folder.join(path_component(channel)).join("max-speed.json");
    reader.derive(KEY, path.display(), origin);
    Ok(path)
}
