//! A UDP socket of a peer connection, some of whose destinations are TURN servers.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use super::exchange::{Exchange, Seen};
use super::framing::Framed;
use super::link::Link;
use super::queue::{carries_data, carries_media};
use super::stream::StreamTarget;
use crate::rtc::driver::runtime::Shared;
use crate::rtc::ice::servers::Relay;

/// A relay that carried no media for this long is not the selected way.
const CARRIES_MEDIA: Duration = Duration::from_secs(1);
/// UDP, TCP and TLS.
const RANKS: usize = 3;
/// The answer to a request for an allocation that was granted (RFC 8656 §18.4: method 0x003, class success).
const ALLOCATED: [u8; 2] = [0x01, 0x03];

pub(crate) struct RelaySocket {
    udp: Arc<dyn AsyncUdpSocket>,
    shared: Arc<Shared>,
    /// The destination of each of `State::paths`; it never changes.
    destinations: Vec<SocketAddr>,
    /// Of the paths of each rank, how many may still give an allocation.
    open: watch::Sender<[usize; RANKS]>,
    state: Mutex<State>,
}

struct State {
    paths: Vec<Path>,
    /// Woken when there is something to receive: the socket's reader also drives the streams' connecting and writing.
    reader: Waker,
    /// Which of UDP and streams is asked first, in turn, so that neither starves.
    streams_first: bool,
}

/// The way to one TURN server.
struct Path {
    server: usize,
    destination: SocketAddr,
    exchange: Exchange,
    /// When it is not UDP.
    link: Option<Link>,
    /// By its transport, the best first; see [`rank`].
    rank: usize,
    /// Whether it is known what became of its allocation.
    settled: bool,
    allocated: bool,
    carried_media: Option<Instant>,
    broken: bool,
}

impl Path {
    /// What to tell the crate when nothing can be sent any more. While it asks for an allocation, an error ends its
    /// gathering; later it would give the allocation up, and what becomes of that is decided here.
    fn refuse(&self, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let lost = io::Error::new(io::ErrorKind::NotConnected, "the connection to the TURN server is lost");
        Poll::Ready(if self.allocated { Ok(transmit.contents.len()) } else { Err(lost) })
    }
}

impl RelaySocket {
    /// Wraps a socket that has been bound. `relays` are those it can reach.
    pub(crate) fn new(
        udp: Arc<dyn AsyncUdpSocket>,
        relays: Vec<(SocketAddr, Relay)>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let local = udp.local_addr()?.ip();
        let mut count = [0; RANKS];
        relays.iter().for_each(|(_, relay)| count[rank(relay)] += 1);
        let open = watch::Sender::new(count);
        let path = |(destination, relay): (SocketAddr, Relay)| {
            let rank = rank(&relay);
            Path {
                server: relay.index,
                destination,
                exchange: Exchange::new(relay.credential, shared.crypto()),
                link: relay.stream.map(|target| Link::new(target, local, all_settled(open.subscribe(), rank))),
                rank,
                settled: false,
                allocated: false,
                carried_media: None,
                broken: false,
            }
        };
        let paths: Vec<_> = relays.into_iter().map(path).collect();
        let destinations = paths.iter().map(|path| path.destination).collect();
        let state = Mutex::new(State { paths, reader: Waker::noop().clone(), streams_first: false });
        Ok(Self { udp, shared, destinations, open, state })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only the connection's one driver polls a socket, and a panic there ends the connection.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send_by_udp(&self, path: &mut Path, transmit: &Transmit<'_>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let sent = match path.exchange.outgoing(transmit.contents) {
            None => self.udp.poll_send(cx, transmit),
            Some(signed) => {
                let signed = Transmit { contents: &signed, segment_size: None, ..clone(transmit) };
                self.udp.poll_send(cx, &signed)
            }
        };
        match sent {
            // The crate would never again use an allocation that one datagram did not get to. A route that is gone for a
            // moment, or a firewall's refusal, loses that datagram; of a way that stays gone, ICE's checks tell.
            Poll::Ready(Err(error)) if path.allocated => {
                self.shared.note_unsent(path.server, &error, now());
                Poll::Ready(Ok(transmit.contents.len()))
            }
            sent => sent,
        }
    }

    fn receive_from_streams(
        &self,
        state: &mut State,
        buffer: &mut [u8],
        meta: &mut RecvMeta,
        cx: &mut Context<'_>,
    ) -> bool {
        let now = now();
        for path in &mut state.paths {
            let Some(link) = path.link.as_mut().filter(|_| !path.broken) else { continue };
            match link.poll_receive(buffer, now, cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(bytes)) => {
                    self.look_at(path, &mut buffer[..bytes], now);
                    *meta = RecvMeta::default();
                    meta.addr = path.destination;
                    meta.len = bytes;
                    meta.stride = bytes;
                    return true;
                }
                Poll::Ready(Err(error)) => self.broken(path, &error, now),
            }
        }
        false
    }

    fn look_at_datagrams(&self, state: &mut State, bufs: &mut [IoSliceMut<'_>], meta: &[RecvMeta]) {
        for (buffer, meta) in bufs.iter_mut().zip(meta) {
            let Some(index) = self.destinations.iter().position(|address| *address == meta.addr) else { continue };
            let now = now();
            let received = meta.len.min(buffer.len());
            for datagram in buffer[..received].chunks_mut(meta.stride.max(1)) {
                self.look_at(&mut state.paths[index], datagram, now);
            }
        }
    }

    /// Something has come from a TURN server.
    fn look_at(&self, path: &mut Path, message: &mut [u8], now: Instant) {
        self.shared.note_traffic(now);
        if carries_media(message) {
            path.carried_media = Some(now);
        }
        if carries_data(message) {
            return;
        }
        if message.starts_with(&ALLOCATED) {
            path.allocated = true;
            self.settled(path);
            self.shared.note_trouble(path.server, None);
        }
        match path.exchange.incoming(message) {
            Seen::Ordinary | Seen::StaleNonce => {}
            Seen::AllocationRefused(reason) => {
                let trouble = format!("it refuses an allocation: {reason}{}", remedy(&reason));
                self.shared.note_trouble(path.server, Some(&trouble));
                self.settled(path);
            }
            Seen::RefreshRefused(reason) => self.lost(path, &format!("it gave up our allocation: {reason}"), now),
        }
    }

    /// It is known what became of the allocation: those who would be second best need not wait for it.
    fn settled(&self, path: &mut Path) {
        if !std::mem::replace(&mut path.settled, true) {
            self.open.send_modify(|open| open[path.rank] -= 1);
        }
    }

    fn broken(&self, path: &mut Path, error: &io::Error, now: Instant) {
        path.broken = true;
        self.settled(path);
        self.lost(path, &error.to_string(), now);
    }

    fn lost(&self, path: &mut Path, reason: &str, now: Instant) {
        self.shared.note_trouble(path.server, Some(reason));
        // A relay that is only held in reserve is missed at the next ICE restart at the earliest.
        let carried = path.carried_media.take();
        if carried.is_some_and(|at| now.saturating_duration_since(at) < CARRIES_MEDIA) {
            self.shared.lost(reason);
        }
    }
}

impl AsyncUdpSocket for RelaySocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let Some(index) = self.destinations.iter().position(|address| *address == transmit.destination) else {
            return self.udp.poll_send(cx, transmit);
        };
        let now = now();
        let mut state = self.lock();
        let State { paths, reader, .. } = &mut *state;
        let path = &mut paths[index];
        self.shared.note_traffic(now);
        if carries_media(transmit.contents) {
            path.carried_media = Some(now);
        }
        let Some(link) = &mut path.link else { return self.send_by_udp(path, transmit, cx) };
        if path.broken {
            return path.refuse(transmit);
        }
        let signed = path.exchange.outgoing(transmit.contents);
        // Never waits: what the stream does not take now is queued, or dropped as a router drops it. What is not TURN
        // has no business there; the crate sends nothing else.
        let Ok(framed) = Framed::of(signed.as_deref().unwrap_or(transmit.contents)) else {
            return Poll::Ready(Ok(transmit.contents.len()));
        };
        let sent = link.send(framed, now, &mut Context::from_waker(reader));
        let dropped = link.take_dropped();
        if dropped > 0 {
            self.shared.note_dropped(path.server, dropped, now);
        }
        match sent {
            Ok(()) => Poll::Ready(Ok(transmit.contents.len())),
            Err(error) => {
                self.broken(path, &error, now);
                path.refuse(transmit)
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        state.reader.clone_from(cx.waker());
        state.streams_first = !state.streams_first;
        let streams_first = state.streams_first;
        for streams in [streams_first, !streams_first] {
            if streams {
                let (Some(buffer), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else { continue };
                if self.receive_from_streams(&mut state, buffer, meta, cx) {
                    return Poll::Ready(Ok(1));
                }
            } else if let Poll::Ready(received) = self.udp.poll_recv(cx, bufs, meta) {
                if let Ok(count) = received {
                    self.look_at_datagrams(&mut state, bufs, &meta[..count]);
                }
                return Poll::Ready(received);
            }
        }
        Poll::Pending
    }

    fn max_gso_segments(&self) -> usize {
        self.udp.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.udp.max_gro_segments()
    }
}

impl fmt::Debug for RelaySocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelaySocket").field("udp", &self.udp).field("destinations", &self.destinations).finish()
    }
}

/// A relay by UDP is better than one by TCP, where what was lost holds up what comes after it, and that than one by TLS.
fn rank(relay: &Relay) -> usize {
    match &relay.stream {
        None => 0,
        Some(StreamTarget { tls: None, .. }) => 1,
        Some(StreamTarget { tls: Some(_), .. }) => 2,
    }
}

/// Waits until it is known of every path that is better than this rank what became of it.
async fn all_settled(mut open: watch::Receiver<[usize; RANKS]>, rank: usize) {
    // The sender lives as long as who waits.
    let _ = open.wait_for(|open| open[..rank].iter().all(|paths| *paths == 0)).await;
}

fn clone<'a>(transmit: &Transmit<'a>) -> Transmit<'a> {
    Transmit {
        destination: transmit.destination,
        ecn: transmit.ecn,
        contents: transmit.contents,
        segment_size: transmit.segment_size,
        src_ip: transmit.src_ip,
    }
}

/// What to do about a refused allocation (RFC 8656 §19).
pub(crate) fn remedy(reason: &str) -> &'static str {
    match reason.get(..3) {
        Some("401") => "; check its username and credential, or its rest_secret and this machine's clock",
        Some("486") => "; its quota for this user is used up",
        Some("508") => "; it has no relay port left",
        _ => "",
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell of pure parts")]
fn now() -> Instant {
    Instant::now()
}
