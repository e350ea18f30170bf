//! `[drive.calibration]`, `[drive.throttle]`, `[drive.steering]` and `[drive.reverse]`

use std::ops::RangeInclusive;

use crate::config::reader::{Read, Reader};
use crate::drive::settings::{AxisConfig, Calibration, Pulse, RawCalibration, ReverseConfig, VehicleConfig};

const TABLE: &str = "drive.calibration";

pub(super) fn read(reader: &mut Reader<'_>) -> Read<VehicleConfig> {
    let calibration = calibration(reader);
    let throttle = axis(reader, "drive.throttle");
    let steering = axis(reader, "drive.steering");
    let reverse = reverse(reader, calibration.ok());
    if let (Ok(calibration), Ok(throttle), Ok(steering)) = (calibration, throttle, steering) {
        let raw = calibration.raw();
        trimmed_neutral(reader, "throttle", throttle, raw.throttle_zero, raw.throttle_min..=raw.throttle_max)?;
        trimmed_neutral(reader, "steering", steering, raw.steering_zero, raw.steering_min..=raw.steering_max)?;
    }
    Ok(VehicleConfig { calibration: calibration?, throttle: throttle?, steering: steering?, reverse: reverse? })
}

/// Reports a calibration that is not written out: on real hardware another car's pulses are dangerous.
pub(super) fn demand_calibration(reader: &mut Reader<'_>, actuator: &str) -> Read<()> {
    let missing: Vec<_> = PULSES.iter().map(|(key, _)| *key).filter(|key| reader.is_missing(&in_table(key))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let remedy = format!(
        "drive.actuator = \"{actuator}\" needs this car's own calibration, for another car's pulses are dangerous: \
         write {} below [{TABLE}]",
        missing.join(", ")
    );
    Err(reader.problem(TABLE, remedy))
}

/// A pulse in ticks, or nothing.
pub(super) fn pulse_if_given(reader: &mut Reader<'_>, key: &str) -> Read<Option<Pulse>> {
    let ticks = reader.integer_if_given(key, 0..=Pulse::MAX)?;
    Ok(ticks.map(|ticks| Pulse::new(ticks).expect("the range is that of Pulse")))
}

/// The pulses with those of the reference's example car (`shared/reference/vehicle.md`).
const PULSES: [(&str, u16); 7] = [
    ("throttle_zero", 375),
    ("forward_zero", 399),
    ("throttle_min", 300),
    ("throttle_max", 440),
    ("steering_zero", 399),
    ("steering_min", 319),
    ("steering_max", 479),
];

fn calibration(reader: &mut Reader<'_>) -> Read<Calibration> {
    let pulses = PULSES.map(|(key, default)| reader.integer(&in_table(key), 0..=Pulse::MAX, default));
    let throttle_steps = reader.integer(&in_table("throttle_steps"), 1..=1000, 20);
    let steering_steps = reader.integer(&in_table("steering_steps"), 1..=1000, 20);
    if let Some(reported) = pulses.iter().find_map(|pulse| pulse.err()) {
        return Err(reported);
    }
    let pulse = |ticks: Read<u16>| ticks.map(|ticks| Pulse::new(ticks).expect("the range is that of Pulse"));
    let [throttle_zero, forward_zero, throttle_min, throttle_max, steering_zero, steering_min, steering_max] =
        pulses.map(pulse);
    let raw = RawCalibration {
        throttle_zero: throttle_zero?,
        forward_zero: forward_zero?,
        throttle_min: throttle_min?,
        throttle_max: throttle_max?,
        steering_zero: steering_zero?,
        steering_min: steering_min?,
        steering_max: steering_max?,
        throttle_steps: throttle_steps?,
        steering_steps: steering_steps?,
    };
    Calibration::new(raw).map_err(|problems| {
        let mut reported = problems.into_iter().map(|problem| reader.problem(&in_table(problem.key), problem.remedy));
        let last = reported.by_ref().last();
        last.expect("a calibration is refused for at least one reason")
    })
}

fn axis(reader: &mut Reader<'_>, table: &str) -> Read<AxisConfig> {
    let invert = reader.boolean(&format!("{table}.invert"), false);
    let trim = reader.integer(&format!("{table}.trim"), -50..=50, 0);
    Ok(AxisConfig { invert: invert?, trim: trim? })
}

/// A neutral that is trimmed out of the car's range would be held at the range's end, and is then none.
fn trimmed_neutral(
    reader: &mut Reader<'_>,
    axis: &str,
    AxisConfig { trim, .. }: AxisConfig,
    zero: Pulse,
    range: RangeInclusive<Pulse>,
) -> Read<()> {
    let neutral = zero.ticks().checked_add_signed(trim).and_then(Pulse::new);
    if neutral.is_some_and(|neutral| range.contains(&neutral)) {
        return Ok(());
    }
    let (min, max) = (range.start().ticks(), range.end().ticks());
    let remedy =
        format!("shifts {TABLE}.{axis}_zero ({}) out of {axis}_min … {axis}_max ({min} … {max})", zero.ticks());
    Err(reader.problem(&format!("drive.{axis}.trim"), remedy))
}

fn reverse(reader: &mut Reader<'_>, calibration: Option<Calibration>) -> Read<ReverseConfig> {
    let brake_ticks = reader.integer("drive.reverse.brake_ticks", 0..=500, 50);
    let brake = reader.millis("drive.reverse.brake_ms", 0..=2000, 160);
    let neutral = reader.millis("drive.reverse.neutral_ms", 0..=2000, 160);
    let brake_ticks = brake_ticks?;
    if let Some(zero) = calibration.map(|calibration| calibration.raw().throttle_zero.ticks())
        && brake_ticks > zero
    {
        let remedy = format!("must not be above {TABLE}.throttle_zero ({zero}): there is no pulse below 0");
        return Err(reader.problem("drive.reverse.brake_ticks", remedy));
    }
    Ok(ReverseConfig { brake_ticks, brake: brake?, neutral: neutral? })
}

fn in_table(key: &str) -> String {
    format!("{TABLE}.{key}")
}
