//! Control to motion: `command → gate → mixer → actuator`. Imports neither `rtc`, `video`, `signal`, tokio nor gstreamer.

pub mod actuator;
pub mod command;
pub mod gate;
pub mod link;
pub mod max_speed;
mod mixer;
pub mod settings;
pub mod simulated;
pub mod vehicle;
