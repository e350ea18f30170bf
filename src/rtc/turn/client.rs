//! A STUN and TURN client of our own on one of our sockets: what a probe does to learn whether a server serves.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::crypto::RTCCryptoProvider;
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use rtc::turn::client::{Client, ClientConfig, Event};
use webrtc::runtime::AsyncUdpSocket;

use super::framing::MAX_MESSAGE_BYTES;
use crate::rtc::ice::credential::UserPassword;

/// Why a server does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server refused.
    #[error("{0}")]
    Refused(String),
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
}

pub(crate) struct TurnClient {
    socket: Arc<dyn AsyncUdpSocket>,
    local: SocketAddr,
    server: SocketAddr,
    pub(super) client: Client,
}

impl TurnClient {
    /// A client of the server that this socket reaches at this address.
    pub(crate) fn new(
        socket: Arc<dyn AsyncUdpSocket>,
        server: SocketAddr,
        credential: UserPassword,
        crypto: Arc<dyn RTCCryptoProvider>,
    ) -> Result<Self, TurnError> {
        let local = socket.local_addr()?;
        let config = ClientConfig {
            stun_serv_addr: server.to_string(),
            turn_serv_addr: server.to_string(),
            local_addr: local,
            username: credential.username,
            password: credential.password.expose().to_owned(),
            ..ClientConfig::default()
        };
        let client = Client::new(config, crypto).map_err(refused)?;
        Ok(Self { socket, local, server, client })
    }

    /// Asks for an allocation; returns its address.
    pub(crate) async fn allocate(&mut self, patience: Duration) -> Result<SocketAddr, TurnError> {
        let transaction = self.client.allocate(now()).map_err(refused)?;
        self.wait(patience, |event| match event {
            Event::AllocateResponse(of, address) if of == transaction => Some(Ok(address)),
            Event::AllocateError(_, error) => Some(Err(refused(error))),
            _ => None,
        })
        .await
    }

    /// This end's address as the server sees it (RFC 8489 Binding), and how long it took to hear of it.
    pub(crate) async fn binding(&mut self, patience: Duration) -> Result<(SocketAddr, Duration), TurnError> {
        let begin = now();
        let transaction = self.client.send_binding_request(begin).map_err(refused)?;
        let address = self
            .wait(patience, |event| match event {
                Event::BindingResponse(of, address) if of == transaction => Some(Ok(address)),
                Event::BindingError(of, error) if of == transaction => Some(Err(refused(error))),
                _ => None,
            })
            .await?;
        Ok((address, now().saturating_duration_since(begin)))
    }

    /// Gives the allocation back. The server may or may not hear it.
    pub(crate) async fn release(mut self, allocation: SocketAddr) -> Result<(), TurnError> {
        self.client.relay(allocation).and_then(|mut relay| relay.close(now())).map_err(refused)?;
        self.send().await
    }

    async fn send(&mut self) -> Result<(), TurnError> {
        while let Some(message) = self.client.poll_write() {
            self.socket.send_to(&message.message, message.transport.peer_addr).await?;
        }
        Ok(())
    }

    /// The first wanted event.
    pub(super) async fn wait<T>(
        &mut self,
        patience: Duration,
        mut wanted: impl FnMut(Event) -> Option<Result<T, TurnError>>,
    ) -> Result<T, TurnError> {
        let deadline = now() + patience;
        let mut buffer = [0; MAX_MESSAGE_BYTES];
        loop {
            self.send().await?;
            while let Some(event) = self.client.poll_event() {
                if let Some(outcome) = wanted(event) {
                    return outcome;
                }
            }
            let wake = self.client.poll_timeout().map_or(deadline, |timeout| timeout.min(deadline));
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    let (length, peer_addr) = received?;
                    self.receive(&buffer[..length], peer_addr).map_err(refused)?;
                }
                () = tokio::time::sleep_until(wake.into()) => {
                    if now() >= deadline {
                        return Err(TurnError::Silent(patience));
                    }
                    self.client.handle_timeout(now()).map_err(refused)?;
                }
            }
        }
    }

    fn receive(&mut self, message: &[u8], peer_addr: SocketAddr) -> Result<(), rtc::shared::error::Error> {
        if peer_addr != self.server {
            return Ok(());
        }
        let transport = TransportContext {
            local_addr: self.local,
            peer_addr,
            ecn: None,
            transport_protocol: TransportProtocol::UDP,
        };
        self.client.handle_read(TaggedBytesMut { now: now(), transport, message: BytesMut::from(message) })
    }
}

pub(super) fn refused(error: rtc::shared::error::Error) -> TurnError {
    TurnError::Refused(error.to_string())
}

#[expect(clippy::disallowed_methods, reason = "the shell of a sans-I/O protocol")]
fn now() -> Instant {
    Instant::now()
}
