//! A viewer that is no browser: counts what it receives.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::interceptor::{NackGeneratorBuilder, Registry, Slot};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::lossy::Lossy;
use super::peer::{Event, LOOPBACK, Peer, Trickle, media_engine};
use super::signal::Signal;
use super::{TestHub, within};

/// Payload type of a viewer's H.264, unlike the hub's and the publishers'.
pub const PAYLOAD_TYPE: u8 = 125;

#[derive(Clone, Copy)]
pub struct Setup {
    pub trickle: Trickle,
    /// The data channels the viewer opens.
    pub labels: &'static [&'static str],
    /// Every n-th packet is lost on its way from the hub (not its repetition).
    pub lose_every: Option<u64>,
    /// Where it takes media.
    pub address: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self { trickle: Trickle::OldStyle, labels: &["metric", "stream"], lose_every: None, address: LOOPBACK }
    }
}

pub struct Viewer {
    pub signal: Signal,
    pub peer: Peer,
    pub stream: Option<Arc<dyn DataChannel>>,
    /// When the socket was asked for.
    pub asked: Instant,
}

impl Viewer {
    /// Opens the page's socket over plain HTTP, as the page does, with both data channels.
    pub async fn join(hub: &TestHub, channel: &str) -> Self {
        Self::join_with(hub, channel, Setup::default()).await
    }

    pub async fn join_with(hub: &TestHub, channel: &str, setup: Setup) -> Self {
        Self::join_at(hub.plain, channel, setup).await
    }

    /// The same at any hub's plain address.
    pub async fn join_at(hub: SocketAddr, channel: &str, setup: Setup) -> Self {
        let asked = Instant::now();
        let path = format!("/live/ws/sub?channel={channel}");
        let mut signal = Signal::open(hub, None, &path, &[]).await.expect("the socket");
        let nacks = NackGeneratorBuilder::new().with_interval(Duration::from_millis(20)).with_max_nacks_per_packet(10);
        let registry = Registry::new()
            .with(Slot::from(500), Lossy::inbound(setup.lose_every))
            .with(Slot::NackGenerator, nacks.build());
        let peer = Peer::at(setup.address, media_engine(PAYLOAD_TYPE), registry).await;
        let init = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, ..Default::default() };
        peer.connection.add_transceiver_from_kind(RtpCodecKind::Video, Some(init)).await.expect("it is added");
        for label in setup.labels {
            peer.open_channel(label).await;
        }
        peer.negotiate(&mut signal, setup.trickle).await;
        peer.connected().await;
        let mut viewer = Self { signal, peer, stream: None, asked };
        let [_, stream] = viewer.peer.channels(["metric", "stream"]).await;
        viewer.stream = Some(stream);
        viewer
    }

    /// Receives until each of the first `count` numbers is there, in whatever order; says how many came more than once.
    pub async fn complete_run(&mut self, count: u16) -> usize {
        let first = self.packet().await.header.sequence_number;
        let mut missing: BTreeSet<u16> = (1..count).collect();
        let mut repeated = 0;
        let receive = async {
            while !missing.is_empty() {
                let offset = self.packet().await.header.sequence_number.wrapping_sub(first);
                repeated += usize::from(offset < count && !missing.remove(&offset));
            }
        };
        within("every packet", receive).await;
        repeated
    }

    /// The next RTP packet.
    pub async fn packet(&mut self) -> rtp::Packet {
        let track = self.track().await;
        loop {
            let event = within("a packet", track.poll()).await.expect("the track goes on");
            if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                return packet;
            }
        }
    }

    pub async fn ask_for_key_frame(&mut self) {
        let track = self.track().await;
        let media_ssrc = track.ssrcs().await[0];
        let request = PictureLossIndication { sender_ssrc: 0, media_ssrc };
        track.write_rtcp(vec![Box::new(request)]).await.expect("it is sent");
    }

    async fn track(&mut self) -> Arc<dyn TrackRemote> {
        while self.peer.track.is_none() {
            if let Event::Track(track) = within("the track", self.peer.event()).await.expect("the peer lives") {
                self.peer.track = Some(track);
            }
        }
        self.peer.track.clone().expect("just set")
    }

    pub async fn drive(&self, text: &str) {
        self.stream.as_ref().expect("a channel").send_text(text).await.expect("it is open");
    }

    /// The next message on `metric`, whichever end opened it.
    pub async fn metric(&mut self) -> String {
        self.next_metric().await.0
    }

    /// The next message on `metric`, and whether it came on a channel that this end opened.
    pub async fn next_metric(&mut self) -> (String, bool) {
        loop {
            match within("a metric message", self.peer.event()).await.expect("the peer lives") {
                Event::Message { label, text, ours } if label == "metric" => return (text, ours),
                Event::Track(track) => self.peer.track = Some(track),
                _ => {}
            }
        }
    }

    /// Waits for a `metric` message that contains this.
    pub async fn metric_with(&mut self, part: &str) -> String {
        let search = async {
            loop {
                let text = self.metric().await;
                if text.contains(part) {
                    return text;
                }
            }
        };
        within(part, search).await
    }

    pub async fn leave(self) {
        drop(self.signal);
        self.peer.connection.close().await.expect("it closes");
    }
}
