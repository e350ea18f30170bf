//! The hub's side of WebRTC: a peer that receives one publisher's tracks, and a peer that sends them on to one viewer.
//!
//! Everything the hub sees of it is plain data: SDP and candidate texts, [`MediaPacket`]s, [`Event`]s. Both kinds of
//! peer answer offers, never make them.

mod engine;
mod handler;
mod interceptors;
mod media;
mod offer;
mod peer;

use std::sync::Arc;

use bytes::Bytes;
use webrtc::data_channel::DataChannel;

pub use media::{Downlink, KeyFrameNeeded, Uplink};
pub use offer::{MAX_PICTURES, Picture, TrackIds, pictures_sent, pictures_wanted};
pub use peer::{Inbox, Peer, PublisherPeer, ViewerPeer};

use crate::signal::spider::CandidateInit;

/// Events of one peer that wait for the hub. Full: the peer's data channels are not read until there is room (SCTP
/// slows the other end down). States do not queue: the newest counts.
const EVENTS_CAPACITY: usize = 64;
/// Bytes a data channel may hold for a viewer that does not take them. Full: [`Channel::try_send`] says so.
const VIEWER_BUFFER_BYTES: usize = 64 * 1024;
/// The same for a publisher. Full: what else there is to send waits with the sender, who can replace it. What is in here
/// is delivered, however late: commands that were queued while the link stood still would be driven afterwards. It is
/// some ten commands, so even a round trip of half a second leaves each axis several a deadline.
const PUBLISHER_BUFFER_BYTES: usize = 1024;

/// Why a peer could not be made or could not answer.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The offer cannot be used.
    #[error("unusable offer: {0}")]
    Offer(String),
    /// No socket, or the library failed.
    #[error("peer connection: {0}")]
    Peer(String),
}

/// How a peer connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not up yet.
    #[default]
    New,
    /// ICE and DTLS are up.
    Connected,
    /// No contact for some seconds; it may come back.
    Disconnected,
    /// Over: failed, or closed by the other end.
    Gone,
}

/// What happens at a peer.
#[derive(Debug)]
pub enum Event {
    /// The connection's state is now this.
    State(State),
    /// A candidate of ours that came too late for the answer.
    Candidate(CandidateInit),
    /// A data channel is open.
    ChannelOpen(Channel),
    /// A message arrived on the channel of this label.
    Message {
        /// The channel's label.
        label: Arc<str>,
        /// The message; binary ones are read as text too.
        text: String,
    },
    /// A track of the publisher's is here (publisher peers only).
    Track(Uplink),
}

/// One RTP packet, free of what belongs to a hop alone.
#[derive(Clone, Debug)]
pub struct MediaPacket {
    /// Sequence number.
    pub sequence: u16,
    /// RTP timestamp, 90 kHz.
    pub timestamp: u32,
    /// Last packet of its access unit.
    pub marker: bool,
    /// The payload.
    pub payload: Bytes,
}

/// An open data channel, for sending.
#[derive(Clone)]
pub struct Channel {
    label: Arc<str>,
    inner: Arc<dyn DataChannel>,
    opener: Opener,
}

/// Which end opened a data channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// This one.
    Us,
    /// The other one.
    Them,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("label", &self.label).finish_non_exhaustive()
    }
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The other end does not take what was sent before: try again after [`Channel::writable`], or drop it.
    #[error("the data channel's send buffer is full")]
    Full,
    /// The channel is closed.
    #[error("the data channel is closed")]
    Closed,
}

impl Channel {
    /// The channel's label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Which end opened it.
    pub fn opener(&self) -> Opener {
        self.opener
    }

    /// Sends one text message; waits until the channel takes messages.
    ///
    /// # Errors
    /// [`SendError::Closed`].
    pub async fn send(&self, text: &str) -> Result<(), SendError> {
        self.inner.send_text(text).await.map_err(|_| SendError::Closed)
    }

    /// Queues one text message; never waits for the other end.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn try_send(&self, text: &str) -> Result<(), SendError> {
        self.inner.try_send_text(text).await.map_err(|error| match error {
            webrtc::error::Error::ErrSendBufferFull => SendError::Full,
            _ => SendError::Closed,
        })
    }

    /// Waits until the channel takes messages again.
    ///
    /// # Errors
    /// [`SendError::Closed`].
    pub async fn writable(&self) -> Result<(), SendError> {
        self.inner.writable().await.map_err(|_| SendError::Closed)
    }
}
