//! rtcpub turns a robot car with an ARM board into something a person far away can see through and drive.
//!
//! # Two flows
//! - Picture: [`video`]`::camera → encoder → pipeline → `[`rtc`]`::track → peer`
//! - Control: [`rtc`]`::channels → `[`drive`]`::command → gate → mixer → actuator`

pub mod app;
pub mod check;
pub mod cli;
pub mod exit;
pub mod logging;
pub mod supervise;

pub mod config;

pub mod video;

pub mod rtc;

pub mod signal;

pub mod drive;

pub mod telemetry;

pub mod status;

pub mod hub;

pub mod quiet;
pub mod secret;
mod unix_socket;
