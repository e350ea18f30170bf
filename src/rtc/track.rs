//! Access units to RTP on one peer's track.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp;
use rtc::rtp::codec::h264::H264Payloader;
use rtc::rtp::packetizer::Payloader;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpRtxParameters, RtpCodecKind,
};
use webrtc::error::Result;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::rtp_transceiver::RtpSender;

use super::engine::{self, VIDEO_CLOCK_HZ};
use crate::video::frame::AccessUnit;
use crate::video::trace::LatencyTrace;

/// Largest RTP payload, in bytes: 1200 with the RTP header, so that SRTP, TURN and IPv6 still fit an MTU of 1280.
const MAX_PAYLOAD_BYTES: usize = 1200 - 12;

/// The track of one peer connection, before it is known what was negotiated.
#[derive(Clone)]
pub(crate) struct VideoTrack {
    ssrc: u32,
    inner: Arc<TrackLocalStaticRTP>,
    sender: Option<Arc<dyn RtpSender>>,
}

impl VideoTrack {
    pub(crate) fn new(name: &str) -> Self {
        let ssrc = rand::random();
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                rtx: Some(RTCRtpRtxParameters { ssrc: rand::random() }),
                ..Default::default()
            },
            codec: engine::h264(),
            ..Default::default()
        };
        let track = MediaStreamTrack::new(
            "rtcpub".to_owned(),
            name.to_owned(),
            name.to_owned(),
            RtpCodecKind::Video,
            vec![encoding],
        );
        Self { ssrc, inner: Arc::new(TrackLocalStaticRTP::new(track)), sender: None }
    }

    pub(crate) fn local(&self) -> Arc<dyn TrackLocal> {
        self.inner.clone()
    }

    pub(crate) fn bound(self, sender: Arc<dyn RtpSender>) -> Self {
        Self { sender: Some(sender), ..self }
    }

    /// A writer for this track, once its payload type is negotiated; `None` when the peer took no H.264.
    pub(crate) async fn writer(&self) -> Result<Option<TrackWriter>> {
        let Some(sender) = &self.sender else { return Ok(None) };
        let parameters = sender.get_parameters().await?.rtp_parameters;
        let h264 = parameters.codecs.iter().find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case("video/H264"));
        Ok(h264.map(|codec| TrackWriter {
            track: self.inner.clone(),
            packetizer: Packetizer::new(self.ssrc, codec.payload_type),
        }))
    }
}

/// Writes access units to one peer's track. The first one written is an IDR: what comes before it no viewer can decode.
pub(crate) struct TrackWriter {
    track: Arc<TrackLocalStaticRTP>,
    packetizer: Packetizer,
}

impl TrackWriter {
    /// The sequence number of the next packet.
    pub(crate) fn next_sequence(&self) -> u16 {
        self.packetizer.sequence_number
    }

    /// Sends one access unit; waits while the peer connection's own queue is full. Returns the number of packets.
    pub(crate) async fn write(&mut self, unit: &AccessUnit, trace: &LatencyTrace) -> Result<usize> {
        let packets = self.packetizer.packetize(unit)?;
        trace.packetised(unit);
        let count = packets.len();
        for packet in packets {
            self.track.write_rtp(packet).await?;
        }
        trace.sent(unit);
        Ok(count)
    }
}

/// RTP packets of one stream (RFC 6184, packetization-mode 1). Pure.
struct Packetizer {
    payloader: H264Payloader,
    ssrc: u32,
    payload_type: u8,
    sequence_number: u16,
    timestamp_offset: u32,
}

impl Packetizer {
    fn new(ssrc: u32, payload_type: u8) -> Self {
        Self {
            payloader: H264Payloader::default(),
            ssrc,
            payload_type,
            sequence_number: rand::random(),
            timestamp_offset: rand::random(),
        }
    }

    fn packetize(&mut self, unit: &AccessUnit) -> Result<Vec<rtp::Packet>> {
        let timestamp = rtp_time(unit.pts).wrapping_add(self.timestamp_offset);
        let payloads = self.payloader.payload(MAX_PAYLOAD_BYTES, &unit.data)?;
        let last = payloads.len().saturating_sub(1);
        let packets = payloads.into_iter().enumerate().map(|(index, payload)| {
            let header = rtp::header::Header {
                version: 2,
                marker: index == last,
                payload_type: self.payload_type,
                sequence_number: self.sequence_number,
                timestamp,
                ssrc: self.ssrc,
                ..Default::default()
            };
            self.sequence_number = self.sequence_number.wrapping_add(1);
            rtp::Packet { header, payload: detached(payload, &unit.data) }
        });
        Ok(packets.collect())
    }
}

/// A small NAL unit comes as a slice of the encoder's buffer, and packets are kept for retransmission for seconds:
/// copying it gives the buffer back, without which a hardware encoder's pool runs dry.
fn detached(payload: Bytes, unit: &Bytes) -> Bytes {
    if unit.as_ptr_range().contains(&payload.as_ptr()) { Bytes::copy_from_slice(&payload) } else { payload }
}

/// RTP time of a presentation time: 90 kHz, modulo 2³².
fn rtp_time(pts: Duration) -> u32 {
    let ticks = pts.as_nanos() * u128::from(VIDEO_CLOCK_HZ) / 1_000_000_000;
    // Truncation is the modulus (RFC 3550 §5.1).
    ticks as u32
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn unit(data: Vec<u8>, pts: Duration) -> AccessUnit {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let encoded_at = Instant::now();
        AccessUnit { data: Bytes::from(data), pts, idr: false, encoded_at }
    }

    fn nal(kind: u8, len: usize) -> Vec<u8> {
        let mut nal = vec![0, 0, 0, 1, kind];
        nal.resize(5 + len, 0xaa);
        nal
    }

    #[test]
    fn rtp_time_follows_the_presentation_time_and_wraps() {
        assert_eq!(rtp_time(Duration::ZERO), 0);
        assert_eq!(rtp_time(Duration::from_millis(33)), 2970);
        assert_eq!(rtp_time(Duration::from_secs(47_722)), 12_704, "after 2^32 ticks it starts anew");
    }

    #[test]
    fn a_picture_becomes_packets_that_fit_and_end_with_a_marker() {
        let mut packetizer = Packetizer::new(7, 100);
        let first = packetizer.packetize(&unit(nal(0x65, 5000), Duration::ZERO)).expect("packets");
        assert_eq!(first.len(), 5);
        assert!(first.iter().all(|packet| packet.payload.len() <= MAX_PAYLOAD_BYTES));
        assert_eq!(
            first.iter().map(|packet| packet.header.marker).collect::<Vec<_>>(),
            [false, false, false, false, true]
        );
        let second = packetizer.packetize(&unit(nal(0x41, 100), Duration::from_millis(100))).expect("packets");
        let (before, after) = (&first[4].header, &second[0].header);
        assert_eq!(after.sequence_number, before.sequence_number.wrapping_add(1));
        assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 9000);
        assert_eq!((after.ssrc, after.payload_type), (7, 100));
    }

    #[test]
    fn parameter_sets_travel_in_front_of_the_idr() {
        let data = [nal(0x67, 10), nal(0x68, 4), nal(0x65, 200)].concat();
        let packets = Packetizer::new(7, 100).packetize(&unit(data, Duration::ZERO)).expect("packets");
        let kinds: Vec<_> = packets.iter().map(|packet| packet.payload[0] & 0x1f).collect();
        assert_eq!(kinds, [24, 5], "STAP-A with SPS and PPS, then the IDR");
    }

    #[test]
    fn no_packet_holds_the_encoders_buffer() {
        let unit = unit([nal(0x41, 300), nal(0x41, 3000)].concat(), Duration::ZERO);
        let packets = Packetizer::new(7, 100).packetize(&unit).expect("packets");
        assert!(packets.iter().all(|packet| !unit.data.as_ptr_range().contains(&packet.payload.as_ptr())));
    }
}
