//! A stage of a peer's interceptor chain, in terms of what happens there.
//!
//! The crate's trait leaves it to each interceptor to queue what goes on until the chain takes it. Here a stage says what
//! goes on, and [`InChain`] keeps the queues.

use std::collections::VecDeque;
use std::time::Instant;

use rtc::interceptor::{Interceptor, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use webrtc::error::Error;

/// What goes on to the next stage. The chain empties it after each packet.
pub(super) type Onward = VecDeque<TaggedPacket>;

/// What happens to packets at one place of the chain. Unless a stage says otherwise, everything goes on as it came.
pub(super) trait Stage: Send + Sync {
    /// A packet on its way from the network.
    fn read(&mut self, packet: TaggedPacket, onward: &mut Onward) {
        onward.push_back(packet);
    }

    /// A packet on its way to the network.
    fn write(&mut self, packet: TaggedPacket, onward: &mut Onward) {
        onward.push_back(packet);
    }

    /// Time has passed; what was held may go on to the network.
    fn timeout(&mut self, _now: Instant, _onward: &mut Onward) {}

    /// When [`Stage::timeout`] is to be called.
    fn poll_timeout(&mut self) -> Option<Instant> {
        None
    }

    /// A stream that is sent begins, or is bound anew.
    fn bind_local(&mut self, _info: &StreamInfo) {}
    /// A stream that is sent ends.
    fn unbind_local(&mut self, _info: &StreamInfo) {}
    /// A stream that is received begins.
    fn bind_remote(&mut self, _info: &StreamInfo) {}
    /// A stream that is received ends.
    fn unbind_remote(&mut self, _info: &StreamInfo) {}
}

/// A stage as the crate's chain takes it.
#[derive(Default)]
pub(super) struct InChain<S> {
    pub(super) stage: S,
    read: Onward,
    write: Onward,
}

impl<S> InChain<S> {
    pub(super) fn new(stage: S) -> Self {
        Self { stage, read: Onward::new(), write: Onward::new() }
    }
}

impl<S: Stage> Protocol<TaggedPacket, TaggedPacket, ()> for InChain<S> {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.stage.read(packet, &mut self.read);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.stage.write(packet, &mut self.write);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        self.stage.timeout(now, &mut self.write);
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.stage.poll_timeout()
    }
}

impl<S: Stage> Interceptor for InChain<S> {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        self.stage.bind_local(info);
    }

    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        self.stage.unbind_local(info);
    }

    fn bind_remote_stream(&mut self, info: &StreamInfo) {
        self.stage.bind_remote(info);
    }

    fn unbind_remote_stream(&mut self, info: &StreamInfo) {
        self.stage.unbind_remote(info);
    }
}

/// What goes on of a packet from the network.
#[cfg(test)]
pub(super) fn read(stage: &mut impl Stage, packet: TaggedPacket) -> Onward {
    let mut onward = Onward::new();
    stage.read(packet, &mut onward);
    onward
}

/// What goes on of a packet to the network.
#[cfg(test)]
pub(super) fn written(stage: &mut impl Stage, packet: TaggedPacket) -> Onward {
    let mut onward = Onward::new();
    stage.write(packet, &mut onward);
    onward
}
