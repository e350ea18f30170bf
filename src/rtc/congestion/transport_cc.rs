//! Transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc-extensions-01): numbers every packet that
//! leaves, repairs included, and makes an estimate of what the peer tells of them.
//!
//! Passive until the peer has agreed to it, which is known when the stream is bound; without it nothing is numbered and
//! there is never an estimate. The crate's own interceptors are not used: its sender leaves repairs unnumbered, its
//! history takes packets named in a lost feedback for lost packets, and its pacer holds everything above the start rate
//! for ever when no feedback comes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::interceptor::{Attribute, Packet, StreamInfo, TaggedPacket, convert_twcc};
use rtc::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc::rtp;
use rtc::shared::marshal::MarshalSize;

use super::estimator::{Estimator, PacketFate};
use super::meter::LinkMeter;
use crate::rtc::stage::{Onward, Stage};
use crate::rtc::streams::Streams;
use crate::video::rate::Heard;

/// URI of the header extension.
pub(crate) const TRANSPORT_CC_URI: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// What a packet takes on the wire beyond RTP: IPv4, UDP and the tag of SRTP. Small packets fill a link sooner than their
/// payloads tell.
const WIRE_OVERHEAD: usize = 20 + 8 + 10;
/// Packets remembered until the peer tells of them, a power of two: two seconds at 10 Mbit/s. An older one is forgotten.
const HISTORY: usize = 2048;

pub(super) struct TransportCc {
    meter: Arc<LinkMeter>,
    estimator: Estimator,
    /// The id of the header extension for each stream that is numbered.
    extensions: HashMap<u32, u8>,
    pictures: Streams,
    /// The streams of forward error correction.
    protecting: HashSet<u32>,
    next: u16,
    history: Vec<Option<Departure>>,
    /// See [`LinkReading::unanswered`](crate::video::rate::LinkReading::unanswered).
    unanswered: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Departure {
    sequence: u16,
    at: Instant,
    bytes: usize,
    told_lost: bool,
}

impl TransportCc {
    pub(super) fn new(meter: Arc<LinkMeter>, pictures: Streams, estimator: Estimator) -> Self {
        Self {
            meter,
            estimator,
            extensions: HashMap::new(),
            pictures,
            protecting: HashSet::new(),
            next: 0,
            history: vec![None; HISTORY],
            unanswered: None,
        }
    }

    fn sent(&mut self, packet: &mut rtp::Packet, repair: bool, now: Instant) {
        if let Some(extension) = self.extensions.get(&packet.header.ssrc) {
            let sequence = self.next;
            let number = Bytes::copy_from_slice(&sequence.to_be_bytes());
            if packet.header.set_extension(*extension, number).is_ok() {
                self.next = sequence.wrapping_add(1);
                let bytes = packet.marshal_size() + WIRE_OVERHEAD;
                self.history[slot(sequence)] = Some(Departure { sequence, at: now, bytes, told_lost: false });
                if self.unanswered.is_none() {
                    self.set_unanswered(Some(now));
                }
            }
        }
        self.meter.sent(packet.marshal_size(), repair);
        if let Some(picture) = self.pictures.media(packet.header.ssrc).filter(|_| !repair) {
            self.meter.sent_sequence(picture, packet.header.sequence_number);
        }
    }

    fn set_unanswered(&mut self, since: Option<Instant>) {
        self.unanswered = since;
        self.meter.set_unanswered(since);
    }

    fn heard(&mut self, feedback: &TransportLayerCc, now: Instant) {
        // The last chunk is padded: only the announced number of packets is meant.
        let told = convert_twcc(feedback).into_iter().take(usize::from(feedback.packet_status_count));
        let fates: Vec<_> =
            told.filter_map(|told| self.fate(told.sequence_number, told.arrived, told.arrival)).collect();
        if fates.is_empty() {
            return;
        }
        if let Some((least, most)) = self.meter.limits() {
            self.estimator.set_limits(least, most);
        }
        let all_told = self.history[slot(self.next.wrapping_sub(1))].is_none_or(|last| last.told_lost);
        self.estimator.on_feedback(&fates, all_told, now);
        if all_told {
            self.set_unanswered(None);
        }
        let estimate = Heard { value: self.estimator.target(), at: now };
        self.meter.estimated(estimate, self.estimator.queueing_delay(), self.estimator.is_standing());
    }

    /// What became of a packet, when that is news.
    fn fate(&mut self, sequence: u16, arrived: bool, arrival: Option<Duration>) -> Option<PacketFate> {
        let remembered = &mut self.history[slot(sequence)];
        let departure = remembered.as_mut().filter(|departure| departure.sequence == sequence)?;
        let known_lost = std::mem::replace(&mut departure.told_lost, !arrived);
        let fate = PacketFate { departure: departure.at, bytes: departure.bytes, arrival: arrival.filter(|_| arrived) };
        if arrived {
            *remembered = None;
        } else if known_lost {
            return None;
        }
        // One that arrived at a time the receiver does not tell says nothing.
        (arrived == fate.arrival.is_some()).then_some(fate)
    }
}

/// The id of the header extension that the peer has agreed to, when it has.
pub(super) fn agreed_extension(info: &StreamInfo) -> Option<u8> {
    let agreed = info.rtcp_feedback.iter().any(|feedback| feedback.typ.eq_ignore_ascii_case("transport-cc"));
    let extension = info.rtp_header_extensions.iter().find(|extension| extension.uri == TRANSPORT_CC_URI);
    extension.and_then(|extension| u8::try_from(extension.id).ok()).filter(|id| agreed && *id > 0)
}

fn slot(sequence: u16) -> usize {
    usize::from(sequence) % HISTORY
}

impl Stage for TransportCc {
    fn read(&mut self, packet: TaggedPacket, onward: &mut Onward) {
        if let Packet::Rtcp(reports) = &packet.message.packet {
            for feedback in reports.iter().filter_map(|report| report.as_any().downcast_ref::<TransportLayerCc>()) {
                self.heard(feedback, packet.now);
            }
        }
        onward.push_back(packet);
    }

    fn write(&mut self, mut packet: TaggedPacket, onward: &mut Onward) {
        let repair = packet.message.has(&Attribute::Retransmission);
        let now = packet.now;
        if let Packet::Rtp(rtp) = &mut packet.message.packet {
            let repair = repair || self.protecting.contains(&rtp.header.ssrc);
            self.sent(rtp, repair, now);
        }
        onward.push_back(packet);
    }

    fn bind_local(&mut self, info: &StreamInfo) {
        self.protecting.extend(info.ssrc_fec);
        let id = agreed_extension(info);
        for ssrc in [Some(info.ssrc), info.ssrc_rtx, info.ssrc_fec].into_iter().flatten() {
            match id {
                Some(id) => self.extensions.insert(ssrc, id),
                None => self.extensions.remove(&ssrc),
            };
        }
        self.meter.set_transport_cc(!self.extensions.is_empty());
    }

    fn unbind_local(&mut self, info: &StreamInfo) {
        for ssrc in [Some(info.ssrc), info.ssrc_rtx, info.ssrc_fec].into_iter().flatten() {
            self.extensions.remove(&ssrc);
            self.protecting.remove(&ssrc);
        }
        self.meter.set_transport_cc(!self.extensions.is_empty());
    }
}

#[cfg(test)]
mod tests;
