//! What the peer says about the picture we send, from its RTCP: requests for a key frame, loss and round trip, what it
//! can take, what it misses. It also sees each picture leave, for the latency trace.
//!
//! An interceptor, because the crate's chain swallows RTCP before a track sees it. Requests go to their sink at once and
//! nothing is held, so none can be lost in a queue; whoever is called coalesces. The rest goes to the [`LinkMeter`].
//! Each is of one picture, told by its SSRC; the link is one.

use std::sync::Arc;
use std::time::Instant;

use rtc::interceptor::{Packet, Slot, StreamInfo, TaggedPacket};
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use webrtc::peer_connection::Registry;

use super::congestion::meter::LinkMeter;
use super::congestion::reception::{Receptions, together};
use super::congestion::repair::Unrepaired;
use super::engine::SENT_PACKETS_KEPT;
use super::stage::{InChain, Onward, Stage};
use super::streams::Streams;
use crate::video::rate::Heard;

/// Called from the peer connection's own task for each PLI or FIR: must return at once.
pub type KeyFrameSink = Arc<dyn Fn() + Send + Sync>;

/// Wire-most: it must see what leaves when it leaves; the round trip is counted from sender reports.
const WIRE_MOST: usize = 500;

/// Puts the tap into an interceptor chain.
pub(super) fn tap(registry: Registry, streams: &Streams, meter: Arc<LinkMeter>) -> Registry {
    registry.with(Slot::from(WIRE_MOST), InChain::new(FeedbackTap::new(streams.clone(), meter)))
}

struct FeedbackTap {
    streams: Streams,
    meter: Arc<LinkMeter>,
    /// By the pictures' places.
    pictures: Vec<Picture>,
}

/// What the peer says of one picture.
#[derive(Default)]
struct Picture {
    receptions: Receptions,
    unrepaired: Unrepaired,
    /// The newest packet that was asked for again: the peer repeats itself, and counts once.
    newest_missed: Option<u16>,
}

impl Picture {
    /// Whether this packet is missed for the first time.
    fn is_new(&mut self, sequence: u16) -> bool {
        let new = self.newest_missed.is_none_or(|newest| (1..1 << 15).contains(&sequence.wrapping_sub(newest)));
        if new {
            self.newest_missed = Some(sequence);
        }
        new
    }
}

impl FeedbackTap {
    fn new(streams: Streams, meter: Arc<LinkMeter>) -> Self {
        Self { meter, pictures: (0..streams.count()).map(|_| Picture::default()).collect(), streams }
    }

    fn heard(&mut self, report: &dyn rtcp::Packet, now: Instant) {
        let report = report.as_any();
        if let Some(loss) = report.downcast_ref::<PictureLossIndication>() {
            self.streams.request_key_frames_of([loss.media_ssrc]);
        } else if let Some(request) = report.downcast_ref::<FullIntraRequest>() {
            // Its entries name the streams; its media source is unused (RFC 5104 §4.3.1.2).
            self.streams.request_key_frames_of(request.fir.iter().map(|entry| entry.ssrc));
        } else if let Some(nack) = report.downcast_ref::<TransportLayerNack>() {
            self.missed(nack, now);
        } else if let Some(remb) = report.downcast_ref::<ReceiverEstimatedMaximumBitrate>() {
            self.meter.said_remb(Heard { value: f64::from(remb.bitrate), at: now });
        } else {
            let receiver = report.downcast_ref::<ReceiverReport>().map(|report| &report.reports);
            let sender = report.downcast_ref::<SenderReport>().map(|report| &report.reports);
            for block in receiver.or(sender).into_iter().flatten() {
                let Some(picture) = self.streams.media(block.ssrc) else { continue };
                let heard = self.pictures[picture].receptions.heard(block, self.meter.counters(), now);
                let all = || self.pictures.iter().map(|picture| &picture.receptions);
                let link =
                    heard.and_then(|heard| if self.pictures.len() > 1 { together(all(), now) } else { Some(heard) });
                link.into_iter().for_each(|value| self.meter.said_reception(Heard { value, at: now }));
            }
        }
    }

    /// Counts what the peer misses; what cannot be sent again leads to a key frame.
    fn missed(&mut self, nack: &TransportLayerNack, now: Instant) {
        let Some(place) = self.streams.media(nack.media_ssrc) else { return };
        let picture = &mut self.pictures[place];
        let missing = || nack.nacks.iter().flat_map(|pair| pair.packet_list());
        let gone = |sequence: &u16| {
            let age = self.meter.age_in_packets(place, *sequence);
            let kept_no_more = age.is_some_and(|age| (SENT_PACKETS_KEPT..1 << 15).contains(&age));
            kept_no_more && self.meter.still_needed(place, *sequence)
        };
        let impossible = missing().filter(gone).count();
        let news = missing().filter(|sequence| picture.is_new(*sequence)).count();
        self.meter.missed(news as u64, impossible as u64);
        if impossible > 0 && picture.unrepaired.wants_key_frame(now) {
            self.streams.request_key_frame(place);
        }
    }
}

impl Stage for FeedbackTap {
    fn read(&mut self, packet: TaggedPacket, onward: &mut Onward) {
        if let Packet::Rtcp(reports) = &packet.message.packet {
            for report in reports {
                self.heard(report.as_ref(), packet.now);
            }
        }
        onward.push_back(packet);
    }

    fn write(&mut self, packet: TaggedPacket, onward: &mut Onward) {
        match &packet.message.packet {
            Packet::Rtcp(reports) => {
                for report in reports.iter().filter_map(|report| report.as_any().downcast_ref::<SenderReport>()) {
                    if let Some(picture) = self.streams.media(report.ssrc) {
                        self.pictures[picture].receptions.sent_report(report.ntp_time, packet.now);
                    }
                }
            }
            Packet::Rtp(last) if last.header.marker => {
                if let Some(picture) = self.streams.media(last.header.ssrc) {
                    self.streams.trace(picture).sent(last.header.timestamp);
                }
            }
            _ => {}
        }
        onward.push_back(packet);
    }

    fn bind_local(&mut self, info: &StreamInfo) {
        if let Some(picture) = self.streams.media(info.ssrc) {
            self.pictures[picture].receptions.bind(info.ssrc, info.clock_rate);
        }
    }
}

#[cfg(test)]
mod tests;
