//! What the peer connections' own tasks leave for the session: bounded, never waits, never loses a state.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::session::{PeerId, PeerState};
use crate::signal::spider::CandidateInit;

/// Candidates waiting for the session. Full: the newest is dropped; a machine with more addresses has enough already.
const CANDIDATE_CAPACITY: usize = 256;

/// A letter from a peer connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Letter {
    State(PeerId, PeerState),
    Candidate(PeerId, CandidateInit),
    RelayLost(PeerId, String),
    StreamOpen(PeerId),
}

/// States and lost relays are kept newest-wins for each peer, and a peer's `stream` opens once, so their number is bounded
/// by the number of peers.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    letters: Mutex<VecDeque<Letter>>,
    arrived: Notify,
}

impl Mailbox {
    pub(crate) fn state(&self, peer: PeerId, state: PeerState) {
        let mut letters = self.lock();
        letters.retain(|letter| !matches!(letter, Letter::State(of, _) if *of == peer));
        letters.push_back(Letter::State(peer, state));
        drop(letters);
        self.arrived.notify_one();
    }

    /// The relay that carried this peer's media is gone.
    pub(crate) fn relay_lost(&self, peer: PeerId, reason: &str) {
        let mut letters = self.lock();
        letters.retain(|letter| !matches!(letter, Letter::RelayLost(of, _) if *of == peer));
        letters.push_back(Letter::RelayLost(peer, reason.to_owned()));
        drop(letters);
        self.arrived.notify_one();
    }

    /// This peer's `stream` channel is open.
    pub(crate) fn stream_open(&self, peer: PeerId) {
        self.lock().push_back(Letter::StreamOpen(peer));
        self.arrived.notify_one();
    }

    pub(crate) fn candidate(&self, peer: PeerId, candidate: CandidateInit) {
        let mut letters = self.lock();
        if letters.len() >= CANDIDATE_CAPACITY {
            return;
        }
        letters.push_back(Letter::Candidate(peer, candidate));
        drop(letters);
        self.arrived.notify_one();
    }

    /// Waits for the next letter. Cancel safe: a letter is taken only when it is returned.
    pub(crate) async fn next(&self) -> Letter {
        loop {
            let arrived = self.arrived.notified();
            if let Some(letter) = self.lock().pop_front() {
                return letter;
            }
            arrived.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Letter>> {
        // Nothing panics while holding it, and a queue is whole between any two statements.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate() -> CandidateInit {
        CandidateInit::for_bundle("candidate:1 1 udp 1 192.0.2.1 4 typ host")
    }

    #[tokio::test]
    async fn only_the_newest_state_of_a_peer_is_kept() {
        let mailbox = Mailbox::default();
        mailbox.state(PeerId(1), PeerState::Connected);
        mailbox.state(PeerId(2), PeerState::Connected);
        mailbox.state(PeerId(1), PeerState::Failed);
        assert_eq!(mailbox.next().await, Letter::State(PeerId(2), PeerState::Connected));
        assert_eq!(mailbox.next().await, Letter::State(PeerId(1), PeerState::Failed));
    }

    #[tokio::test]
    async fn a_relay_that_is_lost_over_and_over_is_told_once() {
        let mailbox = Mailbox::default();
        for _ in 0..10_000 {
            mailbox.relay_lost(PeerId(1), "reset");
        }
        mailbox.state(PeerId(1), PeerState::Failed);
        assert_eq!(mailbox.next().await, Letter::RelayLost(PeerId(1), "reset".into()));
        assert_eq!(mailbox.next().await, Letter::State(PeerId(1), PeerState::Failed));
    }

    #[tokio::test]
    async fn a_flood_of_candidates_is_bounded_and_loses_no_state() {
        let mailbox = Mailbox::default();
        for _ in 0..10_000 {
            mailbox.candidate(PeerId(1), candidate());
        }
        mailbox.state(PeerId(1), PeerState::Failed);
        let mut letters = Vec::new();
        for _ in 0..=CANDIDATE_CAPACITY {
            letters.push(mailbox.next().await);
        }
        assert_eq!(letters.last(), Some(&Letter::State(PeerId(1), PeerState::Failed)));
    }
}
