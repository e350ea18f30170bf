//! Camera to access units: `camera → encoder → pipeline → frame`.
//!
//! [`pipeline`] is the only importer of gstreamer; [`camera`] and [`encoder`] are pure descriptions it runs.

pub mod further;
pub mod settings;

pub mod camera;
pub mod devices;
pub mod encoder;
pub mod modes;
pub mod overlay;
pub mod pipeline;
pub mod plugins;

pub mod control;
pub mod keeper;
pub mod key_frames;
pub mod pace;
pub mod rate;
pub mod recovery;

pub mod frame;
pub mod h264;
pub mod trace;
pub mod units;
pub mod views;

pub mod error;
