//! The server's side of one signalling socket: keep-alive, silence, candidates that come too early, and junk.

use std::time::Duration;

use tokio::time::Instant;

use super::clock::now;
use super::room::View;
use crate::quiet::Quiet;
use crate::rtc::relay::{Peer, RelayError};
use crate::signal::socket::{CloseReason, Socket, SocketEvent};
use crate::signal::spider::{CandidateInit, Incoming, Message};

/// A ping goes out this often (`shared/reference/spider-protocol.md`).
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// No traffic at all for this long: the other end is gone.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(90);
/// A socket that has made no offer by then is closed.
const OFFER_TIMEOUT: Duration = Duration::from_secs(30);
/// Candidates kept until the offer is there. Full: further ones are dropped; a peer has a handful.
const EARLY_CANDIDATES: usize = 64;

/// What the other end wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// An offer to be answered with [`Signalling::answer`].
    Offer(String),
    /// A candidate, to be handed to [`Signalling::candidate`].
    Candidate(CandidateInit),
    /// The socket is over, for this reason; nothing follows.
    Closed(String),
}

/// How the other end trickles, and so how we do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trickle {
    OldStyle,
    #[default]
    Standard,
}

/// One signalling socket.
#[derive(Debug)]
pub struct Signalling {
    socket: Option<Socket>,
    next_ping: Instant,
    silent_at: Instant,
    offer_by: Option<Instant>,
    early: Vec<CandidateInit>,
    trickle: Trickle,
    junk: Quiet,
}

impl Signalling {
    /// Takes over an open socket.
    pub fn new(socket: Socket) -> Self {
        let now = now();
        Self {
            socket: Some(socket),
            next_ping: now + PING_INTERVAL,
            silent_at: now + SILENCE_TIMEOUT,
            offer_by: Some(now + OFFER_TIMEOUT),
            early: Vec::new(),
            trickle: Trickle::default(),
            junk: Quiet::default(),
        }
    }

    /// What the other end wants next; waits for ever once it is over. Cancel-safe.
    pub async fn next(&mut self) -> Request {
        loop {
            let Some(socket) = &mut self.socket else { return std::future::pending().await };
            let give_up = self.offer_by.map_or(self.silent_at, |offer_by| offer_by.min(self.silent_at));
            let event = tokio::select! {
                event = socket.events.recv() => event,
                () = tokio::time::sleep_until(self.next_ping) => {
                    self.ping();
                    continue;
                }
                () = tokio::time::sleep_until(give_up) => {
                    let reason = if self.offer_by.is_some() { "no offer" } else { "nothing heard" };
                    return self.close(reason.to_owned());
                }
            };
            self.silent_at = now() + SILENCE_TIMEOUT;
            if let Some(request) = self.handle(event) {
                return request;
            }
        }
    }

    /// Has `peer` answer an offer, sends the answer, and hands over the candidates that came before.
    ///
    /// # Errors
    /// [`RelayError`] when the offer cannot be used.
    pub async fn answer(&mut self, peer: &Peer, offer: String) -> Result<(), RelayError> {
        let answer = peer.answer(offer).await?;
        self.offer_by = None;
        self.send(Message::Answer(answer));
        for candidate in std::mem::take(&mut self.early) {
            self.candidate(Some(peer), candidate).await;
        }
        Ok(())
    }

    /// Hands a candidate of the other end to its peer, or keeps it until there is one.
    pub async fn candidate(&mut self, peer: Option<&Peer>, candidate: CandidateInit) {
        let Some(peer) = peer else {
            if self.early.len() < EARLY_CANDIDATES {
                self.early.push(candidate);
            }
            return;
        };
        if let Err(error) = peer.add_candidate(candidate).await {
            self.note_junk(&error.to_string());
        }
    }

    /// Sends a candidate of ours that was not in the answer.
    pub fn send_candidate(&self, candidate: CandidateInit) {
        match self.trickle {
            Trickle::OldStyle => self.send(Message::Candidate(candidate.candidate)),
            Trickle::Standard => self.send(Message::Candidate2(candidate)),
        }
    }

    /// Tells a viewer who is here, and what the publisher's pictures are called.
    pub fn send_company(&self, view: &View) {
        let pictures: Vec<_> = view.pictures.iter().map(|ids| &ids.track).collect();
        let company = serde_json::json!({"publisher": view.live, "viewers": view.viewers, "pictures": pictures});
        self.send(Message::Joins(company.to_string()));
    }

    /// Tells a publisher how many watch.
    pub fn send_viewers(&self, viewers: usize) {
        self.send(Message::Joins(serde_json::json!({"viewers": viewers}).to_string()));
    }

    /// Ends the session with the bare `close`: the other end starts anew, or not at all.
    pub fn dismiss(&mut self) {
        self.send(Message::Close);
        self.close("dismissed".to_owned());
    }

    fn ping(&mut self) {
        self.next_ping = now() + PING_INTERVAL;
        self.send(Message::Ping);
        if let Some(socket) = &self.socket {
            // Many a Spider client sends no pings of its own; its WebSocket library answers ours. Full means that it is
            // about to close.
            let _ = socket.sender.probe();
        }
    }

    fn send(&self, message: Message) {
        if let Some(socket) = &self.socket {
            // Full means that the other end has stopped reading: the socket is about to say so.
            let _ = socket.sender.send(message);
        }
    }

    fn handle(&mut self, event: Option<SocketEvent>) -> Option<Request> {
        match event {
            Some(SocketEvent::Frame(Incoming::Message(message))) => self.handle_message(message),
            Some(SocketEvent::Frame(Incoming::UnusableAnswer)) => self.note_junk("an answer, where none was asked for"),
            Some(SocketEvent::Frame(Incoming::Junk(junk))) => self.note_junk(&junk.to_string()),
            Some(SocketEvent::Alive) => None,
            Some(SocketEvent::Closed(reason)) => Some(self.close(describe(reason))),
            None => Some(self.close("the connection ended".to_owned())),
        }
    }

    fn handle_message(&mut self, message: Message) -> Option<Request> {
        match message {
            Message::Offer(sdp) => Some(Request::Offer(sdp)),
            Message::Candidate(line) => {
                self.trickle = Trickle::OldStyle;
                Some(Request::Candidate(CandidateInit::for_bundle(&line)))
            }
            Message::Candidate2(init) => Some(Request::Candidate(init)),
            Message::Close => Some(self.close("it said close".to_owned())),
            Message::Answer(_) => self.note_junk("an answer, where none was asked for"),
            Message::Ping | Message::Joins(_) => None,
        }
    }

    fn note_junk(&mut self, what: &str) -> Option<Request> {
        if let Some(left_out) = self.junk.admit(now().into_std()) {
            tracing::debug!(left_out, "ignored a signalling message: {what}");
        }
        None
    }

    /// Closes in order; what was queued before goes out first.
    fn close(&mut self, reason: String) -> Request {
        if let Some(socket) = self.socket.take() {
            socket.sender.close();
        }
        Request::Closed(reason)
    }
}

fn describe(reason: CloseReason) -> String {
    match reason {
        CloseReason::Peer(reason) | CloseReason::Protocol(reason) => reason,
        CloseReason::Stalled => "it stopped reading".to_owned(),
        CloseReason::Ours => "closed here".to_owned(),
    }
}

#[cfg(test)]
#[path = "signalling_tests.rs"]
mod tests;
