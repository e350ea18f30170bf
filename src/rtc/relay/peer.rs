//! The peer connections themselves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::Registry;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpRtxParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, RTCIceCandidateInit, RTCSessionDescription,
    SettingEngineBuilder,
};
use webrtc::rtp_transceiver::RtpSender;

use super::handler::Handler;
use super::offer::ids_to_viewer;
use super::{
    Downlink, EVENTS_CAPACITY, Event, Opener, PUBLISHER_BUFFER_BYTES, Picture, RelayError, State, TrackIds,
    VIEWER_BUFFER_BYTES, engine,
};
use crate::rtc::driver::runtime::PeerRuntime;
use crate::signal::spider::CandidateInit;

/// No contact for this long: [`State::Disconnected`]. The driver of a car must know soon.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(3);
/// No contact for this much longer: [`State::Gone`].
const FAILED_AFTER: Duration = Duration::from_secs(5);
/// Contact is checked this often when nothing else is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Gathering only binds sockets here; this bounds a system that cannot even do that.
const GATHERING_TIMEOUT: Duration = Duration::from_secs(2);

/// One peer connection.
pub struct Peer {
    connection: Arc<dyn PeerConnection>,
    runtime: Arc<PeerRuntime>,
    handler: Arc<Handler>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// What happens at one peer connection.
#[derive(Debug)]
pub struct Inbox {
    events: mpsc::Receiver<Event>,
    state: watch::Receiver<State>,
}

impl Inbox {
    /// What happens next. Cancel-safe.
    pub async fn next(&mut self) -> Event {
        tokio::select! {
            Ok(()) = self.state.changed() => Event::State(*self.state.borrow_and_update()),
            Some(event) = self.events.recv() => event,
            // Both ends are held by the connection's handler.
            else => Event::State(State::Gone),
        }
    }
}

/// A peer that receives one publisher's tracks.
#[derive(Debug)]
pub struct PublisherPeer {
    /// The connection.
    pub peer: Peer,
    /// What happens at it.
    pub inbox: Inbox,
}

/// A peer that sends the tracks on to one viewer.
pub struct ViewerPeer {
    /// The connection.
    pub peer: Peer,
    /// What happens at it.
    pub inbox: Inbox,
    /// One for each picture, in their order.
    tracks: Vec<LocalTrack>,
}

struct LocalTrack {
    id: String,
    track: Arc<TrackLocalStaticRTP>,
    sender: Arc<dyn RtpSender>,
    ssrc: u32,
}

impl std::fmt::Debug for ViewerPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ViewerPeer")
            .field("peer", &self.peer)
            .field("tracks", &self.tracks.len())
            .finish_non_exhaustive()
    }
}

impl PublisherPeer {
    /// A peer with its sockets at these addresses (a wildcard stands for every interface, port 0 for any).
    ///
    /// # Errors
    /// [`RelayError::Peer`] when no socket could be had.
    pub async fn new(addresses: &[SocketAddr]) -> Result<Self, RelayError> {
        let (peer, inbox) = Peer::build(addresses, engine::uplink().map_err(failed)?, PUBLISHER_BUFFER_BYTES).await?;
        let init = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, ..Default::default() };
        peer.connection.add_transceiver_from_kind(RtpCodecKind::Video, Some(init)).await.map_err(failed)?;
        Ok(Self { peer, inbox })
    }
}

impl ViewerPeer {
    /// A peer with its sockets at these addresses (a wildcard stands for every interface, port 0 for any), and no track
    /// yet.
    ///
    /// # Errors
    /// [`RelayError::Peer`] when no socket could be had.
    pub async fn new(addresses: &[SocketAddr]) -> Result<Self, RelayError> {
        let (peer, inbox) = Peer::build(addresses, engine::downlink().map_err(failed)?, VIEWER_BUFFER_BYTES).await?;
        Ok(Self { peer, inbox, tracks: Vec::new() })
    }

    /// Readies as many tracks as an offer that is about to be answered asks for, called as the publisher's pictures
    /// `shown` are. Those that there are stay as they are.
    ///
    /// # Errors
    /// [`RelayError::Peer`] when the connection is gone.
    pub async fn ready_tracks(&mut self, wanted: usize, shown: &[TrackIds]) -> Result<(), RelayError> {
        while self.tracks.len() < wanted {
            let before: Vec<_> = self.tracks.iter().map(|track| track.id.clone()).collect();
            self.add_track(ids_to_viewer(shown, &before)).await?;
        }
        Ok(())
    }

    async fn add_track(&mut self, ids: TrackIds) -> Result<(), RelayError> {
        let (ssrc, rtx_ssrc) = distinct_ssrcs();
        let coding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                rtx: Some(RTCRtpRtxParameters { ssrc: rtx_ssrc }),
                ..Default::default()
            },
            codec: crate::rtc::engine::h264(),
            ..Default::default()
        };
        let TrackIds { stream, track: id } = ids;
        let track = MediaStreamTrack::new(stream, id.clone(), id.clone(), RtpCodecKind::Video, vec![coding]);
        let track = Arc::new(TrackLocalStaticRTP::new(track));
        let sender = self.peer.connection.add_track(track.clone()).await.map_err(failed)?;
        self.tracks.push(LocalTrack { id, track, sender, ssrc });
        Ok(())
    }

    /// The pictures that there are tracks for.
    pub fn pictures(&self) -> impl Iterator<Item = Picture> + use<> {
        Picture::first(self.tracks.len())
    }

    /// The track of a picture, once an offer has been answered; `None` when there is none, or the viewer wants no H.264.
    pub async fn downlink(&self, picture: Picture) -> Option<Downlink> {
        let LocalTrack { track, sender, ssrc, .. } = self.tracks.get(picture.index())?;
        let parameters = sender.get_parameters().await.ok()?;
        let mut codecs = parameters.rtp_parameters.codecs.iter();
        let h264 = codecs.find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case("video/H264"))?;
        let mut extensions = parameters.rtp_parameters.header_extensions.iter();
        let playout_delay = extensions.find(|extension| extension.uri == engine::PLAYOUT_DELAY_URI);
        let playout_delay = playout_delay.and_then(|extension| u8::try_from(extension.id).ok());
        Some(Downlink::new(track.clone(), *ssrc, h264.payload_type, playout_delay))
    }
}

impl Peer {
    async fn build(
        addresses: &[SocketAddr],
        (media_engine, registry): (MediaEngine, Registry),
        send_buffer_bytes: usize,
    ) -> Result<(Self, Inbox), RelayError> {
        let (events, received) = mpsc::channel(EVENTS_CAPACITY);
        let (state, watched) = watch::channel(State::New);
        let handler = Arc::new(Handler {
            events,
            state,
            gathered: watch::Sender::new(false),
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
        });
        // Browsers hide their addresses behind names that only multicast resolves. Our own addresses are in the clear
        // and reachable, so a browser's checks arrive, and the address they come from is learnt (RFC 8445 §7.3.1.3):
        // nothing to resolve.
        let settings = SettingEngineBuilder::new()
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_include_loopback_candidate(true)
            .with_ice_timeouts(Some(DISCONNECTED_AFTER), Some(FAILED_AFTER), Some(KEEP_ALIVE))
            .build();
        let runtime = PeerRuntime::without_relays().map_err(|error| RelayError::Peer(error.to_string()))?;
        let runtime = Arc::new(runtime);
        let connection = PeerConnectionBuilder::new()
            .with_runtime(runtime.clone())
            .with_media_engine(media_engine)
            .with_interceptor_registry(registry)
            .with_setting_engine(settings)
            .with_handler(handler.clone())
            .with_udp_addrs(addresses.to_vec())
            .with_data_channel_send_buffer_limit(send_buffer_bytes)
            .build()
            .await
            .map_err(failed)?;
        Ok((Self { connection: Arc::new(connection), runtime, handler }, Inbox { events: received, state: watched }))
    }

    /// Answers an offer: the first, or a later one that renegotiates. The answer carries every candidate of ours.
    ///
    /// # Errors
    /// [`RelayError::Offer`] when the offer cannot be used.
    pub async fn answer(&self, offer: String) -> Result<String, RelayError> {
        let unusable = |error: webrtc::error::Error| RelayError::Offer(error.to_string());
        let offer = RTCSessionDescription::offer(offer).map_err(unusable)?;
        self.connection.set_remote_description(offer).await.map_err(unusable)?;
        let answer = self.connection.create_answer(None).await.map_err(unusable)?;
        self.connection.set_local_description(answer).await.map_err(unusable)?;
        let mut gathered = self.handler.gathered.subscribe();
        // Too late is not too bad: what is gathered after the answer is trickled.
        let _ = tokio::time::timeout(GATHERING_TIMEOUT, gathered.wait_for(|gathered| *gathered)).await;
        self.handler.gathered.send_replace(true);
        let answer = self.connection.local_description().await;
        answer.map(|answer| answer.sdp).ok_or_else(|| RelayError::Offer("no answer could be made".to_owned()))
    }

    /// Adds a candidate of the other end, once an offer has been answered.
    ///
    /// # Errors
    /// [`RelayError::Offer`] when it cannot be read.
    pub async fn add_candidate(&self, candidate: CandidateInit) -> Result<(), RelayError> {
        let init = RTCIceCandidateInit {
            candidate: candidate.candidate,
            sdp_mid: candidate.sdp_mid,
            sdp_mline_index: candidate.sdp_m_line_index,
            username_fragment: candidate.username_fragment,
            ..Default::default()
        };
        self.connection.add_ice_candidate(init).await.map_err(|error| RelayError::Offer(error.to_string()))
    }

    /// Whether the other end has negotiated data channels.
    pub async fn has_data_channels(&self) -> bool {
        let remote = self.connection.remote_description().await;
        remote.is_some_and(|remote| remote.sdp.lines().any(|line| line.starts_with("m=application ")))
    }

    /// Opens a data channel, ordered and reliable; [`Event::ChannelOpen`] follows when the other end has agreed.
    ///
    /// # Errors
    /// [`RelayError::Peer`] when the connection is gone.
    pub async fn open_channel(&self, label: &str) -> Result<(), RelayError> {
        let channel = self.connection.create_data_channel(label, None).await.map_err(failed)?;
        self.handler.read_channel(channel, Opener::Us);
        Ok(())
    }

    /// How the connection is.
    pub fn state(&self) -> State {
        *self.handler.state.borrow()
    }

    /// Closes the connection and joins its tasks.
    pub async fn close(&self) {
        self.handler.closed.cancel();
        self.handler.tasks.close();
        self.runtime.prepare_close().await;
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "closing a peer connection");
        }
        self.handler.tasks.wait().await;
    }
}

fn failed(error: webrtc::error::Error) -> RelayError {
    RelayError::Peer(error.to_string())
}

/// Random, as RFC 3550 §8 wants them, and not the same.
fn distinct_ssrcs() -> (u32, u32) {
    let ssrc: u32 = rand::random();
    (ssrc, ssrc.wrapping_add(1))
}
