//! UDP sockets that never make their peer connection wait.
//!
//! The crate's driver is one task for sending and receiving, and it waits for a socket whose send buffer is full: with a
//! slow modem in front of us that buffer holds more than a second of video, and control that has arrived lies unread
//! behind it. Here such a datagram is dropped, as the modem's own queue would have done, and the driver goes on.

use std::future::{Future as _, poll_fn};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// The same socket, but sending never waits.
pub(super) fn unhindered(socket: Arc<dyn AsyncUdpSocket>) -> Arc<dyn AsyncUdpSocket> {
    Arc::new(Unhindered(socket))
}

#[derive(Debug)]
struct Unhindered(Arc<dyn AsyncUdpSocket>);

impl AsyncUdpSocket for Unhindered {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        // Outside tokio's budget: a task that has used up its turn is told to wait, too, although the buffer has room.
        let send = tokio::task::coop::unconstrained(poll_fn(|cx| self.0.poll_send(cx, transmit)));
        match pin!(send).poll(cx) {
            Poll::Pending => Poll::Ready(Ok(transmit.contents.len())),
            done => done,
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_recv(cx, buffers, meta)
    }

    fn max_gso_segments(&self) -> usize {
        self.0.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.0.max_gro_segments()
    }
}
