//! Tries the pub server step by step: name, TCP, TLS, upgrade.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Host;

use super::certificate::{self, LeafCertificate};
use super::settings::SignalConfig;
use super::socket::{self, ConnectError, DEFAULT_PORT};
use super::tls;
use crate::calendar::unix_time;
use crate::probe::{Failure, Report};
use crate::resolver::{Patience, Resolver};

/// Each step gets this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the signalling socket could be opened.
pub(crate) async fn probe(config: &SignalConfig, resolver: &Resolver, report: &mut Report<'_>) -> bool {
    let Some(addresses) = report.line("dns", resolve(config, resolver).await) else { return false };
    let Some(address) = report.line("tcp", connect(&addresses).await) else { return false };
    if config.server.scheme() == "wss" && report.line("tls", handshake(config, address).await).is_none() {
        return false;
    }
    report.line("websocket", upgrade(config, resolver).await).is_some()
}

async fn resolve(config: &SignalConfig, resolver: &Resolver) -> Result<(Vec<SocketAddr>, String), Failure> {
    let port = config.server.port_or_known_default().unwrap_or(DEFAULT_PORT);
    let name = match config.server.host() {
        Some(Host::Ipv4(ip)) => return Ok((vec![(ip, port).into()], format!("{ip} needs no resolving"))),
        Some(Host::Ipv6(ip)) => return Ok((vec![(ip, port).into()], format!("{ip} needs no resolving"))),
        Some(Host::Domain(name)) => name,
        None => return Err(Failure::new("server.url names no host", "write wss://HOST")),
    };
    let begin = now();
    let remedy = || format!("is {name} right in server.url, and is a DNS server reachable?");
    let patience = Patience { known: PATIENCE, unknown: PATIENCE };
    let found = resolver.addresses(name, patience).await.map_err(|error| Failure::new(error, remedy()))?.addresses;
    let listed: Vec<_> = found.iter().map(ToString::to_string).collect();
    let addresses = found.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
    Ok((addresses, format!("{name} is {} ({} ms)", listed.join(", "), begin.elapsed().as_millis())))
}

async fn connect(addresses: &[SocketAddr]) -> Result<(SocketAddr, String), Failure> {
    let mut tried = Vec::new();
    for address in addresses {
        let begin = now();
        match within(TcpStream::connect(address)).await {
            Ok(_) => return Ok((*address, format!("{address} ({} ms)", begin.elapsed().as_millis()))),
            Err(error) => tried.push(format!("{address}: {error}")),
        }
    }
    Err(Failure::new(tried.join(", "), "is the server running, is the port right, does a firewall stand between?"))
}

async fn handshake(config: &SignalConfig, address: SocketAddr) -> Result<((), String), Failure> {
    let host = config.server.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(|error| Failure::new(error, "correct server.url"))?;
    let client = tls::client_config(&config.tls, tls::TLS_KEYS)
        .map_err(|error| Failure::new(error, "correct the tls section"))?;
    let begin = now();
    let connecting =
        async { TlsConnector::from(client).connect(name.clone(), TcpStream::connect(address).await?).await };
    match within(connecting).await {
        Ok(stream) => {
            let (_, session) = stream.get_ref();
            let leaf = session.peer_certificates().and_then(<[_]>::first).and_then(LeafCertificate::read);
            let leaf = leaf.map_or_else(String::new, |leaf| leaf.describe(unix_time()));
            Ok(((), format!("{leaf} ({} ms)", begin.elapsed().as_millis())))
        }
        Err(error) => {
            let peeked = async { certificate::peek(TcpStream::connect(address).await?, name).await };
            let leaf = within(peeked).await.ok();
            let shown = leaf.as_ref().map(|leaf| format!("; it shows {}", leaf.describe(unix_time())));
            let remedy = certificate::remedy(&error, leaf.as_ref());
            Err(Failure::new(format!("{error}{}", shown.unwrap_or_default()), remedy))
        }
    }
}

async fn upgrade(config: &SignalConfig, resolver: &Resolver) -> Result<((), String), Failure> {
    let begin = now();
    match socket::connect(config, resolver).await {
        Ok((socket, task)) => {
            let taken = begin.elapsed();
            socket.sender.close();
            drop(socket);
            // Closed in order where the server takes part in it.
            let _ = tokio::time::timeout(PATIENCE, task).await;
            Ok(((), format!("channel {} is open to us ({} ms)", config.channel, taken.as_millis())))
        }
        Err(error) => {
            let remedy = match &error {
                ConnectError::Upgrade(_) => "is this a Spider server, and are channel and server.token right?",
                _ => "the steps above succeeded; try again",
            };
            Err(Failure::new(error, remedy))
        }
    }
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, work).await.map_err(late)?
}

#[expect(clippy::disallowed_methods, reason = "latencies are what is measured")]
fn now() -> Instant {
    Instant::now()
}
