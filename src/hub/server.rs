//! The listeners, and the life of one connection: TLS, HTTP, and the session its WebSocket becomes.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::channels::Channels;
use super::guard::Scheme;
use super::http::{self, Arrival, Gatekeeper, Grant};
use super::signalling::Signalling;
use super::{publisher, viewer};
use crate::signal::socket;

/// Connections at once, sockets included. Full: further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;
/// A TLS handshake takes no longer.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// A request's head takes no longer, and an idle connection is closed after as long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest request head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Most header fields in a request.
const MAX_HEADERS: usize = 64;
/// The system could not accept a connection (no file descriptors left): it is asked again after this long.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);
/// Sessions get this long to say goodbye when the hub stops.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(1);

/// What the sessions share.
#[derive(Debug)]
pub struct SessionContext {
    /// Who is in which room.
    pub channels: Arc<Channels>,
    /// Where media sockets are bound.
    pub media_addresses: Vec<SocketAddr>,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

/// The open listeners.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) secure: TcpListener,
    pub(super) plain: Option<TcpListener>,
}

/// What every connection is handled with.
pub(super) struct Server {
    pub(super) tls: TlsAcceptor,
    pub(super) gate: Gatekeeper,
    pub(super) context: SessionContext,
}

/// Serves until the context's shutdown; joins every connection.
pub(super) async fn serve(server: Arc<Server>, listeners: Listeners) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = server.context.shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => note_panic(ended),
            (stream, arrival, permit) = accept(&listeners, &permits) => {
                connections.spawn(connection(server.clone(), stream, arrival, permit));
            }
        }
    }
    drop(listeners);
    let goodbyes = async { while connections.join_next().await.map(note_panic).is_some() {} };
    if tokio::time::timeout(SHUTDOWN_DEADLINE, goodbyes).await.is_err() {
        tracing::debug!(left = connections.len(), "connections that did not say goodbye are cut");
    }
    connections.shutdown().await;
}

/// The next connection, once there is room for it. Cancel-safe: a connection is taken from the kernel only to be
/// returned.
async fn accept(listeners: &Listeners, permits: &Arc<Semaphore>) -> (TcpStream, Arrival, OwnedSemaphorePermit) {
    let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        let (scheme, accepted) = tokio::select! {
            accepted = listeners.secure.accept() => (Scheme::Https, accepted),
            accepted = accept_plain(listeners.plain.as_ref()) => (Scheme::Http, accepted),
        };
        match accepted {
            Ok((stream, peer)) => return (stream, Arrival { scheme, peer }, permit),
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn accept_plain(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a connection's task failed: {error}");
    }
}

async fn connection(server: Arc<Server>, stream: TcpStream, arrival: Arrival, _permit: OwnedSemaphorePermit) {
    // Signalling frames are small and latency matters more than the number of packets.
    let _ = stream.set_nodelay(true);
    // A session says goodbye when the hub stops; a connection that is not one yet is just dropped.
    let granted = tokio::select! {
        granted = requests(&server, stream, arrival) => granted,
        () = server.context.shutdown.cancelled() => None,
    };
    if let Some((upgrade, grant)) = granted {
        session(&server, upgrade, grant).await;
    }
}

/// Serves a connection's requests until it ends, or becomes a socket.
async fn requests(server: &Server, stream: TcpStream, arrival: Arrival) -> Option<(OnUpgrade, Grant)> {
    match arrival.scheme {
        Scheme::Http => http_requests(server, stream, arrival).await,
        Scheme::Https => {
            let handshake = tokio::time::timeout(TLS_TIMEOUT, server.tls.accept(stream)).await;
            // Browsers try a connection and drop it while their user looks at the warning.
            let reason = match handshake {
                Ok(Ok(stream)) => return http_requests(server, stream, arrival).await,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no handshake within {TLS_TIMEOUT:?}"),
            };
            tracing::debug!("TLS with {}: {reason}", arrival.peer);
            None
        }
    }
}

async fn http_requests<S>(server: &Server, stream: S, arrival: Arrival) -> Option<(OnUpgrade, Grant)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let granted: Mutex<Option<(OnUpgrade, Grant)>> = Mutex::new(None);
    let service = service_fn(|mut request: Request<Incoming>| {
        let (reply, grant) = http::respond(&request, arrival, &server.gate, &server.context.channels);
        if reply.status().is_client_error() || reply.status().is_server_error() {
            tracing::debug!("{} {} from {}: {}", request.method(), request.uri().path(), arrival.peer, reply.status());
        }
        if let Some(grant) = grant {
            debug_assert_eq!(reply.status(), StatusCode::SWITCHING_PROTOCOLS);
            let upgrade = hyper::upgrade::on(&mut request);
            *granted.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, grant));
        }
        async move { Ok::<_, std::convert::Infallible>(reply) }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = http.await {
        tracing::debug!("HTTP with {}: {error}", arrival.peer);
    }
    granted.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The connection's life after its upgrade; in the same task, so that it is joined with it.
async fn session(server: &Server, upgrade: OnUpgrade, grant: Grant) {
    let stream = match upgrade.await {
        Ok(stream) => TokioIo::new(stream),
        Err(error) => return tracing::debug!("WebSocket upgrade: {error}"),
    };
    let (socket, pump) = socket::accept(stream).await;
    tokio::join!(pump, attend(server, Signalling::new(socket), grant));
}

async fn attend(server: &Server, signalling: Signalling, grant: Grant) {
    match grant {
        Grant::Publisher(seat) => publisher::run(signalling, seat, &server.context).await,
        Grant::Viewer(seat, inbox) => viewer::run(signalling, seat, inbox, &server.context).await,
    }
}

/// Where media sockets are bound, given where the hub listens: a wildcard stands for every interface, loopback for
/// itself. Whoever reaches the page or the signalling reaches one of them.
pub(super) fn media_addresses(listening: impl IntoIterator<Item = IpAddr>) -> Vec<SocketAddr> {
    let ips = listening.into_iter().flat_map(|listening| match listening {
        // The library leaves loopback out of a wildcard, yet publisher and hub are often one machine.
        IpAddr::V4(ip) if ip.is_unspecified() => vec![listening, Ipv4Addr::LOCALHOST.into()],
        IpAddr::V6(ip) if ip.is_unspecified() => {
            vec![Ipv4Addr::UNSPECIFIED.into(), listening, Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        _ => vec![listening],
    });
    let ips: BTreeSet<IpAddr> = ips.collect();
    ips.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_is_reached_where_the_page_and_the_publishers_door_are() {
        let rows: [(&[&str], &[&str]); 6] = [
            (&["127.0.0.1"], &["127.0.0.1:0"]),
            (&["127.0.0.1", "127.0.0.1"], &["127.0.0.1:0"]),
            (&["127.0.0.1", "0.0.0.0"], &["0.0.0.0:0", "127.0.0.1:0"]),
            (&["0.0.0.0", "127.0.0.1"], &["0.0.0.0:0", "127.0.0.1:0"]),
            (&["127.0.0.1", "192.168.1.5"], &["127.0.0.1:0", "192.168.1.5:0"]),
            (&["::", "127.0.0.1"], &["0.0.0.0:0", "127.0.0.1:0", "[::]:0", "[::1]:0"]),
        ];
        for (listening, expected) in rows {
            let addresses = media_addresses(listening.iter().map(|ip| ip.parse().expect("an address")));
            let addresses: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
            assert_eq!(addresses, expected, "{listening:?}");
        }
    }
}
