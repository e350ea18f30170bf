//! A peer connection's socket that repeats the flights of its handshake, and after an outage what the data channels sent in
//! it.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use super::flight::{Flight, Kind, Sent};
use super::runtime::Shared;

pub(super) struct Repeating {
    socket: Arc<dyn AsyncUdpSocket>,
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Nothing is left to do for the handshake.
    over: AtomicBool,
}

struct State {
    /// Something has gone over it that comes after the handshake.
    up: bool,
    flight: Flight,
    timer: Option<Pin<Box<Sleep>>>,
    /// Woken when there is something to receive: the socket's reader also does the repeating.
    reader: Waker,
}

impl Repeating {
    /// Wraps a socket of the connection whose sockets share this.
    pub(super) fn new(socket: Arc<dyn AsyncUdpSocket>, shared: Arc<Shared>) -> Self {
        let state = State { up: false, flight: Flight::default(), timer: None, reader: Waker::noop().clone() };
        Self { socket, shared, state: Mutex::new(state), over: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only the connection's one driver polls a socket, and a panic there ends the connection.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        // Only the driver's task asks, and only it decides.
        self.over.load(Ordering::Relaxed)
    }

    /// A datagram of this kind has come or gone.
    fn note(&self, state: &mut State, kind: Kind) {
        if kind != Kind::Later {
            return self.shared.note_step(now());
        }
        if !std::mem::replace(&mut state.up, true) {
            self.shared.note_up();
        }
        if state.flight.due().is_none() {
            state.timer = None;
            self.over.store(true, Ordering::Relaxed);
        }
    }

    /// Repeats what is due, and has the reader woken when more is.
    fn poll_repeat(&self, state: &mut State) {
        let State { flight, timer, reader, .. } = state;
        let mut cx = Context::from_waker(reader);
        while let Some(due) = flight.due().map(tokio::time::Instant::from_std) {
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(&mut cx).is_pending() {
                return;
            }
            self.send_again(&mut cx, flight.repeat(now()));
        }
        *timer = None;
    }

    fn send_again(&self, cx: &mut Context<'_>, datagrams: &[Sent]) {
        for Sent { destination, contents, segment_size } in datagrams {
            let transmit =
                Transmit { destination: *destination, ecn: None, contents, segment_size: *segment_size, src_ip: None };
            // What cannot be sent now is lost like any other; the next time may be better.
            let _ = self.socket.poll_send(cx, &transmit);
        }
    }
}

impl AsyncUdpSocket for Repeating {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let sent = self.socket.poll_send(cx, transmit);
        if sent.is_ready() {
            self.send_again(cx, &self.shared.sent(transmit, now));
        }
        if self.is_over() {
            return sent;
        }
        let kind = Kind::of(transmit.contents);
        let mut state = self.lock();
        match kind {
            Kind::Handshake if sent.is_ready() => {
                state.flight.sent(Sent::of(transmit), now());
                self.poll_repeat(&mut state);
            }
            Kind::Later => state.flight.sent_later(),
            Kind::Handshake | Kind::Other => {}
        }
        self.note(&mut state, kind);
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.socket.poll_recv(cx, buffers, meta);
        let datagrams = || {
            let count = if let Poll::Ready(Ok(count)) = received { count } else { 0 };
            let read = buffers.iter().zip(meta.iter()).take(count);
            read.flat_map(|(buffer, meta)| buffer[..meta.len.min(buffer.len())].chunks(meta.stride.max(1)))
        };
        datagrams().for_each(|datagram| self.shared.received(datagram, now));
        if self.is_over() {
            return received;
        }
        let mut state = self.lock();
        state.reader.clone_from(cx.waker());
        match received {
            Poll::Ready(Ok(_)) => {
                for kind in datagrams().map(Kind::of) {
                    state.flight.received(kind);
                    self.note(&mut state, kind);
                }
            }
            Poll::Pending => self.poll_repeat(&mut state),
            Poll::Ready(Err(_)) => {}
        }
        received
    }

    fn max_gso_segments(&self) -> usize {
        self.socket.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.socket.max_gro_segments()
    }
}

impl fmt::Debug for Repeating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeating").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell of pure parts")]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
