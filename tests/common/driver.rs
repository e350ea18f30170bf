//! A person at a viewer: holds the sticks, as the page does, and sees what the car tells.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::daemon::CHANNEL;
use super::peer::Event;
use super::viewer::{Setup, Viewer};
use super::within;

/// What is held is said this often, as by the page.
const REPEAT: Duration = Duration::from_millis(50);

/// Messages to be sent once; a test sends one after the other.
const ONCE_CAPACITY: usize = 16;

/// Drives until dropped.
pub struct Driver {
    held: watch::Sender<Vec<String>>,
    once: mpsc::Sender<String>,
    told: watch::Receiver<Vec<String>>,
    /// What it has forgotten of that.
    forgotten: usize,
    packets: watch::Receiver<u64>,
    gone: CancellationToken,
    task: Option<JoinHandle<Viewer>>,
}

/// `{"motion":{"key":KEY,"value":VALUE}}`.
pub fn motion(key: &str, value: u32) -> String {
    format!(r#"{{"motion":{{"key":"{key}","value":{value}}}}}"#)
}

impl Driver {
    /// Opens the viewer at this hub and takes the wheel.
    pub async fn sit_down(hub: SocketAddr) -> Self {
        let viewer = Viewer::join_at(hub, CHANNEL, Setup::default()).await;
        let (held, holds) = watch::channel(Vec::new());
        let (once, says) = mpsc::channel(ONCE_CAPACITY);
        let (telling, told) = watch::channel(Vec::new());
        let (gone, (seen, packets)) = (CancellationToken::new(), watch::channel(0));
        let hands = Hands { viewer, holds, says, telling, packets: seen, track: None };
        let task = tokio::spawn(hands.drive(gone.clone()));
        Self { held, once, told, forgotten: 0, packets, gone, task: Some(task) }
    }

    /// From now on says these again and again.
    pub fn holds(&self, messages: impl IntoIterator<Item = String>) {
        self.held.send_replace(messages.into_iter().collect());
    }

    /// Both sticks at neutral, and says so again and again.
    pub fn lets_go(&self) {
        self.holds([motion("forward", 0), motion("left", 0)]);
    }

    /// Says nothing any more.
    pub fn falls_silent(&self) {
        self.holds([]);
    }

    /// Says this once.
    pub async fn says(&self, message: &str) {
        self.once.send(message.to_owned()).await.expect("the driver is there");
    }

    /// Waits for a `metric` message with all of these in it, be it one that has come already and is not forgotten.
    pub async fn is_told(&mut self, parts: &[&str]) -> String {
        let fits = |message: &&String| parts.iter().all(|part| message.contains(part));
        let (what, forgotten) = (parts.join(" … "), self.forgotten);
        let told =
            within(&what, self.told.wait_for(|told| told[forgotten..].iter().any(|message| fits(&message)))).await;
        let told = told.unwrap_or_else(|_| panic!("the viewer's peer ended before {what}"));
        told[forgotten..].iter().find(fits).expect("it was there a moment ago").clone()
    }

    /// Forgets what it was told until now.
    pub fn forgets(&mut self) {
        self.forgotten = self.told.borrow().len();
    }

    /// Everything it was told until now.
    pub fn told(&self) -> Vec<String> {
        self.told.borrow().clone()
    }

    /// Waits until more of the picture has come.
    pub async fn sees_the_picture(&mut self) {
        const PACKETS: u64 = 20;
        let enough = *self.packets.borrow() + PACKETS;
        within("the picture", self.packets.wait_for(|packets| *packets >= enough)).await.expect("the peer lives");
    }

    /// Closes the viewer as its user would.
    pub async fn leaves(mut self) {
        self.viewer().await.leave().await;
    }

    async fn viewer(&mut self) -> Viewer {
        self.gone.cancel();
        within("the driver's hands", self.task.take().expect("taken once")).await.expect("no panic")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

struct Hands {
    viewer: Viewer,
    holds: watch::Receiver<Vec<String>>,
    says: mpsc::Receiver<String>,
    telling: watch::Sender<Vec<String>>,
    packets: watch::Sender<u64>,
    track: Option<Arc<dyn TrackRemote>>,
}

impl Hands {
    async fn drive(mut self, gone: CancellationToken) -> Viewer {
        let mut ticks = tokio::time::interval(REPEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.track = self.viewer.peer.tracks.pop();
        loop {
            tokio::select! {
                () = gone.cancelled() => return self.viewer,
                _ = ticks.tick() => self.repeat().await,
                // A change is said at once, as a key that goes down is.
                Ok(()) = self.holds.changed() => self.repeat().await,
                Some(message) = self.says.recv() => self.say(&message).await,
                Some(event) = self.viewer.peer.event() => self.sees(event),
                Some(event) = poll(self.track.clone()) => if let TrackRemoteEvent::OnRtpPacket(_) = event {
                    self.packets.send_modify(|packets| *packets += 1);
                },
            }
        }
    }

    async fn repeat(&mut self) {
        let messages = self.holds.borrow_and_update().clone();
        for message in messages {
            self.say(&message).await;
        }
    }

    async fn say(&mut self, message: &str) {
        // Who has lost the link goes on pressing keys.
        let _ = self.viewer.stream.as_ref().expect("a channel").send_text(message).await;
    }

    fn sees(&mut self, event: Event) {
        match event {
            Event::Message { label, text, .. } if label == "metric" => self.telling.send_modify(|told| told.push(text)),
            Event::Track(track) => self.track = Some(track),
            Event::Message { .. } | Event::ChannelOpen(..) => {}
        }
    }
}

async fn poll(track: Option<Arc<dyn TrackRemote>>) -> Option<TrackRemoteEvent> {
    match track {
        Some(track) => track.poll().await,
        None => std::future::pending().await,
    }
}
