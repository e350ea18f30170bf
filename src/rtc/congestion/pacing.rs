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
        let holds_back = self.pacer.poll_timeout().is_some();
        self.meter.set_queued(self.pacer.queued_bits(), self.pacer.all_queued_bits(), holds_back);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use rtc::interceptor::AttributedPacket;
    use rtc::shared::TransportContext;

    use super::*;
    use crate::rtc::stage::written;
    use crate::video::rate::{Rung, Scale, Targets};
    use crate::video::settings::{Bitrate, Framerate};

    const MEDIA: u32 = 7;

    fn packet(sequence_number: u16) -> AttributedPacket {
        let header = rtp::header::Header { version: 2, ssrc: MEDIA, sequence_number, ..Default::default() };
        AttributedPacket::new(Packet::Rtp(rtp::Packet { header, payload: Bytes::from_static(&[0; 1000]) }))
    }

    #[test]
    fn a_repair_that_waits_with_no_picture_behind_it_is_told_as_held_back_until_it_leaves() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        let meter = Arc::new(LinkMeter::of(1));
        meter.set_targets(&Targets {
            bitrate: Bitrate::from_kbps(500).expect("a valid rate"),
            rung: Rung { framerate: Framerate::new(30).expect("a valid rate"), scale: Scale::Full },
            pacing_bps: Some(500_000),
            repair_bps: 500_000,
        });
        let mut pacing = Pacing::new(meter.clone(), Streams::only(MEDIA, MEDIA + 1), now);
        let mut sent = |message| {
            let tagged = TaggedPacket { now, transport: TransportContext::default(), message };
            written(&mut pacing, tagged).len()
        };
        assert_eq!([1, 2, 3].map(|sequence| sent(packet(sequence))), [1; 3], "a burst leaves at once");
        assert!(!meter.holds_back());
        assert_eq!(sent(packet(2).with(Attribute::Retransmission)), 0, "and is paid for before anything else leaves");
        assert!(meter.holds_back());

        let mut onward = Onward::new();
        pacing.timeout(now + Duration::from_millis(20), &mut onward);
        assert_eq!(onward.len(), 1);
        assert!(!meter.holds_back());
    }
}
