//! The STUN and TURN servers of a channel, as a peer connection needs them: names resolved, credentials made, TLS set up.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::sync::OnceCell;
use url::Host;
use webrtc::peer_connection::RTCIceServer;

use super::credential::UserPassword;
use crate::calendar::unix_time;
use crate::resolver::{Patience, ResolveError, Resolver};
use crate::rtc::settings::{IceServer, ServerAddress, TurnServer, TurnTransport};
use crate::rtc::turn::stream::{StreamTarget, Tls};
use crate::signal::tls;

/// A name that was never resolved may delay an offer by a second; what is answered later serves the next session.
const RESOLVING: Patience = Patience { known: Duration::from_millis(250), unknown: Duration::from_secs(1) };
/// Of relays that are equally good to it, the crate takes the one it knew first. So a stream waits this long for the relays
/// that are better by their transport: a first datagram that was lost is repeated after 200 ms.
const BETTER_FIRST: Duration = Duration::from_millis(300);
/// The crate knows a server by this name and its index.
const STAND_IN_SUFFIX: &str = ".ice.invalid";
/// Any port would do.
const STAND_IN_PORT: u16 = 3478;

/// The servers of a channel, for all its sessions.
pub(crate) struct IceServers {
    servers: Vec<Server>,
}

/// What the servers are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Sessions: the best of them is used, and the log hears of each new trouble.
    Sessions,
    /// A probe: each counts, and whoever asks hears of [`IceServers::trouble`].
    Probe,
}

struct Server {
    config: IceServer,
    resolver: Arc<Resolver>,
    tls: OnceCell<Tls>,
    purpose: Purpose,
    trouble: Mutex<Option<String>>,
}

/// The servers as one peer connection uses them, until its next ICE restart.
#[derive(Default)]
pub(crate) struct Snapshot {
    entries: Vec<Entry>,
}

struct Entry {
    rtc: RTCIceServer,
    /// As the crate is told them.
    addresses: Vec<SocketAddr>,
    relay: Option<Relay>,
}

/// A TURN server in use.
#[derive(Clone)]
pub(crate) struct Relay {
    /// Its place among the servers.
    pub(crate) index: usize,
    pub(crate) credential: UserPassword,
    /// How it is reached when not by UDP.
    pub(crate) stream: Option<StreamTarget>,
    addresses: Vec<SocketAddr>,
}

impl Relay {
    /// Where the crate sends datagrams for this server from such a local address.
    pub(crate) fn destination(&self, local: SocketAddr) -> Option<SocketAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == local.is_ipv4())
    }
}

impl Snapshot {
    /// The servers as the crate's configuration names them.
    pub(crate) fn rtc_servers(&self) -> Vec<RTCIceServer> {
        self.entries.iter().map(|entry| entry.rtc.clone()).collect()
    }

    pub(crate) fn relays(&self) -> impl Iterator<Item = &Relay> {
        self.entries.iter().filter_map(|entry| entry.relay.as_ref())
    }

    /// The addresses of a server as the crate is told them.
    pub(crate) fn addresses(&self, index: usize) -> &[SocketAddr] {
        self.entries.get(index).map(|entry| entry.addresses.as_slice()).unwrap_or_default()
    }

    /// The addresses of a server by the name the crate knows it by, with a port.
    ///
    /// # Errors
    /// When it has none, or is none of ours.
    pub(crate) fn resolve(&self, name_and_port: &str) -> io::Result<Vec<SocketAddr>> {
        let index = name_and_port.split_once(STAND_IN_SUFFIX).and_then(|(index, _)| index.parse::<usize>().ok());
        let addresses = index.map(|index| self.addresses(index)).unwrap_or_default();
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "the server's name has no address");
        Some(addresses.to_vec()).filter(|addresses| !addresses.is_empty()).ok_or_else(unknown)
    }
}

impl IceServers {
    pub(crate) fn new(servers: &[IceServer], purpose: Purpose, resolver: Arc<Resolver>) -> Self {
        let server = |config: &IceServer| Server {
            config: config.clone(),
            resolver: resolver.clone(),
            tls: OnceCell::new(),
            purpose,
            trouble: Mutex::default(),
        };
        Self { servers: servers.iter().map(server).collect() }
    }

    /// The servers for a session that starts now. Names are resolved at the same time, and not waited for for long.
    pub(crate) async fn snapshot(&self) -> Snapshot {
        let unix_time = unix_time();
        let entries = self.servers.iter().enumerate().map(|(index, server)| server.entry(index, unix_time));
        Snapshot { entries: futures_util::future::join_all(entries).await }
    }

    /// Notes what is wrong with a server, or that nothing is.
    pub(crate) fn note(&self, index: usize, trouble: Option<&str>) {
        if let Some(server) = self.servers.get(index) {
            server.note(trouble);
        }
    }

    /// What is wrong with a server, as far as is known.
    pub(crate) fn trouble(&self, index: usize) -> Option<String> {
        self.servers.get(index).and_then(|server| lock(&server.trouble).clone())
    }
}

impl Server {
    async fn entry(&self, index: usize, unix_time: Duration) -> Entry {
        let known = self.resolve().await;
        let name = format!("{index}{STAND_IN_SUFFIX}");
        let IceServer::Turn(turn) = &self.config else {
            let urls = vec![format!("stun:{name}:{STAND_IN_PORT}")];
            return Entry { rtc: RTCIceServer { urls, ..Default::default() }, addresses: known, relay: None };
        };
        let credential = turn.credential.at(unix_time);
        let (addresses, stream) = match &turn.transport {
            TurnTransport::Udp => (known, None),
            TurnTransport::Tcp => stream(index, known, None, self.patience()),
            TurnTransport::Tls(_) => match self.tls(index).await {
                Some(tls) => stream(index, known, Some(tls), self.patience()),
                None => (Vec::new(), None),
            },
        };
        let rtc = RTCIceServer {
            urls: vec![format!("turn:{name}:{STAND_IN_PORT}?transport=udp")],
            username: credential.username.clone(),
            credential: credential.password.expose().to_owned(),
        };
        let relay = Relay { index, credential, stream, addresses: addresses.clone() };
        Entry { rtc, addresses, relay: Some(relay) }
    }

    fn patience(&self) -> Duration {
        match self.purpose {
            Purpose::Sessions => BETTER_FIRST,
            Purpose::Probe => Duration::ZERO,
        }
    }

    async fn resolve(&self) -> Vec<SocketAddr> {
        let ServerAddress { host, port } = self.config.address();
        let (addresses, trouble) = match self.resolver.addresses(&host.to_string(), RESOLVING).await {
            Ok(resolved) => (resolved.addresses, resolved.stale),
            Err(error) => (Vec::new(), Some(error)),
        };
        match trouble {
            None if matches!(self.config, IceServer::Stun(_)) => self.note(None),
            None => {}
            Some(ResolveError::NoAddress) => self.note(Some("its name has no address")),
            Some(error @ ResolveError::Refused(_)) => {
                self.note(Some(&format!("its name cannot be resolved: {error}")));
            }
            Some(ResolveError::Silent) => {
                self.note(Some("its name is not resolved in time; is the DNS server reachable?"));
            }
        }
        addresses.into_iter().map(|ip| SocketAddr::new(ip, *port)).collect()
    }

    async fn tls(&self, index: usize) -> Option<Tls> {
        match self.tls.get_or_try_init(|| prepare_tls(&self.config, index)).await {
            Ok(tls) => Some(tls.clone()),
            Err(trouble) => {
                self.note(Some(&trouble));
                None
            }
        }
    }

    fn note(&self, trouble: Option<&str>) {
        let mut last = lock(&self.trouble);
        if last.as_deref() == trouble {
            return;
        }
        let server = self.config.url();
        match trouble {
            _ if self.purpose == Purpose::Probe => {}
            Some(trouble) => tracing::warn!(%server, trouble, "an ICE server cannot be used"),
            None => tracing::info!(%server, "an ICE server can be used again"),
        }
        *last = trouble.map(str::to_owned);
    }
}

/// A stream's server under addresses that route nowhere: what is sent there never leaves as a datagram.
fn stream(
    index: usize,
    addresses: Vec<SocketAddr>,
    tls: Option<Tls>,
    patience: Duration,
) -> (Vec<SocketAddr>, Option<StreamTarget>) {
    let number = u16::try_from(index + 1).unwrap_or(u16::MAX);
    let [high, low] = number.to_be_bytes();
    // Reserved (RFC 1112 §4) and discard-only (RFC 6666): no peer has such an address.
    let ipv4 = IpAddr::V4(Ipv4Addr::new(240, 0, high, low));
    let ipv6 = IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, number));
    let reachable = |stand_in: &IpAddr| addresses.iter().any(|address| address.is_ipv4() == stand_in.is_ipv4());
    let stand_ins = [ipv4, ipv6].into_iter().filter(reachable).map(|ip| SocketAddr::new(ip, STAND_IN_PORT)).collect();
    (stand_ins, Some(StreamTarget { addresses, tls, patience }))
}

/// Roots are read from files: not on a thread that carries media.
async fn prepare_tls(config: &IceServer, index: usize) -> Result<Tls, String> {
    let IceServer::Turn(TurnServer { address, transport: TurnTransport::Tls(judgement), .. }) = config else {
        return Err("it is not reached by TLS".to_owned());
    };
    let name = server_name(address)?;
    // Only those that are listed are reached by TLS.
    let (judgement, keys) = (judgement.clone(), format!("ice.servers[{index}].tls_"));
    let prepared = tokio::task::spawn_blocking(move || tls::client_config(&judgement, &keys)).await;
    let config = prepared.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    Ok(Tls { config, name })
}

/// The name a server's certificate must be for.
pub(crate) fn server_name(address: &ServerAddress) -> Result<ServerName<'static>, String> {
    let name = match &address.host {
        Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|error| error.to_string())?,
        Host::Ipv4(ip) => ServerName::IpAddress(IpAddr::V4(*ip).into()),
        Host::Ipv6(ip) => ServerName::IpAddress(IpAddr::V6(*ip).into()),
    };
    Ok(name)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics while holding one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::settings::{IceUrl, TurnCredential};
    use crate::secret::Secret;
    use crate::signal::settings::TlsConfig;

    fn server(url: &str) -> IceServer {
        let url: IceUrl = url.parse().expect("a URL");
        let credential = match url {
            IceUrl::Stun(_) => None,
            _ => Some(TurnCredential::Rest {
                user: "car".into(),
                secret: Secret::new("s"),
                ttl: Duration::from_secs(600),
            }),
        };
        let tls = matches!(url, IceUrl::TurnTls(_)).then_some(TlsConfig::Insecure);
        IceServer::new(url, credential, tls).expect("a server")
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    async fn snapshot(urls: &[&str]) -> Snapshot {
        let servers: Vec<_> = urls.iter().map(|url| server(url)).collect();
        IceServers::new(&servers, Purpose::Probe, Arc::default()).snapshot().await
    }

    #[tokio::test]
    async fn the_crate_is_told_of_servers_by_udp_only_and_each_has_an_address_of_its_own() {
        let snapshot = snapshot(&[
            "stun:192.0.2.1",
            "turn:192.0.2.1",
            "turn:192.0.2.1?transport=tcp",
            "turns:192.0.2.1:3478",
            "turns:[2001:db8::1]",
        ])
        .await;
        let urls: Vec<_> = snapshot.rtc_servers().into_iter().flat_map(|server| server.urls).collect();
        assert_eq!(urls[0], "stun:0.ice.invalid:3478");
        assert!(urls[1..].iter().all(|url| url.starts_with("turn:") && url.ends_with("?transport=udp")), "{urls:?}");
        let resolved = |index: usize| snapshot.resolve(&format!("{index}.ice.invalid:3478")).expect("addresses");
        assert_eq!(resolved(0), [at("192.0.2.1:3478")]);
        assert_eq!(resolved(1), resolved(0), "UDP goes there");
        assert_eq!(resolved(2), [at("240.0.0.3:3478")], "TCP does not");
        assert_eq!(resolved(3), [at("240.0.0.4:3478")]);
        assert_eq!(resolved(4), [at("[100::5]:3478")]);
        for other in ["5.ice.invalid:3478", "turn.example.org:3478", ".ice.invalid", ""] {
            assert!(snapshot.resolve(other).is_err(), "{other}");
        }
    }

    #[tokio::test]
    async fn a_time_limited_credential_is_made_for_each_snapshot_and_is_what_the_sockets_sign_with() {
        let snapshot = snapshot(&["turn:192.0.2.1?transport=tcp"]).await;
        let rtc = &snapshot.rtc_servers()[0];
        let relay = snapshot.relays().next().expect("a relay");
        assert_eq!(rtc.username, relay.credential.username);
        assert_eq!(rtc.credential, relay.credential.password.expose());
        let (expiry, user) = rtc.username.split_once(':').expect("expiry:user");
        let left = expiry.parse::<u64>().expect("a time") - unix_time().as_secs();
        assert!(user == "car" && (590..=600).contains(&left), "{left} s left");
    }

    #[tokio::test]
    async fn a_server_that_cannot_be_resolved_has_no_address_and_a_trouble() {
        let servers = [server("turn:no-such-host.invalid"), server("turn:192.0.2.1")];
        let servers = IceServers::new(&servers, Purpose::Probe, Arc::default());
        let snapshot = servers.snapshot().await;
        assert!(snapshot.addresses(0).is_empty() && servers.trouble(0).is_some());
        assert!(!snapshot.addresses(1).is_empty() && servers.trouble(1).is_none());
        let reached = snapshot.relays().filter(|relay| relay.destination(at("192.0.2.9:1")).is_some());
        assert_eq!(reached.count(), 1);
    }
}
