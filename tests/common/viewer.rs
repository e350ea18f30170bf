//! A viewer that is no browser: counts what it receives.

use std::sync::Arc;
use std::time::Instant;

use rtc::interceptor::{NackGeneratorBuilder, Registry, Slot};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::peer::{Event, Peer, Trickle, media_engine};
use super::signal::Signal;
use super::{TestHub, within};

/// Payload type of a viewer's H.264, unlike the hub's and the publishers'.
const PAYLOAD_TYPE: u8 = 125;

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
        Self::join_with(hub, channel, Trickle::OldStyle, &["metric", "stream"]).await
    }

    pub async fn join_with(hub: &TestHub, channel: &str, trickle: Trickle, labels: &[&str]) -> Self {
        let asked = Instant::now();
        let path = format!("/live/ws/sub?channel={channel}");
        let mut signal = Signal::open(hub.plain, None, &path, &[]).await.expect("the socket");
        let registry = Registry::new().with(Slot::NackGenerator, NackGeneratorBuilder::new().build());
        let peer = Peer::new(media_engine(PAYLOAD_TYPE), registry).await;
        let init = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, ..Default::default() };
        peer.connection.add_transceiver_from_kind(RtpCodecKind::Video, Some(init)).await.expect("it is added");
        for label in labels {
            peer.open_channel(label).await;
        }
        peer.negotiate(&mut signal, trickle).await;
        peer.connected().await;
        let mut viewer = Self { signal, peer, stream: None, asked };
        if !labels.is_empty() {
            let [_, stream] = viewer.peer.channels(["metric", "stream"]).await;
            viewer.stream = Some(stream);
        }
        viewer
    }

    /// The next RTP packet.
    pub async fn packet(&mut self) -> rtp::Packet {
        let track = self.track().await;
        loop {
            match within("a packet", track.poll()).await.expect("the track goes on") {
                TrackRemoteEvent::OnRtpPacket(packet) => return packet,
                _ => {}
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
            if let Event::Track(track) = within("the track", self.peer.events.recv()).await.expect("the peer lives") {
                self.peer.track = Some(track);
            }
        }
        self.peer.track.clone().expect("just set")
    }

    pub async fn drive(&self, text: &str) {
        self.stream.as_ref().expect("a channel").send_text(text).await.expect("it is open");
    }

    /// The next message on `metric`.
    pub async fn metric(&mut self) -> String {
        loop {
            match within("a metric message", self.peer.events.recv()).await.expect("the peer lives") {
                Event::Message(label, text) if label == "metric" => return text,
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
