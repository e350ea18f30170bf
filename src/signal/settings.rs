//! What a channel file says about its pub server.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::secret::Secret;

/// Everything signalling needs.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalConfig {
    /// The pub server: `wss://HOST[:PORT]` (or `ws://` on a trusted wire), path and query not included.
    pub server: Url,
    /// The channel this daemon publishes.
    pub channel: ChannelId,
    /// Extra query parameters passed through to the server (`vcodec`, `brate` in kbit/s, `ktime`), in this order.
    pub query: Vec<(String, String)>,
    /// A bearer token some hubs ask of publishers; sent as `Authorization: Bearer …`, never in the URL.
    pub token: Option<Secret>,
    /// How our candidates reach the server.
    pub trickle: Trickle,
    /// How the server's certificate is judged.
    pub tls: TlsConfig,
    /// A ping is sent this often (the reference: 30 s).
    pub ping_interval: Duration,
    /// No answer to an offer within this time ends the attempt (10 s).
    pub answer_timeout: Duration,
    /// No traffic at all for this long ends the connection (90 s).
    pub silence_timeout: Duration,
    /// Reconnect delays: the first retry is at once, then from `retry_min` doubling to `retry_max`, jittered.
    pub retry_min: Duration,
    /// See `retry_min`.
    pub retry_max: Duration,
}

/// The id of a channel: any non-empty string; the servers use 20 characters of `[0-9a-v]` (xid form).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChannelId(String);

impl ChannelId {
    /// A channel id, or `None` when empty or longer than 256 bytes or holding control characters.
    pub fn new(id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        let fits = !id.is_empty() && id.len() <= 256 && !id.chars().any(char::is_control);
        fits.then_some(Self(id))
    }

    /// The id as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has the xid form (20 characters of `[0-9a-v]`) that Spider servers give out.
    pub fn looks_like_an_id(&self) -> bool {
        self.0.len() == 20 && self.0.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'v').contains(&b))
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How local candidates are handed to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trickle {
    /// All candidates in the offer: it waits for gathering (the published Python client).
    None,
    /// Old style: `candidate` messages with the bare candidate line.
    Candidate,
    /// Standard: `candidate2` messages with an `RTCIceCandidateInit` (the published Go client).
    Candidate2,
}

/// How the server's certificate is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsConfig {
    /// Against the system's root certificates.
    SystemRoots,
    /// Against the certificates in this PEM file only.
    CaFile(PathBuf),
    /// The leaf certificate's SHA-256 must be this; nothing else is asked of it (works for self-signed).
    Pin([u8; 32]),
    /// Not at all. Logged as a warning at each start.
    Insecure,
}
