//! In which state the session is, for telemetry and people.

use std::time::Duration;

/// The session as a person would tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishStatus {
    /// Whether a peer carries the picture.
    pub publishing: bool,
    /// What the session is about.
    pub state: SessionState,
    /// Whether signalling has been tried at all, successfully or not.
    pub tried: bool,
    /// Sessions that came up since the process started.
    pub sessions: u64,
    /// Sessions and ICE restarts that became necessary after the first session.
    pub restarts: u64,
    /// Why the last session or attempt ended.
    pub last_trouble: Option<String>,
    /// The last time that a trouble was over.
    pub last_recovery: Option<Recovery>,
}

/// What a session is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionState {
    /// The first session comes up.
    #[default]
    Connecting,
    /// All is well.
    Publishing,
    /// The peer is in trouble, and looks for another way on the open socket.
    RestartingIce,
    /// A whole new session is made; the picture may still flow in the old one.
    Reconnecting,
}

impl SessionState {
    /// As it is written in telemetry.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Publishing => "publishing",
            Self::RestartingIce => "restarting-ice",
            Self::Reconnecting => "reconnecting",
        }
    }
}

/// A trouble that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// What it began with.
    pub cause: String,
    /// From when it was noticed until there was a connection again.
    pub took: Duration,
}
