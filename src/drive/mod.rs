//! Control to motion: `command → gate → mixer → actuator`. Imports neither `rtc`, `video`, `signal`, tokio nor gstreamer.

pub mod actuator;
pub mod bridge;
mod calibration_file;
pub mod command;
pub mod gate;
pub mod import;
pub mod lap_sensor;
pub mod link;
pub mod max_speed;
mod mixer;
pub mod park;
pub mod pca9685;
pub mod settings;
pub mod simulated;
pub mod vehicle;
