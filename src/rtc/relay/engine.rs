//! What the hub's peers negotiate: H.264 with RTX, and only the feedback the hub acts on.

use std::time::Duration;

use rtc::interceptor::{
    NackGeneratorBuilder, NackResponderBuilder, ReceiverReportBuilder, Registry, SenderReportBuilder, Slot,
};
use rtc::peer_connection::configuration::interceptor_registry::configure_twcc_receiver_only;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_RTX, MediaEngine};
use rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};
use webrtc::error::Result;

use super::interceptors::{KeyFrameRequestsToApplication, RtxUnwrap};

/// H.264's payload type where we choose one; answers take the offer's.
const H264_PAYLOAD_TYPE: u8 = 102;
/// RTX's payload type where we choose one.
const RTX_PAYLOAD_TYPE: u8 = 103;
/// What every viewer decodes (`shared/reference/spider-protocol.md`).
const H264_FMTP: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
/// RTP clock of video, in Hz (RFC 6184 §8.2.1).
const CLOCK_HZ: u32 = 90_000;

/// A lost packet is asked for again this often. The library's default of 100 ms would be visible; on a local network the answer
/// takes a few milliseconds.
const NACK_INTERVAL: Duration = Duration::from_millis(20);
/// A packet is asked for this often at most: after 200 ms the picture has moved on.
const NACKS_PER_PACKET: u16 = 10;
/// Sent packets kept for repair, a power of two: 3 s of 1500 kbit/s. The payloads are shared by all viewers.
const REPAIR_PACKETS: u16 = 512;

/// The codec, as both ends of the hub name it.
pub(super) fn h264() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_H264.to_owned(),
        clock_rate: CLOCK_HZ,
        channels: 0,
        sdp_fmtp_line: H264_FMTP.to_owned(),
        rtcp_feedback: [("nack", ""), ("nack", "pli"), ("ccm", "fir")].map(feedback).to_vec(),
    }
}

/// For the publisher's side: repair what is lost on the way in, and report arrivals to its congestion control.
pub(super) fn uplink() -> Result<(MediaEngine, Registry)> {
    let mut engine = media_engine()?;
    let nacks = NackGeneratorBuilder::new().with_interval(NACK_INTERVAL).with_max_nacks_per_packet(NACKS_PER_PACKET);
    let registry = Registry::new()
        .with(Slot::from(6_500), RtxUnwrap::default())
        .with(Slot::NackGenerator, nacks.build())
        .with(Slot::ReceiverReport, ReceiverReportBuilder::new().build());
    let registry = configure_twcc_receiver_only(registry, &mut engine)?;
    Ok((engine, registry))
}

/// For a viewer's side: repair what it misses, and hear when it needs a key frame.
pub(super) fn downlink() -> Result<(MediaEngine, Registry)> {
    let registry = Registry::new()
        .with(Slot::NackResponder, NackResponderBuilder::new().with_size(REPAIR_PACKETS).build())
        .with(Slot::SenderReport, SenderReportBuilder::new().build())
        .with(Slot::from(14_000), KeyFrameRequestsToApplication::default());
    Ok((media_engine()?, registry))
}

fn media_engine() -> Result<MediaEngine> {
    let mut engine = MediaEngine::default();
    let rtx = RTCRtpCodec {
        mime_type: MIME_TYPE_RTX.to_owned(),
        clock_rate: CLOCK_HZ,
        channels: 0,
        sdp_fmtp_line: format!("apt={H264_PAYLOAD_TYPE}"),
        rtcp_feedback: Vec::new(),
    };
    for (rtp_codec, payload_type) in [(h264(), H264_PAYLOAD_TYPE), (rtx, RTX_PAYLOAD_TYPE)] {
        engine.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type }, RtpCodecKind::Video)?;
    }
    Ok(engine)
}

fn feedback((typ, parameter): (&str, &str)) -> RTCPFeedback {
    RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() }
}
