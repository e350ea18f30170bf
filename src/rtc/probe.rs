//! Tries this machine's addresses and each STUN and TURN server, on the sockets that a session would have.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::crypto::RTCCryptoProvider;
use webrtc::runtime::{AsyncUdpSocket, Runtime};

use super::congestion::meter::LinkMeter;
use super::driver::runtime::PeerRuntime;
use super::ice::credential::UserPassword;
use super::ice::interfaces::LocalAddresses;
use super::ice::servers::{IceServers, Purpose, Snapshot};
use super::settings::{IceConfig, IceServer, ServerAddress, TurnServer, TurnTransport};
use super::turn::client::{TurnClient, TurnError};
use super::turn::stream::StreamTarget;
use crate::calendar::unix_time;
use crate::probe::{Failure, Report};
use crate::resolver::Resolver;
use crate::secret::Secret;
use crate::signal::certificate;
use crate::signal::settings::SignalConfig;

/// One server gets this long for an answer, and a TURN server as long again for the way to be measured.
const PATIENCE: Duration = Duration::from_secs(5);
/// What to do about silence.
const UDP: &str = "does a firewall drop UDP to it? a turn:…?transport=tcp or turns: server may get through";

/// What was found.
pub(crate) struct IceOutcome {
    pub(crate) addresses: bool,
    pub(crate) relays: usize,
}

/// Tries all servers at the same time; the lines come in their order.
pub(crate) async fn probe(
    signal: &SignalConfig,
    config: &IceConfig,
    resolver: Arc<Resolver>,
    report: &mut Report<'_>,
) -> IceOutcome {
    let local = LocalAddresses::towards(signal.server.host(), &config.interfaces);
    let addresses = report.line("addresses", addresses(&local)).unwrap_or_default();
    let crypto = match rtc::crypto::default_provider() {
        Ok(crypto) => crypto,
        Err(error) => {
            report.line::<()>("ice", Err(Failure::new(error, "this build has no cryptography")));
            return IceOutcome { addresses: !addresses.is_empty(), relays: 0 };
        }
    };
    let servers = Arc::new(IceServers::new(&config.servers, Purpose::Probe, resolver));
    let attempt = Attempt { snapshot: Arc::new(servers.snapshot().await), servers, addresses, crypto };
    let attempts = config.servers.iter().enumerate().map(|(index, server)| attempt.of(index, server));
    let outcomes = futures_util::future::join_all(attempts).await;
    let mut relays = 0;
    for (server, outcome) in config.servers.iter().zip(outcomes) {
        let found = report.line(&server.url().to_string(), outcome);
        relays += usize::from(found.is_some() && matches!(server, IceServer::Turn(_)));
    }
    IceOutcome { addresses: !attempt.addresses.is_empty(), relays }
}

fn addresses(local: &LocalAddresses) -> Result<(Vec<SocketAddr>, String), Failure> {
    let remedy = "is the machine on a network, and do ice.include_interfaces and ice.exclude_interfaces admit it?";
    let found: Vec<_> = local.to_socket_addrs().map_err(|error| Failure::new(error, remedy))?.collect();
    if found.is_empty() {
        return Err(Failure::new("no interface that may be used has an address", remedy));
    }
    let listed: Vec<_> = found.iter().map(|address| address.ip().to_string()).collect();
    Ok((found, listed.join(", ")))
}

/// What all servers are tried with.
struct Attempt {
    servers: Arc<IceServers>,
    snapshot: Arc<Snapshot>,
    addresses: Vec<SocketAddr>,
    crypto: Arc<dyn RTCCryptoProvider>,
}

impl Attempt {
    async fn of(&self, index: usize, server: &IceServer) -> Result<((), String), Failure> {
        let known = self.snapshot.addresses(index);
        if known.is_empty() {
            let trouble = self.servers.trouble(index).unwrap_or_else(|| "it has no address".to_owned());
            return Err(Failure::new(trouble, "correct its url or its tls settings"));
        }
        let same_family = |local: &&SocketAddr| known.iter().any(|address| address.is_ipv4() == local.is_ipv4());
        let Some(local) = self.addresses.iter().find(same_family) else {
            return Err(Failure::new("this machine has no address of its family", "use a server that has one"));
        };
        let found = match server {
            IceServer::Stun(_) => self.stun(index, *local).await.map_err(|error| self.failure(index, &error, UDP)),
            IceServer::Turn(turn) => self.turn(index, turn, *local).await,
        };
        found.map(|text| ((), text))
    }

    async fn stun(&self, index: usize, local: SocketAddr) -> Result<String, TurnError> {
        let nobody = UserPassword { username: String::new(), password: Secret::new("") };
        let mut client = self.client(index, local, nobody)?;
        let (mapped, taken) = client.binding(PATIENCE).await?;
        Ok(format!("this machine is seen as {mapped} ({} ms)", taken.as_millis()))
    }

    async fn turn(&self, index: usize, turn: &TurnServer, local: SocketAddr) -> Result<String, Failure> {
        let relay = self.snapshot.relays().find(|relay| relay.index == index);
        let Some(relay) = relay.cloned() else { return Err(Failure::new("it is not in use", "report this")) };
        if let Some(target) = relay.stream {
            connect(target, &turn.address, local).await?;
        }
        let remedy = if turn.transport == TurnTransport::Udp { UDP } else { "is it a TURN server?" };
        let served = async {
            let mut client = self.client(index, local, relay.credential)?;
            let begin = now();
            let allocation = client.allocate(PATIENCE).await?;
            let allocated = begin.elapsed();
            // Some servers do not answer Binding requests on a stream; that costs only this number.
            let round_trip = client.binding(PATIENCE).await.ok();
            client.release(allocation).await?;
            let round_trip = round_trip.map(|(_, taken)| format!(", round trip {} ms", taken.as_millis()));
            let (allocated, round_trip) = (allocated.as_millis(), round_trip.unwrap_or_default());
            Ok(format!("relays from {allocation} (allocated in {allocated} ms{round_trip})"))
        };
        served.await.map_err(|error: TurnError| self.failure(index, &error, remedy))
    }

    fn client(&self, index: usize, local: SocketAddr, credential: UserPassword) -> Result<TurnClient, TurnError> {
        let deaf = Arc::new(|_: &str| {});
        let link = Arc::new(LinkMeter::of(1));
        let runtime = PeerRuntime::new(self.servers.clone(), self.snapshot.clone(), self.crypto.clone(), deaf, link);
        let socket: Arc<dyn AsyncUdpSocket> = runtime.wrap_udp_socket(UdpSocket::bind(local)?)?;
        let known = self.snapshot.addresses(index);
        let server = known.iter().find(|address| address.is_ipv4() == local.is_ipv4());
        let server = *server.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        TurnClient::new(socket, server, credential, self.crypto.clone())
    }

    fn failure(&self, index: usize, error: &TurnError, remedy: &str) -> Failure {
        match (self.servers.trouble(index), error) {
            (Some(trouble), TurnError::Refused(_)) => match trouble.split_once("; ") {
                Some((reason, remedy)) => Failure::new(reason, remedy),
                None => Failure::new(trouble, "ask whoever runs it"),
            },
            (_, TurnError::Silent(_)) => Failure::new(error, remedy),
            (Some(trouble), _) => Failure::new(trouble, remedy),
            (None, _) => Failure::new(error, remedy),
        }
    }
}

/// Connects once for the sake of what there is to say when it fails.
async fn connect(target: StreamTarget, address: &ServerAddress, local: SocketAddr) -> Result<(), Failure> {
    let Err(error) = target.clone().connect(local.ip()).await else { return Ok(()) };
    let remedy = match (error.kind(), &target.tls) {
        (io::ErrorKind::ConnectionRefused, _) => "is it running, and is the port right?".to_owned(),
        (io::ErrorKind::TimedOut, _) => "does a firewall stand between?".to_owned(),
        (_, Some(tls)) => {
            let shown = target.peek(local.ip(), tls.name.clone()).await.ok();
            let remedy = certificate::remedy(&error, shown.as_ref());
            let shown = shown.map(|leaf| format!("; it shows {}", leaf.describe(unix_time()))).unwrap_or_default();
            return Err(Failure::new(format!("{error}{shown}"), remedy));
        }
        (_, None) => format!("can {address} be reached from here?"),
    };
    Err(Failure::new(error, remedy))
}

#[expect(clippy::disallowed_methods, reason = "latencies are what is measured")]
fn now() -> Instant {
    Instant::now()
}
