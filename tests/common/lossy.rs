//! A wire that loses packets, as an interceptor at the wire's end of a peer's chain.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rtc::interceptor::{Attribute, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

#[derive(Default)]
pub struct LossCounts {
    pub lost: AtomicU64,
    pub repeated: AtomicU64,
}

#[derive(Default)]
pub struct Lossy {
    lose_every: Option<u64>,
    inbound: bool,
    to_application: bool,
    counts: Arc<LossCounts>,
    /// The payload type that loses packets: the first seen. What comes with another one repeats them (RFC 4588).
    media_type: Option<u8>,
    seen: u64,
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl Lossy {
    pub fn inbound(lose_every: Option<u64>) -> Self {
        Self { lose_every, inbound: true, ..Default::default() }
    }

    pub fn outbound(lose_every: Option<u64>, counts: Arc<LossCounts>) -> Self {
        Self { lose_every, counts, ..Default::default() }
    }

    /// Loses nothing; lets RTCP through to the application, placed last.
    pub fn rtcp_to_application() -> Self {
        Self { to_application: true, ..Default::default() }
    }

    fn is_lost(&mut self, packet: &Packet) -> bool {
        let (Packet::Rtp(packet), Some(every)) = (packet, self.lose_every) else { return false };
        if packet.header.payload_type != *self.media_type.get_or_insert(packet.header.payload_type) {
            self.counts.repeated.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.seen += 1;
        let lost = self.seen.is_multiple_of(every);
        self.counts.lost.fetch_add(u64::from(lost), Ordering::Relaxed);
        lost
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Lossy {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut msg: TaggedPacket) -> Result<(), Error> {
        if self.to_application && matches!(msg.message.packet, Packet::Rtcp(_)) {
            msg.message.add(Attribute::DeliverToApplication);
        }
        if !self.inbound || !self.is_lost(&msg.message.packet) {
            self.read.push_back(msg);
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        if self.inbound || !self.is_lost(&msg.message.packet) {
            self.write.push_back(msg);
        }
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }
}

impl Interceptor for Lossy {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
