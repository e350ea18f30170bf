//! One viewer's session: its socket, its peer connection, the pictures out, `metric` out, `stream` in.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::channels::{ViewerInbox, ViewerSeat};
use super::clock::{expiry, now};
use super::forward::Forwarder;
use super::packet::Packet;
use super::room::View;
use super::server::SessionContext;
use super::signalling::{Request, Signalling};
use super::stream_message::StreamMessage;
use crate::quiet::Quiet;
use crate::rtc::relay::{
    Channel, Downlink, Event, MediaPacket, Opener, Picture, RelayError, SendError, State, ViewerPeer, pictures_wanted,
};

/// A connected viewer that has opened a data channel of its own to have SCTP, but not these, gets them from us after
/// this long.
const CHANNEL_GRACE: Duration = Duration::from_secs(2);
/// A viewer still without a picture after this long, while packets flow, asks again: it missed the start of the last
/// key frame.
const PICTURE_PATIENCE: Duration = Duration::from_secs(1);

/// Runs a viewer's session to its end.
pub async fn run(mut signalling: Signalling, seat: ViewerSeat, inbox: ViewerInbox, context: &SessionContext) {
    let mut session = Session {
        seat: Arc::new(seat),
        view: inbox.view.borrow().clone(),
        peer: None,
        pumps: JoinSet::new(),
        pumped: 0,
        channels: DataChannels::default(),
        open_channels_at: None,
        junk: Quiet::default(),
    };
    let reason = session.run(&mut signalling, inbox, context).await;
    tracing::debug!("viewer left: {reason}");
    let Session { seat, peer, mut pumps, .. } = session;
    pumps.shutdown().await;
    // The wheel is free, and the car stopped, before the socket's closing can take its time.
    drop(seat);
    signalling.dismiss();
    if let Some(peer) = &peer {
        peer.peer.close().await;
    }
}

struct Session {
    seat: Arc<ViewerSeat>,
    /// The room, as last seen.
    view: View,
    peer: Option<ViewerPeer>,
    /// One for each picture that the viewer is sent.
    pumps: JoinSet<()>,
    /// How many pictures have had theirs.
    pumped: usize,
    channels: DataChannels,
    /// When to open the data channels that the viewer has not.
    open_channels_at: Option<Instant>,
    junk: Quiet,
}

#[derive(Default)]
struct DataChannels {
    metric: Option<Channel>,
    /// The viewer has not taken the room's newest state yet.
    metric_is_behind: bool,
    stream: bool,
}

impl Session {
    async fn run(&mut self, signalling: &mut Signalling, mut inbox: ViewerInbox, context: &SessionContext) -> String {
        inbox.view.mark_changed();
        loop {
            tokio::select! {
                biased;
                () = context.shutdown.cancelled() => return "the hub stops".to_owned(),
                event = next_event(self.peer.as_mut()) => {
                    if let Event::State(State::Gone) = event {
                        return "its peer connection is gone".to_owned();
                    }
                    self.handle_event(event, signalling).await;
                }
                request = signalling.next() => {
                    if let Some(reason) = self.handle_request(request, signalling, context).await {
                        return reason;
                    }
                }
                Ok(()) = inbox.view.changed() => {
                    self.view = inbox.view.borrow_and_update().clone();
                    signalling.send_company(&self.view);
                    self.show_room().await;
                }
                Some(text) = inbox.metric.recv() => drop(self.metric(&text).await),
                () = expiry(self.open_channels_at) => self.open_channels().await,
                () = self.channels.metric_catches_up() => self.show_room().await,
                Some(ended) = self.pumps.join_next() => {
                    if ended.is_err() {
                        return "a picture's pump failed".to_owned();
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
            // A viewer without a socket may be without its person: the car must not be driven through it.
            Request::Closed(reason) => Some(reason),
        }
    }

    async fn answer(
        &mut self,
        offer: String,
        signalling: &mut Signalling,
        context: &SessionContext,
    ) -> Result<(), RelayError> {
        let wanted = pictures_wanted(&offer)?;
        let peer = match &mut self.peer {
            Some(peer) => peer,
            None => self.peer.insert(ViewerPeer::new(&context.media_addresses).await?),
        };
        peer.ready_tracks(wanted, &self.view.pictures).await?;
        signalling.answer(&peer.peer, offer).await?;
        // A later offer may have asked for more.
        if peer.peer.state() == State::Connected {
            self.send_pictures().await;
        }
        Ok(())
    }

    async fn handle_event(&mut self, event: Event, signalling: &Signalling) {
        match event {
            Event::State(State::Connected) => self.connected().await,
            Event::State(State::Disconnected) => self.seat.unreachable(),
            Event::Candidate(candidate) => signalling.send_candidate(candidate),
            Event::ChannelOpen(channel) => self.channel_opened(channel).await,
            Event::Message { label, text } if &*label == "stream" => self.receive(text),
            Event::Message { .. } | Event::Track(_) | Event::State(_) => {}
        }
    }

    async fn connected(&mut self) {
        let Some(peer) = &self.peer else { return };
        if self.open_channels_at.is_none() && peer.peer.has_data_channels().await {
            self.open_channels_at = Some(now() + CHANNEL_GRACE);
        }
        self.send_pictures().await;
    }

    /// Starts the pumps of the pictures that have none yet.
    async fn send_pictures(&mut self) {
        let Some(peer) = &self.peer else { return };
        for picture in peer.pictures().skip(self.pumped) {
            self.pumped += 1;
            match peer.downlink(picture).await {
                Some(downlink) => {
                    self.pumps.spawn(send_picture(picture, downlink, self.seat.clone()));
                }
                None => tracing::debug!("a viewer wants no H.264: it gets no picture"),
            }
        }
    }

    async fn channel_opened(&mut self, channel: Channel) {
        match channel.label() {
            "metric" => {
                // A viewer that was slow to open its own listens on that one, and perhaps not on ours.
                let theirs = self.channels.metric.as_ref().is_some_and(|metric| metric.opener() == Opener::Them);
                if theirs && channel.opener() == Opener::Us {
                    return;
                }
                self.channels.metric = Some(channel);
                self.show_room().await;
            }
            "stream" => {
                self.channels.stream = true;
                self.seat.can_drive();
            }
            other => tracing::debug!("a viewer opened the unknown channel {other:?}"),
        }
    }

    async fn open_channels(&mut self) {
        self.open_channels_at = None;
        let Some(peer) = &self.peer else { return };
        for (label, is_open) in [("metric", self.channels.metric.is_some()), ("stream", self.channels.stream)] {
            if is_open {
                continue;
            }
            if let Err(error) = peer.peer.open_channel(label).await {
                tracing::debug!("opening {label} to a viewer: {error}");
            }
        }
    }

    fn receive(&mut self, text: String) {
        match StreamMessage::parse(text) {
            Ok(message) => self.seat.sent(message),
            Err(error) => {
                if let Some(left_out) = self.junk.admit(now().into_std()) {
                    tracing::debug!(left_out, "ignored a viewer's message on stream: {error}");
                }
            }
        }
    }

    /// Shows the viewer the room: who holds the wheel, whether the car is there, how many watch.
    async fn show_room(&mut self) {
        let View { wheel, live, viewers, .. } = self.view;
        let texts = [
            format!(r#"{{"wheel":{{"key":"state","value":"{}"}}}}"#, wheel.as_str()),
            format!(r#"{{"hub":{{"key":"publisher","value":{}}}}}"#, u8::from(live)),
            format!(r#"{{"hub":{{"key":"viewers","value":{viewers}}}}}"#),
        ];
        self.channels.metric_is_behind = false;
        for text in texts {
            // Unlike telemetry this is shown in the end: whoever drives must know that they do.
            self.channels.metric_is_behind |= self.metric(&text).await == Err(SendError::Full);
        }
    }

    /// Full: telemetry is dropped, not queued.
    async fn metric(&mut self, text: &str) -> Result<(), SendError> {
        let Some(channel) = &self.channels.metric else { return Err(SendError::Closed) };
        let sent = channel.try_send(text).await;
        if sent == Err(SendError::Closed) {
            self.channels.metric = None;
        }
        sent
    }
}

impl DataChannels {
    /// Ends when `metric` takes messages again after it did not. Cancel-safe.
    async fn metric_catches_up(&self) {
        match &self.metric {
            // An error ends the wait too: the next message finds the channel closed.
            Some(metric) if self.metric_is_behind => drop(metric.writable().await),
            _ => std::future::pending().await,
        }
    }
}

/// Sends a picture until the connection is gone.
async fn send_picture(picture: Picture, downlink: Downlink, seat: Arc<ViewerSeat>) {
    let mut packets = seat.media(picture);
    let mut pump = Pump { forwarder: Forwarder::new(rand::random()), asked: now(), outgoing: Vec::new() };
    seat.key_frame_wanted(picture);
    loop {
        let lost_its_place = tokio::select! {
            packet = packets.recv() => match pump.forward(packet, &downlink).await {
                Ok(lost_its_place) => lost_its_place,
                Err(Over) => return,
            },
            needed = downlink.feedback() => match needed {
                Some(_) => true,
                None => return,
            },
        };
        if lost_its_place {
            pump.asked = now();
            seat.key_frame_wanted(picture);
        }
    }
}

struct Pump {
    forwarder: Forwarder,
    asked: Instant,
    /// Kept for its memory.
    outgoing: Vec<super::forward::Outgoing>,
}

/// The connection or the room is gone.
struct Over;

impl Pump {
    /// Sends what the viewer is to have of the next packet; says whether it needs a key frame now.
    async fn forward(&mut self, packet: Result<Packet, RecvError>, downlink: &Downlink) -> Result<bool, Over> {
        let packet = match packet {
            Ok(packet) => packet,
            Err(RecvError::Lagged(lost)) => {
                tracing::debug!(lost, "a viewer fell behind: it goes on at the next key frame");
                self.forwarder.lost_packets();
                return Ok(true);
            }
            Err(RecvError::Closed) => return Err(Over),
        };
        let now = now();
        self.forwarder.forward(&packet, now.into_std(), &mut self.outgoing);
        for packet in self.outgoing.drain(..) {
            let (sequence, timestamp, marker) = (packet.sequence, packet.timestamp, packet.marker);
            let packet = MediaPacket { sequence, timestamp, marker, payload: packet.payload };
            downlink.send(packet).await.map_err(|_| Over)?;
        }
        Ok(self.forwarder.needs_key_frame() && now - self.asked >= PICTURE_PATIENCE)
    }
}

async fn next_event(peer: Option<&mut ViewerPeer>) -> Event {
    match peer {
        Some(peer) => peer.inbox.next().await,
        None => std::future::pending().await,
    }
}
