//! A session with the daemon, as its server has it.
#![allow(dead_code, reason = "each measuring program uses its part")]

use std::sync::Arc;
use std::time::Instant;

use rtcpub::rtc::relay::{Channel, Event, PublisherPeer, State, Uplink};

pub struct Link {
    pub track: Arc<Uplink>,
    pub stream: Channel,
    pub connected: Instant,
}

/// Waits until the peer is connected, and its track and `stream` are there.
pub async fn connect(peer: &mut PublisherPeer) -> Link {
    let (mut track, mut stream, mut connected) = (None, None, None);
    loop {
        match peer.inbox.next().await {
            Event::State(State::Connected) => connected = connected.or(Some(Instant::now())),
            Event::State(State::Gone) => panic!("the publisher went away"),
            Event::Track(uplink) => track = Some(Arc::new(uplink)),
            Event::ChannelOpen(channel) if channel.label() == "stream" => stream = Some(channel),
            _ => {}
        }
        if let (Some(track), Some(stream), Some(connected)) = (&track, &stream, connected) {
            return Link { track: Arc::clone(track), stream: Channel::clone(stream), connected };
        }
    }
}
