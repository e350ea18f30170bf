//! A pub server as small as can be: plain WebSocket on loopback, one publisher at a time.
#![allow(dead_code, reason = "each measuring program uses its part")]

use std::net::SocketAddr;
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use rtcpub::rtc::relay::Peer;
use rtcpub::signal::spider::{self, CandidateInit, Incoming, Message};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;

pub struct Server {
    listener: TcpListener,
}

pub struct Offer {
    sdp: String,
    socket: WebSocketStream<TcpStream>,
    pub arrived: Instant,
}

impl Server {
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next publisher's offer.
    pub async fn offer(&self) -> Offer {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        loop {
            let frame = socket.next().await.unwrap().unwrap();
            let arrived = Instant::now();
            if let tungstenite::Message::Text(text) = frame
                && let Incoming::Message(Message::Offer(sdp)) = spider::parse(&text)
            {
                return Offer { sdp, socket, arrived };
            }
        }
    }
}

impl Offer {
    /// Answers, takes the candidates that follow until there is a pause, and keeps the socket alive from then on.
    pub async fn answer(mut self, peer: &Peer) -> tokio::task::JoinHandle<()> {
        let answer = peer.answer(std::mem::take(&mut self.sdp)).await.unwrap();
        self.socket.send(tungstenite::Message::text(Message::Answer(answer).to_text())).await.unwrap();
        let quiet = std::time::Duration::from_millis(50);
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(quiet, self.socket.next()).await {
            let tungstenite::Message::Text(text) = frame else { continue };
            let candidate: CandidateInit = match spider::parse(&text) {
                Incoming::Message(Message::Candidate2(candidate)) => candidate,
                Incoming::Message(Message::Candidate(line)) => CandidateInit::for_bundle(&line),
                _ => continue,
            };
            peer.add_candidate(candidate).await.unwrap();
        }
        tokio::spawn(async move { while let Some(Ok(_)) = self.socket.next().await {} })
    }
}
