//! Signalling: how this end and the pub server agree on a session.
//!
//! [`spider`] is the wire format (pure), [`backoff`] the reconnect policy (pure), [`tls`] and [`socket`] the effects.

pub mod settings;
