//! A session with the daemon, as its server has it.
#![allow(dead_code, reason = "each measuring program uses its part")]

use std::sync::Arc;
use std::time::Instant;

use rtcpub::rtc::relay::{Channel, Event, PublisherPeer, State, Uplink};

use super::figures::ms;

pub struct Link {
    pub track: Arc<Uplink>,
    pub stream: Channel,
    /// Since the connection was made, in milliseconds.
    pub first_packet: f64,
}

/// Waits until the peer is connected, and its track and `stream` are there.
pub async fn connect(peer: &mut PublisherPeer) -> Link {
    let (mut track, mut stream, mut connected) = (None, None, None);
    // The channels open later than the picture comes.
    let mut first_packet = None;
    loop {
        match peer.inbox.next().await {
            Event::State(State::Connected) => connected = connected.or(Some(Instant::now())),
            Event::State(State::Gone) => panic!("the publisher went away"),
            Event::Track(uplink) => {
                let uplink = Arc::new(uplink);
                let received = Arc::clone(&uplink);
                first_packet = Some(tokio::spawn(async move { received.receive().await.map(|_| Instant::now()) }));
                track = Some(uplink);
            }
            Event::ChannelOpen(channel) if channel.label() == "stream" => stream = Some(channel),
            _ => {}
        }
        if let (Some(track), Some(stream), Some(connected)) = (&track, &stream, connected) {
            let first_packet = first_packet.expect("it comes with the track").await.unwrap().unwrap();
            return Link {
                track: Arc::clone(track),
                stream: Channel::clone(stream),
                first_packet: ms(first_packet - connected),
            };
        }
    }
}
