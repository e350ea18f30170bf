//! A connection to a TURN server by TCP, with or without TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::signal::certificate::{self, LeafCertificate};

/// One address gets this long to accept, and TLS as long again.
const STEP_TIMEOUT: Duration = Duration::from_secs(4);
/// Addresses of one server that are tried.
const MAX_ADDRESSES: usize = 3;
/// What the kernel may hold unsent, in bytes. More would be delay: the kernel cannot drop what is too late, we can.
const UNSENT_BYTES: u32 = 16 * 1024;
/// The connection is given up when the server acknowledges nothing for this long.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// How one TURN server is reached by a stream.
#[derive(Clone)]
pub(crate) struct StreamTarget {
    /// In the order they are tried.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) tls: Option<Tls>,
    /// How long it waits for better ways to be known before it connects.
    pub(crate) patience: Duration,
}

/// How the server's certificate is judged, and the name it must be for.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

/// Either kind of connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl StreamTarget {
    /// Connects from this local address, so that the server's relay belongs to this interface's way.
    pub(crate) async fn connect(self, local: IpAddr) -> io::Result<Box<dyn Stream>> {
        let tcp = self.connect_tcp(local).await?;
        let Some(Tls { config, name }) = self.tls else { return Ok(Box::new(tcp)) };
        let handshake = TlsConnector::from(config).connect(name, tcp);
        Ok(Box::new(within("TLS handshake", handshake).await?))
    }

    /// The certificate the server shows, whatever it is worth.
    pub(crate) async fn peek(&self, local: IpAddr, name: ServerName<'static>) -> io::Result<LeafCertificate> {
        let tcp = self.connect_tcp(local).await?;
        within("TLS handshake", certificate::peek(tcp, name)).await
    }

    async fn connect_tcp(&self, local: IpAddr) -> io::Result<TcpStream> {
        let mut outcome =
            Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "the server has no address of this family"));
        let reachable = self.addresses.iter().filter(|address| address.is_ipv4() == local.is_ipv4());
        for address in reachable.take(MAX_ADDRESSES) {
            outcome = within("TCP connection", connect_one(local, *address)).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

async fn connect_one(local: IpAddr, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if !local.is_unspecified() {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let tcp = socket.connect(server).await?;
    tcp.set_nodelay(true)?;
    let options = SockRef::from(&tcp);
    options.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    options.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(tcp)
}

async fn within<T>(what: &str, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no {what} within {} s", STEP_TIMEOUT.as_secs()));
    tokio::time::timeout(STEP_TIMEOUT, work).await.map_err(late)?
}
