//! Camera to access units: `camera → encoder → pipeline → frame`.
//!
//! [`pipeline`] is the only importer of gstreamer; [`camera`] and [`encoder`] are pure descriptions it runs.

pub mod frame;
pub mod settings;
pub mod units;
