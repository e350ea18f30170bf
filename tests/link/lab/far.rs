//! The server's side: takes the publisher's session and notes what arrives.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use rtcpub::rtc::relay::{Channel, Event, PublisherPeer, SendError, State, Uplink};
use rtcpub::signal::settings::SignalConfig;
use rtcpub::signal::spider::{Incoming, Message, parse};
use tokio_tungstenite::tungstenite;

use super::Scenario;
use super::net::FAR_ADDRESS;
use super::pictures::{Assembler, Picture};
use super::wire::{self, Loss, Wire};
use crate::spider::{Server, ServerSocket};

/// A decoder that has waited this long for a packet asks for a key frame, and again after as long.
const DECODER_PATIENCE: Duration = Duration::from_millis(300);

/// What the server agrees to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agrees {
    ToTransportCc,
    ToNothing,
}

/// What arrived.
#[derive(Default)]
pub struct Arrived {
    pub pictures: Vec<Picture>,
    /// When each command was sent.
    pub commands: Vec<Instant>,
    pub key_frames_asked: u64,
}

pub type Shared = Arc<Mutex<Arrived>>;

/// Serves one publisher after another, until dropped.
pub async fn serve(scenario: Scenario, arrived: Shared, ready: tokio::sync::oneshot::Sender<SignalConfig>) {
    let server = Server::start_at(&format!("{FAR_ADDRESS}:0")).await;
    let _ = ready.send(server.signal_config());
    loop {
        let (socket, _, _) = server.accept().await;
        tokio::spawn(session(socket, scenario, arrived.clone()));
    }
}

async fn session(mut socket: ServerSocket, scenario: Scenario, arrived: Shared) {
    let address = format!("{FAR_ADDRESS}:0").parse().expect("an address");
    let mut peer = PublisherPeer::new(&[address]).await.expect("a peer");
    let mut wires = Vec::new();
    loop {
        tokio::select! {
            frame = socket.next() => match incoming(frame) {
                None => return,
                Some(frame) => match frame {
                    Incoming::Message(Message::Offer(sdp)) => {
                        let mut answer = edited(&peer.peer.answer(sdp).await.expect("an answer"), scenario.agrees);
                        if !scenario.round_trip.is_zero() {
                            let far = format!("{FAR_ADDRESS}:{}", wire::port_of(&answer)).parse().expect("an address");
                            let laid = Wire::lay(far, scenario.round_trip / 2, Loss::None).await;
                            answer = wire::at_the_wire(&answer, laid.address);
                            wires.push(laid);
                        }
                        let answer = tungstenite::Message::text(Message::Answer(answer).to_text());
                        let _ = socket.send(answer).await;
                    }
                    Incoming::Message(Message::Candidate2(init)) => {
                        let _ = peer.peer.add_candidate(init).await;
                    }
                    _ => {}
                },
            },
            event = peer.inbox.next() => match event {
                Event::Track(track) => drop(tokio::spawn(receive(track, arrived.clone()))),
                Event::ChannelOpen(channel) if channel.label() == "stream" => {
                    drop(tokio::spawn(command(channel, arrived.clone())));
                }
                Event::State(State::Gone) => return,
                _ => {}
            },
        }
    }
}

fn incoming(frame: Option<Result<tungstenite::Message, tungstenite::Error>>) -> Option<Incoming> {
    let text = frame?.ok()?.into_text().unwrap_or_default();
    Some(parse(&text))
}

/// Takes back what the answer must not agree to.
fn edited(sdp: &str, agrees: Agrees) -> String {
    let kept = |line: &&str| agrees == Agrees::ToTransportCc || !(line.contains("transport-") || line.contains("remb"));
    sdp.lines().filter(kept).map(|line| format!("{}\r\n", line.trim_end())).collect()
}

/// Twenty commands a second; each is its number, as long as a command.
async fn command(channel: Channel, arrived: Shared) {
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        ticks.tick().await;
        let number = {
            let mut arrived = arrived.lock().expect("not poisoned");
            arrived.commands.push(Instant::now());
            arrived.commands.len() - 1
        };
        if channel.try_send(&format!("{number:80}")).await == Err(SendError::Closed) {
            return;
        }
    }
}

async fn receive(track: Uplink, arrived: Shared) {
    let mut assembler = Assembler::default();
    let mut waiting_since = Instant::now();
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    track.request_key_frame().await;
    loop {
        tokio::select! {
            packet = track.receive() => {
                let Some(packet) = packet else { return };
                let now = Instant::now();
                let pictures = assembler.add(packet, now);
                if !pictures.is_empty() || !assembler.is_stuck() {
                    waiting_since = now;
                }
                let mut arrived = arrived.lock().expect("not poisoned");
                arrived.pictures.extend(pictures);
            }
            _ = looks.tick() => {
                if assembler.is_stuck() && waiting_since.elapsed() > DECODER_PATIENCE {
                    waiting_since = Instant::now();
                    arrived.lock().expect("not poisoned").key_frames_asked += 1;
                    track.request_key_frame().await;
                }
            }
        }
    }
}
