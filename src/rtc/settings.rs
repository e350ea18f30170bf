//! What a channel file says about ICE and the data channels.

use std::time::Duration;

use crate::secret::Secret;

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

/// STUN and TURN servers and the candidate policy.
#[derive(Clone, Debug, PartialEq)]
pub struct IceConfig {
    /// In the order they are tried.
    pub servers: Vec<IceServer>,
    /// Which candidates may be used.
    pub policy: IcePolicy,
}

/// One STUN or TURN server.
#[derive(Clone, Debug, PartialEq)]
pub struct IceServer {
    /// `stun:HOST:PORT` or `turn:HOST:PORT?transport=udp|tcp` or `turns:HOST:PORT`.
    pub url: String,
    /// Long-term credential, for TURN.
    pub credential: Option<IceCredential>,
}

/// A TURN long-term credential (RFC 8656 §9).
#[derive(Clone, Debug, PartialEq)]
pub struct IceCredential {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
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
