//! One exchange of descriptions with the server.

use std::time::{Duration, Instant};

use super::events::{Action, PeerId, Report};
use crate::rtc::sections;
use crate::signal::settings::Trickle;
use crate::signal::spider::{CandidateInit, Message};

/// Candidates kept until they can be used. Full: the rest is dropped; ICE finds the peer by what arrived first.
pub(super) const HELD_CANDIDATES: usize = 64;
/// From the answer to a connected peer: longer, and the attempt is made again.
pub(super) const JOIN_TIMEOUT: Duration = Duration::from_secs(15);
/// From a connected peer to its open `stream` channel, which takes a few round trips: longer, and nobody hears whether it
/// will come at all.
pub(super) const STREAM_TIMEOUT: Duration = Duration::from_secs(10);

/// One exchange of descriptions with the server, on one socket, about one peer.
#[derive(Debug)]
pub(super) struct Dialogue {
    pub(super) peer: PeerId,
    pub(super) phase: Phase,
    pub(super) heard: Instant,
    pub(super) ping_at: Instant,
    /// Remote candidates cannot be used before the remote description.
    pub(super) held_remote: Vec<CandidateInit>,
    pub(super) remote_set: bool,
    /// Local candidates are of no use to the server before the offer.
    pub(super) held_local: Vec<CandidateInit>,
    pub(super) offer_sent: bool,
    /// An offer of the server's is being answered: candidates of both ends wait for that too.
    pub(super) answering: bool,
    pub(super) connected_at: Option<Instant>,
    pub(super) control: Control,
}

/// Whether control can come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// The `stream` channel is yet to open.
    Awaited,
    Open,
    /// The server takes no data channels. Another session would be answered the same way.
    Refused,
}

/// How far it has come; see the diagram in [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Offering,
    Awaiting { until: Instant },
    Joining { until: Instant },
    Established,
    Troubled { until: Instant },
    Restarting { until: Instant, answered: bool },
}

impl Dialogue {
    /// A dialogue on a socket that has just opened.
    pub(super) fn new(peer: PeerId, now: Instant, ping: Duration) -> Self {
        Self {
            peer,
            phase: Phase::Offering,
            heard: now,
            ping_at: now + ping,
            held_remote: Vec::new(),
            remote_set: false,
            held_local: Vec::new(),
            offer_sent: false,
            answering: false,
            connected_at: None,
            control: Control::Awaited,
        }
    }

    /// When the `stream` channel must be open at the latest.
    pub(super) fn stream_due(&self) -> Option<Instant> {
        self.connected_at.filter(|_| self.control == Control::Awaited).map(|since| since + STREAM_TIMEOUT)
    }
}

impl Phase {
    pub(super) fn until(self) -> Option<Instant> {
        match self {
            Self::Offering | Self::Established => None,
            Self::Awaiting { until }
            | Self::Joining { until }
            | Self::Troubled { until }
            | Self::Restarting { until, .. } => Some(until),
        }
    }
}

impl Dialogue {
    pub(super) fn wants_answer(&self) -> bool {
        self.offer_sent && matches!(self.phase, Phase::Awaiting { .. } | Phase::Restarting { answered: false, .. })
    }

    pub(super) fn answer(&mut self, sdp: String, now: Instant, out: &mut Vec<Action>) {
        if !self.wants_answer() {
            out.push(ignored("an answer that was not awaited"));
            return;
        }
        self.phase = match self.phase {
            Phase::Restarting { until, .. } => Phase::Restarting { until, answered: true },
            _ => Phase::Joining { until: now + JOIN_TIMEOUT },
        };
        if self.control == Control::Awaited && !sections::takes_channels(&sdp) {
            self.control = Control::Refused;
        }
        out.push(Action::ApplyAnswer(self.peer, sdp));
    }

    pub(super) fn reoffer(&mut self, sdp: String, out: &mut Vec<Action>) {
        // Before our own exchange is complete both sides would be offering at once: ours stands (RFC 8829 §5.7).
        if !self.remote_set {
            out.push(ignored("an offer while ours is open"));
        } else if self.answering {
            out.push(ignored("an offer while another is being answered"));
        } else {
            self.answering = true;
            out.push(Action::AnswerOffer(self.peer, sdp));
        }
    }

    pub(super) fn remote_candidate(&mut self, candidate: CandidateInit, out: &mut Vec<Action>) {
        if candidate.is_end() {
            return;
        }
        if self.remote_set && !self.answering {
            out.push(Action::AddCandidate(self.peer, candidate));
        } else if self.held_remote.len() < HELD_CANDIDATES {
            self.held_remote.push(candidate);
        } else {
            out.push(ignored("more early candidates than can be kept"));
        }
    }

    pub(super) fn local_candidate(&mut self, style: Trickle, candidate: CandidateInit, out: &mut Vec<Action>) {
        if self.offer_sent && !self.answering {
            out.extend(trickled(style, candidate));
        } else if self.held_local.len() < HELD_CANDIDATES {
            self.held_local.push(candidate);
        }
    }

    /// Lets go of the candidates that need not wait any more.
    pub(super) fn release(&mut self, style: Trickle, out: &mut Vec<Action>) {
        if self.answering {
            return;
        }
        if self.remote_set {
            let peer = self.peer;
            out.extend(self.held_remote.drain(..).map(|candidate| Action::AddCandidate(peer, candidate)));
        }
        if self.offer_sent {
            out.extend(self.held_local.drain(..).filter_map(|candidate| trickled(style, candidate)));
        }
    }
}

/// A report of something ignored.
pub(super) fn ignored(what: &str) -> Action {
    Action::Report(Report::Ignored(what.to_owned()))
}

fn trickled(style: Trickle, candidate: CandidateInit) -> Option<Action> {
    match style {
        Trickle::None => None,
        Trickle::Candidate => Some(Action::Send(Message::Candidate(candidate.candidate))),
        Trickle::Candidate2 => Some(Action::Send(Message::Candidate2(candidate))),
    }
}
