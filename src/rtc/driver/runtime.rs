//! The runtime a peer connection gets: tokio's, but for how sockets are made, names are resolved, and how long a turn of
//! the driver's loop waits.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use rtc::crypto::RTCCryptoProvider;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime, TokioRuntime, Transmit,
};

use super::datagrams::Datagrams;
use super::flight::Sent;
use super::flush::Flush;
use super::repeating::Repeating;
use super::unheard::Unheard;
use super::wait::Wait;
use crate::quiet::Quiet;
use crate::rtc::congestion::meter::LinkMeter;
use crate::rtc::ice::servers::{IceServers, Purpose, Relay, Snapshot};
use crate::rtc::turn::socket::RelaySocket;

/// A turn of the driver's loop that has begun is over after this long, unless the machine is very busy.
const LONGEST_TURN: Duration = Duration::from_millis(2);

/// Called from the driver's task when the relay that carried the media is gone: must return at once.
pub(crate) type RelayLostSink = Arc<dyn Fn(&str) + Send + Sync>;

/// What the sockets of one peer connection share with its runtime.
pub(crate) struct Shared {
    servers: Arc<IceServers>,
    crypto: Arc<dyn RTCCryptoProvider>,
    on_lost: RelayLostSink,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    snapshot: Arc<Snapshot>,
    flush: Flush,
    wait: Wait,
    dropped: Quiet,
    /// Of whichever socket: what is back after an outage may be another way.
    unheard: Unheard,
}

impl Shared {
    pub(crate) fn crypto(&self) -> Arc<dyn RTCCryptoProvider> {
        self.crypto.clone()
    }

    pub(crate) fn note_traffic(&self, now: Instant) {
        self.lock().flush.note_traffic(now);
    }

    /// ICE or the handshake has taken a step.
    pub(super) fn note_step(&self, now: Instant) {
        self.lock().flush.note_step(now);
    }

    /// Media or data have gone over a socket.
    pub(super) fn note_up(&self) {
        self.lock().flush.note_up();
    }

    /// A datagram has come.
    pub(super) fn received(&self, datagram: &[u8], now: fn() -> Instant) {
        self.lock().unheard.received(datagram, now);
    }

    /// A datagram was sent, or several of a size: what is to go out behind it.
    pub(super) fn sent(&self, transmit: &Transmit<'_>, now: fn() -> Instant) -> Vec<Sent> {
        self.lock().unheard.sent(transmit, now)
    }

    pub(crate) fn note_trouble(&self, server: usize, trouble: Option<&str>) {
        self.servers.note(server, trouble);
    }

    pub(crate) fn note_dropped(&self, server: usize, messages: u64, now: Instant) {
        if let Some(suppressed) = self.lock().dropped.admit(now) {
            tracing::debug!(server, messages, suppressed, "the stream to a TURN server is congested; dropped");
        }
    }

    pub(crate) fn note_unsent(&self, server: usize, error: &io::Error, now: Instant) {
        if let Some(suppressed) = self.lock().dropped.admit(now) {
            tracing::debug!(server, %error, suppressed, "a datagram to a TURN server cannot be sent; dropped");
        }
    }

    pub(crate) fn lost(&self, reason: &str) {
        (self.on_lost)(reason);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module's documentation. One for each peer connection.
pub(crate) struct PeerRuntime {
    tokio: TokioRuntime,
    shared: Arc<Shared>,
    link: Arc<LinkMeter>,
}

impl PeerRuntime {
    pub(crate) fn new(
        servers: Arc<IceServers>,
        snapshot: Arc<Snapshot>,
        crypto: Arc<dyn RTCCryptoProvider>,
        on_lost: RelayLostSink,
        link: Arc<LinkMeter>,
    ) -> Self {
        let state = Mutex::new(State { snapshot, ..State::default() });
        Self { tokio: TokioRuntime, shared: Arc::new(Shared { servers, crypto, on_lost, state }), link }
    }

    /// For a connection that uses no servers and publishes no pictures: the hub's.
    ///
    /// # Errors
    /// When there is no cryptography, which a build always has.
    pub(crate) fn without_relays() -> Result<Self, rtc::crypto::CryptoError> {
        let servers = Arc::new(IceServers::new(&[], Purpose::Sessions, Arc::default()));
        let crypto = rtc::crypto::default_provider()?;
        Ok(Self::new(servers, Arc::default(), crypto, Arc::new(|_| {}), Arc::new(LinkMeter::of(1))))
    }

    /// The sockets bound from now on use these servers.
    pub(crate) fn set_servers(&self, snapshot: Arc<Snapshot>) {
        self.shared.lock().snapshot = snapshot;
    }

    /// To be awaited before the connection is closed: from then on its driver only waits for the word that it is to end,
    /// and tells the peer. See [`Flush::close`].
    pub(crate) async fn prepare_close(&self) {
        self.shared.lock().flush.close();
        self.tokio.sleep(LONGEST_TURN).await;
    }

    /// Checks over relays are about to begin.
    pub(crate) fn expect_traffic(&self) {
        if self.shared.lock().snapshot.relays().next().is_some() {
            self.shared.note_traffic(self.now());
        }
    }
}

impl Runtime for PeerRuntime {
    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let local = socket.local_addr()?;
        let udp: Arc<dyn AsyncUdpSocket> = Arc::new(Datagrams::new(socket)?);
        let snapshot = {
            let mut state = self.shared.lock();
            state.flush.note_socket();
            state.snapshot.clone()
        };
        let reachable = |relay: &Relay| Some((relay.destination(local)?, relay.clone()));
        let relays: Vec<_> = snapshot.relays().filter_map(reachable).collect();
        let socket =
            if relays.is_empty() { udp } else { Arc::new(RelaySocket::new(udp, relays, self.shared.clone())?) };
        Ok(Arc::new(Repeating::new(socket, self.shared.clone())))
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        // Resolved beforehand: the driver carries media while it waits for this.
        let resolved = self.shared.lock().snapshot.resolve(host);
        Box::pin(std::future::ready(resolved))
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let now = self.now();
        let mut state = self.shared.lock();
        if state.flush.at_once(now) {
            let shared = self.shared.clone();
            // Polled only when nothing else was ready before it.
            return Box::pin(std::future::poll_fn(move |_| {
                shared.lock().flush.nothing_happened();
                Poll::Ready(())
            }));
        }
        self.tokio.sleep(state.wait.of(duration, self.link.sent_packets(), self.link.holds_back(), now))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        self.tokio.spawn(future)
    }

    fn wrap_tcp_listener(&self, listener: TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.tokio.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        remote_addr: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        self.tokio.connect_tcp(remote_addr)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        self.tokio.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.tokio.block_on(future);
    }

    fn yield_now(&self) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        self.tokio.yield_now()
    }

    fn name(&self) -> &'static str {
        "tokio, with relays"
    }
}

impl fmt::Debug for PeerRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerRuntime").finish_non_exhaustive()
    }
}
