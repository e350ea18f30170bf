//! What becomes of a peer: it connects, falls into trouble, is restarted, and is lost.

use std::time::{Duration, Instant};

use super::dialogue::{Control, Phase};
use super::{Action, Live, PeerId, PeerState, Report, Session, Signalling};

/// How long a disconnected peer may recover by itself before ICE is restarted.
const DISCONNECTED_GRACE: Duration = Duration::from_secs(3);
/// How long an ICE restart may take before a whole new session is made.
pub(super) const RESTART_TIMEOUT: Duration = Duration::from_secs(5);

impl Session {
    pub(super) fn peer_state(&mut self, peer: PeerId, state: PeerState, now: Instant, out: &mut Vec<Action>) {
        if let Some(live) = self.live.as_mut().filter(|live| live.peer == peer) {
            live.connected = state == PeerState::Connected;
        }
        match state {
            PeerState::New => self.restarted(peer, now, out),
            PeerState::Connected => self.connected(peer, now, out),
            PeerState::Disconnected => {
                if let Some(dialogue) = self.dialogue_of(peer)
                    && dialogue.phase == Phase::Established
                {
                    dialogue.phase = Phase::Troubled { until: now + DISCONNECTED_GRACE };
                }
            }
            PeerState::Failed => self.failed(peer, now, out),
            PeerState::Closed => self.gone(peer, now, out),
        }
    }

    /// ICE begins anew, and what it had is gone.
    fn restarted(&mut self, peer: PeerId, now: Instant, out: &mut Vec<Action>) {
        if let Some(dialogue) = self.dialogue_of(peer) {
            // The server's doing, unless we are at it; that takes no longer than a restart of ours.
            if matches!(dialogue.phase, Phase::Established | Phase::Troubled { .. }) {
                dialogue.phase = Phase::Troubled { until: now + RESTART_TIMEOUT };
            }
        } else if self.live() == Some(peer) {
            // Ours, begun just before the socket was lost: nobody is left who could answer it.
            self.picture_lost(peer, out);
        }
    }

    fn connected(&mut self, peer: PeerId, now: Instant, out: &mut Vec<Action>) {
        let Some(dialogue) = self.dialogue_of(peer) else { return };
        match dialogue.phase {
            // What is connected is the old way, which the restart is about to give up; the answer is still awaited.
            Phase::Restarting { answered: false, .. } => return,
            Phase::Restarting { .. } => out.push(Action::Report(Report::Restarted(peer))),
            _ => {}
        }
        dialogue.phase = Phase::Established;
        dialogue.connected_at.get_or_insert(now);
        let no_control = dialogue.control == Control::Refused;
        if self.live() == Some(peer) {
            return;
        }
        let replaced = self.live.replace(Live { peer, connected: true }).map(|live| live.peer);
        self.told = None;
        out.push(Action::Promote(peer));
        out.extend(replaced.map(Action::ClosePeer));
        out.push(Action::Report(Report::Publishing { peer, replaces: replaced }));
        if no_control {
            out.push(Action::Report(Report::NoControl(peer)));
        }
    }

    fn failed(&mut self, peer: PeerId, now: Instant, out: &mut Vec<Action>) {
        let phase = self.dialogue_of(peer).map(|dialogue| dialogue.phase);
        match phase {
            Some(Phase::Established | Phase::Troubled { .. }) => self.restart("ICE failed", now, out),
            // The restart's own deadline decides.
            Some(Phase::Restarting { .. }) => {}
            Some(_) => self.lost("ICE found no way to the peer".to_owned(), now, out),
            None => self.gone(peer, now, out),
        }
    }

    /// The peer is beyond recovery.
    fn gone(&mut self, peer: PeerId, now: Instant, out: &mut Vec<Action>) {
        if self.live() == Some(peer) {
            self.picture_lost(peer, out);
        }
        self.lost_with(peer, "the peer connection closed".to_owned(), now, out);
    }

    pub(super) fn picture_lost(&mut self, peer: PeerId, out: &mut Vec<Action>) {
        self.live = None;
        out.extend([Action::ClosePeer(peer), Action::Report(Report::PictureLost(peer))]);
    }

    pub(super) fn restart(&mut self, why: &str, now: Instant, out: &mut Vec<Action>) {
        let Signalling::Up(dialogue) = &mut self.signalling else { return };
        if !matches!(dialogue.phase, Phase::Established | Phase::Troubled { .. }) {
            return;
        }
        if dialogue.answering {
            // A description of the server's is being answered, which may be its own restart: two at once undo each other.
            dialogue.phase = Phase::Troubled { until: now + RESTART_TIMEOUT };
            return;
        }
        dialogue.phase = Phase::Restarting { until: now + RESTART_TIMEOUT, answered: false };
        dialogue.remote_set = false;
        dialogue.offer_sent = false;
        let peer = dialogue.peer;
        out.extend([Action::Report(Report::Restarting(peer, why.to_owned())), Action::RestartIce(peer)]);
    }

    pub(super) fn network_changed(&mut self, now: Instant, out: &mut Vec<Action>) {
        const WHY: &str = "the network changed";
        self.backoff.reset();
        match &self.signalling {
            // What failed over the old network says nothing of this one.
            Signalling::Waiting { .. } => self.connect(out),
            // Its sockets are bound to the old one, and there is nothing yet that a restart could save.
            Signalling::Up(dialogue) if dialogue.connected_at.is_none() => self.lost(WHY.to_owned(), now, out),
            _ => self.restart(WHY, now, out),
        }
    }
}
