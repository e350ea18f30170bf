//! A bare peer of the library's, on loopback: it notes which pictures arrive and which channels open.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::Registry;
use rtc::peer_connection::transport::RTCDtlsRole;
use tokio::sync::{mpsc, watch};
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
    RTCPeerConnectionState, RTCSessionDescription, SettingEngineBuilder,
};

use crate::spider::within;

/// When each picture arrived, by its RTP time.
pub type Arrivals = Arc<Mutex<Vec<(u32, Instant)>>>;

/// One end of a connection.
pub struct Far {
    pub connection: Arc<dyn PeerConnection>,
    handler: Arc<FarHandler>,
}

struct FarHandler {
    arrivals: Arrivals,
    channels: mpsc::Sender<Arc<dyn DataChannel>>,
    gathered: watch::Sender<bool>,
    state: watch::Sender<RTCPeerConnectionState>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for FarHandler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathered.send_replace(state == RTCIceGatheringState::Complete);
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        let _ = self.channels.try_send(channel);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let arrivals = self.arrivals.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event
                    && packet.header.marker
                {
                    arrivals.lock().expect("not poisoned").push((packet.header.timestamp, Instant::now()));
                }
            }
        });
    }
}

/// Such an end, which has this DTLS role when it answers.
pub async fn peer(
    role: RTCDtlsRole,
    engine: MediaEngine,
    registry: Registry,
    arrivals: Arrivals,
) -> (Far, mpsc::Receiver<Arc<dyn DataChannel>>) {
    let (channels, opened) = mpsc::channel(4);
    let (gathered, state) = (watch::Sender::new(false), watch::Sender::new(RTCPeerConnectionState::New));
    let handler = Arc::new(FarHandler { arrivals, channels, gathered, state });
    let settings = SettingEngineBuilder::new()
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_include_loopback_candidate(true)
        .with_answering_dtls_role(role)
        .build();
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(engine)
        .with_interceptor_registry(registry)
        .with_setting_engine(settings)
        .with_handler(handler.clone())
        .with_udp_addrs(vec!["127.0.0.1:0"])
        .build()
        .await
        .expect("a peer");
    (Far { connection: Arc::new(connection), handler }, opened)
}

impl Far {
    /// Its local description, with all candidates.
    pub async fn described(&self, description: RTCSessionDescription) -> String {
        self.connection.set_local_description(description).await.expect("it is its own");
        let mut gathered = self.handler.gathered.subscribe();
        within(gathered.wait_for(|gathered| *gathered)).await.expect("the handler lives");
        self.connection.local_description().await.expect("just set").sdp
    }

    pub async fn answer(&self, offer: String) -> String {
        self.connection
            .set_remote_description(RTCSessionDescription::offer(offer).expect("an SDP"))
            .await
            .expect("an offer");
        let answer = self.connection.create_answer(None).await.expect("an answer");
        self.described(answer).await
    }

    pub async fn connected(&self) {
        let mut state = self.handler.state.subscribe();
        within(state.wait_for(|state| *state == RTCPeerConnectionState::Connected)).await.expect("the handler lives");
    }
}
