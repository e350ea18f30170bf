//! `maxSpeed`: the highest forward pulse, set by the driver and kept across restarts.
//!
//! Judging a value is pure and belongs to the drive thread; keeping it costs an fsync, which an SD card may take hundreds
//! of milliseconds for, and has a thread of its own ([`Keeper`]).

mod file;
mod keeper;

use super::settings::{Calibration, MaxSpeedConfig, Pulse};

pub use file::MaxSpeedFileError;
pub(super) use file::load;
pub(super) use keeper::{Keeper, KeeperHandle};

/// The highest forward pulse now, and what it may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct MaxSpeed {
    current: Pulse,
    range: Range,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    lowest: Pulse,
    ceiling: Pulse,
}

/// Why a `maxSpeed` is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaxSpeedRefusal {
    /// Above the owner's limit.
    #[error("{asked} is above the ceiling of {} ticks", ceiling.ticks())]
    AboveCeiling {
        /// What was asked for, in ticks.
        asked: u16,
        /// What the channel file allows.
        ceiling: Pulse,
    },
    /// Full throttle would not roll the car.
    #[error("{asked} is below forward_zero, {} ticks, where the car starts to roll", lowest.ticks())]
    BelowForwardZero {
        /// What was asked for, in ticks.
        asked: u16,
        /// Where the car starts to roll.
        lowest: Pulse,
    },
}

impl MaxSpeed {
    /// The configured value: `initial`, else the calibration's `throttle_max`, within the range.
    pub(super) fn configured(config: &MaxSpeedConfig, calibration: &Calibration) -> Self {
        let range = Range::new(config, calibration);
        let configured = config.initial.unwrap_or(calibration.raw().throttle_max);
        Self { current: range.hold(configured), range }
    }

    pub(super) fn get(&self) -> Pulse {
        self.current
    }

    /// Takes the value kept from an earlier run, as far as the range has it. Returns why it is another now.
    pub(super) fn restore(&mut self, kept: Pulse) -> Option<MaxSpeedRefusal> {
        let refusal = self.set(kept.ticks()).err();
        self.current = self.range.hold(kept);
        refusal
    }

    /// Takes a driver's wish.
    pub(super) fn set(&mut self, asked: u16) -> Result<Pulse, MaxSpeedRefusal> {
        let Range { lowest, ceiling } = self.range;
        match Pulse::new(asked) {
            Some(pulse) if pulse < lowest => Err(MaxSpeedRefusal::BelowForwardZero { asked, lowest }),
            Some(pulse) if pulse <= ceiling => {
                self.current = pulse;
                Ok(pulse)
            }
            _ => Err(MaxSpeedRefusal::AboveCeiling { asked, ceiling }),
        }
    }

    /// Takes a new configuration. The driver's value stays as far as the new range has it.
    pub(super) fn reconfigure(&mut self, config: &MaxSpeedConfig, calibration: &Calibration) {
        self.range = Range::new(config, calibration);
        self.current = self.range.hold(self.current);
    }
}

impl Range {
    fn new(config: &MaxSpeedConfig, calibration: &Calibration) -> Self {
        let lowest = calibration.raw().forward_zero;
        // A ceiling below forward_zero asks for a car that does not drive forward: so be it.
        Self { lowest, ceiling: config.ceiling }
    }

    fn hold(self, pulse: Pulse) -> Pulse {
        pulse.max(self.lowest).min(self.ceiling)
    }
}

#[cfg(test)]
mod tests;
