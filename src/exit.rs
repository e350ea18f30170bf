//! How the process ends: one number a kind of ending, the same for every command.

use std::process::ExitCode;

/// Exit codes. The numbers from 64 up are those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// The command did what it is for; for `run`, it was asked to stop and did.
    Ok = 0,
    /// The command could not do what it is for, and no other code says why.
    Failed = 1,
    /// The command line makes no sense (given by clap).
    Usage = 2,
    /// A bug: the program panicked, stopped the car and ended.
    Panic = 70,
    /// A device, socket or file that is needed from the start could not be had.
    CannotStart = 71,
    /// Another daemon publishes the channel, and has its car: nothing was touched, and nothing is to be parked.
    Taken = 75,
    /// The configuration is wrong: starting again changes nothing (`RestartPreventExitStatus=78`).
    BadConfiguration = 78,
}

impl Exit {
    /// Every code, for the manual.
    pub const ALL: [Self; 7] =
        [Self::Ok, Self::Failed, Self::Usage, Self::Panic, Self::CannotStart, Self::Taken, Self::BadConfiguration];

    /// The number the parent process sees.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// In words, for the manual.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done; run: was asked to stop and did",
            Self::Failed => "the command could not do what it is for",
            Self::Usage => "the command line makes no sense",
            Self::Panic => "a bug in rtcpub; the car was stopped",
            Self::CannotStart => "a device, socket or file needed from the start could not be had",
            Self::Taken => "another daemon publishes the channel; nothing was touched",
            Self::BadConfiguration => "the configuration is wrong; starting again changes nothing",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that decides the exit code. Commands return it (inside `anyhow::Error`); any other error ends in
/// [`Exit::Failed`], and [`crate::config::Problems`] in [`Exit::BadConfiguration`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// One line for standard error: what failed, and the remedy.
    pub message: String,
}

impl Failure {
    /// A device, socket or file that is needed from the start could not be had.
    pub fn cannot_start(message: impl Into<String>) -> Self {
        Self { exit: Exit::CannotStart, message: message.into() }
    }
}
