//! Packets to pictures, as a patient player sees them. Pure.

use std::collections::BTreeMap;
use std::time::Instant;

use rtcpub::rtc::relay::MediaPacket;

/// A picture that could be decoded.
#[derive(Clone, Copy, Debug)]
pub struct Picture {
    /// When its last packet, and those of all before it, were there.
    pub at: Instant,
    /// Its RTP time, unwrapped.
    pub timestamp: i64,
    pub bytes: usize,
    pub idr: bool,
}

/// Decodes in order; waits for what is missing until an IDR lets it go on without.
#[derive(Default)]
pub struct Assembler {
    packets: BTreeMap<i64, MediaPacket>,
    next: Option<i64>,
    newest: Option<(i64, i64)>,
    bytes: usize,
    idr: bool,
}

impl Assembler {
    /// Takes a packet; returns the pictures that it completes.
    pub fn add(&mut self, packet: MediaPacket, now: Instant) -> Vec<Picture> {
        let sequence = self.unwrap(packet.sequence);
        self.packets.insert(sequence, packet);
        let mut pictures = self.advance(now);
        while pictures.is_empty() && self.skip_to_idr() {
            pictures = self.advance(now);
        }
        pictures
    }

    /// Something is missing.
    pub fn is_stuck(&self) -> bool {
        !self.packets.is_empty()
    }

    fn advance(&mut self, now: Instant) -> Vec<Picture> {
        let mut pictures = Vec::new();
        while let Some(next) = self.next
            && let Some(packet) = self.packets.remove(&next)
        {
            self.next = Some(next + 1);
            self.bytes += packet.payload.len();
            self.idr |= starts_idr(&packet);
            if packet.marker {
                let timestamp = self.unwrap_time(packet.timestamp);
                pictures.push(Picture { at: now, timestamp, bytes: self.bytes, idr: self.idr });
                (self.bytes, self.idr) = (0, false);
            }
        }
        pictures
    }

    /// Gives up what is missing when a whole IDR is there beyond it.
    fn skip_to_idr(&mut self) -> bool {
        let starts = self.packets.iter().filter(|(_, packet)| starts_idr(packet)).map(|(sequence, _)| *sequence);
        let whole = |start: &i64| {
            let mut sequence = *start;
            while let Some(packet) = self.packets.get(&sequence) {
                if packet.marker {
                    return true;
                }
                sequence += 1;
            }
            false
        };
        let Some(start) = starts.filter(|start| self.next != Some(*start)).find(whole) else { return false };
        self.packets = self.packets.split_off(&start);
        (self.next, self.bytes, self.idr) = (Some(start), 0, false);
        true
    }

    fn unwrap(&mut self, sequence: u16) -> i64 {
        let (newest, _) = *self.newest.get_or_insert((i64::from(sequence), i64::MIN));
        let distance = i64::from((sequence.wrapping_sub(newest as u16)) as i16);
        let unwrapped = newest + distance;
        if let Some(newest) = &mut self.newest {
            newest.0 = newest.0.max(unwrapped);
        }
        unwrapped
    }

    fn unwrap_time(&mut self, timestamp: u32) -> i64 {
        let Some((_, newest)) = &mut self.newest else { return i64::from(timestamp) };
        let unwrapped = match *newest {
            i64::MIN => i64::from(timestamp),
            before => before + i64::from(timestamp.wrapping_sub(before as u32) as i32),
        };
        *newest = unwrapped;
        unwrapped
    }
}

/// STAP-A (24) carries SPS and PPS in front of an IDR.
fn starts_idr(packet: &MediaPacket) -> bool {
    packet.payload.first().is_some_and(|byte| byte & 0x1f == 24)
}
