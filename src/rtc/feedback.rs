//! What the peer says about the picture we send: requests for a key frame.
//!
//! An interceptor, because the crate's chain swallows RTCP before a track sees it. It calls its sink at once and holds
//! nothing, so a request cannot be lost in a queue; whoever is called coalesces.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use rtc::interceptor::{Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::sansio::Protocol;
use webrtc::error::Error;
use webrtc::peer_connection::Registry;

/// Called from the peer connection's own task for each PLI or FIR: must return at once.
pub type KeyFrameSink = Arc<dyn Fn() + Send + Sync>;

/// App-most: every interceptor that acts on RTCP has seen it before.
const APPLICATION_MOST: usize = 14_000;

/// Puts the tap into an interceptor chain.
pub fn tap(registry: Registry, on_key_frame_request: KeyFrameSink) -> Registry {
    let tap = FeedbackTap { on_key_frame_request, read: VecDeque::new(), write: VecDeque::new() };
    registry.with(Slot::from(APPLICATION_MOST), tap)
}

struct FeedbackTap {
    on_key_frame_request: KeyFrameSink,
    // Emptied by the crate after each packet it puts in.
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for FeedbackTap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Self::Error> {
        if let Packet::Rtcp(reports) = &packet.message.packet {
            for report in reports {
                let report = report.as_any();
                if report.is::<PictureLossIndication>() || report.is::<FullIntraRequest>() {
                    (self.on_key_frame_request)();
                }
            }
        }
        self.read.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<Self::Rout> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Self::Error> {
        self.write.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<Self::Wout> {
        self.write.pop_front()
    }
}

impl Interceptor for FeedbackTap {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
