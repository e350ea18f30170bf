//! A local Spider-compatible pub server and its viewer page: drive over your own Wi-Fi with no cloud.

pub mod control_queue;
pub mod forward;
pub mod key_frame;
pub mod packet;
pub mod room;
pub mod settings;
pub mod stream_message;
