//! `stun:`, `turn:` and `turns:` URLs (RFC 7064, RFC 7065). Pure.

use std::fmt;
use std::str::FromStr;

use url::Host;

use super::credential::TurnCredential;
use crate::rtc::settings::{IceServer, TurnServer, TurnTransport};
use crate::signal::settings::TlsConfig;

/// Port of STUN and TURN (RFC 7064 §3.1, RFC 7065 §3.1).
const DEFAULT_PORT: u16 = 3478;
/// Port of TURN over TLS (RFC 7065 §3.1).
const DEFAULT_TLS_PORT: u16 = 5349;

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// A name, to be resolved anew for each use, or an address.
    pub host: Host<String>,
    /// Never 0.
    pub port: u16,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a STUN or TURN URL says, and nothing a URL cannot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IceUrl {
    /// `stun:HOST[:PORT]`
    Stun(ServerAddress),
    /// `turn:HOST[:PORT]` or `turn:HOST[:PORT]?transport=udp`
    TurnUdp(ServerAddress),
    /// `turn:HOST[:PORT]?transport=tcp`
    TurnTcp(ServerAddress),
    /// `turns:HOST[:PORT]`
    TurnTls(ServerAddress),
}

/// Why a text is no STUN or TURN URL that can be used; each says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IceUrlError {
    /// Another scheme, or none.
    #[error("it starts with neither stun:, turn: nor turns:; write e.g. turn:turn.example.org:3478?transport=udp")]
    Scheme,
    /// `stuns:`.
    #[error("stuns: is not supported, and hides nothing that matters; write stun:")]
    Stuns,
    /// `turn://…`.
    #[error("these URLs have no //; write turn:HOST")]
    Slashes,
    /// `turn:user@host`.
    #[error("these URLs hold no user name; give username and credential beside the url")]
    UserInfo,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address stands in brackets; write turn:[2001:db8::1]:3478")]
    Brackets,
    /// No host, or one that cannot be.
    #[error("{0:?} is no host name or address")]
    Host(String),
    /// Not 1 … 65535.
    #[error("{0:?} is no port; give 1 … 65535")]
    Port(String),
    /// A query other than `transport=udp|tcp`.
    #[error("?{0} is not understood; only ?transport=udp and ?transport=tcp are")]
    Query(String),
    /// `turns:…?transport=udp`.
    #[error("turns: with transport=udp (DTLS) is not supported; leave ?transport= out, or write turn:")]
    Dtls,
    /// `stun:…?transport=tcp`.
    #[error("stun: is asked by UDP only; leave ?transport= out")]
    StunTcp,
}

impl FromStr for IceUrl {
    type Err = IceUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once(':').ok_or(IceUrlError::Scheme)?;
        let (address, query) = rest.split_once('?').map_or((rest, None), |(address, query)| (address, Some(query)));
        let transport = query.map(transport).transpose()?;
        match (scheme.to_ascii_lowercase().as_str(), transport) {
            ("stun", None | Some(Transport::Udp)) => Ok(Self::Stun(server_address(address, DEFAULT_PORT)?)),
            ("stun", Some(Transport::Tcp)) => Err(IceUrlError::StunTcp),
            ("stuns", _) => Err(IceUrlError::Stuns),
            ("turn", None | Some(Transport::Udp)) => Ok(Self::TurnUdp(server_address(address, DEFAULT_PORT)?)),
            ("turn", Some(Transport::Tcp)) => Ok(Self::TurnTcp(server_address(address, DEFAULT_PORT)?)),
            ("turns", None | Some(Transport::Tcp)) => Ok(Self::TurnTls(server_address(address, DEFAULT_TLS_PORT)?)),
            ("turns", Some(Transport::Udp)) => Err(IceUrlError::Dtls),
            _ => Err(IceUrlError::Scheme),
        }
    }
}

impl fmt::Display for IceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stun(address) => write!(f, "stun:{address}"),
            Self::TurnUdp(address) => write!(f, "turn:{address}?transport=udp"),
            Self::TurnTcp(address) => write!(f, "turn:{address}?transport=tcp"),
            Self::TurnTls(address) => write!(f, "turns:{address}?transport=tcp"),
        }
    }
}

/// Why a URL and what stands beside it make no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IceServerError {
    /// TURN without a credential: no server relays for strangers.
    #[error("a TURN server needs a credential: username and credential, or rest_secret")]
    NoCredential,
    /// STUN with a credential.
    #[error("a STUN server takes no credential; leave it out, or write turn:")]
    StunCredential,
    /// TLS settings where there is no TLS.
    #[error("tls belongs to a turns: URL only")]
    TlsWithoutTls,
}

impl IceServer {
    /// A server from a URL and what stands beside it. Without `tls` a `turns:` certificate is judged by the system's
    /// root certificates.
    ///
    /// # Errors
    /// [`IceServerError`] when they do not fit together.
    pub fn new(
        url: IceUrl,
        credential: Option<TurnCredential>,
        tls: Option<TlsConfig>,
    ) -> Result<Self, IceServerError> {
        let (address, transport) = match url {
            IceUrl::Stun(_) if credential.is_some() => return Err(IceServerError::StunCredential),
            IceUrl::Stun(_) | IceUrl::TurnUdp(_) | IceUrl::TurnTcp(_) if tls.is_some() => {
                return Err(IceServerError::TlsWithoutTls);
            }
            IceUrl::Stun(address) => return Ok(Self::Stun(address)),
            IceUrl::TurnUdp(address) => (address, TurnTransport::Udp),
            IceUrl::TurnTcp(address) => (address, TurnTransport::Tcp),
            IceUrl::TurnTls(address) => (address, TurnTransport::Tls(tls.unwrap_or(TlsConfig::SystemRoots))),
        };
        let credential = credential.ok_or(IceServerError::NoCredential)?;
        Ok(Self::Turn(TurnServer { address, transport, credential }))
    }

    /// Where it is.
    pub fn address(&self) -> &ServerAddress {
        match self {
            Self::Stun(address) => address,
            Self::Turn(server) => &server.address,
        }
    }

    /// The URL that names it.
    pub fn url(&self) -> IceUrl {
        match self {
            Self::Stun(address) => IceUrl::Stun(address.clone()),
            Self::Turn(server) => server.url(),
        }
    }
}

impl TurnServer {
    /// The URL that names it.
    pub fn url(&self) -> IceUrl {
        let address = self.address.clone();
        match self.transport {
            TurnTransport::Udp => IceUrl::TurnUdp(address),
            TurnTransport::Tcp => IceUrl::TurnTcp(address),
            TurnTransport::Tls(_) => IceUrl::TurnTls(address),
        }
    }
}

enum Transport {
    Udp,
    Tcp,
}

fn transport(query: &str) -> Result<Transport, IceUrlError> {
    match query.to_ascii_lowercase().as_str() {
        "transport=udp" => Ok(Transport::Udp),
        "transport=tcp" => Ok(Transport::Tcp),
        _ => Err(IceUrlError::Query(query.to_owned())),
    }
}

fn server_address(text: &str, default_port: u16) -> Result<ServerAddress, IceUrlError> {
    if text.starts_with("//") {
        return Err(IceUrlError::Slashes);
    }
    if text.contains('@') {
        return Err(IceUrlError::UserInfo);
    }
    let (host, port) = match text.rfind(']') {
        Some(end) => text.split_at(end + 1),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port,
        Some(port) if port.contains(':') => return Err(IceUrlError::Brackets),
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| IceUrlError::Port(port.to_owned()))?,
        None => return Err(IceUrlError::Host(text.to_owned())),
    };
    let host = Host::parse(host).map_err(|_| IceUrlError::Host(host.to_owned()))?;
    Ok(ServerAddress { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn urls_are_read_as_the_standards_write_them() {
        let cases = [
            ("stun:turn.example.org", "stun:turn.example.org:3478"),
            ("stun:turn.example.org:19302?transport=udp", "stun:turn.example.org:19302"),
            ("turn:192.0.2.7", "turn:192.0.2.7:3478?transport=udp"),
            ("turn:turn.example.org:443?transport=tcp", "turn:turn.example.org:443?transport=tcp"),
            ("TURN:Turn.Example.ORG?Transport=UDP", "turn:turn.example.org:3478?transport=udp"),
            ("turns:turn.example.org", "turns:turn.example.org:5349?transport=tcp"),
            ("turns:[2001:db8::1]:443?transport=tcp", "turns:[2001:db8::1]:443?transport=tcp"),
            ("turn:[::1]", "turn:[::1]:3478?transport=udp"),
        ];
        for (text, meant) in cases {
            let url: IceUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.to_string(), meant, "{text}");
            assert_eq!(meant.parse(), Ok(url), "what is shown can be read again");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_to_write_instead() {
        let cases = [
            ("turn.example.org", IceUrlError::Scheme),
            ("https:turn.example.org", IceUrlError::Scheme),
            ("stuns:turn.example.org", IceUrlError::Stuns),
            ("turn://turn.example.org", IceUrlError::Slashes),
            ("turn:me:secret@turn.example.org", IceUrlError::UserInfo),
            ("turn:2001:db8::1", IceUrlError::Brackets),
            ("turn:", IceUrlError::Host(String::new())),
            ("turn:[2001:db8::1", IceUrlError::Brackets),
            ("turn:[::1]3478", IceUrlError::Host("[::1]3478".into())),
            ("turn:ho st", IceUrlError::Host("ho st".into())),
            ("turn:host/path", IceUrlError::Host("host/path".into())),
            ("turn:host#x", IceUrlError::Host("host#x".into())),
            ("turn:300.1.1.1", IceUrlError::Host("300.1.1.1".into())),
            ("turn:host:0", IceUrlError::Port("0".into())),
            ("turn:host:65536", IceUrlError::Port("65536".into())),
            ("turn:host:", IceUrlError::Port(String::new())),
            ("turn:host?transport=sctp", IceUrlError::Query("transport=sctp".into())),
            ("turn:host?", IceUrlError::Query(String::new())),
            ("turns:host?transport=udp", IceUrlError::Dtls),
            ("stun:host?transport=tcp", IceUrlError::StunTcp),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<IceUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_server_is_made_only_of_what_fits_together() {
        let url = |text: &str| text.parse::<IceUrl>().expect("a url");
        let credential = || Some(TurnCredential::Static { username: "u".into(), password: Secret::new("p") });
        assert!(IceServer::new(url("stun:host"), None, None).is_ok());
        assert!(IceServer::new(url("turn:host"), credential(), None).is_ok());
        let tls = IceServer::new(url("turns:host"), credential(), None).expect("roots by default");
        assert!(matches!(
            tls,
            IceServer::Turn(TurnServer { transport: TurnTransport::Tls(TlsConfig::SystemRoots), .. })
        ));
        let wrong = [
            (url("stun:host"), credential(), None, IceServerError::StunCredential),
            (url("turn:host"), None, None, IceServerError::NoCredential),
            (url("turn:host"), credential(), Some(TlsConfig::Insecure), IceServerError::TlsWithoutTls),
        ];
        for (url, credential, tls, error) in wrong {
            assert_eq!(IceServer::new(url, credential, tls), Err(error));
        }
    }
}
