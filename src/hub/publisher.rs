//! One publisher's session: its socket, its peer connection, its tracks to all viewers, their commands to its `stream`
//! channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::channels::{PublisherLink, PublisherSeat};
use super::clock::{expiry, now};
use super::key_frame::KeyFrameRequests;
use super::packet::{Packet, SequenceWindow, entry_point};
use super::room::Pictures;
use super::server::SessionContext;
use super::signalling::{Request, Signalling};
use crate::rtc::relay::{
    Channel, Event, MediaPacket, Picture, PublisherPeer, RelayError, State, Uplink, pictures_sent,
};

/// How long the picture of a publisher whose socket has dropped is kept while it flows. The publisher comes back with a
/// new socket, and that session takes over when its picture runs.
const ORPHAN_GRACE: Duration = Duration::from_secs(60);
/// A picture without a packet for this long no longer flows.
const FLOW_CHECK: Duration = Duration::from_secs(2);

/// Runs a publisher's session to its end.
pub async fn run(mut signalling: Signalling, seat: PublisherSeat, context: &SessionContext) {
    tracing::info!(channel = %seat.channel(), "publisher arrived");
    let mut session = Session {
        seat: Arc::new(seat),
        peer: None,
        pictures: Pictures::default(),
        parts: JoinSet::new(),
        packets: Arc::default(),
        orphan: None,
    };
    let reason = session.run(&mut signalling, context).await;
    tracing::info!(channel = %session.seat.channel(), "publisher left: {reason}");
    signalling.dismiss();
    session.parts.shutdown().await;
    if let Some(peer) = &session.peer {
        peer.peer.close().await;
    }
}

struct Session {
    seat: Arc<PublisherSeat>,
    peer: Option<PublisherPeer>,
    /// Those it has offered.
    pictures: Pictures,
    /// The pumps of the tracks and of the `stream` channel; they end with the session.
    parts: JoinSet<()>,
    /// Packets received: whether the picture flows.
    packets: Arc<AtomicU64>,
    orphan: Option<Orphan>,
}

/// A publisher whose socket has dropped while its picture flows.
#[derive(Clone, Copy)]
struct Orphan {
    until: Instant,
    next_check: Instant,
    packets_then: u64,
}

impl Session {
    async fn run(&mut self, signalling: &mut Signalling, context: &SessionContext) -> String {
        let link = self.seat.link().clone();
        let mut viewers = link.viewers();
        viewers.mark_changed();
        loop {
            tokio::select! {
                biased;
                () = context.shutdown.cancelled() => return "the hub stops".to_owned(),
                () = link.superseded() => return "another publisher has taken its place".to_owned(),
                () = expiry(self.orphan.map(|orphan| orphan.next_check)) => {
                    if let Some(reason) = self.check_orphan() {
                        return reason;
                    }
                }
                event = next_event(self.peer.as_mut()) => match event {
                    Event::State(State::Connected) => self.seat.connected(),
                    Event::State(State::Gone) => return "its peer connection is gone".to_owned(),
                    event => self.handle_event(event, signalling),
                },
                request = signalling.next() => {
                    if let Some(reason) = self.handle_request(request, signalling, context).await {
                        return reason;
                    }
                }
                Ok(()) = viewers.changed() => signalling.send_viewers(*viewers.borrow_and_update()),
                Some(ended) = self.parts.join_next() => {
                    if ended.is_err() {
                        return "a part of its session failed".to_owned();
                    }
                }
            }
        }
    }

    async fn handle_request(
        &mut self,
        request: Request,
        signalling: &mut Signalling,
        context: &SessionContext,
    ) -> Option<String> {
        match request {
            Request::Offer(sdp) => self.answer(sdp, signalling, context).await.err().map(|error| error.to_string()),
            Request::Candidate(candidate) => {
                signalling.candidate(self.peer.as_ref().map(|peer| &peer.peer), candidate).await;
                None
            }
            Request::Closed(reason) => {
                let flows = self.peer.as_ref().is_some_and(|peer| peer.peer.state() == State::Connected);
                if !flows {
                    return Some(reason);
                }
                tracing::info!(channel = %self.seat.channel(), "publisher's socket dropped ({reason}): picture kept");
                let now = now();
                let packets_then = self.packets.load(Ordering::Relaxed);
                self.orphan = Some(Orphan { until: now + ORPHAN_GRACE, next_check: now + FLOW_CHECK, packets_then });
                None
            }
        }
    }

    fn check_orphan(&mut self) -> Option<String> {
        let orphan = self.orphan.as_mut()?;
        let packets = self.packets.load(Ordering::Relaxed);
        if packets == orphan.packets_then {
            return Some("its socket has dropped and its picture does not flow".to_owned());
        }
        if now() >= orphan.until {
            return Some("its socket did not come back".to_owned());
        }
        orphan.packets_then = packets;
        orphan.next_check += FLOW_CHECK;
        None
    }

    async fn answer(
        &mut self,
        offer: String,
        signalling: &mut Signalling,
        context: &SessionContext,
    ) -> Result<(), RelayError> {
        self.pictures = pictures_sent(&offer)?.into();
        self.seat.offers(self.pictures.clone());
        if self.peer.is_none() {
            self.peer = Some(PublisherPeer::new(&context.media_addresses).await?);
        }
        match &self.peer {
            Some(peer) => signalling.answer(&peer.peer, offer).await,
            None => Ok(()),
        }
    }

    fn handle_event(&mut self, event: Event, signalling: &Signalling) {
        match event {
            Event::Candidate(candidate) => signalling.send_candidate(candidate),
            Event::ChannelOpen(channel) if channel.label() == "stream" => {
                self.parts.spawn(send_control(channel, self.seat.link().clone()));
            }
            Event::Message { label, text } if &*label == "metric" => self.seat.metric(text),
            Event::Track(track) => match self.picture_of(&track) {
                Some(picture) => {
                    self.parts.spawn(forward_track(picture, track, self.seat.clone(), self.packets.clone()));
                }
                None => tracing::debug!("{track:?} is none of the pictures offered"),
            },
            Event::ChannelOpen(_) | Event::Message { .. } | Event::State(_) => {}
        }
    }

    /// The only picture, whatever its track is called, or the one of that name.
    fn picture_of(&self, track: &Uplink) -> Option<Picture> {
        let mut pictures = Picture::first(self.pictures.len());
        pictures.find(|picture| self.pictures.len() == 1 || self.pictures[picture.index()].track == track.id())
    }
}

/// Passes the packets of one picture on to all viewers, and their wishes for a key frame back.
async fn forward_track(picture: Picture, track: Uplink, seat: Arc<PublisherSeat>, packets: Arc<AtomicU64>) {
    let link = seat.link().clone();
    let mut requests = KeyFrameRequests::default();
    let mut numbers = SequenceWindow::default();
    let mut running = false;
    // The takeover waits for a key frame, so the first is asked for here and not by a viewer.
    requests.want(now().into_std());
    loop {
        if requests.take_due(now().into_std()) {
            track.request_key_frame().await;
        }
        let due = requests.poll_timeout().map(Instant::from_std);
        tokio::select! {
            biased;
            packet = track.receive() => {
                let Some(packet) = packet else { return };
                packets.fetch_add(1, Ordering::Relaxed);
                let Some(packet) = number(packet, &mut numbers, &seat) else { continue };
                if packet.entry.is_some() {
                    requests.arrived(packet.timestamp);
                    if !running && picture == Picture::MAIN {
                        seat.running();
                    }
                    running = true;
                }
                // A publisher takes over with its main picture: the others do not get ahead of it. And one that was
                // superseded while it waited must not be taken for the newest.
                if running && link.is_live() {
                    seat.forward(picture, packet);
                }
            }
            () = link.key_frame_wanted(picture) => requests.want(now().into_std()),
            () = expiry(due) => {}
        }
    }
}

fn number(packet: MediaPacket, numbers: &mut SequenceWindow, seat: &PublisherSeat) -> Option<Packet> {
    Some(Packet {
        source: seat.id(),
        index: numbers.accept(packet.sequence)?,
        timestamp: packet.timestamp,
        marker: packet.marker,
        entry: entry_point(&packet.payload),
        payload: packet.payload,
    })
}

/// Sends the viewers' commands as fast as the publisher takes them; what it has not taken yet can still be outdated.
async fn send_control(channel: Channel, link: Arc<PublisherLink>) {
    loop {
        link.control_waiting().await;
        if channel.writable().await.is_err() {
            return;
        }
        let Some(message) = link.take_control() else { continue };
        if channel.send(&message.text).await.is_err() {
            return;
        }
    }
}

async fn next_event(peer: Option<&mut PublisherPeer>) -> Event {
    match peer {
        Some(peer) => peer.inbox.next().await,
        None => std::future::pending().await,
    }
}
