//! Forward error correction (draft-ietf-payload-flexible-fec-scheme-03, `flexfec-03`): repair packets behind the pictures,
//! by which a peer rebuilds what was lost without asking, and so without a round trip.
//!
//! Blocks end with a picture, so that no repair waits for the next one. The crate's own sender gathers packets by number
//! alone, and protects them as they are before they are numbered ([`super::transport_cc`]): a receiver has them with the
//! number, and would rebuild rubbish. Here they are protected with the number's place in them, zero, as libwebrtc's
//! receiver takes them (`RtpPacket::ZeroMutableExtensions`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rtc::interceptor::{Attribute, AttributedPacket, FlexFec03Encoder, Packet, StreamInfo, TaggedPacket, convert_twcc};
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc::{rtcp, rtp};

use super::meter::{LinkCounters, LinkMeter};
use super::protection::{Protection, repairs};
use super::transport_cc::agreed_extension;
use crate::rtc::packetizer::first_sequence_number;
use crate::rtc::stage::{Onward, Stage};

/// A picture of fewer packets is protected together with those after it: a repair packet for each would double the rate.
const LEAST_BLOCK: usize = 3;
/// A key frame of more packets is protected in parts; the header's masks reach 110 packets far.
const LARGEST_BLOCK: usize = 48;

/// Passive until the peer has agreed to it, which is known when the stream is bound.
pub(super) struct FlexFec {
    meter: Arc<LinkMeter>,
    protection: Protection,
    /// What had been sent and missed at the last report.
    before: LinkCounters,
    /// By the SSRC of what is protected.
    streams: HashMap<u32, Stream>,
}

struct Stream {
    repair_ssrc: u32,
    encoder: FlexFec03Encoder,
    /// Id of the transport-wide number, when packets get one.
    number: Option<u8>,
    block: Vec<rtp::Packet>,
}

impl Stream {
    /// Takes a packet that is about to leave; gives the repair packets that follow it.
    fn protect(&mut self, packet: &mut rtp::Packet, share: f64) -> Vec<rtp::Packet> {
        if share <= 0.0 {
            self.block.clear();
            return Vec::new();
        }
        if let Some(id) = self.number
            && packet.header.set_extension(id, Bytes::from_static(&[0, 0])).is_err()
        {
            return Vec::new();
        }
        self.block.push(packet.clone());
        let packets = self.block.len();
        if packets >= LARGEST_BLOCK || (packet.header.marker && packets >= LEAST_BLOCK) {
            let repairs = self.encoder.encode(&self.block, repairs(packets, share));
            self.block.clear();
            return repairs;
        }
        Vec::new()
    }
}

impl FlexFec {
    pub(super) fn new(meter: Arc<LinkMeter>) -> Self {
        Self { meter, protection: Protection::default(), before: LinkCounters::default(), streams: HashMap::new() }
    }

    fn heard(&mut self, report: &dyn rtcp::Packet, now: Instant) {
        let report = report.as_any();
        if let Some(feedback) = report.downcast_ref::<TransportLayerCc>() {
            // The last chunk is padded: only the announced number of packets is meant.
            for packet in convert_twcc(feedback).into_iter().take(usize::from(feedback.packet_status_count)) {
                self.protection.told(packet.sequence_number, packet.arrived, now);
            }
        } else if let Some(report) = report.downcast_ref::<ReceiverReport>() {
            let ours = report.reports.iter().filter(|block| self.streams.contains_key(&block.ssrc));
            let lost = ours.map(|block| f64::from(block.fraction_lost) / 256.0).reduce(f64::max);
            if let Some(lost) = lost {
                // What was repaired may be reported as received; that it was missed is known.
                let missed = self.missed();
                self.protection.reported(lost.max(missed), now);
            }
        }
    }

    /// Share of what was sent since the last call that the peer asked for again.
    fn missed(&mut self) -> f64 {
        let now = self.meter.counters();
        let before = std::mem::replace(&mut self.before, now);
        let sent = (now.sent_packets - before.sent_packets).max(1);
        (now.packets_missed - before.packets_missed) as f64 / sent as f64
    }
}

impl Stage for FlexFec {
    fn read(&mut self, packet: TaggedPacket, onward: &mut Onward) {
        if let Packet::Rtcp(reports) = &packet.message.packet
            && !self.streams.is_empty()
        {
            for report in reports {
                self.heard(report.as_ref(), packet.now);
            }
        }
        onward.push_back(packet);
    }

    fn write(&mut self, mut packet: TaggedPacket, onward: &mut Onward) {
        let repeated = packet.message.has(&Attribute::Retransmission);
        let repairs = match &mut packet.message.packet {
            Packet::Rtp(rtp) if !repeated => match self.streams.get_mut(&rtp.header.ssrc) {
                Some(stream) => stream.protect(rtp, self.protection.share(self.meter.reported_round_trip())),
                None => Vec::new(),
            },
            _ => Vec::new(),
        };
        self.meter.protected(repairs.len() as u64);
        let (now, transport) = (packet.now, packet.transport);
        onward.push_back(packet);
        onward.extend(repairs.into_iter().map(|repair| {
            let message = AttributedPacket::new(Packet::Rtp(repair));
            TaggedPacket { now, transport, message }
        }));
    }

    fn bind_local(&mut self, info: &StreamInfo) {
        let (Some(repair_ssrc), Some(payload_type)) = (info.ssrc_fec, info.payload_type_fec) else { return };
        let number = agreed_extension(info);
        match self.streams.get_mut(&info.ssrc).filter(|stream| stream.repair_ssrc == repair_ssrc) {
            // Bound again: its sequence numbers go on.
            Some(stream) => stream.number = number,
            None => {
                let first = first_sequence_number(rand::random());
                let encoder = FlexFec03Encoder::new(payload_type, repair_ssrc).with_base_sequence_number(first);
                let stream = Stream { repair_ssrc, encoder, number, block: Vec::new() };
                self.streams.insert(info.ssrc, stream);
            }
        }
    }

    fn unbind_local(&mut self, info: &StreamInfo) {
        self.streams.remove(&info.ssrc);
    }
}

#[cfg(test)]
mod tests;
