//! What the driver of a peer connection gets from us instead of from the crate: its runtime, which makes its sockets and
//! its timers.
//!
//! The crate runs one task for each peer connection, which sends, receives and serves timers in turn
//! (`PeerConnectionDriver`). [`runtime`] is where it is given what is ours: sockets that never make it wait
//! ([`datagrams`]), behind those that reach TURN servers ([`super::turn`]) and repeat what is lost of a handshake, and in
//! an outage of the data channels ([`repeating`]), and when it takes its next turn.
//!
//! [`flight`], [`unheard`], [`flush`] and [`wait`] are pure.

mod datagrams;
mod flight;
mod flush;
mod repeating;
pub(crate) mod runtime;
mod unheard;
mod wait;
