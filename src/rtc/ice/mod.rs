//! ICE: the servers that help to find a way to the peer, and the addresses of our own that may be part of it.
//!
//! [`url`], [`credential`] and [`candidates`] are pure; [`interfaces`] asks the system which addresses there are,
//! `network` hears from it when they change, `servers` resolves names, `mdns` resolves the names that peers on the same
//! network hide behind.

pub mod candidates;
pub mod credential;
pub mod interfaces;
pub(crate) mod mdns;
pub(crate) mod network;
pub(crate) mod servers;
pub mod url;
