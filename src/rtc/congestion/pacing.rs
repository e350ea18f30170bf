//! The pacer's place in the chain: below everything that makes packets, above what numbers them.
//!
//! Not the crate's `PacerInterceptor`: that one releases on a timer only, so every packet is a timer's resolution late,
//! holds its start rate until feedback comes, is bounded in packets (4096, half a minute at 1 Mbit/s) and when full drops
//! out of the middle of a picture. This one is off until rate control says otherwise, passes on at once what the rate
//! allows, and never holds anything for longer than [`super::pacer::LONGEST_WAIT`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use rtc::interceptor::{Attribute, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtp;
use rtc::sansio::Protocol;
use rtc::shared::marshal::MarshalSize;
use webrtc::error::Error;

use super::meter::{FIRST, LinkMeter};
use super::pacer::Pacer;
use super::repair::{UnderWay, Unrepaired};
use crate::rtc::streams::Streams;

pub(super) struct Pacing {
    meter: Arc<LinkMeter>,
    streams: Streams,
    pacer: Pacer<TaggedPacket>,
    /// By the pictures' places.
    repairs: Vec<Repairs>,
    rates: (Option<u64>, Option<u64>),
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

/// The repairs of one picture.
#[derive(Default)]
struct Repairs {
    under_way: UnderWay,
    unrepaired: Unrepaired,
}

impl Pacing {
    pub(super) fn new(meter: Arc<LinkMeter>, streams: Streams, now: Instant) -> Self {
        Self {
            meter,
            pacer: Pacer::new(now),
            repairs: (0..streams.count()).map(|_| Repairs::default()).collect(),
            streams,
            rates: (None, None),
            read: VecDeque::new(),
            write: VecDeque::new(),
        }
    }

    fn follow_targets(&mut self, now: Instant) {
        let rates = self.meter.rates();
        if rates != self.rates {
            self.rates = rates;
            self.pacer.set_rates(rates.0, rates.1, now);
        }
    }

    fn release(&mut self, now: Instant) {
        while let Some(mut packet) = self.pacer.pop(now) {
            // It leaves now: its wait here must not be charged to the network.
            packet.now = packet.now.max(now);
            self.write.push_back(packet);
        }
        self.meter.set_queued(self.pacer.queued_bits(), self.pacer.all_queued_bits());
    }

    /// Queues a repair that is worth sending.
    fn repair(&mut self, packet: TaggedPacket, picture: usize, sequence: u16, bits: f64, now: Instant) {
        let Repairs { under_way, unrepaired } = &mut self.repairs[picture];
        let needed = self.meter.still_needed(picture, sequence);
        let worth = needed && under_way.admit(sequence, self.meter.round_trip(), now);
        if worth && !self.pacer.push_repair(packet, bits, now) {
            self.meter.refused_repair();
            if unrepaired.wants_key_frame(now) {
                self.streams.request_key_frame(picture);
            }
        }
    }

    /// The packet that this repair repeats: RTX has its sequence number in front of the payload (RFC 4588 §4), a peer
    /// without RTX gets the packet itself.
    fn repaired(&self, repair: &rtp::Packet) -> u16 {
        match repair.payload.first_chunk() {
            Some(original) if self.streams.media(repair.header.ssrc).is_none() => u16::from_be_bytes(*original),
            _ => repair.header.sequence_number,
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Pacing {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Self::Error> {
        self.read.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<Self::Rout> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Self::Error> {
        let Packet::Rtp(rtp) = &packet.message.packet else {
            self.write.push_back(packet);
            return Ok(());
        };
        let (bits, now) = ((rtp.marshal_size() * 8) as f64, packet.now);
        self.follow_targets(now);
        let picture = self.streams.of(rtp.header.ssrc).unwrap_or(FIRST);
        if packet.message.has(&Attribute::Retransmission) {
            let sequence = self.repaired(rtp);
            self.repair(packet, picture, sequence, bits, now);
        } else if picture == FIRST {
            self.pacer.push(packet, bits, now);
        } else {
            self.pacer.push_behind(packet, bits, now);
        }
        self.release(now);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<Self::Wout> {
        self.write.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Self::Error> {
        self.follow_targets(now);
        self.release(now);
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.pacer.poll_timeout()
    }
}

impl Interceptor for Pacing {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
