//! What the library calls on its driver task: each callback only hands over.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionIceEvent, RTCPeerConnectionState,
};

use super::{Channel, Event, Opener, State, Uplink};
use crate::signal::spider::CandidateInit;

/// Hands the library's callbacks over to the hub.
pub(super) struct Handler {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) state: watch::Sender<State>,
    pub(super) gathered: watch::Sender<bool>,
    /// Owns the tasks that read data channels.
    pub(super) tasks: TaskTracker,
    pub(super) closed: CancellationToken,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        // Those that come before the answer is read are in it.
        if !*self.gathered.borrow() {
            return;
        }
        if let Ok(init) = event.candidate.to_json() {
            // A full queue loses a late candidate: the peer has the ones of the answer.
            let _ = self.events.try_send(Event::Candidate(CandidateInit {
                candidate: init.candidate,
                sdp_mid: init.sdp_mid,
                sdp_m_line_index: init.sdp_mline_index,
                username_fragment: init.username_fragment,
            }));
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let state = match state {
            RTCPeerConnectionState::Connected => State::Connected,
            RTCPeerConnectionState::Disconnected => State::Disconnected,
            RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => State::Gone,
            _ => return,
        };
        self.state.send_if_modified(|current| {
            let changes = *current != state && *current != State::Gone;
            if changes {
                *current = state;
            }
            changes
        });
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        self.read_channel(channel, Opener::Them);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let Some(ssrc) = track.ssrcs().await.first().copied() else { return };
        let id = track.track_id().await;
        // Full can only mean that the session is stuck or over: it then has no use for the track.
        let _ = self.events.try_send(Event::Track(Uplink::new(track, id, ssrc)));
    }
}

impl Handler {
    /// Reads a channel until it closes: all are read always, for they share one receive window (`webrtc-crate.md`).
    pub(super) fn read_channel(&self, channel: Arc<dyn DataChannel>, opener: Opener) {
        let (events, closed) = (self.events.clone(), self.closed.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = read(channel, opener, events) => {}
                () = closed.cancelled() => {}
            }
        });
    }
}

async fn read(channel: Arc<dyn DataChannel>, opener: Opener, events: mpsc::Sender<Event>) {
    let Ok(label) = channel.label().await else { return };
    let label: Arc<str> = label.into();
    while let Some(event) = channel.poll().await {
        let event = match event {
            DataChannelEvent::OnOpen => {
                Event::ChannelOpen(Channel { label: label.clone(), inner: channel.clone(), opener })
            }
            DataChannelEvent::OnMessage(message) => match String::from_utf8(message.data.into()) {
                Ok(text) => Event::Message { label: label.clone(), text },
                Err(_) => continue,
            },
            DataChannelEvent::OnClose => return,
            _ => continue,
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}
