//! A WebRTC peer of the `webrtc` crate, as a test's publisher or viewer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::Registry;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_RTX, MediaEngine};
use rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use tokio::sync::{mpsc, watch};
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceCandidateInit, RTCIceGatheringState,
    RTCPeerConnectionIceEvent, RTCPeerConnectionState, RTCSessionDescription, SettingEngineBuilder,
};

use super::signal::Signal;
use super::within;

/// Where peers are unless they are wanted elsewhere.
pub const LOOPBACK: &str = "127.0.0.1:0";

/// What happens at a peer.
pub enum Event {
    Track(Arc<dyn TrackRemote>),
    /// A message on the channel of this label.
    Message {
        label: String,
        text: String,
        /// Whether this end opened the channel.
        ours: bool,
    },
    ChannelOpen(Arc<dyn DataChannel>, String),
}

struct Handler {
    events: mpsc::Sender<Event>,
    state: watch::Sender<RTCPeerConnectionState>,
    gathered: watch::Sender<bool>,
    candidates: Mutex<Vec<RTCIceCandidateInit>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(init) = event.candidate.to_json() {
            self.candidates.lock().expect("not poisoned").push(init);
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathered.send_replace(state == RTCIceGatheringState::Complete);
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        tokio::spawn(read(channel, false, self.events.clone()));
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let _ = self.events.try_send(Event::Track(track));
    }
}

async fn read(channel: Arc<dyn DataChannel>, ours: bool, events: mpsc::Sender<Event>) {
    let Ok(label) = channel.label().await else { return };
    while let Some(event) = channel.poll().await {
        let event = match event {
            DataChannelEvent::OnOpen => Event::ChannelOpen(channel.clone(), label.clone()),
            DataChannelEvent::OnMessage(message) => {
                let text = String::from_utf8_lossy(&message.data).into_owned();
                Event::Message { label: label.clone(), text, ours }
            }
            _ => continue,
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// How our candidates reach the hub.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Trickle {
    /// All in the offer.
    None,
    /// `candidate` after the offer.
    OldStyle,
    /// `candidate2` before the offer.
    StandardAndEarly,
}

pub struct Peer {
    pub connection: Arc<dyn PeerConnection>,
    handler: Arc<Handler>,
    events: mpsc::Receiver<Event>,
    /// Messages that came while the channels were waited for.
    early: VecDeque<Event>,
    /// Tracks that came while something else was waited for, in the order of their first packets.
    pub tracks: Vec<Arc<dyn TrackRemote>>,
}

pub fn h264() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_H264.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".to_owned(),
        rtcp_feedback: [("nack", ""), ("nack", "pli"), ("ccm", "fir")]
            .map(|(typ, parameter)| RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() })
            .to_vec(),
    }
}

/// H.264 and RTX on payload types that are not the hub's own.
pub fn media_engine(h264_payload_type: u8) -> MediaEngine {
    let mut engine = MediaEngine::default();
    let mut register = |rtp_codec, payload_type| {
        engine.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type }, RtpCodecKind::Video).expect("a codec");
    };
    register(h264(), h264_payload_type);
    let apt = format!("apt={h264_payload_type}");
    let rtx =
        RTCRtpCodec { mime_type: MIME_TYPE_RTX.to_owned(), sdp_fmtp_line: apt, rtcp_feedback: Vec::new(), ..h264() };
    register(rtx, h264_payload_type + 1);
    engine
}

impl Peer {
    pub async fn new(engine: MediaEngine, registry: Registry) -> Self {
        Self::at(LOOPBACK, engine, registry).await
    }

    /// At this address of the machine, with its port.
    pub async fn at(address: &str, engine: MediaEngine, registry: Registry) -> Self {
        let (sender, events) = mpsc::channel(1024);
        let handler = Arc::new(Handler {
            events: sender,
            state: watch::Sender::new(RTCPeerConnectionState::New),
            gathered: watch::Sender::new(false),
            candidates: Mutex::default(),
        });
        let settings = SettingEngineBuilder::new()
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_include_loopback_candidate(true)
            .build();
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_setting_engine(settings)
            .with_handler(handler.clone())
            .with_udp_addrs(vec![address.to_owned()])
            .build()
            .await
            .expect("a peer");
        Self { connection: Arc::new(connection), handler, events, early: VecDeque::new(), tracks: Vec::new() }
    }

    /// One more picture is to be received.
    pub async fn ask_for_picture(&self) {
        let init = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, ..Default::default() };
        self.connection.add_transceiver_from_kind(RtpCodecKind::Video, Some(init)).await.expect("it is added");
    }

    pub async fn open_channel(&self, label: &str) -> Arc<dyn DataChannel> {
        let channel = self.connection.create_data_channel(label, None).await.expect("a channel");
        tokio::spawn(read(channel.clone(), true, self.handler.events.clone()));
        channel
    }

    /// Offers over the socket and takes the answer.
    pub async fn negotiate(&self, signal: &mut Signal, trickle: Trickle) {
        let offer = self.connection.create_offer(None).await.expect("an offer");
        let bare = offer.sdp.clone();
        self.connection.set_local_description(offer).await.expect("it is set");
        let mut gathered = self.handler.gathered.subscribe();
        within("gathering", gathered.wait_for(|gathered| *gathered)).await.expect("it goes on");
        let candidates = self.handler.candidates.lock().expect("not poisoned").clone();
        match trickle {
            Trickle::None => {
                let full = self.connection.local_description().await.expect("a description").sdp;
                assert!(full.contains("a=candidate:"), "candidates in the offer");
                signal.send("offer", &full).await;
            }
            Trickle::OldStyle => {
                signal.send("offer", &bare).await;
                for candidate in candidates {
                    signal.send("candidate", &candidate.candidate).await;
                }
            }
            Trickle::StandardAndEarly => {
                for candidate in candidates {
                    signal.send("candidate2", &serde_json::to_string(&candidate).expect("JSON")).await;
                }
                signal.send("offer", &bare).await;
            }
        }
        let answer = within("the answer", signal.receive_of("answer")).await.expect("the socket stays open");
        let answer = RTCSessionDescription::answer(answer).expect("an answer");
        self.connection.set_remote_description(answer).await.expect("it fits");
    }

    /// The answer to an offer, with every candidate.
    pub async fn answer(&self, offer: String) -> String {
        let offer = RTCSessionDescription::offer(offer).expect("an offer");
        self.connection.set_remote_description(offer).await.expect("it can be used");
        let answer = self.connection.create_answer(None).await.expect("an answer");
        self.connection.set_local_description(answer).await.expect("it is set");
        let mut gathered = self.handler.gathered.subscribe();
        within("gathering", gathered.wait_for(|gathered| *gathered)).await.expect("it goes on");
        self.connection.local_description().await.expect("a description").sdp
    }

    pub async fn connected(&self) {
        let mut state = self.handler.state.subscribe();
        within("the connection", state.wait_for(|state| *state == RTCPeerConnectionState::Connected))
            .await
            .expect("it goes on");
    }

    pub async fn gone(&self) {
        let mut state = self.handler.state.subscribe();
        let over = |state: &RTCPeerConnectionState| {
            matches!(
                state,
                RTCPeerConnectionState::Disconnected | RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed
            )
        };
        within("the end of the connection", state.wait_for(over)).await.expect("it goes on");
    }

    /// What happens next, in its order; none when the peer is gone. Nothing is lost when this is dropped.
    pub async fn event(&mut self) -> Option<Event> {
        match self.early.pop_front() {
            Some(event) => Some(event),
            None => self.events.recv().await,
        }
    }

    /// What has happened already, if anything.
    pub fn event_so_far(&mut self) -> Option<Event> {
        self.early.pop_front().or_else(|| self.events.try_recv().ok())
    }

    /// Waits until these channels are open, opened by whichever end.
    pub async fn channels<const N: usize>(&mut self, labels: [&str; N]) -> [Arc<dyn DataChannel>; N] {
        let mut open = HashMap::new();
        while !labels.iter().all(|label| open.contains_key(*label)) {
            match within("the data channels", self.events.recv()).await.expect("the peer lives") {
                Event::ChannelOpen(channel, label) => drop(open.insert(label, channel)),
                Event::Track(track) => self.tracks.push(track),
                message @ Event::Message { .. } => self.early.push_back(message),
            }
        }
        labels.map(|label| open.remove(label).expect("it is there"))
    }
}
