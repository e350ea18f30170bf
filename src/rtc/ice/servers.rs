//! The STUN and TURN servers of a channel, as a peer connection needs them: names resolved, credentials made, TLS set up.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::ServerName;
use tokio::sync::OnceCell;
use url::Host;
use webrtc::peer_connection::RTCIceServer;

use super::credential::UserPassword;
use crate::rtc::settings::{IceServer, ServerAddress, TurnServer, TurnTransport};
use crate::rtc::turn::stream::{StreamTarget, Tls};
use crate::signal::tls;

/// A name that was never resolved may delay an offer by this much; what resolves later serves the next session.
const FIRST_RESOLUTION: Duration = Duration::from_secs(1);
/// A name that was resolved before: its last addresses will do.
const NEXT_RESOLUTION: Duration = Duration::from_millis(250);
/// The crate knows a server by this name and its index.
const STAND_IN_SUFFIX: &str = ".ice.invalid";
/// Any port would do.
const STAND_IN_PORT: u16 = 3478;

/// The servers of a channel, for all its sessions.
pub(crate) struct IceServers {
    servers: Vec<Server>,
}

struct Server {
    config: IceServer,
    /// The addresses of its name, when last resolved.
    known: Mutex<Vec<SocketAddr>>,
    tls: OnceCell<Tls>,
    /// What was last logged about it.
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

    /// The addresses of a server by the name the crate knows it by, with a port.
    ///
    /// # Errors
    /// When it has none, or is none of ours.
    pub(crate) fn resolve(&self, name_and_port: &str) -> io::Result<Vec<SocketAddr>> {
        let index = name_and_port.split_once(STAND_IN_SUFFIX).and_then(|(index, _)| index.parse::<usize>().ok());
        let addresses = index.and_then(|index| self.entries.get(index)).map(|entry| entry.addresses.clone());
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "the server's name has no address");
        addresses.filter(|addresses| !addresses.is_empty()).ok_or_else(unknown)
    }
}

impl IceServers {
    pub(crate) fn new(servers: &[IceServer]) -> Self {
        let server = |config: &IceServer| Server {
            config: config.clone(),
            known: Mutex::default(),
            tls: OnceCell::new(),
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

    /// Tells the operator what is wrong with a server, once for each new trouble; `None` when it works.
    pub(crate) fn note(&self, index: usize, trouble: Option<&str>) {
        if let Some(server) = self.servers.get(index) {
            server.note(trouble);
        }
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
            TurnTransport::Tcp => stream(index, known, None),
            TurnTransport::Tls(_) => match self.tls().await {
                Some(tls) => stream(index, known, Some(tls)),
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

    async fn resolve(&self) -> Vec<SocketAddr> {
        let known = lock(&self.known).clone();
        let patience = if known.is_empty() { FIRST_RESOLUTION } else { NEXT_RESOLUTION };
        match tokio::time::timeout(patience, resolve(self.config.address())).await {
            Ok(Ok(addresses)) if !addresses.is_empty() => {
                lock(&self.known).clone_from(&addresses);
                if matches!(self.config, IceServer::Stun(_)) {
                    self.note(None);
                }
            }
            Ok(Ok(_)) => self.note(Some("its name has no address")),
            Ok(Err(error)) => self.note(Some(&format!("its name cannot be resolved: {error}"))),
            Err(_) => self.note(Some("its name is not resolved in time; is the DNS server reachable?")),
        }
        lock(&self.known).clone()
    }

    async fn tls(&self) -> Option<Tls> {
        match self.tls.get_or_try_init(|| prepare_tls(&self.config)).await {
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
            Some(trouble) => tracing::warn!(%server, trouble, "an ICE server cannot be used"),
            None => tracing::info!(%server, "an ICE server can be used again"),
        }
        *last = trouble.map(str::to_owned);
    }
}

/// A stream's server under addresses that route nowhere: what is sent there never leaves as a datagram.
fn stream(index: usize, addresses: Vec<SocketAddr>, tls: Option<Tls>) -> (Vec<SocketAddr>, Option<StreamTarget>) {
    let number = u16::try_from(index + 1).unwrap_or(u16::MAX);
    let [high, low] = number.to_be_bytes();
    // Reserved (RFC 1112 §4) and discard-only (RFC 6666): no peer has such an address.
    let ipv4 = IpAddr::V4(Ipv4Addr::new(240, 0, high, low));
    let ipv6 = IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, number));
    let reachable = |stand_in: &IpAddr| addresses.iter().any(|address| address.is_ipv4() == stand_in.is_ipv4());
    let stand_ins = [ipv4, ipv6].into_iter().filter(reachable).map(|ip| SocketAddr::new(ip, STAND_IN_PORT)).collect();
    (stand_ins, Some(StreamTarget { addresses, tls }))
}

/// Roots are read from files: not on a thread that carries media.
async fn prepare_tls(config: &IceServer) -> Result<Tls, String> {
    let IceServer::Turn(TurnServer { address, transport: TurnTransport::Tls(judgement), .. }) = config else {
        return Err("it is not reached by TLS".to_owned());
    };
    let name = server_name(address)?;
    let judgement = judgement.clone();
    let prepared = tokio::task::spawn_blocking(move || tls::client_config(&judgement)).await;
    let config = prepared.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    Ok(Tls { config, name })
}

/// The addresses of a server now.
///
/// # Errors
/// What the system's resolver says.
pub(crate) async fn resolve(address: &ServerAddress) -> io::Result<Vec<SocketAddr>> {
    match &address.host {
        Host::Ipv4(ip) => Ok(vec![(*ip, address.port).into()]),
        Host::Ipv6(ip) => Ok(vec![(*ip, address.port).into()]),
        Host::Domain(name) => Ok(tokio::net::lookup_host((name.as_str(), address.port)).await?.collect()),
    }
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

pub(crate) fn unix_time() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "time-limited credentials expire by the calendar")]
    let now = SystemTime::now();
    // A clock before 1970 makes credentials that have expired: the server says so.
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics while holding one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
