//! Which peers can drive: what the link's events add up to. Pure.

use super::gate::StopCause;

/// Any number that is another one for each peer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerId(pub u64);

/// What the transport says of one peer connection. Motion needs one whose peer is connected and whose `stream` channel
/// is open; when such a one falls, the car stops, even if another still stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The peer connection is up (and with it ICE).
    PeerConnected,
    /// It has failed or is closed.
    PeerDisconnected,
    /// ICE has lost contact. The peer may come back, with [`LinkEvent::PeerConnected`].
    IceLost,
    /// The `stream` channel is open.
    ChannelOpen,
    /// It is closing or closed.
    ChannelClosed,
}

/// Peer connections known at a time: one in use, one about to replace it, and room for two more on their way out. The
/// oldest is forgotten when there are more, which counts as its disconnection.
const PEERS_CAPACITY: usize = 4;

/// The peer connections that have anything up.
#[derive(Debug)]
pub(super) struct Links {
    peers: Vec<Peer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Peer {
    id: PeerId,
    connected: bool,
    ice: bool,
    channel: bool,
}

impl Links {
    pub(super) fn new() -> Self {
        Self { peers: Vec::with_capacity(PEERS_CAPACITY) }
    }

    /// Whether somebody can drive.
    pub(super) fn up(&self) -> bool {
        self.peers.iter().any(Peer::up)
    }

    /// Takes an event. Returns why the car has to stop, when it has to.
    pub(super) fn apply(&mut self, id: PeerId, event: LinkEvent) -> Option<StopCause> {
        let (before, evicted) = self.take_out(id);
        let after = before.after(event);
        if after.connected || after.channel {
            self.peers.push(after);
        }
        let fell = before.up() && !after.up();
        let cause = event.cause().filter(|_| before != after && (fell || !self.up()));
        cause.max(evicted.then_some(StopCause::PeerDisconnected))
    }

    /// The peer as known, to be put back at the end; and whether one that was up had to make room.
    fn take_out(&mut self, id: PeerId) -> (Peer, bool) {
        if let Some(index) = self.peers.iter().position(|peer| peer.id == id) {
            return (self.peers.remove(index), false);
        }
        let unknown = Peer { id, connected: false, ice: false, channel: false };
        if self.peers.len() < PEERS_CAPACITY {
            return (unknown, false);
        }
        (unknown, self.peers.remove(0).up())
    }
}

impl Peer {
    fn up(&self) -> bool {
        self.connected && self.ice && self.channel
    }

    fn after(mut self, event: LinkEvent) -> Self {
        match event {
            LinkEvent::PeerConnected => (self.connected, self.ice) = (true, true),
            LinkEvent::PeerDisconnected => self.connected = false,
            LinkEvent::IceLost => self.ice = false,
            LinkEvent::ChannelOpen => self.channel = true,
            LinkEvent::ChannelClosed => self.channel = false,
        }
        self
    }
}

impl LinkEvent {
    fn cause(self) -> Option<StopCause> {
        match self {
            Self::PeerDisconnected => Some(StopCause::PeerDisconnected),
            Self::IceLost => Some(StopCause::IceLost),
            Self::ChannelClosed => Some(StopCause::ChannelClosed),
            Self::PeerConnected | Self::ChannelOpen => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LinkEvent::*;
    use super::*;

    const OLD: PeerId = PeerId(1);
    const NEW: PeerId = PeerId(2);

    fn after(events: &[(PeerId, LinkEvent)]) -> (Links, Option<StopCause>) {
        let mut links = Links::new();
        let causes: Vec<_> = events.iter().map(|(id, event)| links.apply(*id, *event)).collect();
        (links, causes.last().copied().flatten())
    }

    #[test]
    fn motion_needs_a_connected_peer_with_an_open_channel_in_whatever_order_they_came() {
        assert!(!after(&[]).0.up());
        assert!(!after(&[(OLD, PeerConnected)]).0.up());
        assert!(!after(&[(OLD, ChannelOpen)]).0.up());
        assert!(after(&[(OLD, PeerConnected), (OLD, ChannelOpen)]).0.up());
        assert!(after(&[(OLD, ChannelOpen), (OLD, PeerConnected)]).0.up());
        assert!(!after(&[(OLD, PeerConnected), (NEW, ChannelOpen)]).0.up(), "of one and the same peer");
    }

    #[test]
    fn whatever_falls_stops_the_car_with_its_own_cause_and_may_come_back() {
        let table = [
            (PeerDisconnected, StopCause::PeerDisconnected, PeerConnected),
            (IceLost, StopCause::IceLost, PeerConnected),
            (ChannelClosed, StopCause::ChannelClosed, ChannelOpen),
        ];
        for (falls, cause, returns) in table {
            let (mut links, told) = after(&[(OLD, PeerConnected), (OLD, ChannelOpen), (OLD, falls)]);
            assert_eq!((links.up(), told), (false, Some(cause)));
            assert_eq!(links.apply(OLD, falls), None, "once is enough");
            assert_eq!(links.apply(OLD, returns), None);
            assert!(links.up(), "{falls:?}");
        }
    }

    #[test]
    fn a_new_session_that_replaces_the_old_one_stops_the_car_once_and_goes_on() {
        let up = [(OLD, PeerConnected), (OLD, ChannelOpen), (NEW, PeerConnected), (NEW, ChannelOpen)];
        let (mut links, told) = after(&up);
        assert_eq!(told, None);
        assert_eq!(links.apply(OLD, ChannelClosed), Some(StopCause::ChannelClosed));
        assert!(links.up());
        assert_eq!(links.apply(OLD, PeerDisconnected), None);
        assert!(links.up());
    }

    #[test]
    fn a_new_session_that_never_gets_up_disturbs_nobody() {
        let (links, told) =
            after(&[(OLD, PeerConnected), (OLD, ChannelOpen), (NEW, PeerConnected), (NEW, PeerDisconnected)]);
        assert_eq!((links.up(), told), (true, None));
    }

    #[test]
    fn peers_nobody_takes_leave_of_are_forgotten_and_count_as_gone() {
        let (mut links, _) = after(&[(OLD, PeerConnected), (OLD, ChannelOpen)]);
        for id in 2..5 {
            assert_eq!(links.apply(PeerId(id), PeerConnected), None);
        }
        assert_eq!(links.apply(PeerId(5), PeerConnected), Some(StopCause::PeerDisconnected));
        assert!(!links.up());
    }
}
