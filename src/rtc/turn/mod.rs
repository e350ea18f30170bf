//! TURN over UDP, TCP and TLS for a library that speaks UDP only.
//!
//! The `webrtc` crate binds its sockets through a runtime of ours ([`super::driver`]). To it, a TURN server that is
//! reached by a stream has an address out of a range that routes nowhere; a datagram to that address never becomes one:
//! the socket ([`socket`]) puts it onto a TCP or TLS connection ([`link`], [`stream`]) instead, and hands what comes back
//! to the crate as datagrams from there. So there is one connection to the server for each local address, as there is one
//! allocation, and nothing listens anywhere that was not listening before.
//!
//! When a connection breaks, the allocation is lost with it. The crate hears a write error and drops its client; the
//! session hears of it when media went that way, and restarts ICE, which binds new sockets and connects anew.
//!
//! [`framing`], [`queue`] and [`exchange`] are pure.

pub(crate) mod client;
mod exchange;
mod framing;
mod link;
pub(crate) mod queue;
pub(crate) mod socket;
pub(crate) mod stream;

#[cfg(test)]
mod tests;
