//! A viewer that is no browser: counts what it receives.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rtc::interceptor::{NackGeneratorBuilder, Registry, Slot};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp;
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::lossy::Lossy;
use super::peer::{Event, Peer, Trickle, media_engine};
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
    /// How many pictures it asks for.
    pub pictures: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self { trickle: Trickle::OldStyle, labels: &["metric", "stream"], lose_every: None, pictures: 1 }
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
        let peer = Peer::new(media_engine(PAYLOAD_TYPE), registry).await;
        for _ in 0..setup.pictures {
            peer.ask_for_picture().await;
        }
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
        let track = self.track().await;
        complete_run(&*track, count).await
    }

    /// The same on each of these tracks, at the same time.
    pub async fn complete_runs(&mut self, tracks: [&str; 2], count: u16) {
        let [one, other] = [self.track_called(tracks[0]).await, self.track_called(tracks[1]).await];
        tokio::join!(complete_run(&*one, count), complete_run(&*other, count));
    }

    /// The next RTP packet of the only picture.
    pub async fn packet(&mut self) -> rtp::Packet {
        let track = self.track().await;
        next_packet(&*track).await
    }

    /// The packets of this track for this long. The others are read too: what nobody reads is lost sooner or later.
    pub async fn packets_for(&mut self, track: &str, time: Duration) -> Vec<rtp::Packet> {
        let wanted = self.track_called(track).await;
        self.note_tracks();
        let packets = Mutex::new(Vec::new());
        let read = |track: Arc<dyn TrackRemote>| {
            let (wanted, packets) = (Arc::ptr_eq(&track, &wanted), &packets);
            async move {
                loop {
                    let packet = next_packet(&*track).await;
                    if wanted {
                        packets.lock().expect("not poisoned").push(packet);
                    }
                }
            }
        };
        let all = futures_util::future::join_all(self.peer.tracks.iter().cloned().map(read));
        let _: Result<Vec<()>, _> = tokio::time::timeout(time, all).await;
        packets.into_inner().expect("not poisoned")
    }

    pub async fn ask_for_key_frame(&mut self) {
        let track = self.track().await;
        ask_for_key_frame(&*track).await;
    }

    pub async fn ask_for_key_frame_of(&mut self, track: &str) {
        let track = self.track_called(track).await;
        ask_for_key_frame(&*track).await;
    }

    async fn track(&mut self) -> Arc<dyn TrackRemote> {
        while self.peer.tracks.is_empty() {
            self.next_track().await;
        }
        self.peer.tracks[0].clone()
    }

    /// The track with this id, once its first packet is there.
    async fn track_called(&mut self, id: &str) -> Arc<dyn TrackRemote> {
        let mut looked_at = 0;
        loop {
            while let Some(track) = self.peer.tracks.get(looked_at) {
                if track.track_id().await == id {
                    return track.clone();
                }
                looked_at += 1;
            }
            self.next_track().await;
        }
    }

    async fn next_track(&mut self) {
        if let Event::Track(track) = within("a track", self.peer.event()).await.expect("the peer lives") {
            self.peer.tracks.push(track);
        }
    }

    fn note_tracks(&mut self) {
        while let Some(event) = self.peer.event_so_far() {
            if let Event::Track(track) = event {
                self.peer.tracks.push(track);
            }
        }
    }

    /// The ids of the tracks that have had a packet.
    pub async fn tracks(&mut self) -> Vec<String> {
        self.note_tracks();
        let mut ids = Vec::new();
        for track in &self.peer.tracks {
            ids.push(track.track_id().await);
        }
        ids.sort();
        ids
    }

    /// Asks for one picture more, as the page does when it hears of it.
    pub async fn ask_for_another_picture(&mut self) {
        self.peer.ask_for_picture().await;
        self.peer.negotiate(&mut self.signal, Trickle::None).await;
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
                Event::Track(track) => self.peer.tracks.push(track),
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

async fn complete_run(track: &dyn TrackRemote, count: u16) -> usize {
    let first = next_packet(track).await.header.sequence_number;
    let mut missing: BTreeSet<u16> = (1..count).collect();
    let mut repeated = 0;
    let receive = async {
        while !missing.is_empty() {
            let offset = next_packet(track).await.header.sequence_number.wrapping_sub(first);
            repeated += usize::from(offset < count && !missing.remove(&offset));
        }
    };
    within("every packet", receive).await;
    repeated
}

async fn next_packet(track: &dyn TrackRemote) -> rtp::Packet {
    loop {
        let event = within("a packet", track.poll()).await.expect("the track goes on");
        if let TrackRemoteEvent::OnRtpPacket(packet) = event {
            return packet;
        }
    }
}

async fn ask_for_key_frame(track: &dyn TrackRemote) {
    let media_ssrc = track.ssrcs().await[0];
    let request = PictureLossIndication { sender_ssrc: 0, media_ssrc };
    track.write_rtcp(vec![Box::new(request)]).await.expect("it is sent");
}
