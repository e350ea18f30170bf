//! What the drive tells the world: events for `metric` and the log, and a snapshot for whoever looks.

use std::time::Instant;

use super::actuator::Pulses;
use super::command::Rejection;
use super::gate::{Refusal, State};
use super::max_speed::MaxSpeedRefusal;
use super::settings::Pulse;

/// Something that happened. Handed to the callback of [`Drive::spawn`](super::Drive::spawn), on the drive thread.
#[derive(Clone, Debug, PartialEq)]
pub enum DriveEvent {
    /// The gate came into another state, e.g. for `{"drive":{"key":"state","value":"parked","cause":"deadline"}}`.
    State(State),
    /// The driver begins to go this way, from standing or from the other way; only what the gate accepts counts.
    Direction(Direction),
    /// An accepted `maxSpeed`, in force from now on: the echo `{"speed":{"key":"maxSpeed","value":N}}`.
    MaxSpeed(Pulse),
    /// A `maxSpeed` that is not accepted.
    MaxSpeedRefused(MaxSpeedRefusal),
    /// `maxSpeed` could not be kept or restored: the reason, for a person.
    MaxSpeedFile(String),
    /// The actuator failed: the reason, for a person. The gate is latched until [`DriveEvent::ActuatorRecovered`].
    ActuatorFault(String),
    /// It answers again.
    ActuatorRecovered,
    /// Messages were rejected since the last event of this kind; at most one in 5 s.
    MessagesRejected {
        /// How many.
        count: u64,
        /// Why the kind met most.
        most: Rejection,
    },
    /// The drive thread is at its end.
    Ended(Ended),
}

/// The way a driver goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ahead.
    Forward,
    /// Backwards.
    Back,
}

/// How the drive thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to, and the actuator confirmed neutral.
    Neutral,
    /// It was told to, but the actuator did not confirm neutral: whoever ends the process should `park`.
    Unconfirmed,
    /// It panicked. Neutral was tried; the process should end.
    Panicked {
        /// Whether the actuator confirmed neutral.
        neutral: bool,
    },
}

/// The drive at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriveSnapshot {
    /// Where the gate is.
    pub state: State,
    /// Whether it stands because the stick must be released first.
    pub awaits_neutral: bool,
    /// −1 full reverse … 1 full forward.
    pub throttle: f64,
    /// −1 full right … 1 full left.
    pub steering: f64,
    /// What the actuator was last given.
    pub pulses: Pulses,
    /// The highest forward pulse.
    pub max_speed: Pulse,
    /// Since the start.
    pub counters: Counters,
    /// When the drive thread last went around: a second old at most, while it lives.
    pub ticked: Instant,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages obeyed.
    pub obeyed: u64,
    /// Messages understood and not obeyed.
    pub refused: u64,
    /// Why the last of them was not.
    pub last_refusal: Option<Refusal>,
    /// Messages not understood.
    pub rejected: u64,
    /// Messages dropped because newer ones came before they were looked at.
    pub superseded: u64,
    /// Times the actuator failed.
    pub actuator_faults: u64,
}
