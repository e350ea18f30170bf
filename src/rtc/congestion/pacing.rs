//! The pacer's place in the chain: below everything that makes packets, above what numbers them.
//!
//! Not the crate's `PacerInterceptor`: that one releases on a timer only, so every packet is a timer's resolution late,
//! holds its start rate until feedback comes, is bounded in packets (4096, half a minute at 1 Mbit/s) and when full drops
//! out of the middle of a picture. This one is off until rate control says otherwise, passes on at once what the rate
//! allows, and never holds anything for longer than [`super::pacer::LONGEST_WAIT`].

use std::sync::Arc;
use std::time::Instant;

use rtc::interceptor::{Attribute, Packet, TaggedPacket};
use rtc::rtp;
use rtc::shared::marshal::MarshalSize;

use super::meter::{FIRST, LinkMeter};
use super::pacer::Pacer;
use super::repair::{UnderWay, Unrepaired};
use crate::rtc::stage::{Onward, Stage};
use crate::rtc::streams::Streams;

pub(super) struct Pacing {
    meter: Arc<LinkMeter>,
    streams: Streams,
    pacer: Pacer<TaggedPacket>,
    /// By the pictures' places.
    repairs: Vec<Repairs>,
    rates: (Option<u64>, Option<u64>),
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
        }
    }

    fn follow_targets(&mut self, now: Instant) {
        let rates = self.meter.rates();
        if rates != self.rates {
            self.rates = rates;
            self.pacer.set_rates(rates.0, rates.1, now);
        }
    }

    fn release(&mut self, now: Instant, onward: &mut Onward) {
        while let Some(mut packet) = self.pacer.pop(now) {
            // It leaves now: its wait here must not be charged to the network.
            packet.now = packet.now.max(now);
            onward.push_back(packet);
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

impl Stage for Pacing {
    fn write(&mut self, packet: TaggedPacket, onward: &mut Onward) {
        let Packet::Rtp(rtp) = &packet.message.packet else {
            onward.push_back(packet);
            return;
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
        self.release(now, onward);
    }

    fn timeout(&mut self, now: Instant, onward: &mut Onward) {
        self.follow_targets(now);
        self.release(now, onward);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.pacer.poll_timeout()
    }
}
