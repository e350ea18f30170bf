//! What a channel file says about ICE and the data channels.

use std::time::Duration;

pub use super::ice::credential::TurnCredential;
pub use super::ice::interfaces::{InterfaceFilter, InterfacePattern};
pub use super::ice::url::{IceServerError, IceUrl, IceUrlError, ServerAddress};
use crate::signal::settings::TlsConfig;

/// Everything a peer connection needs.
#[derive(Clone, Debug, PartialEq)]
pub struct RtcConfig {
    /// STUN and TURN servers and which candidates may be used.
    pub ice: IceConfig,
    /// Reliability of the `metric` channel (telemetry out).
    pub metric: Reliability,
    /// Reliability of the `stream` channel (control in).
    pub stream: Reliability,
}

/// STUN and TURN servers, and which candidates may be used.
#[derive(Clone, Debug, PartialEq)]
pub struct IceConfig {
    /// In the order they are tried.
    pub servers: Vec<IceServer>,
    /// Which candidates may be used.
    pub policy: IcePolicy,
    /// Whose addresses are candidates.
    pub interfaces: InterfaceFilter,
}

impl IceConfig {
    /// No server: what the machine's own addresses can do.
    pub fn without_servers() -> Self {
        Self { servers: Vec::new(), policy: IcePolicy::All, interfaces: InterfaceFilter::default() }
    }

    /// Whether there is a TURN server to relay through.
    pub fn has_relay(&self) -> bool {
        self.turn_servers().next().is_some()
    }

    /// Those that relay.
    pub fn turn_servers(&self) -> impl Iterator<Item = &TurnServer> {
        self.servers.iter().filter_map(|server| match server {
            IceServer::Turn(server) => Some(server),
            IceServer::Stun(_) => None,
        })
    }
}

/// One STUN or TURN server.
#[derive(Clone, Debug, PartialEq)]
pub enum IceServer {
    /// Tells this end its address as the internet sees it (RFC 8489).
    Stun(ServerAddress),
    /// Relays (RFC 8656).
    Turn(TurnServer),
}

/// One TURN server by one transport.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnServer {
    /// Where it is.
    pub address: ServerAddress,
    /// How it is reached; what it relays is UDP in any case.
    pub transport: TurnTransport,
    /// Who we are.
    pub credential: TurnCredential,
}

/// How a TURN server is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnTransport {
    /// `turn:HOST` or `turn:HOST?transport=udp`.
    Udp,
    /// `turn:HOST?transport=tcp`.
    Tcp,
    /// `turns:HOST`. The certificate is judged by this server's own settings: a TURN server is somebody else's machine
    /// than the pub server, so the channel's pin or CA says nothing about it.
    Tls(TlsConfig),
}

/// Which candidates may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcePolicy {
    /// Host, server reflexive and relayed.
    All,
    /// Relayed only.
    Relay,
}

/// Delivery of a data channel. The published clients use ordered and fully reliable for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reliability {
    /// Whether messages arrive in the order sent.
    pub ordered: bool,
    /// Whether and when an undelivered message is given up.
    pub limit: DeliveryLimit,
}

/// When an undelivered data-channel message is given up (RFC 8832 §5.1: one limit or the other, never both).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryLimit {
    /// Never: fully reliable.
    Reliable,
    /// After this many retransmissions.
    Retransmits(u16),
    /// After this long; whole milliseconds up to 65 535.
    Lifetime(Duration),
}

impl Reliability {
    /// Ordered and fully reliable, as the published clients have it.
    pub const ORDERED_RELIABLE: Self = Self { ordered: true, limit: DeliveryLimit::Reliable };
}
