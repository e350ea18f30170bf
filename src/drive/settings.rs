//! What a channel file says about its car.

use std::path::PathBuf;
use std::time::Duration;

use super::actuator::kind::ActuatorConfig;

/// Everything the control flow needs.
#[derive(Clone, Debug, PartialEq)]
pub struct DriveConfig {
    /// How commands become pulses.
    pub vehicle: VehicleConfig,
    /// When the car must stop and how far it may be driven.
    pub gate: GateConfig,
    /// `maxSpeed`: the driver's own limit, kept across restarts.
    pub max_speed: MaxSpeedConfig,
    /// What moves the car.
    pub actuator: ActuatorConfig,
    /// The lap sensor, when the car has one.
    pub lap_sensor: Option<LapSensorConfig>,
    /// The Unix socket for the owner's own programs, when wanted.
    pub bridge: Option<BridgeConfig>,
}

/// How commands become pulses.
#[derive(Clone, Debug, PartialEq)]
pub struct VehicleConfig {
    /// The car's measured pulses.
    pub calibration: Calibration,
    /// Per-axis corrections of the throttle.
    pub throttle: AxisConfig,
    /// Per-axis corrections of the steering.
    pub steering: AxisConfig,
    /// How an ESC is brought from forward into reverse.
    pub reverse: ReverseConfig,
}

/// Per-axis corrections applied to the pulse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AxisConfig {
    /// Mirrors the pulse about the axis's zero.
    pub invert: bool,
    /// Added to every pulse, in PCA9685 ticks (−50 … 50).
    pub trim: i16,
}

/// A pulse width in PCA9685 ticks, 0 … 4095 of one period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pulse(u16);

impl Pulse {
    /// Widest pulse the board's 12-bit counter can make.
    pub const MAX: u16 = 4095;

    /// A pulse, or `None` above [`Pulse::MAX`].
    pub const fn new(ticks: u16) -> Option<Self> {
        if ticks <= Self::MAX { Some(Self(ticks)) } else { None }
    }

    /// Width in ticks.
    pub const fn ticks(self) -> u16 {
        self.0
    }
}

/// One car's measured pulses, named as in its calibration file (`shared/reference/vehicle.md`).
/// Made only by [`Calibration::new`], so zero always lies between min and max and steps are never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calibration {
    raw: RawCalibration,
}

/// Calibration as written, before it is known to make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawCalibration {
    /// Standing still (`THROTTLE_ZERO`).
    pub throttle_zero: Pulse,
    /// Where it starts to roll forward (`FORWARD_ZERO`).
    pub forward_zero: Pulse,
    /// Full reverse (`THROTTLE_MIN`).
    pub throttle_min: Pulse,
    /// Full forward (`THROTTLE_MAX`).
    pub throttle_max: Pulse,
    /// Straight ahead (`STEERING_ZERO`).
    pub steering_zero: Pulse,
    /// Full right (`STEERING_MIN`).
    pub steering_min: Pulse,
    /// Full left (`STEERING_MAX`).
    pub steering_max: Pulse,
    /// Full throttle on the user interface's scale (`THROTTLE_STEP`).
    pub throttle_steps: u16,
    /// Full steering on the user interface's scale (`STEERING_STEP`).
    pub steering_steps: u16,
}

#[cfg(test)]
impl RawCalibration {
    /// The example car of `shared/reference/vehicle.md`.
    pub(crate) fn example() -> Self {
        let pulse = |ticks| Pulse::new(ticks).expect("a pulse");
        Self {
            throttle_zero: pulse(375),
            forward_zero: pulse(399),
            throttle_min: pulse(300),
            throttle_max: pulse(440),
            steering_zero: pulse(399),
            steering_min: pulse(319),
            steering_max: pulse(479),
            throttle_steps: 20,
            steering_steps: 20,
        }
    }
}

/// One thing wrong with a calibration: the key at fault, and what it must satisfy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalibrationProblem {
    /// The key, as written in the channel file's `[drive.calibration]`.
    pub key: &'static str,
    /// The value found.
    pub value: u16,
    /// What it must satisfy.
    pub remedy: String,
}

impl Calibration {
    /// The calibration, or every problem it has.
    ///
    /// # Errors
    /// One [`CalibrationProblem`] for each key that breaks `throttle_min < throttle_zero ≤ forward_zero ≤ throttle_max`,
    /// `steering_min < steering_zero < steering_max`, or a step count of 0.
    pub fn new(raw: RawCalibration) -> Result<Self, Vec<CalibrationProblem>> {
        let mut problems = Vec::new();
        let mut demand = |holds: bool, key, value, remedy: String| {
            if !holds {
                problems.push(CalibrationProblem { key, value, remedy });
            }
        };
        let ticks = Pulse::ticks;
        demand(
            raw.throttle_min < raw.throttle_zero,
            "throttle_min",
            ticks(raw.throttle_min),
            format!("must be below throttle_zero ({})", ticks(raw.throttle_zero)),
        );
        demand(
            raw.throttle_zero <= raw.forward_zero,
            "forward_zero",
            ticks(raw.forward_zero),
            format!("must not be below throttle_zero ({})", ticks(raw.throttle_zero)),
        );
        demand(
            raw.throttle_zero < raw.throttle_max && raw.forward_zero <= raw.throttle_max,
            "throttle_max",
            ticks(raw.throttle_max),
            format!(
                "must be above throttle_zero ({}) and not below forward_zero ({})",
                ticks(raw.throttle_zero),
                ticks(raw.forward_zero)
            ),
        );
        demand(
            raw.steering_min < raw.steering_zero,
            "steering_min",
            ticks(raw.steering_min),
            format!("must be below steering_zero ({})", ticks(raw.steering_zero)),
        );
        demand(
            raw.steering_zero < raw.steering_max,
            "steering_max",
            ticks(raw.steering_max),
            format!("must be above steering_zero ({})", ticks(raw.steering_zero)),
        );
        demand(raw.throttle_steps > 0, "throttle_steps", raw.throttle_steps, "must be at least 1".into());
        demand(raw.steering_steps > 0, "steering_steps", raw.steering_steps, "must be at least 1".into());
        if problems.is_empty() { Ok(Self { raw }) } else { Err(problems) }
    }

    /// The pulses as written.
    pub fn raw(&self) -> &RawCalibration {
        &self.raw
    }
}

/// How an ESC is brought from forward into reverse: a brake pulse, then neutral, then the reverse pulse
/// (`shared/reference/vehicle.md`: ten writes each in the original).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReverseConfig {
    /// How far below `throttle_zero` the brake pulse lies, in ticks (the original: 50).
    pub brake_ticks: u16,
    /// How long the brake pulse is held.
    pub brake: Duration,
    /// How long neutral is held after it.
    pub neutral: Duration,
}

/// When the car must stop and how far it may be driven.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateConfig {
    /// No valid command for this long stops the car (100 … 2000 ms).
    pub deadline: Duration,
    /// After a stop, motion only once the stick has been at neutral.
    pub neutral_first: bool,
    /// What stopping does to the throttle.
    pub stop: StopBehaviour,
    /// Limits on what a driver may ask for.
    pub limits: LimitsConfig,
}

/// What stopping does to the throttle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopBehaviour {
    /// Neutral: the car coasts.
    Coast,
    /// A brake pulse for this long when it was driving forward, then neutral.
    Brake(Duration),
}

/// Limits on what a driver may ask for, as fractions of full travel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitsConfig {
    /// Cap on throttle in both directions, 0 … 1.
    pub throttle_cap: f64,
    /// Fastest change of throttle away from neutral, in full travels a second; `None` is unlimited. Towards neutral is never slowed.
    pub throttle_slew: Option<f64>,
    /// Fastest change of steering away from straight ahead, in full travels (centre to lock) a second; `None` is unlimited.
    pub steering_slew: Option<f64>,
}

/// `maxSpeed`: the highest forward pulse the driver allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxSpeedConfig {
    /// Used until a driver sets one; `None` means the calibration's `throttle_max`.
    pub initial: Option<Pulse>,
    /// Nothing above this is accepted; never above the hardware's own `throttle_max` unless the owner says so.
    pub ceiling: Pulse,
    /// Where an accepted value is kept across restarts.
    pub state_file: PathBuf,
}

/// The lap sensor: two lines, both "detected" while a magnet is over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LapSensorConfig {
    /// The character device, e.g. `/dev/gpiochip0`.
    pub chip: PathBuf,
    /// The two line offsets (the reference: 4 and 17).
    pub lines: [u32; 2],
    /// Bias resistor.
    pub pull: Pull,
    /// Whether a low level means "magnet present" (the reference: yes).
    pub active_low: bool,
    /// Edges closer together than this are one.
    pub debounce: Duration,
}

/// Bias of an input line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Pulled up.
    Up,
    /// Pulled down.
    Down,
    /// As the board has it.
    None,
}

/// The Unix socket for the owner's own programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeConfig {
    /// Path of the socket; made with mode 0660.
    pub socket: PathBuf,
}
