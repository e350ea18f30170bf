//! One peer's track, and access units onto it.

use std::sync::Arc;
use std::time::Duration;

use rtc::media_stream::MediaStreamTrack;
use rtc::rtp;
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
            ssrc: self.ssrc,
            payload_type: codec.payload_type,
            timestamp_offset: rand::random(),
        }))
    }
}

/// Writes access units to one peer's track. The first one written is an IDR: what comes before it no viewer can decode.
pub(crate) struct TrackWriter {
    track: Arc<TrackLocalStaticRTP>,
    ssrc: u32,
    payload_type: u8,
    timestamp_offset: u32,
}

impl TrackWriter {
    /// Sends one access unit, whole: [`super::packetizer`] makes packets of it. Waits while the peer connection's own
    /// queue is full.
    pub(crate) async fn write(&self, unit: &AccessUnit, trace: &LatencyTrace) -> Result<()> {
        let timestamp = rtp_time(unit.pts).wrapping_add(self.timestamp_offset);
        trace.handed_over(unit, timestamp);
        let (payload_type, ssrc) = (self.payload_type, self.ssrc);
        let header = rtp::header::Header { version: 2, payload_type, timestamp, ssrc, ..Default::default() };
        self.track.write_rtp(rtp::Packet { header, payload: unit.data.clone() }).await
    }
}

/// RTP time of a presentation time: 90 kHz, modulo 2³².
fn rtp_time(pts: Duration) -> u32 {
    let ticks = pts.as_nanos() * u128::from(VIDEO_CLOCK_HZ) / 1_000_000_000;
    // Truncation is the modulus (RFC 3550 §5.1).
    ticks as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtp_time_follows_the_presentation_time_and_wraps() {
        assert_eq!(rtp_time(Duration::ZERO), 0);
        assert_eq!(rtp_time(Duration::from_millis(33)), 2970);
        assert_eq!(rtp_time(Duration::from_secs(47_722)), 12_704, "after 2^32 ticks it starts anew");
    }
}
