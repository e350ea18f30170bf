//! What happens to a session, what it wants done, and what an operator should know.

use std::fmt;
use std::time::Duration;

use crate::signal::spider::{CandidateInit, Incoming, Message};

/// One peer connection of this process, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u64);

/// What a peer connection says of itself (W3C `RTCPeerConnectionState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Not connected yet.
    New,
    /// Media and data channels can flow.
    Connected,
    /// Packets have stopped; it may recover.
    Disconnected,
    /// It will not recover by itself.
    Failed,
    /// It is gone.
    Closed,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The process is ready to publish.
    Start,
    /// The socket is open.
    SocketUp,
    /// The socket could not be opened, or has ended.
    SocketLost(String),
    /// A frame came in.
    Frame(Incoming),
    /// A WebSocket ping or pong came in.
    Alive,
    /// [`Action::MakePeer`] or [`Action::RestartIce`] has its offer.
    OfferMade(PeerId, String),
    /// The offer could not be made.
    OfferFailed(PeerId, String),
    /// [`Action::ApplyAnswer`] succeeded.
    AnswerApplied(PeerId),
    /// The peer connection refused the answer.
    AnswerRejected(PeerId, String),
    /// [`Action::AnswerOffer`] has its answer.
    AnswerMade(PeerId, String),
    /// The peer connection refused the server's offer.
    AnswerFailed(PeerId),
    /// What the server's offer wants only another peer connection can give, and why.
    Worn(PeerId, String),
    /// A local candidate was found.
    LocalCandidate(PeerId, CandidateInit),
    /// A peer connection changed its state.
    Peer(PeerId, PeerState),
    /// A peer's `stream` channel is open.
    StreamOpen(PeerId),
    /// The relay that carried a peer's media is gone.
    RelayLost(PeerId, String),
    /// The machine's addresses or default route changed.
    NetworkChanged,
    /// Stop for good.
    Shutdown,
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Open a socket to the server.
    Connect,
    /// Write a message to the socket.
    Send(Message),
    /// Write a WebSocket ping to the socket.
    Probe,
    /// Close the socket, or give up opening it.
    CloseSocket,
    /// Make a peer connection and its offer.
    MakePeer(PeerId),
    /// Make an offer with new ICE credentials.
    RestartIce(PeerId),
    /// Set the remote description.
    ApplyAnswer(PeerId, String),
    /// Set the server's offer and make the answer.
    AnswerOffer(PeerId, String),
    /// Add a remote candidate.
    AddCandidate(PeerId, CandidateInit),
    /// This peer carries the picture from now on.
    Promote(PeerId),
    /// Close this peer connection.
    ClosePeer(PeerId),
    /// Tell the operator.
    Report(Report),
}

/// What an operator should know.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// The picture flows.
    Publishing {
        /// Through this peer.
        peer: PeerId,
        /// Whether it replaces another without a gap.
        replaces: Option<PeerId>,
    },
    /// The session was lost or could not be made; said once for each new reason.
    Lost {
        /// Why.
        reason: String,
        /// Whether the picture still flows meanwhile.
        still_live: bool,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// The server takes the picture and no data channels: nobody can drive through it.
    NoControl(PeerId),
    /// The picture has stopped: the peer that carried it is gone.
    PictureLost(PeerId),
    /// ICE is being restarted.
    Restarting(PeerId, String),
    /// An ICE restart succeeded.
    Restarted(PeerId),
    /// Something the peer sent was ignored.
    Ignored(String),
    /// The server's word on who is there.
    Joins(String),
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {}", self.0)
    }
}
