//! One stream to one TURN server, driven by the polls of the socket it belongs to: no task, no channel, nothing to join.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_util::future::BoxFuture;
use tokio::io::ReadBuf;

use super::framing::{Decoder, Framed};
use super::queue::SendQueue;
use super::stream::{Stream, StreamTarget};

pub(crate) struct Link {
    state: State,
    writer: Writer,
    decoder: Decoder,
}

enum State {
    /// Begins when it is first polled, which is when there is something to send.
    Connecting(BoxFuture<'static, io::Result<Box<dyn Stream>>>),
    Open(Box<dyn Stream>),
    Broken,
}

impl Link {
    /// A link that connects, from this local address, when it has something to send and either all `better` ways are known
    /// or it has lost its patience.
    pub(crate) fn new(target: StreamTarget, local: IpAddr, better: impl Future<Output = ()> + Send + 'static) -> Self {
        let connecting = async move {
            // Either way it is time.
            let _ = tokio::time::timeout(target.patience, better).await;
            target.connect(local).await
        };
        Self { state: State::Connecting(Box::pin(connecting)), writer: Writer::default(), decoder: Decoder::default() }
    }

    /// Sends a message, now or later. `cx` is woken when [`Link::poll_receive`] is to be called.
    ///
    /// # Errors
    /// Why the link is broken; it stays so.
    pub(crate) fn send(&mut self, framed: Framed<'_>, now: Instant, cx: &mut Context<'_>) -> io::Result<()> {
        self.writer.push(framed, now);
        self.progress(now, cx)
    }

    /// Goes on with connecting and writing, and copies the next message into `buffer`. A message that does not fit is
    /// dropped.
    ///
    /// # Errors
    /// Why the link is broken; it stays so.
    pub(crate) fn poll_receive(
        &mut self,
        buffer: &mut [u8],
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.progress(now, cx)?;
        let State::Open(stream) = &mut self.state else { return Poll::Pending };
        let received = ready!(receive(stream, &mut self.decoder, buffer, cx));
        Poll::Ready(received.map_err(|error| self.broken(error)))
    }

    /// Messages that were dropped because the stream did not take them in time, since this was last asked.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        self.writer.queue.take_dropped()
    }

    fn progress(&mut self, now: Instant, cx: &mut Context<'_>) -> io::Result<()> {
        self.try_progress(now, cx).map_err(|error| self.broken(error))
    }

    fn broken(&mut self, error: io::Error) -> io::Error {
        self.state = State::Broken;
        match error.kind() {
            // TLS has a longer story about it.
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "the server closed the connection"),
            _ => error,
        }
    }

    fn try_progress(&mut self, now: Instant, cx: &mut Context<'_>) -> io::Result<()> {
        if self.writer.is_idle() && matches!(self.state, State::Connecting(_)) {
            return Ok(());
        }
        if let State::Connecting(connecting) = &mut self.state {
            match connecting.as_mut().poll(cx) {
                Poll::Ready(stream) => {
                    self.state = State::Open(stream?);
                    // It may have been a `send` that got here: only `poll_receive` asks to be woken by what comes in.
                    cx.waker().wake_by_ref();
                }
                Poll::Pending => return Ok(()),
            }
        }
        match &mut self.state {
            State::Open(stream) => self.writer.write(stream, now, cx),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

fn receive(
    stream: &mut dyn Stream,
    decoder: &mut Decoder,
    buffer: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    loop {
        let message = decoder.next().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if let Some(message) = message {
            if let Some(place) = buffer.get_mut(..message.len()) {
                place.copy_from_slice(message);
                return Poll::Ready(Ok(message.len()));
            }
            continue;
        }
        let mut space = ReadBuf::new(decoder.space());
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut space))?;
        let read = space.filled().len();
        if read == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        decoder.filled(read);
    }
}

#[derive(Default)]
struct Writer {
    queue: SendQueue,
    /// What the stream is being given, and how much of it it has taken. Empty only when the stream holds nothing back:
    /// out of its own buffer nothing can be dropped any more.
    writing: Vec<u8>,
    written: usize,
}

impl Writer {
    fn push(&mut self, framed: Framed<'_>, now: Instant) {
        if self.is_idle() {
            framed.append_to(&mut self.writing);
        } else {
            self.queue.push(framed, now);
        }
    }

    fn is_idle(&self) -> bool {
        self.writing.is_empty() && self.queue.is_empty()
    }

    /// Writes until nothing waits or the stream takes no more.
    fn write(&mut self, stream: &mut dyn Stream, now: Instant, cx: &mut Context<'_>) -> io::Result<()> {
        let mut stream = Pin::new(stream);
        while !self.writing.is_empty() {
            while self.written < self.writing.len() {
                match stream.as_mut().poll_write(cx, &self.writing[self.written..]) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(bytes)) => self.written += bytes,
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => return Ok(()),
                }
            }
            match stream.as_mut().poll_flush(cx)? {
                Poll::Ready(()) => {}
                Poll::Pending => return Ok(()),
            }
            self.writing.clear();
            self.written = 0;
            self.queue.fill(&mut self.writing, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    /// A link whose server has accepted already, and the server's end.
    fn link(buffer: usize) -> (Link, DuplexStream) {
        let (near, far) = duplex(buffer);
        (in_state(State::Open(Box::new(near))), far)
    }

    fn in_state(state: State) -> Link {
        Link { state, writer: Writer::default(), decoder: Decoder::default() }
    }

    fn channel_data(number: u8, payload: u16) -> Vec<u8> {
        let mut message = vec![0x40, number];
        message.extend_from_slice(&payload.to_be_bytes());
        message.resize(4 + usize::from(payload), number);
        message
    }

    fn send(link: &mut Link, message: &[u8], now: Instant, cx: &mut Context<'_>) -> io::Result<()> {
        link.send(Framed::of(message).expect("a message"), now, cx)
    }

    #[tokio::test]
    async fn a_connection_that_opens_while_sending_has_the_reader_polled() {
        let (near, _far) = duplex(1024);
        let connected: io::Result<Box<dyn Stream>> = Ok(Box::new(near));
        let mut link = in_state(State::Connecting(Box::pin(std::future::ready(connected))));
        let woken = Arc::new(Woken::default());
        let waker = woken.clone().into();
        send(&mut link, &channel_data(1, 4), start(), &mut Context::from_waker(&waker)).expect("sent");
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "or nothing that comes in would be noticed");
    }

    #[tokio::test]
    async fn a_stalled_server_blocks_nobody_and_gets_the_newest_when_it_reads_again() {
        let (mut link, mut far) = link(2048);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let begin = start();
        for number in 0..100_u8 {
            let now = begin + Duration::from_millis(10) * u32::from(number);
            send(&mut link, &channel_data(number, 996), now, &mut cx).expect("queued or dropped");
        }
        assert!(link.take_dropped() > 0);
        let now = begin + Duration::from_secs(1);
        let mut stream = Vec::new();
        // What is in the pipe is read; then the link has room to go on, until it has nothing more.
        while far.read_buf(&mut stream).now_or_never().is_some() {
            assert!(link.poll_receive(&mut [0; 2048], now, &mut cx).is_pending());
        }
        let received: Vec<_> = stream.chunks(1000).map(|message| message[1]).collect();
        assert_eq!(received.first(), Some(&0), "what the stream had taken it delivers");
        assert_eq!(received.last(), Some(&99));
        assert!(received.is_sorted() && received.len() < 40, "in order, and only what is fresh: {received:?}");
    }

    #[tokio::test]
    async fn a_link_that_broke_stays_broken_and_says_so() {
        for junk in [&b"220 mail.example.org ESMTP\r\n"[..], b""] {
            let (mut link, mut far) = link(1024);
            far.write_all(junk).await.expect("room");
            drop(far);
            let (mut buffer, now) = ([0; 2048], start());
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(matches!(link.poll_receive(&mut buffer, now, &mut cx), Poll::Ready(Err(_))));
            assert!(matches!(link.poll_receive(&mut buffer, now, &mut cx), Poll::Ready(Err(_))));
            assert!(send(&mut link, &channel_data(1, 4), now, &mut cx).is_err());
        }
    }

    #[tokio::test]
    async fn a_message_larger_than_the_readers_buffer_is_left_out() {
        let (mut link, mut far) = link(4096);
        far.write_all(&[channel_data(1, 1996), channel_data(2, 8)].concat()).await.expect("room");
        let (mut buffer, now) = ([0; 1500], start());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Ok(length)) = link.poll_receive(&mut buffer, now, &mut cx) else { panic!("a message") };
        assert_eq!(buffer[..length], channel_data(2, 8));
    }
}
