//! UDP sockets that never make their peer connection wait, and are never woken because they could send.
//!
//! The crate's driver is one task for sending and receiving, and with the crate's own sockets it waits for one whose send
//! buffer is full: with a slow modem in front of us that buffer holds more than a second of video, and control that has
//! arrived lies unread behind it. Here such a datagram is dropped, as the modem's own queue would have done, and the
//! driver goes on. So nobody ever waits for room, and the reactor is asked for what arrives only: otherwise each picture
//! that has left the buffer would wake the thread once more, for nothing (a third of its wake-ups at 30 frames a second).

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll, ready};

use quinn_udp::{UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// One such socket.
pub(super) struct Datagrams {
    socket: AsyncFd<UdpSocket>,
    /// What the kernel can do at once (UDP_SEGMENT, UDP_GRO).
    state: UdpSocketState,
}

impl Datagrams {
    /// Takes over a socket that has been bound.
    ///
    /// # Errors
    /// When the system does not let it be set up.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe: it wants a descriptor that stays open, as a socket's does"
        )]
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(Self { socket, state })
    }
}

impl AsyncUdpSocket for Datagrams {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    fn poll_send(&self, _cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let sent = self.state.try_send(UdpSockRef::from(self.socket.get_ref()), transmit);
        Poll::Ready(match sent {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(transmit.contents.len()),
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(cx))?;
            let received = ready.try_io(|socket| self.state.recv(UdpSockRef::from(socket.get_ref()), buffers, meta));
            // Otherwise there was nothing after all.
            let Ok(received) = received else { continue };
            for meta in meta.iter_mut().take(*received.as_ref().unwrap_or(&0)) {
                // An empty datagram has a stride of its length, and whoever takes datagrams apart divides by it.
                meta.stride = meta.stride.max(1);
            }
            return Poll::Ready(received);
        }
    }

    fn max_gso_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

impl std::fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datagrams").field("socket", &self.socket).finish_non_exhaustive()
    }
}
