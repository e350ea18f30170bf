//! Access units to RTP packets (RFC 6184, packetization-mode 1), inside the peer connection.
//!
//! The application's end of the interceptor chain: a picture enters the connection as one "packet" that holds a whole
//! access unit, and becomes packets here. The crate's driver takes one packet a turn of its loop, asks for the sender's
//! parameters for each and sends what has come of it before it takes the next; so a picture costs one turn, and its
//! packets leave in one system call where the kernel takes them so (UDP_SEGMENT).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use rtc::interceptor::{AttributedPacket, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::rtp;
use rtc::rtp::codec::h264::{FU_START_BITMASK, FUA_NALU_TYPE, H264Payloader, NALU_TYPE_BITMASK};
use rtc::rtp::packetizer::Payloader;
use webrtc::error::Error;
use webrtc::peer_connection::Registry;

use super::congestion::meter::{FIRST, LinkMeter};
use super::pump::PublishCounters;
use super::stage::{InChain, Onward, Stage};
use super::streams::Streams;
use crate::video::h264::IDR_SLICE;

/// Largest RTP payload, in bytes: 1200 with the RTP header, so that SRTP, TURN and IPv6 still fit an MTU of 1280.
const MAX_PAYLOAD_BYTES: usize = 1200 - 12;
/// Above everything that numbers, keeps or reports packets.
const APPLICATION_MOST: usize = 14_000;

/// Puts packetization into a peer's interceptor chain.
pub(crate) fn packetize(
    registry: Registry,
    streams: &Streams,
    meter: Arc<LinkMeter>,
    counters: Arc<PublishCounters>,
) -> Registry {
    registry.with(Slot::from(APPLICATION_MOST), InChain::new(Packetizing::new(streams.clone(), meter, counters)))
}

struct Packetizing {
    streams: Streams,
    meter: Arc<LinkMeter>,
    counters: Arc<PublishCounters>,
    /// One for each track, by SSRC.
    packetizers: HashMap<u32, Packetizer>,
}

impl Packetizing {
    fn new(streams: Streams, meter: Arc<LinkMeter>, counters: Arc<PublishCounters>) -> Self {
        Self { streams, meter, counters, packetizers: HashMap::new() }
    }

    fn split(&mut self, picture: &rtp::Packet, tagged: &TaggedPacket, onward: &mut Onward) {
        let place = self.streams.media(picture.header.ssrc).unwrap_or(FIRST);
        let packetizer = self.packetizers.entry(picture.header.ssrc).or_default();
        let Packetized { packets, idr } = match packetizer.packetize(picture) {
            Ok(made) => made,
            Err(error) => return tracing::debug!(%error, "no packets can be made of a picture"),
        };
        self.streams.trace(place).packetised(picture.header.timestamp);
        self.counters.packets.fetch_add(packets.len() as u64, Relaxed);
        if let Some(first) = packets.first().filter(|_| idr) {
            self.meter.key_frame_sent(place, first.header.sequence_number);
        }
        onward.extend(packets.into_iter().map(|packet| TaggedPacket {
            now: tagged.now,
            transport: tagged.transport,
            message: AttributedPacket::new(Packet::Rtp(packet)),
        }));
    }
}

impl Stage for Packetizing {
    fn write(&mut self, packet: TaggedPacket, onward: &mut Onward) {
        match &packet.message.packet {
            Packet::Rtp(picture) => self.split(picture, &packet, onward),
            _ => onward.push_back(packet),
        }
    }

    fn unbind_local(&mut self, info: &StreamInfo) {
        self.packetizers.remove(&info.ssrc);
    }
}

/// The packets of one picture.
struct Packetized {
    packets: Vec<rtp::Packet>,
    idr: bool,
}

/// Makes the packets of one track. Pure.
struct Packetizer {
    payloader: H264Payloader,
    sequence_number: u16,
}

impl Default for Packetizer {
    fn default() -> Self {
        Self { payloader: H264Payloader::default(), sequence_number: first_sequence_number(rand::random()) }
    }
}

/// Numbers begin anywhere (RFC 3550 §5.1), but in the lower half, as libwebrtc has it: they must not come round before the
/// first packet has arrived. A receiver takes the first it gets for one of before any rollover (RFC 3711 §3.3.1), and
/// where the sender has counted one already, nothing of the stream is ever authentic to it.
pub(super) fn first_sequence_number(random: u16) -> u16 {
    random & 0x7fff
}

impl Packetizer {
    /// `picture` holds an access unit; its header is that of each packet, but for numbers and marker.
    fn packetize(&mut self, picture: &rtp::Packet) -> Result<Packetized, Error> {
        let payloads = self.payloader.payload(MAX_PAYLOAD_BYTES, &picture.payload)?;
        let last = payloads.len().saturating_sub(1);
        let idr = payloads.iter().any(|payload| begins_idr(payload));
        let packets = payloads.into_iter().enumerate().map(|(index, payload)| {
            let sequence_number = self.sequence_number;
            self.sequence_number = sequence_number.wrapping_add(1);
            let header = rtp::header::Header { marker: index == last, sequence_number, ..picture.header.clone() };
            rtp::Packet { header, payload: detached(payload, &picture.payload) }
        });
        Ok(Packetized { packets: packets.collect(), idr })
    }
}

/// Whether a slice of an IDR picture begins in this payload (RFC 6184 §5.6, §5.8).
fn begins_idr(payload: &[u8]) -> bool {
    let kind = |byte: u8| byte & NALU_TYPE_BITMASK;
    match *payload {
        [indicator, header, ..] if kind(indicator) == FUA_NALU_TYPE => {
            header & FU_START_BITMASK != 0 && kind(header) == IDR_SLICE
        }
        [header, ..] => kind(header) == IDR_SLICE,
        [] => false,
    }
}

/// A small NAL unit comes as a slice of the encoder's buffer, and packets are kept for retransmission for seconds:
/// copying it gives the buffer back, without which a hardware encoder's pool runs dry.
fn detached(payload: Bytes, unit: &Bytes) -> Bytes {
    if unit.as_ptr_range().contains(&payload.as_ptr()) { Bytes::copy_from_slice(&payload) } else { payload }
}

#[cfg(test)]
mod tests;
