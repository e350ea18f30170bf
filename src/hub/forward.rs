//! What one viewer is sent of the publisher's packets: from a key frame on, numbered without a gap of ours, whoever
//! publishes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::packet::{Entry, Packet};
use super::room::PublisherId;

/// RTP clock of video, in Hz (RFC 6184 §8.2.1).
const CLOCK_HZ: u64 = 90_000;
/// Packets of one access unit kept while its first ones have not arrived yet. Full: the oldest is dropped, and the
/// viewer starts at the next key frame instead.
const EARLY_CAPACITY: usize = 64;

/// One packet as this viewer is to receive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Sequence number in this viewer's stream.
    pub sequence: u16,
    /// Timestamp in this viewer's stream.
    pub timestamp: u32,
    /// Last packet of its access unit.
    pub marker: bool,
    /// The payload, shared.
    pub payload: Bytes,
}

/// One viewer's place in the stream.
#[derive(Debug)]
pub struct Forwarder {
    /// The next number that is not used yet.
    next: u64,
    /// What was last sent, for a timeline that goes on when the publisher is replaced.
    last: Option<Sent>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    source: PublisherId,
    timestamp: u32,
    timestamp_shift: u32,
    at: Instant,
}

#[derive(Debug)]
enum State {
    /// Nothing is sent until decoding can start.
    Waiting(Waiting),
    Running(Running),
}

#[derive(Debug, Default)]
struct Waiting {
    /// The newest packet seen: tells whether anything before an IDR slice is still missing.
    newest: Option<(PublisherId, u64)>,
    /// Packets of the newest access unit, in case its parameter sets arrive after them.
    early: VecDeque<Packet>,
}

/// What turns the publisher's numbers into this viewer's, from the packet where it started.
#[derive(Clone, Copy, Debug)]
struct Running {
    source: PublisherId,
    first: u64,
    base: u64,
    timestamp_shift: u32,
}

impl Forwarder {
    /// A viewer that has been sent nothing. `first_sequence` is the number its stream starts with (RFC 3550 §5.1: a
    /// random one).
    pub fn new(first_sequence: u16) -> Self {
        Self { next: u64::from(first_sequence), last: None, state: State::Waiting(Waiting::default()) }
    }

    /// Whether this viewer has no picture and gets none before the next key frame.
    pub fn needs_key_frame(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    /// Packets were lost on the way to this viewer: what follows cannot be decoded, so it is not sent.
    pub fn lost_packets(&mut self) {
        self.state = State::Waiting(Waiting::default());
    }

    /// Takes the publisher's next packet and appends to `out` what this viewer is to be sent now.
    pub fn forward(&mut self, packet: &Packet, now: Instant, out: &mut Vec<Outgoing>) {
        if let State::Running(running) = &self.state {
            if packet.source < running.source || (packet.source == running.source && packet.index < running.first) {
                return;
            }
            if packet.source > running.source {
                self.lost_packets();
            }
        }
        match &mut self.state {
            State::Running(running) => {
                let running = *running;
                self.send(running, packet, now, out);
            }
            State::Waiting(waiting) => {
                if let Some(early) = waiting.take(packet) {
                    let running = self.start(packet, now);
                    self.send(running, packet, now, out);
                    early.iter().for_each(|packet| self.send(running, packet, now, out));
                }
            }
        }
    }

    fn start(&mut self, first: &Packet, now: Instant) -> Running {
        let timestamp_shift = match self.last {
            None => 0,
            Some(last) if last.source == first.source => last.timestamp_shift,
            Some(last) => last.after(now).wrapping_sub(first.timestamp),
        };
        let running = Running { source: first.source, first: first.index, base: self.next, timestamp_shift };
        self.state = State::Running(running);
        running
    }

    fn send(&mut self, running: Running, packet: &Packet, now: Instant, out: &mut Vec<Outgoing>) {
        let number = running.base + (packet.index - running.first);
        let timestamp = packet.timestamp.wrapping_add(running.timestamp_shift);
        self.next = self.next.max(number + 1);
        self.last = Some(Sent { source: packet.source, timestamp, timestamp_shift: running.timestamp_shift, at: now });
        let payload = packet.payload.clone();
        out.push(Outgoing { sequence: number as u16, timestamp, marker: packet.marker, payload });
    }
}

impl Sent {
    /// The timestamp of a picture that follows at `now`: at least one frame of 90 Hz later, so that it is never the
    /// same picture.
    fn after(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.at).max(Duration::from_millis(11));
        let ticks = passed.as_micros() as u64 * CLOCK_HZ / 1_000_000;
        self.timestamp.wrapping_add(ticks as u32)
    }
}

impl Waiting {
    /// Whether decoding starts at this packet; then what else of its access unit is here already, in order.
    fn take(&mut self, packet: &Packet) -> Option<Vec<Packet>> {
        if self.newest.is_some_and(|(source, _)| source > packet.source) {
            return None;
        }
        let newest = self.newest.filter(|(source, _)| *source == packet.source).map(|(_, index)| index);
        if newest.is_none_or(|newest| newest < packet.index) {
            self.newest = Some((packet.source, packet.index));
        }
        let starts = match packet.entry {
            Some(Entry::ParameterSets) => true,
            // Parameter sets in front of it may be late; when nothing is missing there, there are none.
            Some(Entry::Idr) => newest.is_some_and(|newest| newest + 1 == packet.index),
            None => false,
        };
        self.early.retain(|early| early.source == packet.source && early.timestamp == packet.timestamp);
        if !starts {
            if self.early.len() == EARLY_CAPACITY {
                self.early.pop_front();
            }
            self.early.push_back(packet.clone());
            return None;
        }
        let mut early: Vec<_> = self.early.drain(..).filter(|early| early.index > packet.index).collect();
        early.sort_by_key(|early| early.index);
        Some(early)
    }
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
