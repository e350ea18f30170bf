//! What a kind of actuator is; [`KINDS`](crate::drive::KINDS) lists them.
//!
//! Everything that is particular to one kind lies with it: how its table of the channel file is read, how it is made, how
//! it is parked without a daemon, and how it is explained. Who deals with actuators asks [`ActuatorConfig`] and knows no
//! kind. So adding one is
//!
//! 1. its file beside `simulated`: a type that implements [`Actuator`], one for its settings that implements
//!    [`ActuatorSettings`], and a [`ActuatorKind`];
//! 2. the one file that is touched, `drive/mod.rs`: its `mod` line and its row in [`KINDS`](crate::drive::KINDS);
//! 3. its keys, when it has any, in `config/example.toml`: a test demands it.
//!
//! `config/tests/fourth_actuator.rs` adds one in this way.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::ops::{Deref, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Actuator, Output};
use crate::drive::bridge::Bridge;
use crate::drive::settings::BridgeConfig;

/// One kind of actuator.
#[derive(Debug)]
pub struct ActuatorKind {
    /// The value of `drive.actuator`. Its own keys are those of `[drive.NAME]`.
    pub name: &'static str,
    /// Reads its own table, whichever kind is chosen, so that a mistake in it is told in any case.
    pub read: fn(&mut dyn Table) -> Read<ActuatorConfig>,
}

/// A value of the channel file, or [`Reported`].
pub type Read<T> = Result<T, Reported>;

/// The value is not fit for use, and the problem has been reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported;

/// The table of one kind in the channel file: what its keys are read with. `config` implements it.
///
/// All keys are to be asked for, whatever is wrong with any of them: what is asked for is what may be in the file.
pub trait Table {
    /// An integer within `range`.
    ///
    /// # Errors
    /// [`Reported`], as of all of these.
    fn integer(&mut self, key: &str, range: RangeInclusive<u32>, default: u32) -> Read<u32>;
    /// An integer within `range`, or nothing.
    ///
    /// # Errors
    /// [`Reported`].
    fn integer_if_given(&mut self, key: &str, range: RangeInclusive<u32>) -> Read<Option<u32>>;
    /// A time in whole milliseconds.
    ///
    /// # Errors
    /// [`Reported`].
    fn millis(&mut self, key: &str, range: RangeInclusive<u32>, default: u32) -> Read<Duration>;
    /// The path of a device or socket.
    ///
    /// # Errors
    /// [`Reported`].
    fn path(&mut self, key: &str, default: &str) -> Read<PathBuf>;
    /// The path of a device or socket, or nothing.
    ///
    /// # Errors
    /// [`Reported`].
    fn path_if_given(&mut self, key: &str) -> Read<Option<PathBuf>>;
    /// Reports what is wrong with a key's value, and what to do about it.
    fn problem(&mut self, key: &str, remedy: &str) -> Reported;
}

/// Why an actuator cannot be made, or its outputs may not be at neutral: for a person.
pub type Refused = Box<dyn Error + Send + Sync>;

/// The settings of one kind, and what only that kind knows.
pub trait ActuatorSettings: Compare + fmt::Debug + Send + Sync {
    /// Makes the actuator. Touches no device yet: [`Actuator::start`] does.
    ///
    /// # Errors
    /// A setting that no device could follow.
    fn make(&self, bridge: Option<&Bridge>) -> Result<Box<dyn Actuator>, Refused>;

    /// Puts every output to neutral from a process of its own, whatever state the daemon is in, and tells in a line what
    /// was done. Takes a tenth of a second at most, or three seconds when a bus hangs.
    ///
    /// # Errors
    /// Why an output may not be at neutral.
    fn park(&self, neutral: &Output, bridge: Option<&BridgeConfig>) -> Result<String, Refused>;

    /// What `rtcpub check` says of it, a line each.
    fn explain(&self) -> Vec<String>;

    /// The devices it needs.
    fn devices(&self) -> Vec<&Path> {
        Vec::new()
    }

    /// How many pulses a second it makes of its ticks, in Hz; `None` where there are none to be calibrated.
    fn pulse_frequency(&self) -> Option<u16> {
        None
    }

    /// Whether it moves a car by the calibrated pulses, so that another car's are dangerous.
    fn needs_calibration(&self) -> bool {
        false
    }

    /// Whether it moves the car over the bridge, which is on then.
    fn needs_bridge(&self) -> bool {
        false
    }
}

/// What moves the car: the settings of the chosen kind.
#[derive(Clone, Debug)]
pub struct ActuatorConfig(Arc<dyn ActuatorSettings>);

impl ActuatorConfig {
    /// These settings.
    pub fn new(settings: impl ActuatorSettings + 'static) -> Self {
        Self(Arc::new(settings))
    }

    /// The settings of one kind, when it is that kind's.
    pub fn of<T: ActuatorSettings + 'static>(&self) -> Option<&T> {
        self.0.as_any().downcast_ref()
    }
}

impl Deref for ActuatorConfig {
    type Target = dyn ActuatorSettings;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl PartialEq for ActuatorConfig {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_equal(other.0.as_any())
    }
}

/// Equality of settings of kinds that may differ: whatever can be compared with its own kind has it.
pub trait Compare: Any {
    /// Itself, as what it is.
    fn as_any(&self) -> &dyn Any;
    /// Whether the other is of its kind and equal.
    fn is_equal(&self, other: &dyn Any) -> bool;
}

impl<T: PartialEq + Any> Compare for T {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn is_equal(&self, other: &dyn Any) -> bool {
        other.downcast_ref() == Some(self)
    }
}
