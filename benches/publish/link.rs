//! A session with the daemon, as its server has it.
#![allow(dead_code, reason = "each measuring program uses its part")]

use std::sync::Arc;
use std::time::Instant;

use rtcpub::rtc::relay::{Channel, Event, Inbox, PublisherPeer, State, Uplink};
use tokio::task::JoinHandle;

use super::figures::ms;
use super::server::Offer;

pub struct Link {
    pub track: Arc<Uplink>,
    pub stream: Channel,
    /// Since the connection was made, in milliseconds.
    pub first_packet: f64,
}

/// Answers the offer, and waits until the peer is connected, and its track and `stream` are there. What keeps the socket
/// alive comes beside.
///
/// Both at once: the peer is connected before the last candidate could have come, and what happens at it is timed here.
pub async fn connect(offer: Offer, peer: &mut PublisherPeer) -> (Link, JoinHandle<()>) {
    tokio::join!(follow(&mut peer.inbox), offer.answer(&peer.peer))
}

async fn follow(inbox: &mut Inbox) -> Link {
    let (mut track, mut stream, mut connected) = (None, None, None);
    // The channels open later than the picture comes.
    let mut first_packet = None;
    loop {
        match inbox.next().await {
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
