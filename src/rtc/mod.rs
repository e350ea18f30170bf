//! WebRTC: the session that publishes the track and the two data channels.
//!
//! [`session`] decides (pure); the other files are adapters over the `webrtc` crate and its only importers.

pub mod relay;
pub mod settings;
