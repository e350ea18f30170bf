//! rtcpub turns a robot car with an ARM board into something a person far away can see through and drive.
//!
//! # Two flows
//! - Picture: [`video`]`::camera → encoder → pipeline → `[`rtc`]`::track → peer`
//! - Control: [`rtc`]`::channels → `[`drive`]`::command → gate → mixer → actuator`

// So that helpers of the integration tests serve unit tests too.
#[cfg(test)]
extern crate self as rtcpub;

mod calendar;
pub mod quiet;
pub mod secret;

pub mod config;

pub mod video;

pub mod rtc;

pub mod signal;

pub mod drive;

pub mod telemetry;

pub mod hub;

pub mod supervise;

pub mod probe;
