//! How long the real publisher and a real peer take to connect over a long wire that may lose one of the DTLS handshake's
//! datagrams.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "shared between tests and measurements")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtcpub::rtc::engine;
use rtcpub::rtc::relay::{Event, PublisherPeer};
use rtcpub::rtc::settings::IceConfig;
use rtcpub::signal::settings::{SignalConfig, Trickle};
use rtcpub::signal::spider::Message;
use tokio_tungstenite::tungstenite;

use crate::far::Publisher;
use crate::lab::bare::{self, Arrivals, Far};
use crate::lab::wire::{self, Loss, Wire};
use crate::spider::{Server, text, within};

/// Each handshake has at most so many datagrams each way that anybody waits for.
pub const DATAGRAMS: usize = 3;

/// Who answers the publisher's offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answerer {
    /// The hub.
    Hub,
    /// A bare peer of the library's, which has the handshake's first word, as browsers and pion do.
    Client,
    /// One that leaves the first word to the publisher.
    Server,
}

/// From the answer until the car can be driven from the hub, or until the bare peer and the publisher are connected.
/// `None`: the session failed, and the publisher has begun another one.
pub async fn connect(answerer: Answerer, round_trip: Duration, loss: Loss) -> Option<Duration> {
    let server = Server::start().await;
    let signal = SignalConfig { trickle: Trickle::None, ..server.signal_config() };
    let publisher = Publisher::start(signal, IceConfig::without_servers());
    let (mut socket, _, _) = server.accept().await;
    let offer: serde_json::Value = serde_json::from_str(&text(&mut socket).await).unwrap();
    // Without its candidates, which the wire stands for.
    let lines = offer["data"].as_str().unwrap().lines();
    let offer: String =
        lines.filter(|line| !line.starts_with("a=candidate:")).map(|line| format!("{line}\r\n")).collect();
    let mut peer = Peer::new(answerer).await;
    let answer = peer.answer(offer).await;
    let far: SocketAddr = format!("127.0.0.1:{}", wire::port_of(&answer)).parse().unwrap();
    let wire = Wire::lay(far, round_trip / 2, loss).await;
    let answer = Message::Answer(wire::at_the_wire(&answer, wire.address));
    let begin = Instant::now();
    within(socket.send(tungstenite::Message::text(answer.to_text()))).await.unwrap();
    let mut status = publisher.status.clone();
    let up = async {
        peer.connected().await;
        status.wait_for(|status| status.publishing).await.map(drop).unwrap();
        begin.elapsed()
    };
    let taken = tokio::select! {
        taken = up => Some(taken),
        _ = within(server.accept()) => None,
    };
    peer.close().await;
    publisher.stop().await;
    taken
}

enum Peer {
    Hub(Box<PublisherPeer>),
    Bare(Far),
}

impl Peer {
    async fn new(answerer: Answerer) -> Self {
        let role = match answerer {
            Answerer::Hub => {
                return Self::Hub(Box::new(PublisherPeer::new(&["127.0.0.1:0".parse().unwrap()]).await.unwrap()));
            }
            Answerer::Client => RTCDtlsRole::Client,
            Answerer::Server => RTCDtlsRole::Server,
        };
        let engine = engine::media_engine().unwrap();
        Self::Bare(bare::peer(role, engine, engine::interceptors(), Arrivals::default()).await.0)
    }

    async fn answer(&self, offer: String) -> String {
        match self {
            Self::Hub(peer) => peer.peer.answer(offer).await.unwrap(),
            Self::Bare(peer) => peer.answer(offer).await,
        }
    }

    async fn connected(&mut self) {
        match self {
            Self::Hub(peer) => loop {
                if let Event::ChannelOpen(channel) = peer.inbox.next().await
                    && channel.label() == "stream"
                {
                    return;
                }
            },
            Self::Bare(peer) => peer.connected().await,
        }
    }

    async fn close(self) {
        match self {
            Self::Hub(peer) => peer.peer.close().await,
            Self::Bare(peer) => peer.connection.close().await.unwrap(),
        }
    }
}
