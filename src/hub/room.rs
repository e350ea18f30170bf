//! One channel's people: who publishes, who watches, who holds the wheel. Pure: the shell ([`super::channels`]) carries
//! out the [`Effect`]s in order and shows each viewer its [`View`].
//!
//! ```text
//! publisher:  arrived ─▶ waiting ──(picture runs, or nobody else publishes and it is connected)──▶ live ─▶ left
//!                           └─ replaced by a newer arrival              the one before is superseded ┘
//! wheel:      free ──(first viewer whose channel opens; then: take, or the first real command)──▶ held
//!               ▲──────────────── neutral is sent to the car ◀── release, leave, unreachable ───────┘
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::stream_message::{self, Kind, Stamp, StreamMessage, WheelRequest};
use crate::rtc::relay::{Picture, TrackIds};

/// Viewers of one channel. Full: the next one is turned away with a reason.
pub const MAX_VIEWERS: usize = 64;

/// A publisher's socket, numbered in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublisherId(pub u64);

/// A viewer's socket, numbered in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewerId(pub u64);

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell this publisher that another has taken its place (the bare `close`), and end it.
    Supersede(PublisherId),
    /// Send this to the live publisher on `stream`.
    Control(PublisherId, StreamMessage),
    /// Ask the live publisher for a key frame of this picture.
    RequestKeyFrame(PublisherId, Picture),
}

/// A publisher's pictures, the main one first; none while its offer is not there.
pub type Pictures = Arc<[TrackIds]>;

/// What one viewer is shown of the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The wheel, as seen by this viewer.
    pub wheel: WheelState,
    /// Whether a publisher is live.
    pub live: bool,
    /// How many viewers there are, this one included.
    pub viewers: usize,
    /// The live publisher's pictures.
    pub pictures: Pictures,
}

/// The wheel, as seen by one viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WheelState {
    /// This viewer drives.
    Held,
    /// Nobody drives.
    Free,
    /// Someone else drives.
    Taken,
}

impl WheelState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Free => "free",
            Self::Taken => "taken",
        }
    }
}

/// The channel has [`MAX_VIEWERS`] viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this channel has {MAX_VIEWERS} viewers already")]
pub struct RoomFull;

#[derive(Debug)]
struct Publisher {
    id: PublisherId,
    pictures: Pictures,
}

/// A publisher that is not shown yet.
#[derive(Debug)]
struct Waiting {
    publisher: Publisher,
    connected: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Room {
    live: Option<Publisher>,
    waiting: Option<Waiting>,
    /// Viewers, each with the last stamp it gave.
    viewers: BTreeMap<ViewerId, Stamp>,
    holder: Option<ViewerId>,
}

impl Room {
    /// Whether nobody is here any more.
    pub fn is_empty(&self) -> bool {
        self.live.is_none() && self.waiting.is_none() && self.viewers.is_empty()
    }

    /// The publisher whose picture is shown.
    pub fn live(&self) -> Option<PublisherId> {
        self.live.as_ref().map(|live| live.id)
    }

    /// How many viewers there are.
    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// What `viewer` is shown.
    pub fn view(&self, viewer: ViewerId) -> View {
        let wheel = match self.holder {
            Some(holder) if holder == viewer => WheelState::Held,
            Some(_) => WheelState::Taken,
            None => WheelState::Free,
        };
        let pictures = self.live.as_ref().map(|live| live.pictures.clone()).unwrap_or_default();
        View { wheel, live: self.live.is_some(), viewers: self.viewers.len(), pictures }
    }

    /// A publisher's socket is open. It is shown once it is [`Room::publisher_connected`] or
    /// [`Room::publisher_running`].
    pub fn publisher_arrived(&mut self, id: PublisherId) -> Vec<Effect> {
        let publisher = Publisher { id, pictures: Pictures::default() };
        let before = self.waiting.replace(Waiting { publisher, connected: false });
        before.map(|before| Effect::Supersede(before.publisher.id)).into_iter().collect()
    }

    /// It offers these pictures, the main one first.
    pub fn publisher_offered(&mut self, id: PublisherId, pictures: Pictures) {
        let waiting = self.waiting.as_mut().map(|waiting| &mut waiting.publisher);
        if let Some(publisher) = waiting.into_iter().chain(&mut self.live).find(|publisher| publisher.id == id) {
            publisher.pictures = pictures;
        }
    }

    /// Its peer connection is up: enough to be live when nobody else is, so that telemetry and control work while its
    /// camera is still missing.
    pub fn publisher_connected(&mut self, id: PublisherId) -> Vec<Effect> {
        match &mut self.waiting {
            Some(waiting) if waiting.publisher.id == id => waiting.connected = true,
            _ => return Vec::new(),
        }
        if self.live.is_none() { self.go_live() } else { Vec::new() }
    }

    /// Its main picture runs: it takes over from whoever was live.
    pub fn publisher_running(&mut self, id: PublisherId) -> Vec<Effect> {
        let waits = self.waiting.as_ref().is_some_and(|waiting| waiting.publisher.id == id);
        if waits { self.go_live() } else { Vec::new() }
    }

    /// It is gone, in whatever state it was.
    pub fn publisher_left(&mut self, id: PublisherId) -> Vec<Effect> {
        self.waiting.take_if(|waiting| waiting.publisher.id == id);
        self.live.take_if(|live| live.id == id);
        match &self.waiting {
            Some(Waiting { connected: true, .. }) if self.live.is_none() => self.go_live(),
            _ => Vec::new(),
        }
    }

    /// A viewer's socket is open.
    ///
    /// # Errors
    /// [`RoomFull`] when it cannot be let in.
    pub fn viewer_arrived(&mut self, id: ViewerId) -> Result<(), RoomFull> {
        if self.viewers.len() >= MAX_VIEWERS {
            return Err(RoomFull);
        }
        self.viewers.insert(id, Stamp::default());
        Ok(())
    }

    /// Its `stream` channel is open: it can drive, and does when it is the first.
    pub fn viewer_can_drive(&mut self, id: ViewerId) {
        if self.holder.is_none() && self.viewers.contains_key(&id) {
            self.holder = Some(id);
        }
    }

    /// It cannot be shown this picture before its next key frame: it has just connected, or its decoder or queue has
    /// lost its place.
    pub fn key_frame_wanted(&self, picture: Picture) -> Vec<Effect> {
        self.live.iter().map(|live| Effect::RequestKeyFrame(live.id, picture)).collect()
    }

    /// It sent something on `stream`.
    pub fn viewer_sent(&mut self, id: ViewerId, message: StreamMessage) -> Vec<Effect> {
        let Some(stamp) = self.viewers.get_mut(&id) else { return Vec::new() };
        stamp.go_on_with(&message.stamp);
        match message.kind {
            Kind::Wheel(WheelRequest::Take) => self.take_wheel(id),
            Kind::Wheel(WheelRequest::Release) => return self.release_wheel(id),
            // A person who sees danger may stop the car whoever drives; only the driver may let it go again.
            Kind::EmergencyStop => return self.control([message]),
            Kind::Motion { neutral: false, .. } => self.take_wheel(id),
            Kind::Motion { neutral: true, .. } | Kind::Other { .. } => {}
        }
        let passes = self.holder == Some(id) && !matches!(message.kind, Kind::Wheel(_));
        if passes { self.control([message]) } else { Vec::new() }
    }

    /// Its peer connection has lost contact: whoever drives blind must not, but may go on when contact is back.
    pub fn viewer_unreachable(&self, id: ViewerId) -> Vec<Effect> {
        if self.holder == Some(id) { self.stop(id) } else { Vec::new() }
    }

    /// It is gone.
    pub fn viewer_left(&mut self, id: ViewerId) -> Vec<Effect> {
        let effects = self.release_wheel(id);
        self.viewers.remove(&id);
        effects
    }

    /// Shows the publisher that waits.
    fn go_live(&mut self) -> Vec<Effect> {
        let Some(Waiting { publisher, .. }) = self.waiting.take() else { return Vec::new() };
        let pictures = Picture::first(publisher.pictures.len());
        let key_frames = pictures.map(|picture| Effect::RequestKeyFrame(publisher.id, picture));
        let superseded = self.live.as_ref().map(|live| Effect::Supersede(live.id));
        let effects = superseded.into_iter().chain(key_frames).collect();
        self.live = Some(publisher);
        effects
    }

    fn take_wheel(&mut self, id: ViewerId) {
        self.holder.get_or_insert(id);
    }

    fn release_wheel(&mut self, id: ViewerId) -> Vec<Effect> {
        let effects = self.viewer_unreachable(id);
        self.holder.take_if(|holder| *holder == id);
        effects
    }

    fn stop(&self, id: ViewerId) -> Vec<Effect> {
        let stamp = self.viewers.get(&id).cloned().unwrap_or_default();
        self.control(stream_message::neutral(&stamp))
    }

    fn control(&self, messages: impl IntoIterator<Item = StreamMessage>) -> Vec<Effect> {
        let Some(live) = self.live() else { return Vec::new() };
        messages.into_iter().map(|message| Effect::Control(live, message)).collect()
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
