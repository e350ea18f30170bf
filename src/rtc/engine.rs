//! What every peer connection of this program offers: one codec, H.264 with RTX, and the interceptors in front of it.

use rtc::interceptor::{NackResponderBuilder, Slot};
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_FLEX_FEC03, MIME_TYPE_H264, MIME_TYPE_RTX};
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use webrtc::error::Result;
use webrtc::peer_connection::{MediaEngine, Registry, configure_rtcp_reports};

use super::congestion::TRANSPORT_CC_URI;
use crate::video::settings::Fec;

/// RTP clock of video, in Hz (RFC 6184 §8.2.1).
pub const VIDEO_CLOCK_HZ: u32 = 90_000;
/// What every viewer decodes (`shared/reference/spider-protocol.md`): constrained baseline, level 3.1.
const H264_FMTP: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
const H264_PAYLOAD_TYPE: u8 = 96;
const RTX_PAYLOAD_TYPE: u8 = 97;
const FLEX_FEC_PAYLOAD_TYPE: u8 = 98;
/// How long repairs may come after what they repair, in microseconds; libwebrtc writes the same.
const FLEX_FEC_FMTP: &str = "repair-window=10000000";
/// Packets kept for retransmission, a power of two: at 1.5 Mbit/s about three seconds.
pub(super) const SENT_PACKETS_KEPT: u16 = 512;

/// The H.264 codec as offered.
pub fn h264() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_H264.to_owned(),
        clock_rate: VIDEO_CLOCK_HZ,
        channels: 0,
        sdp_fmtp_line: H264_FMTP.to_owned(),
        rtcp_feedback: vec![feedback("nack", ""), feedback("nack", "pli"), feedback("ccm", "fir")],
    }
}

fn feedback(typ: &str, parameter: &str) -> RTCPFeedback {
    RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() }
}

/// An engine that knows exactly one video codec, H.264, and RTX (RFC 4588) beside it.
///
/// # Errors
/// None in practice: the crate's registration is fallible.
pub fn media_engine() -> Result<MediaEngine> {
    let mut engine = MediaEngine::default();
    let rtx = RTCRtpCodec {
        mime_type: MIME_TYPE_RTX.to_owned(),
        clock_rate: VIDEO_CLOCK_HZ,
        channels: 0,
        sdp_fmtp_line: format!("apt={H264_PAYLOAD_TYPE}"),
        rtcp_feedback: Vec::new(),
    };
    for (rtp_codec, payload_type) in [(h264(), H264_PAYLOAD_TYPE), (rtx, RTX_PAYLOAD_TYPE)] {
        let parameters = RTCRtpCodecParameters { rtp_codec, payload_type };
        engine.register_codec(parameters, RtpCodecKind::Video)?;
    }
    Ok(engine)
}

/// Adds forward error correction by FlexFEC; its stream stands beside the picture's, as that of RTX does.
///
/// # Errors
/// None in practice: the crate's registration is fallible.
pub fn register_flexfec(engine: &mut MediaEngine) -> Result<()> {
    let rtp_codec = RTCRtpCodec {
        mime_type: MIME_TYPE_FLEX_FEC03.to_owned(),
        clock_rate: VIDEO_CLOCK_HZ,
        channels: 0,
        sdp_fmtp_line: FLEX_FEC_FMTP.to_owned(),
        rtcp_feedback: Vec::new(),
    };
    let parameters = RTCRtpCodecParameters { rtp_codec, payload_type: FLEX_FEC_PAYLOAD_TYPE };
    engine.register_codec(parameters, RtpCodecKind::Video)
}

/// The same engine, with forward error correction or without, and what lets a peer tell us how much its link carries:
/// transport-wide feedback, or else REMB.
///
/// # Errors
/// None in practice: the crate's registration is fallible.
pub fn publishing_media_engine(fec: Fec) -> Result<MediaEngine> {
    let mut engine = media_engine()?;
    match fec {
        Fec::Off => {}
        Fec::FlexFec03 => register_flexfec(&mut engine)?,
    }
    for typ in ["transport-cc", "goog-remb"] {
        engine.register_feedback(feedback(typ, ""), RtpCodecKind::Video);
    }
    let extension = RTCRtpHeaderExtensionCapability { uri: TRANSPORT_CC_URI.to_owned() };
    engine.register_header_extension(extension, RtpCodecKind::Video, None)?;
    Ok(engine)
}

/// Retransmission of what we send and RTCP reports; nothing is received that could be asked for again. The feedback tap
/// and congestion control join it: see [`super::feedback`] and [`super::congestion`].
pub fn interceptors() -> Registry {
    let responder = NackResponderBuilder::new().with_size(SENT_PACKETS_KEPT).build();
    configure_rtcp_reports(Registry::new().with(Slot::NackResponder, responder))
}
