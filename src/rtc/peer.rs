//! One peer connection: a video track and two data channels, offered to the server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rtc::ice::mdns::MulticastDnsMode;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;
use webrtc::data_channel::DataChannel;
use webrtc::error::Error;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder, RTCIceCandidateInit,
    RTCIceGatheringState, RTCIceServer, RTCIceTransportPolicy, RTCPeerConnectionIceEvent, RTCPeerConnectionState,
    RTCSessionDescription, SettingEngineBuilder,
};

use super::channels::{self, Links, METRIC, SEND_BUFFER_LIMIT, STREAM};
use super::feedback::KeyFrameSink;
use super::mailbox::Mailbox;
use super::pump::LiveEnds;
use super::session::{PeerId, PeerState};
use super::settings::{IceConfig, IcePolicy, RtcConfig};
use super::track::VideoTrack;
use super::{engine, feedback};
use crate::signal::spider::CandidateInit;

/// No packet from the peer for this long: disconnected.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(2);
/// No packet for this much longer: failed.
const FAILED_AFTER: Duration = Duration::from_secs(10);
/// A connectivity check is sent this often; it is what tells a dead path from a quiet one.
const KEEPALIVE: Duration = Duration::from_millis(500);
/// How long an offer that carries all candidates waits for them.
const GATHERING_TIMEOUT: Duration = Duration::from_secs(3);

/// What every peer of a daemon has in common.
pub(crate) struct PeerSetup {
    pub(crate) config: RtcConfig,
    /// Local addresses to bind, in `ToSocketAddrs` form; a wildcard means one socket an interface.
    pub(crate) local_addresses: Vec<String>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) links: Arc<Links>,
    pub(crate) on_key_frame_request: KeyFrameSink,
}

/// One peer connection and the tasks that read its channels.
pub(crate) struct Peer {
    id: PeerId,
    connection: Arc<dyn PeerConnection>,
    track: VideoTrack,
    metric: Arc<dyn DataChannel>,
    gathered: Arc<Notify>,
    links: Arc<Links>,
    readers: Mutex<JoinSet<()>>,
}

impl Peer {
    /// Makes the connection, its track and its channels; [`Peer::offer`] comes next.
    pub(crate) async fn new(id: PeerId, setup: &PeerSetup) -> Result<Self, Error> {
        setup.links.register(id);
        let gathered = Arc::new(Notify::new());
        let handler =
            Handler { id, mailbox: setup.mailbox.clone(), links: setup.links.clone(), gathered: gathered.clone() };
        let settings = SettingEngineBuilder::new()
            .with_ice_timeouts(Some(DISCONNECTED_AFTER), Some(FAILED_AFTER), Some(KEEPALIVE))
            .with_include_loopback_candidate(true)
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .build();
        let connection = PeerConnectionBuilder::new()
            .with_configuration(ice_configuration(&setup.config.ice))
            .with_media_engine(engine::media_engine()?)
            .with_setting_engine(settings)
            .with_interceptor_registry(feedback::tap(engine::interceptors(), setup.on_key_frame_request.clone()))
            .with_handler(Arc::new(handler))
            .with_udp_addrs(setup.local_addresses.clone())
            .with_data_channel_send_buffer_limit(SEND_BUFFER_LIMIT)
            .build()
            .await?;
        let connection: Arc<dyn PeerConnection> = Arc::new(connection);
        let track = VideoTrack::new("camera");
        let sender = connection.add_track(track.local()).await?;
        let metric = connection.create_data_channel(METRIC, Some(channels::channel_init(setup.config.metric))).await?;
        let stream = connection.create_data_channel(STREAM, Some(channels::channel_init(setup.config.stream))).await?;
        let mut readers = JoinSet::new();
        readers.spawn(channels::read_stream(id, stream, setup.links.clone(), setup.mailbox.clone()));
        readers.spawn(channels::drain_metric(metric.clone()));
        Ok(Self {
            id,
            connection,
            track: track.bound(sender),
            metric,
            gathered,
            links: setup.links.clone(),
            readers: Mutex::new(readers),
        })
    }

    /// Makes and sets the local offer. With `all_candidates` it waits for gathering, so that the SDP holds them all.
    pub(crate) async fn offer(&self, all_candidates: bool) -> Result<String, Error> {
        let gathered = self.gathered.notified();
        let offer = self.connection.create_offer(None).await?;
        let sdp = offer.sdp.clone();
        self.connection.set_local_description(offer).await?;
        if !all_candidates {
            return Ok(sdp);
        }
        // Late candidates of a slow server are worth less than an offer now.
        let _ = tokio::time::timeout(GATHERING_TIMEOUT, gathered).await;
        Ok(self.connection.local_description().await.map_or(sdp, |description| description.sdp))
    }

    /// Makes an offer with new ICE credentials.
    pub(crate) async fn restart_ice(&self, all_candidates: bool) -> Result<String, Error> {
        self.connection.restart_ice().await?;
        self.offer(all_candidates).await
    }

    pub(crate) async fn apply_answer(&self, sdp: String) -> Result<(), Error> {
        self.connection.set_remote_description(RTCSessionDescription::answer(sdp)?).await
    }

    /// Sets the server's offer and returns our answer.
    pub(crate) async fn answer(&self, sdp: String) -> Result<String, Error> {
        self.connection.set_remote_description(RTCSessionDescription::offer(sdp)?).await?;
        let answer = self.connection.create_answer(None).await?;
        let sdp = answer.sdp.clone();
        self.connection.set_local_description(answer).await?;
        Ok(sdp)
    }

    pub(crate) async fn add_candidate(&self, candidate: CandidateInit) -> Result<(), Error> {
        let candidate = RTCIceCandidateInit {
            candidate: candidate.candidate,
            sdp_mid: candidate.sdp_mid,
            sdp_mline_index: candidate.sdp_m_line_index,
            username_fragment: candidate.username_fragment,
            url: None,
        };
        self.connection.add_ice_candidate(candidate).await
    }

    /// This peer's ends of the picture and telemetry flows.
    pub(crate) fn live_ends(&self) -> LiveEnds {
        LiveEnds { peer: self.id, track: self.track.clone(), metric: self.metric.clone() }
    }

    /// Closes the connection and waits for its tasks.
    pub(crate) async fn close(&self) {
        self.links.forget(self.id);
        if let Err(error) = self.connection.close().await {
            tracing::debug!(peer = self.id.0, %error, "closing a peer connection");
        }
        // The channels have ended, and with them their readers.
        while self.readers.lock().await.join_next().await.is_some() {}
    }
}

fn ice_configuration(ice: &IceConfig) -> webrtc::peer_connection::RTCConfiguration {
    let servers = ice.servers.iter().map(|server| {
        let (username, credential) = server
            .credential
            .as_ref()
            .map(|credential| (credential.username.clone(), credential.password.expose().to_owned()))
            .unwrap_or_default();
        RTCIceServer { urls: vec![server.url.clone()], username, credential }
    });
    RTCConfigurationBuilder::new()
        .with_ice_servers(servers.collect())
        .with_ice_transport_policy(match ice.policy {
            IcePolicy::All => RTCIceTransportPolicy::All,
            IcePolicy::Relay => RTCIceTransportPolicy::Relay,
        })
        .build()
}

/// Runs on the connection's own task: only hands over.
struct Handler {
    id: PeerId,
    mailbox: Arc<Mailbox>,
    links: Arc<Links>,
    gathered: Arc<Notify>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        match event.candidate.to_json() {
            Ok(init) => self.mailbox.candidate(
                self.id,
                CandidateInit {
                    candidate: init.candidate,
                    // One bundle: the first section carries the transport.
                    sdp_mid: Some("0".to_owned()),
                    sdp_m_line_index: Some(0),
                    username_fragment: init.username_fragment,
                },
            ),
            Err(error) => tracing::debug!(peer = self.id.0, %error, "a local candidate cannot be written"),
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.notify_waiters();
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let state = match state {
            RTCPeerConnectionState::Connected => PeerState::Connected,
            RTCPeerConnectionState::Disconnected => PeerState::Disconnected,
            RTCPeerConnectionState::Failed => PeerState::Failed,
            RTCPeerConnectionState::Closed => PeerState::Closed,
            _ => PeerState::New,
        };
        // The gate first: it must not wait for the session to come round.
        self.links.update(self.id, |link| link.connected = state == PeerState::Connected);
        self.mailbox.state(self.id, state);
    }
}
