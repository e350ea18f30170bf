//! Two interceptors of our own: retransmissions unwrapped where loss is judged, and key-frame requests let through to
//! the hub.

use std::any::Any;
use std::collections::HashMap;

use rtc::interceptor::{Attribute, AttributedPacket, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;

use crate::rtc::stage::{Onward, Stage};

/// Turns a retransmission (RFC 4588) back into the packet it repairs, before the NACK generator sees it. The library
/// does this only behind the chain, so its NACK generator never learns of a repair and asks for the packet until it is
/// out of its window.
#[derive(Default)]
pub(super) struct RtxUnwrap {
    /// By the SSRC of the retransmissions.
    streams: HashMap<u32, Repaired>,
}

#[derive(Clone, Copy, Debug)]
struct Repaired {
    ssrc: u32,
    payload_type: u8,
    rtx_payload_type: u8,
}

impl RtxUnwrap {
    /// False when there is nothing to repair: padding that probes for bandwidth.
    fn unwrap(&self, packet: &mut rtc::rtp::Packet) -> bool {
        let Some(repaired) = self.streams.get(&packet.header.ssrc) else { return true };
        if packet.header.payload_type != repaired.rtx_payload_type {
            return true;
        }
        let Some(original) = packet.payload.first_chunk::<2>().copied() else { return false };
        packet.header.ssrc = repaired.ssrc;
        packet.header.payload_type = repaired.payload_type;
        packet.header.sequence_number = u16::from_be_bytes(original);
        packet.payload = packet.payload.slice(2..);
        !packet.payload.is_empty()
    }
}

impl Stage for RtxUnwrap {
    fn read(&mut self, mut msg: TaggedPacket, onward: &mut Onward) {
        let keep = match &mut msg.message.packet {
            Packet::Rtp(packet) => self.unwrap(packet),
            _ => true,
        };
        if keep {
            onward.push_back(msg);
        }
    }

    fn bind_remote(&mut self, info: &StreamInfo) {
        if let (Some(ssrc_rtx), Some(rtx_payload_type)) = (info.ssrc_rtx, info.payload_type_rtx) {
            let repaired = Repaired { ssrc: info.ssrc, payload_type: info.payload_type, rtx_payload_type };
            self.streams.insert(ssrc_rtx, repaired);
        }
    }

    fn unbind_remote(&mut self, info: &StreamInfo) {
        self.streams.retain(|_, repaired| repaired.ssrc != info.ssrc);
    }
}

/// Lets PLI and FIR through to the application (the library keeps all RTCP to itself) and nothing else. Each goes by
/// itself, as a PLI: of a compound packet the library reads one SSRC only, and hands all of it to that track.
#[derive(Default)]
pub(super) struct KeyFrameRequestsToApplication;

impl Stage for KeyFrameRequestsToApplication {
    fn read(&mut self, msg: TaggedPacket, onward: &mut Onward) {
        let Packet::Rtcp(packets) = &msg.message.packet else {
            onward.push_back(msg);
            return;
        };
        for request in packets.iter().flat_map(|packet| key_frame_requests(packet.as_any())) {
            let packet = AttributedPacket::new(Packet::Rtcp(vec![Box::new(request)]));
            let message = packet.with(Attribute::DeliverToApplication);
            onward.push_back(TaggedPacket { now: msg.now, transport: msg.transport, message });
        }
    }
}

fn key_frame_requests(packet: &dyn Any) -> Vec<PictureLossIndication> {
    let request = |media_ssrc| PictureLossIndication { sender_ssrc: 0, media_ssrc };
    if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
        vec![request(pli.media_ssrc)]
    } else if let Some(fir) = packet.downcast_ref::<FullIntraRequest>() {
        fir.fir.iter().map(|entry| request(entry.ssrc)).collect()
    } else {
        Vec::new()
    }
}

#[cfg(test)]
#[path = "interceptors_tests.rs"]
mod tests;
