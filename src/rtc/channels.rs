//! The two data channels: `stream` brings control in, `metric` takes telemetry out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rtc::data_channel::RTCDataChannelInit;
use webrtc::data_channel::{DataChannel, DataChannelEvent};

use super::mailbox::Mailbox;
use super::session::{PeerId, PeerState};
use super::settings::{DeliveryLimit, Reliability};

/// Label of the channel that carries telemetry out.
pub const METRIC: &str = "metric";
/// Label of the channel that carries control in.
pub const STREAM: &str = "stream";
/// Unacknowledged bytes on one channel. Full: telemetry is dropped and counted, never queued.
pub(crate) const SEND_BUFFER_LIMIT: usize = 32 * 1024;

/// Whether control can reach this end at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// The peer connection is connected.
    pub connected: bool,
    /// It is not, because ICE has lost contact, which may come back.
    pub ice_lost: bool,
    /// Its `stream` channel is open.
    pub stream_open: bool,
}

/// Where control goes. Called from the peer connection's tasks: each call must return at once.
pub trait ControlSink: Send + Sync {
    /// A message of the live peer's `stream` channel.
    fn message(&self, message: &[u8], arrived: Instant);
    /// The link of the peer that is or was live changed. When another peer replaces it, its link falls first.
    fn link(&self, peer: PeerId, state: LinkState);
}

/// Lets only the live peer's control through.
pub(crate) struct Links {
    sink: Arc<dyn ControlSink>,
    state: Mutex<LinksState>,
}

#[derive(Default)]
struct LinksState {
    live: Option<PeerId>,
    peers: HashMap<PeerId, LinkState>,
}

impl Links {
    pub(crate) fn new(sink: Arc<dyn ControlSink>) -> Self {
        Self { sink, state: Mutex::default() }
    }

    /// From now on this peer's link is followed.
    pub(crate) fn register(&self, peer: PeerId) {
        self.lock().peers.insert(peer, LinkState::default());
    }

    pub(crate) fn message(&self, peer: PeerId, message: &[u8], arrived: Instant) {
        // Under the lock, so that nothing of an old peer passes after `promote` has returned.
        let state = self.lock();
        if state.live == Some(peer) {
            self.sink.message(message, arrived);
        }
    }

    pub(crate) fn update(&self, peer: PeerId, change: impl FnOnce(&mut LinkState)) {
        let mut state = self.lock();
        let Some(link) = state.peers.get_mut(&peer) else { return };
        change(link);
        let link = *link;
        if state.live == Some(peer) {
            self.sink.link(peer, link);
        }
    }

    pub(crate) fn promote(&self, peer: PeerId) {
        let mut state = self.lock();
        if let Some(old) = state.live.replace(peer) {
            self.sink.link(old, LinkState::default());
        }
        let link = state.peers.get(&peer).copied().unwrap_or_default();
        self.sink.link(peer, link);
    }

    pub(crate) fn forget(&self, peer: PeerId) {
        let mut state = self.lock();
        state.peers.remove(&peer);
        if state.live == Some(peer) {
            state.live = None;
            self.sink.link(peer, LinkState::default());
        }
    }

    fn lock(&self) -> MutexGuard<'_, LinksState> {
        // A sink that panicked ends the process; until then the states are whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wire options of a channel (RFC 8832 §5.1).
pub(crate) fn channel_init(reliability: Reliability) -> RTCDataChannelInit {
    let (max_retransmits, max_packet_life_time) = match reliability.limit {
        DeliveryLimit::Reliable => (None, None),
        DeliveryLimit::Retransmits(times) => (Some(times), None),
        DeliveryLimit::Lifetime(time) => (None, Some(u16::try_from(time.as_millis()).unwrap_or(u16::MAX))),
    };
    RTCDataChannelInit { ordered: reliability.ordered, max_retransmits, max_packet_life_time, ..Default::default() }
}

/// Reads `stream` until it closes. Always drained: SCTP's receive window is shared by all channels.
///
/// Its closing is how a peer's leaving is heard at once: the crate takes in the peer's SCTP abort and DTLS close-notify,
/// but reports the connection as lost only when ICE times out seconds later. A car that cannot be driven needs a new
/// session in any case.
pub(crate) async fn read_stream(peer: PeerId, channel: Arc<dyn DataChannel>, links: Arc<Links>, mailbox: Arc<Mailbox>) {
    while let Some(event) = channel.poll().await {
        match event {
            DataChannelEvent::OnOpen => {
                links.update(peer, |link| link.stream_open = true);
                mailbox.stream_open(peer);
            }
            DataChannelEvent::OnMessage(message) => links.message(peer, &message.data, arrival()),
            DataChannelEvent::OnClosing | DataChannelEvent::OnClose => break,
            _ => {}
        }
    }
    links.update(peer, |link| link.stream_open = false);
    mailbox.state(peer, PeerState::Closed);
}

/// Drains `metric`: nothing is expected on it, but a full buffer would stall `stream` too.
pub(crate) async fn drain_metric(channel: Arc<dyn DataChannel>) {
    while channel.poll().await.is_some() {}
}

fn arrival() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the arrival time of a message is taken where it arrives")]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl ControlSink for Recorder {
        fn message(&self, message: &[u8], _arrived: Instant) {
            self.0.lock().unwrap().push(String::from_utf8_lossy(message).into_owned());
        }
        fn link(&self, peer: PeerId, state: LinkState) {
            self.0.lock().unwrap().push(format!("{}: {}/{}", peer.0, state.connected, state.stream_open));
        }
    }

    #[test]
    fn only_the_live_peers_control_passes_and_its_link_is_told_at_promotion() {
        let recorder = Arc::new(Recorder::default());
        let links = Links::new(recorder.clone());
        let (old, new) = (PeerId(1), PeerId(2));
        links.register(old);
        links.register(new);
        links.update(old, |link| link.connected = true);
        links.message(old, b"before promotion", arrival());
        links.promote(old);
        links.update(old, |link| link.stream_open = true);
        links.message(old, b"from old", arrival());
        links.update(new, |link| *link = LinkState { connected: true, stream_open: true, ..LinkState::default() });
        links.message(new, b"not live yet", arrival());
        links.promote(new);
        links.message(old, b"too late", arrival());
        links.forget(old);
        links.message(new, b"from new", arrival());
        links.forget(new);
        links.update(new, |link| link.connected = true);
        let told = recorder.0.lock().unwrap().clone();
        assert_eq!(
            told,
            [
                "1: true/false",
                "1: true/true",
                "from old",
                "1: false/false",
                "2: true/true",
                "from new",
                "2: false/false"
            ]
        );
    }

    #[test]
    fn reliability_becomes_one_limit_or_the_other() {
        let init = channel_init(Reliability::ORDERED_RELIABLE);
        assert_eq!((init.ordered, init.max_retransmits, init.max_packet_life_time), (true, None, None));
        let init = channel_init(Reliability { ordered: false, limit: DeliveryLimit::Retransmits(0) });
        assert_eq!((init.ordered, init.max_retransmits, init.max_packet_life_time), (false, Some(0), None));
        let lifetime = DeliveryLimit::Lifetime(std::time::Duration::from_millis(150));
        let init = channel_init(Reliability { ordered: false, limit: lifetime });
        assert_eq!((init.max_retransmits, init.max_packet_life_time), (None, Some(150)));
    }
}
