//! One peer's tracks, and access units onto them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rtc::media_stream::MediaStreamTrack;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpRtxParameters, RtpCodecKind,
};
use tokio::sync::Notify;
use webrtc::error::Result;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::rtp_transceiver::RtpSender;

use super::engine::{self, VIDEO_CLOCK_HZ};
use super::peer::PictureSetup;
use super::streams::Stream;
use crate::video::frame::AccessUnit;
use crate::video::trace::LatencyTrace;

/// The stream that all tracks of ours belong to.
const STREAM_ID: &str = "rtcpub";

/// A track of one peer connection, before it is known what was negotiated.
#[derive(Clone)]
pub(crate) struct VideoTrack {
    name: Arc<str>,
    ssrc: u32,
    rtx: u32,
    inner: Arc<TrackLocalStaticRTP>,
    sender: Option<Arc<dyn RtpSender>>,
    /// Until the peer says that it does not take it.
    wanted: Arc<AtomicBool>,
    /// An offer of the peer's has ended it for good: the crate stops the sender of a section that is offered inactive.
    stopped: Arc<AtomicBool>,
    /// For its one pump.
    renegotiated: Arc<Notify>,
    /// One for all its writers: they write to the same stream.
    timestamp_offset: u32,
}

impl VideoTrack {
    pub(crate) fn new(name: &str) -> Self {
        let (ssrc, rtx) = (rand::random(), rand::random());
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                rtx: Some(RTCRtpRtxParameters { ssrc: rtx }),
                ..Default::default()
            },
            codec: engine::h264(),
            ..Default::default()
        };
        let track = MediaStreamTrack::new(
            STREAM_ID.to_owned(),
            name.to_owned(),
            name.to_owned(),
            RtpCodecKind::Video,
            vec![encoding],
        );
        Self {
            name: name.into(),
            ssrc,
            rtx,
            inner: Arc::new(TrackLocalStaticRTP::new(track)),
            sender: None,
            wanted: Arc::new(AtomicBool::new(true)),
            stopped: Arc::default(),
            renegotiated: Arc::default(),
            timestamp_offset: rand::random(),
        }
    }

    /// Its id, which is the camera's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its streams, joined to what the picture is joined to.
    pub(crate) fn stream(&self, picture: &PictureSetup) -> Stream {
        let (on_key_frame_request, trace) = (picture.on_key_frame_request.clone(), picture.trace.clone());
        Stream { ssrc: self.ssrc, rtx: self.rtx, on_key_frame_request, trace }
    }

    /// Notes whether the peer takes it.
    pub(crate) fn set_wanted(&self, wanted: bool) {
        self.wanted.store(wanted, Relaxed);
    }

    /// Whether it can be as an offer of the peer's wants it, `inactive` or not.
    pub(crate) fn takes_offer(&self, inactive: bool) -> bool {
        inactive || !self.stopped.load(Relaxed)
    }

    /// An offer that has its section inactive was taken.
    pub(crate) fn note_stopped(&self) {
        self.stopped.store(true, Relaxed);
    }

    /// The peer has taken another description: what it takes of the track may be something else.
    pub(crate) fn note_renegotiated(&self) {
        self.renegotiated.notify_one();
    }

    /// Waits for [`VideoTrack::note_renegotiated`]. Cancel safe.
    pub(crate) async fn renegotiated(&self) {
        self.renegotiated.notified().await;
    }

    pub(crate) fn local(&self) -> Arc<dyn TrackLocal> {
        self.inner.clone()
    }

    /// It belongs to a peer connection from now on, by this.
    pub(crate) fn bind(&mut self, sender: Arc<dyn RtpSender>) {
        self.sender = Some(sender);
    }

    /// A writer for this track, once its payload type is negotiated; `None` when the peer took no H.264, or not this track.
    pub(crate) async fn writer(&self) -> Result<Option<TrackWriter>> {
        let Some(sender) = self.sender.as_ref().filter(|_| self.wanted.load(Relaxed)) else { return Ok(None) };
        let parameters = sender.get_parameters().await?.rtp_parameters;
        let h264 = parameters.codecs.iter().find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case("video/H264"));
        Ok(h264.map(|codec| TrackWriter {
            track: self.inner.clone(),
            ssrc: self.ssrc,
            payload_type: codec.payload_type,
            timestamp_offset: self.timestamp_offset,
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
    /// The negotiated one.
    pub(crate) fn payload_type(&self) -> u8 {
        self.payload_type
    }

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
