//! One peer connection: a video track for each picture and two data channels, offered to the server.

mod descriptions;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use rtc::ice::mdns::MulticastDnsMode;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;
use webrtc::data_channel::DataChannel;
use webrtc::error::Error;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfiguration, RTCConfigurationBuilder,
    RTCIceCandidate, RTCIceCandidateInit, RTCIceCandidateType, RTCIceGatheringState, RTCIceTransportPolicy,
    RTCPeerConnectionIceEvent, RTCPeerConnectionState, SettingEngine, SettingEngineBuilder,
};

use super::channels::{self, Links, METRIC, SEND_BUFFER_LIMIT, STREAM};
use super::congestion;
use super::congestion::meter::LinkMeter;
use super::driver::runtime::PeerRuntime;
use super::feedback::KeyFrameSink;
use super::ice::interfaces::LocalAddresses;
use super::ice::network::still_leads;
use super::ice::servers::{IceServers, Snapshot};
use super::ice::{candidates, mdns};
use super::mailbox::Mailbox;
use super::pump::{LiveEnds, PublishCounters};
use super::sections::Setup;
use super::session::{PeerId, PeerState};
use super::settings::{IceConfig, IcePolicy, RtcConfig};
use super::streams::Streams;
use super::track::VideoTrack;
use super::{engine, feedback, packetizer};
use crate::signal::spider::CandidateInit;
use crate::video::settings::{Bitrate, RateConfig};
use crate::video::trace::LatencyTrace;

/// No packet from the peer for this long: disconnected.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(2);
/// No packet for this much longer: failed.
const FAILED_AFTER: Duration = Duration::from_secs(10);
/// A connectivity check is sent this often; it is what tells a dead path from a quiet one.
const KEEPALIVE: Duration = Duration::from_millis(500);
/// How long a direct way may take to be found before one through a NAT, or a relay, is settled for. The crate's own
/// waits (0.5 s, 1 s and 2 s) are what a person would wait for after each change of network.
const REFLEXIVE_WAIT: Duration = Duration::from_millis(250);
/// See [`REFLEXIVE_WAIT`].
const RELAY_WAIT: Duration = Duration::from_millis(750);
/// How long a relay by UDP may take to be found before one by a stream is settled for, where only relays may be used.
const STREAM_WAIT: Duration = Duration::from_millis(200);
/// A TURN allocation is refreshed this often: it keeps NATs open, and a server that refuses is noticed long before the
/// allocation runs out.
const ALLOCATION_REFRESH: Duration = Duration::from_secs(60);
/// Hidden candidates looked up at the same time. Full: the newest is left out; a peer has one for each interface.
const MAX_LOOKUPS: usize = 16;

/// What every peer of a daemon has in common.
pub(crate) struct PeerSetup {
    pub(crate) config: RtcConfig,
    /// The config's STUN and TURN servers.
    pub(crate) ice_servers: Arc<IceServers>,
    /// Local addresses to bind, asked for anew at each ICE restart.
    pub(crate) local_addresses: LocalAddresses,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) links: Arc<Links>,
    /// The pictures to publish, the first one first.
    pub(crate) pictures: Vec<PictureSetup>,
    pub(crate) counters: Arc<PublishCounters>,
    pub(crate) rate: watch::Receiver<RateConfig>,
    /// What the further pictures take of the link.
    pub(crate) further: Vec<Bitrate>,
}

/// What every peer's track of a picture has in common.
pub(crate) struct PictureSetup {
    pub(crate) name: String,
    pub(crate) on_key_frame_request: KeyFrameSink,
    pub(crate) trace: LatencyTrace,
}

/// One peer connection and the tasks that read its channels.
pub(crate) struct Peer {
    id: PeerId,
    connection: Arc<dyn PeerConnection>,
    ice: PeerIce,
    /// In the order of their sections, which are the first ones of our descriptions.
    tracks: Arc<[VideoTrack]>,
    link: Arc<LinkMeter>,
    metric: Arc<dyn DataChannel>,
    gathered: Arc<Notify>,
    /// Our part in the DTLS handshake, from the first answer on.
    setup: OnceLock<Setup>,
    links: Arc<Links>,
    readers: Mutex<JoinSet<()>>,
    /// Names of the peer's candidates that are being resolved.
    lookups: Mutex<JoinSet<()>>,
}

/// The servers of one peer connection.
struct PeerIce {
    servers: Arc<IceServers>,
    policy: IcePolicy,
    runtime: Arc<PeerRuntime>,
}

impl Peer {
    /// Makes the connection, its track and its channels; [`Peer::offer`] comes next.
    pub(crate) async fn new(id: PeerId, setup: &PeerSetup) -> Result<Self, Error> {
        setup.links.register(id);
        let gathered = Arc::new(Notify::new());
        let policy = setup.config.ice.policy;
        let handler = Handler {
            id,
            policy,
            mailbox: setup.mailbox.clone(),
            links: setup.links.clone(),
            gathered: gathered.clone(),
        };
        let servers = Arc::new(setup.ice_servers.snapshot().await);
        let configuration = configuration(&servers, policy);
        let link = Arc::new(LinkMeter::of(setup.pictures.len()));
        let runtime = Arc::new(peer_runtime(id, setup, servers, link.clone())?);
        let mut tracks: Vec<_> = setup.pictures.iter().map(|picture| VideoTrack::new(&picture.name)).collect();
        let streams = Streams::new(tracks.iter().zip(&setup.pictures).map(|(track, picture)| track.stream(picture)));
        let registry = packetizer::packetize(engine::interceptors(), &streams, link.clone(), setup.counters.clone());
        let registry = feedback::tap(registry, &streams, link.clone());
        let rate = setup.rate.borrow().beside(setup.further.iter().copied());
        let registry = congestion::control(registry, &rate, &streams, link.clone());
        let connection = PeerConnectionBuilder::new()
            .with_runtime(runtime.clone())
            .with_configuration(configuration)
            .with_media_engine(engine::publishing_media_engine(rate.fec())?)
            .with_setting_engine(settings(&setup.config.ice))
            .with_interceptor_registry(registry)
            .with_handler(Arc::new(handler))
            .with_udp_addrs(vec![setup.local_addresses.clone()])
            .with_data_channel_send_buffer_limit(SEND_BUFFER_LIMIT)
            .build()
            .await?;
        let connection: Arc<dyn PeerConnection> = Arc::new(connection);
        for track in &mut tracks {
            track.bind(connection.add_track(track.local()).await?);
        }
        let metric = connection.create_data_channel(METRIC, Some(channels::channel_init(setup.config.metric))).await?;
        let stream = connection.create_data_channel(STREAM, Some(channels::channel_init(setup.config.stream))).await?;
        let mut readers = JoinSet::new();
        readers.spawn(channels::read_stream(id, stream, setup.links.clone(), setup.mailbox.clone()));
        readers.spawn(channels::drain_metric(metric.clone()));
        Ok(Self {
            id,
            connection,
            ice: PeerIce { servers: setup.ice_servers.clone(), policy, runtime },
            tracks: tracks.into(),
            link,
            metric,
            gathered,
            setup: OnceLock::new(),
            links: setup.links.clone(),
            readers: Mutex::new(readers),
            lookups: Mutex::default(),
        })
    }

    pub(crate) async fn add_candidate(&self, candidate: CandidateInit) -> Result<(), Error> {
        if candidates::mdns_name(&candidate.candidate).is_some() {
            self.look_up(candidate).await;
            return Ok(());
        }
        self.connection.add_ice_candidate(wire(candidate)).await
    }

    /// Adds a candidate once its name is resolved, when it is.
    async fn look_up(&self, candidate: CandidateInit) {
        let mut lookups = self.lookups.lock().await;
        while lookups.try_join_next().is_some() {}
        if lookups.len() >= MAX_LOOKUPS {
            tracing::debug!(peer = self.id.0, "more hidden candidates than can be looked up at once; one is left out");
            return;
        }
        let (peer, connection) = (self.id.0, self.connection.clone());
        lookups.spawn(async move {
            let Some(name) = candidates::mdns_name(&candidate.candidate) else { return };
            match mdns::resolve(name).await {
                Ok(ip) => {
                    let candidate = candidates::resolved(&candidate.candidate, name, ip);
                    if let Err(error) = connection.add_ice_candidate(wire(CandidateInit::for_bundle(&candidate))).await
                    {
                        tracing::debug!(peer, %error, "a remote candidate cannot be used");
                    }
                }
                Err(error) => tracing::debug!(peer, %error, "a remote candidate hides behind a name"),
            }
        });
    }

    /// Whether the selected way still leads to the peer over this machine's network of now. Of a relay that is not known.
    pub(crate) async fn still_leads(&self) -> bool {
        let Some(sctp) = self.connection.sctp().await else { return false };
        let pair = sctp.transport().ice_transport().get_selected_candidate_pair().await;
        let Ok(Some(pair)) = pair else { return false };
        let remote = pair.remote().address.parse().map(|ip| SocketAddr::new(ip, pair.remote().port));
        own_address(pair.local()).zip(remote.ok()).is_some_and(|(local, remote)| still_leads(local, remote))
    }

    /// This peer's ends of the picture and telemetry flows.
    pub(crate) fn live_ends(&self) -> LiveEnds {
        LiveEnds {
            peer: self.id,
            tracks: self.tracks.clone(),
            metric: self.metric.clone(),
            link: self.link.clone(),
            connection: self.connection.clone(),
        }
    }

    /// Closes the connection and waits for its tasks.
    pub(crate) async fn close(&self) {
        self.links.forget(self.id);
        self.lookups.lock().await.shutdown().await;
        self.ice.runtime.prepare_close().await;
        if let Err(error) = self.connection.close().await {
            tracing::debug!(peer = self.id.0, %error, "closing a peer connection");
        }
        // The channels have ended, and with them their readers.
        while self.readers.lock().await.join_next().await.is_some() {}
    }
}

/// The own address that a candidate's packets leave by.
fn own_address(local: &RTCIceCandidate) -> Option<IpAddr> {
    match local.typ {
        RTCIceCandidateType::Host => local.address.parse().ok(),
        RTCIceCandidateType::Srflx | RTCIceCandidateType::Prflx => local.related_address.parse().ok(),
        _ => None,
    }
}

fn wire(candidate: CandidateInit) -> RTCIceCandidateInit {
    RTCIceCandidateInit {
        candidate: candidate.candidate,
        sdp_mid: candidate.sdp_mid,
        sdp_mline_index: candidate.sdp_m_line_index,
        username_fragment: candidate.username_fragment,
        url: None,
    }
}

/// The runtime of one peer connection; of a relay that it loses, the session hears.
fn peer_runtime(
    id: PeerId,
    setup: &PeerSetup,
    servers: Arc<Snapshot>,
    link: Arc<LinkMeter>,
) -> Result<PeerRuntime, Error> {
    let crypto = rtc::crypto::default_provider().map_err(|error| Error::Other(error.to_string()))?;
    let mailbox = setup.mailbox.clone();
    let on_lost = Arc::new(move |reason: &str| mailbox.relay_lost(id, reason));
    Ok(PeerRuntime::new(setup.ice_servers.clone(), servers, crypto, on_lost, link))
}

fn configuration(servers: &Snapshot, policy: IcePolicy) -> RTCConfiguration {
    RTCConfigurationBuilder::new()
        .with_ice_servers(servers.rtc_servers())
        .with_ice_transport_policy(match policy {
            IcePolicy::All => RTCIceTransportPolicy::All,
            IcePolicy::Relay => RTCIceTransportPolicy::Relay,
        })
        .build()
}

fn settings(ice: &IceConfig) -> SettingEngine {
    let relay_wait = match ice.policy {
        IcePolicy::All => RELAY_WAIT,
        IcePolicy::Relay if ice.turn_servers().count() > 1 => STREAM_WAIT,
        IcePolicy::Relay => Duration::ZERO,
    };
    SettingEngineBuilder::new()
        .with_ice_timeouts(Some(DISCONNECTED_AFTER), Some(FAILED_AFTER), Some(KEEPALIVE))
        .with_srflx_acceptance_min_wait(Some(REFLEXIVE_WAIT))
        .with_prflx_acceptance_min_wait(Some(REFLEXIVE_WAIT))
        .with_relay_acceptance_min_wait(Some(relay_wait))
        .with_turn_allocation_refresh_interval_cap(ALLOCATION_REFRESH)
        .with_discard_local_candidates_during_ice_restart(true)
        .with_include_loopback_candidate(true)
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .build()
}

impl IcePolicy {
    /// A candidate line or an SDP as it may leave this machine.
    fn may_leave(self, text: String) -> String {
        match self {
            Self::All => text,
            Self::Relay => candidates::without_related_addresses(&text),
        }
    }
}

/// Runs on the connection's own task: only hands over.
struct Handler {
    id: PeerId,
    policy: IcePolicy,
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
                    candidate: self.policy.may_leave(init.candidate),
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
        self.links.update(self.id, |link| {
            link.connected = state == PeerState::Connected;
            link.ice_lost = state == PeerState::Disconnected;
        });
        self.mailbox.state(self.id, state);
    }
}
