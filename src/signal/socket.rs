//! The WebSocket itself: one task owns it, the session talks to that task over two bounded channels.
//!
//! The only importer of tungstenite; the hub takes its server side from here too.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::http::{Request, header};
use tokio_tungstenite::tungstenite::protocol::{Role as WireRole, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Bytes};
use url::Url;

use super::settings::SignalConfig;
use super::spider::{self, Incoming, Junk, MAX_FRAME_BYTES, Message, Role};
use super::tls::{self, TlsError};
use crate::resolver::{Patience, Resolver};

/// Messages waiting to be written. Full: the peer has stopped reading, and the socket is given up.
const OUTGOING_CAPACITY: usize = 128;
/// Frames waiting to be handled. Full: the socket is not read until there is room (TCP slows the peer down).
const INCOMING_CAPACITY: usize = 64;
/// The server gets this long to accept a connection, and TLS and the upgrade as long again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that is not accepted for this long is tried at the next address beside it, and after the last at the first
/// again: an address may lead nowhere, and TCP repeats itself ever more slowly on a path that was dead for a while.
const NEXT_ATTEMPT: Duration = Duration::from_millis(250);
/// How long the resolver is waited for.
const RESOLVING: Patience = Patience { known: Duration::from_millis(250), unknown: CONNECT_TIMEOUT };
/// A frame that cannot be written for this long means that the peer has stopped reading.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server's name has no address, or could not be asked for.
    #[error("cannot resolve {host}: {reason}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No address of the server accepted a connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The last address tried.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificates to judge by cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The TLS handshake failed: usually a certificate that does not verify.
    #[error("TLS with {host}: {source}")]
    Handshake {
        /// The server's name.
        host: String,
        /// What rustls said.
        source: io::Error,
    },
    /// The server did not upgrade to a WebSocket.
    #[error("WebSocket upgrade refused: {0}")]
    Upgrade(String),
    /// Connecting took too long.
    #[error("no {stage} within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout {
        /// What was being waited for.
        stage: &'static str,
    },
}

/// Why an open socket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed it, in order or not.
    Peer(String),
    /// The peer broke the WebSocket protocol: an oversized frame, invalid UTF-8, a torn fragment.
    Protocol(String),
    /// The peer has stopped reading.
    Stalled,
    /// This end closed it.
    Ours,
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Peer(how) => write!(f, "the server closed the socket: {how}"),
            Self::Protocol(what) => write!(f, "the server broke the WebSocket protocol: {what}"),
            Self::Stalled => f.write_str("the server has stopped reading"),
            Self::Ours => f.write_str("closed by this end"),
        }
    }
}

/// What an open socket brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketEvent {
    /// A text or binary frame.
    Frame(Incoming),
    /// A WebSocket ping or pong: proof of life, nothing else.
    Alive,
    /// The socket has ended; nothing follows.
    Closed(CloseReason),
}

/// What can be written to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outgoing {
    Message(Message),
    /// A WebSocket ping: its pong shows that the server lives, whether or not it sends pings of its own.
    Probe,
    Close,
}

/// The writing end of an open socket.
#[derive(Clone, Debug)]
pub struct SocketSender {
    outgoing: mpsc::Sender<Outgoing>,
}

/// The peer has stopped reading, or the socket is gone: it is about to report [`SocketEvent::Closed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signalling socket takes no more messages")]
pub struct SocketFull;

impl SocketSender {
    /// Queues a message; never waits.
    ///
    /// # Errors
    /// [`SocketFull`] when the peer has stopped reading or the socket is gone.
    pub fn send(&self, message: Message) -> Result<(), SocketFull> {
        self.outgoing.try_send(Outgoing::Message(message)).map_err(|_| SocketFull)
    }

    /// Queues a WebSocket ping; never waits.
    ///
    /// # Errors
    /// [`SocketFull`] as for [`SocketSender::send`].
    pub fn probe(&self) -> Result<(), SocketFull> {
        self.outgoing.try_send(Outgoing::Probe).map_err(|_| SocketFull)
    }

    /// Closes the socket in order: what was queued before goes out first.
    pub fn close(&self) {
        // Full means that the peer does not read: the write timeout ends the socket then.
        let _ = self.outgoing.try_send(Outgoing::Close);
    }
}

/// An open signalling socket: the two ends of the task that owns it. Dropping both ends closes it.
#[derive(Debug)]
pub struct Socket {
    /// Writes.
    pub sender: SocketSender,
    /// What the peer sends, ending with [`SocketEvent::Closed`].
    pub events: mpsc::Receiver<SocketEvent>,
    /// Where it runs, when it was connected from here.
    pub route: Option<Route>,
}

/// The addresses of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Ours.
    pub local: SocketAddr,
    /// The server's.
    pub server: SocketAddr,
}

/// The task that owns a socket; the caller spawns it beside its other tasks, so none is detached.
pub type SocketTask = futures_util::future::BoxFuture<'static, ()>;

/// Opens the publisher's socket to the pub server: asks for the name anew, connects, TLS, upgrade.
///
/// # Errors
/// [`ConnectError`] names the step that failed.
pub async fn connect(config: &SignalConfig, resolver: &Resolver) -> Result<(Socket, SocketTask), ConnectError> {
    let url = spider::socket_url(&config.server, Role::Publisher, &config.channel, &config.query);
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let unresolved = |reason: String| ConnectError::Resolve { host: host.clone(), reason };
    let resolved = resolver.addresses(&host, RESOLVING).await.map_err(|error| unresolved(error.to_string()))?;
    if let Some(reason) = &resolved.stale {
        tracing::debug!(host, %reason, "going on with the addresses of an earlier answer");
    }
    let port = url.port_or_known_default().unwrap_or(DEFAULT_PORT);
    let addresses = resolved.addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
    let tcp = within("TCP connection", connect_tcp(addresses)).await??;
    // Signalling frames are small and latency matters more than the number of packets.
    tcp.set_nodelay(true).map_err(|source| ConnectError::Handshake { host: host.clone(), source })?;
    let route = tcp.local_addr().and_then(|local| Ok(Route { local, server: tcp.peer_addr()? })).ok();
    let routed = |(socket, task): (Socket, SocketTask)| (Socket { route, ..socket }, task);
    let request = upgrade_request(&url, config)?;
    if url.scheme() == "ws" {
        return upgrade(request, tcp).await.map(routed);
    }
    let connector = TlsConnector::from(tls::client_config(&config.tls, tls::TLS_KEYS)?);
    let name = ServerName::try_from(host.clone()).map_err(|error| unresolved(error.to_string()))?;
    let stream = within("TLS handshake", connector.connect(name, tcp))
        .await?
        .map_err(|source| ConnectError::Handshake { host, source })?;
    upgrade(request, stream).await.map(routed)
}

/// The port Spider servers listen on.
pub const DEFAULT_PORT: u16 = 8267;

/// Takes over the server side of a connection whose HTTP upgrade has been answered (see [`accept_key`]).
pub async fn accept<S>(stream: S) -> (Socket, SocketTask)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    spawn(WebSocketStream::from_raw_socket(stream, WireRole::Server, Some(limits())).await)
}

/// The `Sec-WebSocket-Accept` value that answers a client's `Sec-WebSocket-Key` (RFC 6455 §4.2.2).
pub fn accept_key(key: &[u8]) -> String {
    tungstenite::handshake::derive_accept_key(key)
}

/// The first connection that one of the addresses accepts (RFC 8305 §5); there is at least one. Fails when each has refused.
async fn connect_tcp(mut addresses: Vec<SocketAddr>) -> Result<TcpStream, ConnectError> {
    let mut attempts = FuturesUnordered::new();
    let mut next = tokio::time::interval(NEXT_ATTEMPT);
    let mut turn = 0;
    loop {
        tokio::select! {
            _ = next.tick() => {
                let address = addresses[turn % addresses.len()];
                turn += 1;
                attempts.push(async move { (address, TcpStream::connect(address).await) });
            }
            Some((address, outcome)) = attempts.next() => match outcome {
                Ok(stream) => return Ok(stream),
                Err(source) => {
                    addresses.retain(|other| *other != address);
                    if addresses.is_empty() {
                        return Err(ConnectError::Connect { address, source });
                    }
                    next.reset_immediately();
                }
            },
        }
    }
}

async fn within<T>(stage: &'static str, work: impl Future<Output = T>) -> Result<T, ConnectError> {
    tokio::time::timeout(CONNECT_TIMEOUT, work).await.map_err(|_| ConnectError::Timeout { stage })
}

fn upgrade_request(url: &Url, config: &SignalConfig) -> Result<Request<()>, ConnectError> {
    let authority = url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
    let mut request = Request::builder()
        .method("GET")
        .uri(url.as_str())
        .header(header::HOST, authority)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key());
    if let Some(token) = &config.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    // The error names no header value: the token must not reach a log.
    request
        .body(())
        .map_err(|_| ConnectError::Upgrade("server.url or server.token holds a character HTTP forbids".into()))
}

async fn upgrade<S>(request: Request<()>, stream: S) -> Result<(Socket, SocketTask), ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgraded = tokio_tungstenite::client_async_with_config(request, stream, Some(limits()));
    match within("WebSocket upgrade", upgraded).await? {
        Ok((socket, _response)) => Ok(spawn(socket)),
        Err(tungstenite::Error::Http(response)) => Err(ConnectError::Upgrade(match response.status().as_u16() {
            401 | 403 => format!("{}; check server.token and channel", response.status()),
            _ => response.status().to_string(),
        })),
        Err(error) => Err(ConnectError::Upgrade(error.to_string())),
    }
}

fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES))
        .read_buffer_size(16 * 1024)
        .write_buffer_size(0)
}

fn spawn<S>(socket: WebSocketStream<S>) -> (Socket, SocketTask)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (outgoing, to_write) = mpsc::channel(OUTGOING_CAPACITY);
    let (received, events) = mpsc::channel(INCOMING_CAPACITY);
    let task = Box::pin(async move {
        let reason = pump(socket, to_write, &received).await;
        // The receiver may be gone: then nobody waits for the reason.
        let _ = received.send(SocketEvent::Closed(reason)).await;
    });
    (Socket { sender: SocketSender { outgoing }, events, route: None }, task)
}

async fn pump<S>(
    mut socket: WebSocketStream<S>,
    mut to_write: mpsc::Receiver<Outgoing>,
    received: &mpsc::Sender<SocketEvent>,
) -> CloseReason
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        tokio::select! {
            outgoing = to_write.recv() => match outgoing {
                Some(Outgoing::Message(message)) => {
                    if let Some(reason) = write(&mut socket, tungstenite::Message::text(message.to_text())).await {
                        return reason;
                    }
                }
                Some(Outgoing::Probe) => {
                    if let Some(reason) = write(&mut socket, tungstenite::Message::Ping(Bytes::new())).await {
                        return reason;
                    }
                }
                Some(Outgoing::Close) | None => {
                    // Whatever comes of it, this socket is over.
                    let _ = tokio::time::timeout(WRITE_TIMEOUT, socket.close(None)).await;
                    return CloseReason::Ours;
                }
            },
            frame = socket.next() => {
                let event = match frame {
                    Some(Ok(frame)) => match read(frame) {
                        Ok(event) => event,
                        Err(reason) => return reason,
                    },
                    Some(Err(error)) => return close_reason(&error),
                    None => return CloseReason::Peer("connection ended".to_owned()),
                };
                if received.send(event).await.is_err() {
                    let _ = tokio::time::timeout(WRITE_TIMEOUT, socket.close(None)).await;
                    return CloseReason::Ours;
                }
            }
        }
    }
}

async fn write<S>(socket: &mut WebSocketStream<S>, frame: tungstenite::Message) -> Option<CloseReason>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match tokio::time::timeout(WRITE_TIMEOUT, socket.send(frame)).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(close_reason(&error)),
        Err(_) => Some(CloseReason::Stalled),
    }
}

fn read(frame: tungstenite::Message) -> Result<SocketEvent, CloseReason> {
    match frame {
        tungstenite::Message::Text(text) => Ok(SocketEvent::Frame(spider::parse(&text))),
        tungstenite::Message::Binary(_) => Ok(SocketEvent::Frame(Incoming::Junk(Junk::Binary))),
        tungstenite::Message::Close(frame) => {
            let reason = frame.map_or_else(|| "closed".to_owned(), |frame| format!("closed with {}", frame.code));
            Err(CloseReason::Peer(reason))
        }
        tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_) | tungstenite::Message::Frame(_) => {
            Ok(SocketEvent::Alive)
        }
    }
}

fn close_reason(error: &tungstenite::Error) -> CloseReason {
    match error {
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed | tungstenite::Error::Io(_) => {
            CloseReason::Peer(error.to_string())
        }
        other => CloseReason::Protocol(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
