//! The publisher on links that make trouble: [`peers`] on loopback, whose peers tell little or do not listen,
//! [`handshakes`] over a wire that loses a part of them, and [`networks`] in network namespaces, where the network itself
//! is slow, lossy, or another one all of a sudden.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the tests measure")]

#[path = "lab/connecting.rs"]
mod connecting;
#[path = "../far/mod.rs"]
mod far;
mod handshakes;
mod lab;
mod networks;
mod peers;
#[path = "../spider/mod.rs"]
mod spider;
