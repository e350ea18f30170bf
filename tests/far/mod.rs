//! The other end of a publisher's session, in this process: a pub server's socket and a real peer behind it, which answers
//! offers, ICE restarts among them, and trickles both ways.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own selection of these")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::{NackGeneratorBuilder, Slot};
use rtcpub::rtc::channels::{ControlSink, LinkState};
use rtcpub::rtc::engine;
use rtcpub::rtc::publisher::{Edges, publish};
use rtcpub::rtc::pump::PictureEdge;
use rtcpub::rtc::session::PeerId;
use rtcpub::rtc::settings::{IceConfig, Reliability, RtcConfig};
use rtcpub::rtc::status::PublishStatus;
use rtcpub::signal::settings::SignalConfig;
use rtcpub::signal::spider::{self, Incoming, Message};
use rtcpub::video::frame::AccessUnit;
use rtcpub::video::units::{AccessUnitSender, access_unit_channel};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite;
use tokio_util::sync::CancellationToken;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceCandidateInit, RTCPeerConnectionIceEvent,
    RTCSessionDescription, SettingEngineBuilder,
};

use crate::spider::{ServerSocket, within};

/// More than a test leaves unread; what does not fit is dropped, as by a network.
const INBOX: usize = 4096;

/// One RTP packet, and when it was handed over.
#[derive(Clone, Debug)]
pub struct Packet {
    pub arrived: Instant,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Bytes,
}

/// One session, from its first offer on.
pub struct Far {
    pub packets: mpsc::Receiver<Packet>,
    pub messages: mpsc::Receiver<String>,
    pub channels: mpsc::Receiver<(String, Arc<dyn DataChannel>)>,
    /// Every candidate line of the publisher's, in offers and trickled.
    pub candidates: mpsc::Receiver<String>,
    /// Offers that came, ICE restarts among them.
    pub offers: Arc<AtomicUsize>,
    connection: Arc<dyn PeerConnection>,
    serving: JoinHandle<()>,
}

impl Far {
    /// Serves the session on this socket until the socket ends.
    pub async fn serve(socket: ServerSocket) -> Self {
        let (packets_in, packets) = mpsc::channel(INBOX);
        let (messages_in, messages) = mpsc::channel(INBOX);
        let (channels_in, channels) = mpsc::channel(INBOX);
        let (candidates_in, candidates) = mpsc::channel(INBOX);
        let (trickle, trickled) = mpsc::channel(INBOX);
        let handler = Handler { packets: packets_in, messages: messages_in, channels: channels_in, trickle };
        let settings = SettingEngineBuilder::new()
            .with_include_loopback_candidate(true)
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_ice_timeouts(
                Some(Duration::from_secs(2)),
                Some(Duration::from_secs(20)),
                Some(Duration::from_millis(500)),
            )
            .build();
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(engine::media_engine().unwrap())
            .with_interceptor_registry(
                engine::interceptors().with(Slot::NackGenerator, NackGeneratorBuilder::new().build()),
            )
            .with_setting_engine(settings)
            .with_handler(Arc::new(handler))
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build()
            .await
            .unwrap();
        let connection: Arc<dyn PeerConnection> = Arc::new(connection);
        let offers = Arc::new(AtomicUsize::new(0));
        let server =
            Serving { socket, connection: connection.clone(), candidates: candidates_in, offers: offers.clone() };
        let serving = tokio::spawn(server.run(trickled));
        Self { packets, messages, channels, candidates, offers, connection, serving }
    }

    pub async fn packet(&mut self) -> Packet {
        within(self.packets.recv()).await.expect("the track goes on")
    }

    /// The channel of this label, once it is open.
    pub async fn channel(&mut self, label: &str) -> Arc<dyn DataChannel> {
        loop {
            let (opened, channel) = within(self.channels.recv()).await.expect("the connection is up");
            if opened == label {
                return channel;
            }
        }
    }

    /// The selected pair as this end sees it.
    pub async fn selected_pair(&self) -> String {
        let sctp = self.connection.sctp().await.expect("data channels");
        let pair = sctp.transport().ice_transport().get_selected_candidate_pair().await.expect("a live connection");
        pair.expect("a selected pair").to_string()
    }

    pub async fn close(self) {
        self.serving.abort();
        self.connection.close().await.unwrap();
    }
}

struct Serving {
    socket: ServerSocket,
    connection: Arc<dyn PeerConnection>,
    candidates: mpsc::Sender<String>,
    offers: Arc<AtomicUsize>,
}

impl Serving {
    async fn run(mut self, mut trickled: mpsc::Receiver<String>) {
        let mut answered = false;
        loop {
            tokio::select! {
                Some(candidate) = trickled.recv(), if answered => self.send(Message::Candidate(candidate)).await,
                frame = self.socket.next() => match frame {
                    Some(Ok(tungstenite::Message::Text(text))) => answered |= self.frame(&text).await,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
            }
        }
    }

    /// Whether it was an offer.
    async fn frame(&mut self, text: &str) -> bool {
        match spider::parse(text) {
            Incoming::Message(Message::Offer(sdp)) => {
                let is_first = self.offers.fetch_add(1, Ordering::SeqCst) == 0;
                for line in sdp.lines().filter_map(|line| line.strip_prefix("a=candidate:")) {
                    self.note(format!("candidate:{line}"));
                }
                let offer = RTCSessionDescription::offer(sdp).unwrap();
                self.connection.set_remote_description(offer).await.unwrap();
                let answer = self.connection.create_answer(None).await.unwrap();
                let sdp = answer.sdp.clone();
                // As some do that keep the role they have.
                let sdp = if is_first { sdp } else { sdp.replace("a=setup:active", "a=setup:actpass") };
                self.connection.set_local_description(answer).await.unwrap();
                self.send(Message::Answer(sdp)).await;
                return true;
            }
            Incoming::Message(Message::Candidate2(init)) => {
                self.note(init.candidate.clone());
                let init = RTCIceCandidateInit {
                    candidate: init.candidate,
                    sdp_mid: init.sdp_mid,
                    sdp_mline_index: init.sdp_m_line_index,
                    ..Default::default()
                };
                self.connection.add_ice_candidate(init).await.unwrap();
            }
            _ => {}
        }
        false
    }

    fn note(&self, candidate: String) {
        // A test that does not look does not mind.
        let _ = self.candidates.try_send(candidate);
    }

    async fn send(&mut self, message: Message) {
        // A publisher that has hung up is noticed by the next read.
        let _ = self.socket.send(tungstenite::Message::text(message.to_text())).await;
    }
}

struct Handler {
    packets: mpsc::Sender<Packet>,
    messages: mpsc::Sender<String>,
    channels: mpsc::Sender<(String, Arc<dyn DataChannel>)>,
    trickle: mpsc::Sender<String>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let _ = self.trickle.try_send(event.candidate.to_json().unwrap().candidate);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let packets = self.packets.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    let packet = Packet {
                        arrived: now(),
                        timestamp: packet.header.timestamp,
                        marker: packet.header.marker,
                        payload: packet.payload,
                    };
                    let _ = packets.try_send(packet);
                }
            }
        });
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        let (messages, channels) = (self.messages.clone(), self.channels.clone());
        tokio::spawn(async move {
            let label = channel.label().await.unwrap();
            while let Some(event) = channel.poll().await {
                match event {
                    DataChannelEvent::OnOpen => {
                        let _ = channels.try_send((label.clone(), channel.clone()));
                    }
                    DataChannelEvent::OnMessage(message) => {
                        let _ = messages.try_send(String::from_utf8_lossy(&message.data).into_owned());
                    }
                    _ => {}
                }
            }
        });
    }
}

/// A publisher under test.
pub struct Publisher {
    pub units: AccessUnitSender,
    pub metrics: mpsc::Sender<String>,
    pub heard: mpsc::Receiver<String>,
    pub status: watch::Receiver<PublishStatus>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Publisher {
    pub fn start(signal: SignalConfig, ice: IceConfig) -> Self {
        let (units, receiver) = access_unit_channel();
        let (metrics, metrics_receiver) = mpsc::channel(8);
        let (status_sender, status) = watch::channel(PublishStatus::default());
        let (told, heard) = mpsc::channel(INBOX);
        let shutdown = CancellationToken::new();
        let edges = Edges {
            picture: PictureEdge::new(receiver, Arc::new(|| {})),
            further: Vec::new(),
            control: Arc::new(Car(told)),
            metrics: metrics_receiver,
            counters: Arc::default(),
            status: status_sender,
            rate: crate::spider::rate_edge(800, |_| {}),
        };
        let reliable = Reliability::ORDERED_RELIABLE;
        let rtc = RtcConfig { ice, metric: reliable, stream: reliable };
        let task = tokio::spawn(publish(signal, rtc, edges, shutdown.clone()));
        Self { units, metrics, heard, status, shutdown, task }
    }

    pub async fn hears(&mut self, message: &str) {
        while within(self.heard.recv()).await.expect("the publisher runs") != message {}
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        within(self.task).await.unwrap();
    }
}

struct Car(mpsc::Sender<String>);

impl ControlSink for Car {
    fn message(&self, message: &[u8], _arrived: Instant) {
        let _ = self.0.try_send(String::from_utf8_lossy(message).into_owned());
    }
    fn link(&self, _peer: PeerId, _state: LinkState) {}
}

/// A picture of this many bytes that starts a decoder. Its payload holds no start code.
pub fn picture(number: u32, pts: Duration, bytes: usize) -> AccessUnit {
    let mut data = Vec::with_capacity(bytes + 32);
    for nal in [&[0x67, 1, 2, 3][..], &[0x68, 4], &[0x65]] {
        data.extend_from_slice(&[0, 0, 0, 1]);
        data.extend_from_slice(nal);
    }
    data.extend_from_slice(&number.to_be_bytes().map(|byte| byte | 0x80));
    data.resize(data.len() + bytes, 0xa5);
    AccessUnit { data: Bytes::from(data), pts, idr: true, encoded_at: now() }
}

#[expect(clippy::disallowed_methods, reason = "arrival times are what is measured")]
pub fn now() -> Instant {
    Instant::now()
}
