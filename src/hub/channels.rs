//! The channels of this hub: each a [`Room`] and the ways to the people in it. A publisher or viewer sits in a seat;
//! dropping the seat leaves the room, however the session ended, so a wheel is never held by someone who is gone.
//!
//! | edge | carrier | when full or lost |
//! |---|---|---|
//! | publisher → viewers, media | one ring a picture, each viewer with its own place | the viewer goes on at the next key frame |
//! | publisher → viewers, `metric` | a bounded queue each | dropped for that viewer |
//! | viewers → publisher, `stream` | [`ControlQueue`] | outdated commands are replaced, stops never |
//! | viewers → publisher, key frame | a nudge a picture, coalesced by the publisher's session | never lost |
//! | room → viewer, wheel and company | newest value | newest wins |

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::control_queue::ControlQueue;
use super::packet::Packet;
use super::room::{Effect, Pictures, PublisherId, Room, RoomFull, View, ViewerId};
use super::stream_message::StreamMessage;
use crate::rtc::relay::{MAX_PICTURES, Picture};
use crate::signal::settings::ChannelId;

/// Channels in use at once. Full: the next one is turned away with a reason.
pub const MAX_CHANNELS: usize = 64;
/// Packets of one picture a viewer may be behind: two seconds at 1500 kbit/s, or one large key frame. Beyond, it goes on at the next
/// key frame.
pub const MEDIA_CAPACITY: usize = 256;
/// `metric` messages waiting for one viewer. Full: the new one is dropped for that viewer.
pub const METRIC_CAPACITY: usize = 64;

/// Why nobody else can be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// [`MAX_CHANNELS`] are in use.
    #[error("this hub has {MAX_CHANNELS} channels in use already")]
    Channels,
    /// The channel has all the viewers it can have.
    #[error(transparent)]
    Room(#[from] RoomFull),
}

/// One line of the list of live channels.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LiveChannel {
    /// The channel's id.
    pub id: String,
    /// How many watch it.
    pub viewers: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Channels {
    table: Mutex<HashMap<ChannelId, Channel>>,
    next_id: AtomicU64,
}

/// The packets of each picture.
type Media = [broadcast::Sender<Packet>; MAX_PICTURES];

#[derive(Debug)]
struct Channel {
    room: Room,
    publishers: HashMap<PublisherId, Arc<PublisherLink>>,
    viewers: HashMap<ViewerId, ViewerLink>,
    media: Media,
}

/// The ways to one publisher.
#[derive(Debug, Default)]
pub struct PublisherLink {
    superseded: CancellationToken,
    control: Mutex<ControlQueue>,
    control_ready: Notify,
    key_frame_wanted: [Notify; MAX_PICTURES],
    live: AtomicBool,
    viewers: watch::Sender<usize>,
}

#[derive(Debug)]
struct ViewerLink {
    view: watch::Sender<View>,
    metric: mpsc::Sender<Arc<str>>,
}

/// A publisher's place in its room.
#[derive(Debug)]
pub struct PublisherSeat {
    channels: Arc<Channels>,
    channel: ChannelId,
    id: PublisherId,
    link: Arc<PublisherLink>,
    media: Media,
}

/// A viewer's place in its room.
#[derive(Debug)]
pub struct ViewerSeat {
    channels: Arc<Channels>,
    channel: ChannelId,
    id: ViewerId,
    media: Media,
}

/// What a viewer receives, besides media.
#[derive(Debug)]
pub struct ViewerInbox {
    /// The room as this viewer sees it.
    pub view: watch::Receiver<View>,
    /// The publisher's `metric` messages.
    pub metric: mpsc::Receiver<Arc<str>>,
}

impl Channels {
    /// The channels with a live publisher, by id.
    pub fn live(&self) -> Vec<LiveChannel> {
        let table = self.lock();
        let live = table.iter().filter(|(_, channel)| channel.room.live().is_some());
        let mut list: Vec<_> =
            live.map(|(id, channel)| LiveChannel { id: id.to_string(), viewers: channel.room.viewers() }).collect();
        list.sort_by(|a, b| a.id.cmp(&b.id));
        list
    }

    /// Seats a publisher. It is shown when it is [`PublisherSeat::connected`] or [`PublisherSeat::running`].
    ///
    /// # Errors
    /// [`Full`].
    pub fn seat_publisher(self: &Arc<Self>, channel: &ChannelId) -> Result<PublisherSeat, Full> {
        let id = PublisherId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let mut table = self.lock();
        let entry = find_or_open(&mut table, channel)?;
        let link = Arc::new(PublisherLink::default());
        link.viewers.send_replace(entry.room.viewers());
        entry.publishers.insert(id, link.clone());
        entry.change(|room| room.publisher_arrived(id));
        let (channels, channel, media) = (self.clone(), channel.clone(), entry.media.clone());
        Ok(PublisherSeat { channels, channel, id, link, media })
    }

    /// Seats a viewer.
    ///
    /// # Errors
    /// [`Full`].
    pub fn seat_viewer(self: &Arc<Self>, channel: &ChannelId) -> Result<(ViewerSeat, ViewerInbox), Full> {
        let id = ViewerId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let mut table = self.lock();
        let entry = find_or_open(&mut table, channel)?;
        entry.room.viewer_arrived(id)?;
        let (view, watched) = watch::channel(entry.room.view(id));
        let (metric, received) = mpsc::channel(METRIC_CAPACITY);
        entry.viewers.insert(id, ViewerLink { view, metric });
        entry.change(|_| Vec::new());
        let (channels, channel, media) = (self.clone(), channel.clone(), entry.media.clone());
        Ok((ViewerSeat { channels, channel, id, media }, ViewerInbox { view: watched, metric: received }))
    }

    fn change(&self, channel: &ChannelId, change: impl FnOnce(&mut Room) -> Vec<Effect>) {
        if let Some(entry) = self.lock().get_mut(channel) {
            entry.change(change);
        }
    }

    fn leave(&self, channel: &ChannelId, leave: impl FnOnce(&mut Channel)) {
        let mut table = self.lock();
        let Some(entry) = table.get_mut(channel) else { return };
        leave(entry);
        if entry.room.is_empty() {
            table.remove(channel);
        }
    }

    /// A session that panicked while it held the lock must not take the others with it: rooms change in single steps.
    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelId, Channel>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find_or_open<'t>(table: &'t mut HashMap<ChannelId, Channel>, id: &ChannelId) -> Result<&'t mut Channel, Full> {
    if !table.contains_key(id) && table.len() >= MAX_CHANNELS {
        return Err(Full::Channels);
    }
    Ok(table.entry(id.clone()).or_insert_with(|| Channel {
        room: Room::default(),
        publishers: HashMap::new(),
        viewers: HashMap::new(),
        media: std::array::from_fn(|_| broadcast::Sender::new(MEDIA_CAPACITY)),
    }))
}

impl Channel {
    /// Changes the room, does what follows from it, and shows everyone the room as it now is.
    fn change(&mut self, change: impl FnOnce(&mut Room) -> Vec<Effect>) {
        for effect in change(&mut self.room) {
            self.perform(effect);
        }
        for (id, link) in &self.viewers {
            send_if_new(&link.view, self.room.view(*id));
        }
        for (id, link) in &self.publishers {
            link.live.store(self.room.live() == Some(*id), Ordering::Relaxed);
            send_if_new(&link.viewers, self.room.viewers());
        }
    }

    fn perform(&self, effect: Effect) {
        let (Effect::Supersede(id) | Effect::Control(id, _) | Effect::RequestKeyFrame(id, _)) = &effect;
        let Some(link) = self.publishers.get(id) else { return };
        match effect {
            Effect::Supersede(_) => link.superseded.cancel(),
            Effect::Control(_, message) => {
                link.control().push(message);
                link.control_ready.notify_one();
            }
            Effect::RequestKeyFrame(_, picture) => link.key_frame_wanted[picture.index()].notify_one(),
        }
    }
}

fn send_if_new<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|current| {
        let new = *current != value;
        if new {
            *current = value;
        }
        new
    });
}

impl PublisherLink {
    /// Ends when another publisher has taken this one's place.
    pub async fn superseded(&self) {
        self.superseded.cancelled().await;
    }

    /// Ends when a message for `stream` waits. Cancel-safe.
    pub async fn control_waiting(&self) {
        while self.control().is_empty() {
            self.control_ready.notified().await;
        }
    }

    /// The next message for `stream`, if one waits.
    pub fn take_control(&self) -> Option<StreamMessage> {
        self.control().pop()
    }

    fn control(&self) -> MutexGuard<'_, ControlQueue> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when a key frame of this picture is wanted; a wish from before is kept. Cancel-safe.
    pub async fn key_frame_wanted(&self, picture: Picture) {
        self.key_frame_wanted[picture.index()].notified().await;
    }

    /// Whether its pictures are the ones that are shown.
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    /// How many watch.
    pub fn viewers(&self) -> watch::Receiver<usize> {
        self.viewers.subscribe()
    }
}

impl PublisherSeat {
    /// Its number.
    pub fn id(&self) -> PublisherId {
        self.id
    }

    /// The channel it publishes.
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// The ways to it, for the parts of its session.
    pub fn link(&self) -> &Arc<PublisherLink> {
        &self.link
    }

    /// It offers these pictures, the main one first.
    pub fn offers(&self, pictures: Pictures) {
        self.channels.change(&self.channel, |room| {
            room.publisher_offered(self.id, pictures);
            Vec::new()
        });
    }

    /// Its peer connection is up.
    pub fn connected(&self) {
        self.channels.change(&self.channel, |room| room.publisher_connected(self.id));
    }

    /// Its main picture runs.
    pub fn running(&self) {
        self.channels.change(&self.channel, |room| room.publisher_running(self.id));
    }

    /// Hands a packet to every viewer of its picture; never waits. Only a live publisher's packets may come here, see
    /// [`PublisherSeat::running`] and [`PublisherLink::is_live`].
    pub fn forward(&self, picture: Picture, packet: Packet) {
        // An error only says that nobody watches.
        let _ = self.media[picture.index()].send(packet);
    }

    /// Hands a `metric` message to every viewer; never waits.
    pub fn metric(&self, text: String) {
        let table = self.channels.lock();
        let Some(channel) = table.get(&self.channel) else { return };
        if channel.room.live() != Some(self.id) {
            return;
        }
        let text: Arc<str> = text.into();
        for link in channel.viewers.values() {
            // Full: telemetry is dropped, not queued.
            let _ = link.metric.try_send(text.clone());
        }
    }
}

impl Drop for PublisherSeat {
    fn drop(&mut self) {
        self.channels.leave(&self.channel, |entry| {
            entry.change(|room| room.publisher_left(self.id));
            entry.publishers.remove(&self.id);
        });
    }
}

impl ViewerSeat {
    /// The channel it watches.
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// The packets of the publisher's picture from now on.
    pub fn media(&self, picture: Picture) -> broadcast::Receiver<Packet> {
        self.media[picture.index()].subscribe()
    }

    /// Its `stream` channel is open.
    pub fn can_drive(&self) {
        self.change(|room| {
            room.viewer_can_drive(self.id);
            Vec::new()
        });
    }

    /// It sent something on `stream`.
    pub fn sent(&self, message: StreamMessage) {
        self.change(|room| room.viewer_sent(self.id, message));
    }

    /// It is not shown this picture before its next key frame.
    pub fn key_frame_wanted(&self, picture: Picture) {
        self.change(|room| room.key_frame_wanted(picture));
    }

    /// Its peer connection has lost contact.
    pub fn unreachable(&self) {
        self.change(|room| room.viewer_unreachable(self.id));
    }

    fn change(&self, change: impl FnOnce(&mut Room) -> Vec<Effect>) {
        self.channels.change(&self.channel, change);
    }
}

impl Drop for ViewerSeat {
    fn drop(&mut self) {
        self.channels.leave(&self.channel, |entry| {
            entry.viewers.remove(&self.id);
            entry.change(|room| room.viewer_left(self.id));
        });
    }
}

#[cfg(test)]
#[path = "channels_tests.rs"]
mod tests;
