//! The state machine of publishing. Pure: no clock, no socket, no peer connection, only what to do about what happened.
//!
//! ```text
//!            Connect            SocketUp, MakePeer          answer              connected
//!  Waiting ──────────► Connecting ──────────► Offering ─► Awaiting ─► Joining ───────────► Established ◄─┐
//!     ▲                    │                     │           │           │                   │       │   │ connected
//!     └────────────────────┴─────────────────────┴───────────┴───────────┴── any loss ───────┘       ▼   │
//!                                                                                                 Restarting
//! ```
//!
//! Beside the dialogue on the socket there is the **live** peer, the one whose track carries the picture. A lost socket
//! does not touch it: the next dialogue builds a second peer, and only when that one is connected does it replace the
//! first. A peer in trouble is given an ICE restart on the open socket first, then a whole new session.

mod dialogue;
mod events;
mod trouble;

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::signal::backoff::{Attempt, Backoff};
use crate::signal::settings::{SignalConfig, Trickle};
use crate::signal::spider::{CandidateInit, Incoming, Message};

use dialogue::{Control, Dialogue, JOIN_TIMEOUT, Phase, STREAM_TIMEOUT, ignored};
pub use events::{Action, Input, PeerId, PeerState, Report};
use trouble::RESTART_TIMEOUT;

/// A session that held this long was a success: the next loss is retried at once.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// The state machine; see the module's diagram.
#[derive(Debug)]
pub struct Session {
    timing: Timing,
    trickle: Trickle,
    signalling: Signalling,
    live: Option<Live>,
    last_peer: u64,
    backoff: Backoff,
    random: SmallRng,
    told: Option<String>,
}

/// The peer that carries the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Live {
    peer: PeerId,
    connected: bool,
}

#[derive(Clone, Copy, Debug)]
struct Timing {
    answer: Duration,
    silence: Duration,
    ping: Duration,
}

#[derive(Debug)]
enum Signalling {
    Stopped,
    Waiting { until: Instant },
    Connecting,
    Up(Dialogue),
}

impl Session {
    /// A session that has not started. `seed` decides the jitter of its retries.
    pub fn new(config: &SignalConfig, seed: u64) -> Self {
        Self {
            timing: Timing {
                answer: config.answer_timeout,
                silence: config.silence_timeout,
                ping: config.ping_interval,
            },
            trickle: config.trickle,
            signalling: Signalling::Stopped,
            live: None,
            last_peer: 0,
            backoff: Backoff::new(config.retry_min, config.retry_max),
            random: SmallRng::seed_from_u64(seed),
            told: None,
        }
    }

    /// The peer that carries the picture.
    pub fn live(&self) -> Option<PeerId> {
        self.live.map(|live| live.peer)
    }

    /// The peer of an established session, as long as it has no trouble.
    pub fn settled(&self) -> Option<PeerId> {
        match &self.signalling {
            Signalling::Up(dialogue) if dialogue.phase == Phase::Established => Some(dialogue.peer),
            _ => None,
        }
    }

    /// Whether this peer is still of any use.
    pub fn speaks_of(&self, peer: PeerId) -> bool {
        let in_dialogue = matches!(&self.signalling, Signalling::Up(dialogue) if dialogue.peer == peer);
        in_dialogue || self.live() == Some(peer)
    }

    /// What to do about `input`.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        match input {
            Input::Start => self.connect(&mut out),
            Input::SocketUp => self.socket_up(now, &mut out),
            Input::SocketLost(reason) => self.lost(reason, now, &mut out),
            Input::Frame(frame) => self.frame(frame, now, &mut out),
            Input::Alive => self.hear(now),
            Input::OfferMade(peer, sdp) => self.offer_made(peer, sdp, now, &mut out),
            Input::OfferFailed(peer, reason) => {
                self.lost_with(peer, format!("no offer could be made: {reason}"), now, &mut out);
            }
            Input::AnswerApplied(peer) => self.answer_applied(peer, &mut out),
            Input::AnswerRejected(peer, reason) => {
                self.lost_with(peer, format!("the server's answer cannot be used: {reason}"), now, &mut out);
            }
            Input::AnswerMade(peer, sdp) => self.answer_made(peer, Some(sdp), &mut out),
            Input::AnswerFailed(peer) => self.answer_made(peer, None, &mut out),
            Input::Worn(peer, reason) => self.lost_with(peer, reason, now, &mut out),
            Input::LocalCandidate(peer, candidate) => self.local_candidate(peer, candidate, &mut out),
            Input::Peer(peer, state) => self.peer_state(peer, state, now, &mut out),
            Input::StreamOpen(peer) => {
                if let Some(dialogue) = self.dialogue_of(peer) {
                    dialogue.control = Control::Open;
                }
            }
            Input::RelayLost(peer, reason) => {
                if self.dialogue_of(peer).is_some() {
                    self.restart(&format!("the TURN server is lost: {reason}"), now, &mut out);
                }
            }
            Input::NetworkChanged => self.network_changed(now, &mut out),
            Input::Shutdown => self.shutdown(&mut out),
        }
        out
    }

    /// When [`Session::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.signalling {
            Signalling::Stopped | Signalling::Connecting => None,
            Signalling::Waiting { until } => Some(*until),
            Signalling::Up(dialogue) => {
                let silence = dialogue.heard + self.timing.silence;
                let others = [dialogue.phase.until(), dialogue.stream_due()];
                Some(others.into_iter().flatten().fold(silence.min(dialogue.ping_at), Instant::min))
            }
        }
    }

    /// What to do now that [`Session::poll_timeout`] has passed; nothing when it has not.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        let (silence, ping) = (self.timing.silence, self.timing.ping);
        match &mut self.signalling {
            Signalling::Waiting { until } if *until <= now => self.connect(&mut out),
            Signalling::Up(dialogue) if dialogue.heard + silence <= now => {
                self.lost(format!("nothing heard from the server for {} s", silence.as_secs()), now, &mut out);
            }
            Signalling::Up(dialogue) if dialogue.stream_due().is_some_and(|due| due <= now) => {
                let waited = STREAM_TIMEOUT.as_secs();
                self.lost(format!("the `stream` channel is not open {waited} s after the connection"), now, &mut out);
            }
            Signalling::Up(dialogue) => {
                if dialogue.ping_at <= now {
                    dialogue.ping_at = now + ping;
                    out.extend([Action::Send(Message::Ping), Action::Probe]);
                }
                let phase = dialogue.phase;
                if phase.until().is_some_and(|until| until <= now) {
                    self.phase_over(phase, now, &mut out);
                }
            }
            Signalling::Waiting { .. } | Signalling::Stopped | Signalling::Connecting => {}
        }
        out
    }

    fn phase_over(&mut self, phase: Phase, now: Instant, out: &mut Vec<Action>) {
        match phase {
            Phase::Offering | Phase::Established => {}
            Phase::Awaiting { .. } => {
                self.lost(format!("no answer within {} s", self.timing.answer.as_secs()), now, out);
            }
            Phase::Joining { .. } => {
                self.lost(format!("no connection within {} s of the answer", JOIN_TIMEOUT.as_secs()), now, out);
            }
            Phase::Troubled { .. } => self.restart("the peer is disconnected", now, out),
            Phase::Restarting { .. } => {
                if let Some(live) = self.live.filter(|live| !live.connected) {
                    self.picture_lost(live.peer, out);
                }
                self.lost(format!("an ICE restart brought nothing within {} s", RESTART_TIMEOUT.as_secs()), now, out);
            }
        }
    }

    fn connect(&mut self, out: &mut Vec<Action>) {
        self.signalling = Signalling::Connecting;
        out.push(Action::Connect);
    }

    fn socket_up(&mut self, now: Instant, out: &mut Vec<Action>) {
        if !matches!(self.signalling, Signalling::Connecting) {
            return;
        }
        self.last_peer += 1;
        let peer = PeerId(self.last_peer);
        self.signalling = Signalling::Up(Dialogue::new(peer, now, self.timing.ping));
        out.push(Action::MakePeer(peer));
    }

    fn offer_made(&mut self, peer: PeerId, sdp: String, now: Instant, out: &mut Vec<Action>) {
        let (trickle, answer) = (self.trickle, self.timing.answer);
        let Some(dialogue) = self.dialogue_of(peer) else { return };
        out.push(Action::Send(Message::Offer(sdp)));
        dialogue.offer_sent = true;
        if dialogue.phase == Phase::Offering {
            dialogue.phase = Phase::Awaiting { until: now + answer };
        }
        dialogue.release(trickle, out);
    }

    fn local_candidate(&mut self, peer: PeerId, candidate: CandidateInit, out: &mut Vec<Action>) {
        let trickle = self.trickle;
        let Some(dialogue) = self.dialogue_of(peer) else { return };
        dialogue.local_candidate(trickle, candidate, out);
    }

    fn frame(&mut self, frame: Incoming, now: Instant, out: &mut Vec<Action>) {
        self.hear(now);
        let Signalling::Up(dialogue) = &mut self.signalling else { return };
        match frame {
            Incoming::Message(Message::Answer(sdp)) => dialogue.answer(sdp, now, out),
            Incoming::Message(Message::Offer(sdp)) => dialogue.reoffer(sdp, out),
            Incoming::Message(Message::Candidate(line)) => {
                dialogue.remote_candidate(CandidateInit::for_bundle(&line), out);
            }
            Incoming::Message(Message::Candidate2(init)) => dialogue.remote_candidate(init, out),
            Incoming::Message(Message::Ping) => {}
            Incoming::Message(Message::Joins(who)) => out.push(Action::Report(Report::Joins(who))),
            Incoming::Message(Message::Close) => self.lost("the server sent close".to_owned(), now, out),
            Incoming::UnusableAnswer if dialogue.wants_answer() => {
                self.lost("the server's answer holds no SDP".to_owned(), now, out);
            }
            Incoming::UnusableAnswer => out.push(ignored("an answer without an SDP, and none was awaited")),
            Incoming::Junk(junk) => out.push(ignored(&junk.to_string())),
        }
    }

    fn answer_applied(&mut self, peer: PeerId, out: &mut Vec<Action>) {
        let trickle = self.trickle;
        let Some(dialogue) = self.dialogue_of(peer) else { return };
        dialogue.remote_set = true;
        dialogue.release(trickle, out);
    }

    /// The server's offer is dealt with, with or without an answer.
    fn answer_made(&mut self, peer: PeerId, answer: Option<String>, out: &mut Vec<Action>) {
        let trickle = self.trickle;
        let Some(dialogue) = self.dialogue_of(peer) else { return };
        out.extend(answer.map(|sdp| Action::Send(Message::Answer(sdp))));
        dialogue.answering = false;
        dialogue.release(trickle, out);
    }

    fn lost_with(&mut self, peer: PeerId, reason: String, now: Instant, out: &mut Vec<Action>) {
        if self.dialogue_of(peer).is_some() {
            self.lost(reason, now, out);
        }
    }

    /// The dialogue is over: close what only it needs, keep the live peer, and try again after a while.
    fn lost(&mut self, reason: String, now: Instant, out: &mut Vec<Action>) {
        if let Signalling::Up(Dialogue { peer, phase: Phase::Restarting { answered: false, .. }, .. }) = self.signalling
            && self.live == Some(Live { peer, connected: false })
        {
            // Nobody is left who could answer its restart.
            self.picture_lost(peer, out);
        }
        let attempt = match &self.signalling {
            Signalling::Stopped | Signalling::Waiting { .. } => return,
            Signalling::Connecting => Attempt::NotReached,
            Signalling::Up(dialogue) => {
                out.push(Action::CloseSocket);
                // A live peer outlives the socket; one that was just lost is closed already.
                if self.live() != Some(dialogue.peer) && dialogue.connected_at.is_none() {
                    out.push(Action::ClosePeer(dialogue.peer));
                }
                let held = |since| now.saturating_duration_since(since) >= STABLE_AFTER;
                if dialogue.control != Control::Awaited && dialogue.connected_at.is_some_and(held) {
                    self.backoff.reset();
                }
                Attempt::Failed
            }
        };
        let retry_in = self.backoff.next_delay(attempt, self.random.random());
        self.signalling = Signalling::Waiting { until: now + retry_in };
        if self.told.as_ref() != Some(&reason) {
            self.told = Some(reason.clone());
            let still_live = self.live.is_some();
            out.push(Action::Report(Report::Lost { reason, still_live, retry_in }));
        }
    }

    fn shutdown(&mut self, out: &mut Vec<Action>) {
        if let Signalling::Up(dialogue) = &self.signalling
            && self.live() != Some(dialogue.peer)
        {
            out.push(Action::ClosePeer(dialogue.peer));
        }
        out.extend(self.live.take().map(|live| Action::ClosePeer(live.peer)));
        out.push(Action::CloseSocket);
        self.signalling = Signalling::Stopped;
    }

    fn hear(&mut self, now: Instant) {
        if let Signalling::Up(dialogue) = &mut self.signalling {
            dialogue.heard = now;
        }
    }

    fn dialogue_of(&mut self, peer: PeerId) -> Option<&mut Dialogue> {
        match &mut self.signalling {
            Signalling::Up(dialogue) if dialogue.peer == peer => Some(dialogue),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
