//! How long the real publisher and a real peer take to connect over a long wire that may lose one of the DTLS handshake's
//! datagrams.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "shared between tests and measurements")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtcpub::rtc::engine;
use rtcpub::rtc::relay::{Event, PublisherPeer};
use rtcpub::rtc::settings::IceConfig;
use rtcpub::signal::settings::{SignalConfig, Trickle};
use rtcpub::signal::spider::Message;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
    RTCSessionDescription, SettingEngineBuilder,
};

use crate::far::Publisher;
use crate::lab::wire::{self, Loss, Wire};
use crate::spider::{Server, text, within};

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
    Library(Arc<dyn PeerConnection>, Arc<Handler>),
}

struct Handler {
    gathered: watch::Sender<bool>,
    state: watch::Sender<RTCPeerConnectionState>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathered.send_replace(state == RTCIceGatheringState::Complete);
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }
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
        let (gathered, state) = (watch::Sender::new(false), watch::Sender::new(RTCPeerConnectionState::New));
        let handler = Arc::new(Handler { gathered, state });
        let settings = SettingEngineBuilder::new()
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_include_loopback_candidate(true)
            .with_answering_dtls_role(role)
            .build();
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(engine::media_engine().unwrap())
            .with_interceptor_registry(engine::interceptors())
            .with_setting_engine(settings)
            .with_handler(handler.clone())
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build()
            .await
            .unwrap();
        Self::Library(Arc::new(connection), handler)
    }

    async fn answer(&self, offer: String) -> String {
        let (connection, handler) = match self {
            Self::Hub(peer) => return peer.peer.answer(offer).await.unwrap(),
            Self::Library(connection, handler) => (connection, handler),
        };
        connection.set_remote_description(RTCSessionDescription::offer(offer).unwrap()).await.unwrap();
        let answer = connection.create_answer(None).await.unwrap();
        connection.set_local_description(answer).await.unwrap();
        let mut gathered = handler.gathered.subscribe();
        within(gathered.wait_for(|gathered| *gathered)).await.unwrap();
        connection.local_description().await.unwrap().sdp
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
            Self::Library(_, handler) => {
                let mut state = handler.state.subscribe();
                state.wait_for(|state| *state == RTCPeerConnectionState::Connected).await.map(drop).unwrap();
            }
        }
    }

    async fn close(self) {
        match self {
            Self::Hub(peer) => peer.peer.close().await,
            Self::Library(connection, _) => connection.close().await.unwrap(),
        }
    }
}
