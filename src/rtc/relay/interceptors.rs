//! Two interceptors of our own: retransmissions unwrapped where loss is judged, and key-frame requests let through to
//! the hub.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use rtc::interceptor::{Attribute, AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

/// Turns a retransmission (RFC 4588) back into the packet it repairs, before the NACK generator sees it. The library
/// does this only behind the chain, so its NACK generator never learns of a repair and asks for the packet until it is
/// out of its window.
#[derive(Default)]
pub(super) struct RtxUnwrap {
    /// By the SSRC of the retransmissions.
    streams: HashMap<u32, Repaired>,
    queues: Queues,
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

impl Protocol<TaggedPacket, TaggedPacket, ()> for RtxUnwrap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut msg: TaggedPacket) -> Result<(), Error> {
        let keep = match &mut msg.message.packet {
            Packet::Rtp(packet) => self.unwrap(packet),
            _ => true,
        };
        if keep {
            self.queues.read.push_back(msg);
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.queues.read.pop_front()
    }

    fn handle_write(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        self.queues.write.push_back(msg);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.queues.write.pop_front()
    }
}

impl Interceptor for RtxUnwrap {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}

    fn bind_remote_stream(&mut self, info: &StreamInfo) {
        if let (Some(ssrc_rtx), Some(rtx_payload_type)) = (info.ssrc_rtx, info.payload_type_rtx) {
            let repaired = Repaired { ssrc: info.ssrc, payload_type: info.payload_type, rtx_payload_type };
            self.streams.insert(ssrc_rtx, repaired);
        }
    }

    fn unbind_remote_stream(&mut self, info: &StreamInfo) {
        self.streams.retain(|_, repaired| repaired.ssrc != info.ssrc);
    }
}

/// Lets PLI and FIR through to the application (the library keeps all RTCP to itself) and nothing else. Each goes by
/// itself, as a PLI: of a compound packet the library reads one SSRC only, and hands all of it to that track.
#[derive(Default)]
pub(super) struct KeyFrameRequestsToApplication {
    queues: Queues,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for KeyFrameRequestsToApplication {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        let Packet::Rtcp(packets) = &msg.message.packet else {
            self.queues.read.push_back(msg);
            return Ok(());
        };
        for request in packets.iter().flat_map(|packet| key_frame_requests(packet.as_any())) {
            let packet = AttributedPacket::new(Packet::Rtcp(vec![Box::new(request)]));
            let message = packet.with(Attribute::DeliverToApplication);
            self.queues.read.push_back(TaggedPacket { now: msg.now, transport: msg.transport, message });
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.queues.read.pop_front()
    }

    fn handle_write(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        self.queues.write.push_back(msg);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.queues.write.pop_front()
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

impl Interceptor for KeyFrameRequestsToApplication {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

/// The chain takes back what it hands over, one queue a direction; it empties them after each packet.
#[derive(Default)]
struct Queues {
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

#[cfg(test)]
#[path = "interceptors_tests.rs"]
mod tests;
