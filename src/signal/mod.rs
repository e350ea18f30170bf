//! Signalling: how this end and the pub server agree on a session.
//!
//! [`spider`] is the wire format (pure), [`backoff`] the reconnect policy (pure), [`tls`] and [`socket`] the effects.

pub mod backoff;
pub mod certificate;
pub(crate) mod probe;
pub mod settings;
pub mod socket;
pub mod spider;
pub mod tls;
