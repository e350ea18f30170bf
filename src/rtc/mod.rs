//! WebRTC: the session that publishes the track and the two data channels.
//!
//! [`session`] decides (pure); the other files are adapters over the `webrtc` crate and its only importers.

mod admission;
pub mod channels;
pub mod congestion;
mod driver;
pub mod engine;
pub mod feedback;
pub mod ice;
mod mailbox;
mod packetizer;
mod peer;
pub(crate) mod probe;
pub mod publisher;
pub mod pump;
pub mod relay;
mod reports;
mod sections;
pub mod session;
pub mod settings;
mod stage;
pub mod status;
mod streams;
mod track;
mod turn;
