//! What the hub's peers do with RTP and RTCP: the two sides need different interceptors.

use std::time::Duration;

use rtc::interceptor::{
    FlexFec03ReceiveBuilder, NackGeneratorBuilder, NackResponderBuilder, ReceiverReportBuilder, Registry,
    SenderReportBuilder, Slot, TwccReceiverBuilder,
};
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpHeaderExtensionCapability, RtpCodecKind};
use webrtc::error::Result;

use super::interceptors::{KeyFrameRequestsToApplication, RtxUnwrap};
use crate::rtc::congestion::TRANSPORT_CC_URI;
use crate::rtc::engine::{media_engine, register_flexfec};
use crate::rtc::stage::InChain;

/// A lost packet is asked for again this often. The library's default of 100 ms would be visible; on a local network
/// the answer takes a few milliseconds.
const NACK_INTERVAL: Duration = Duration::from_millis(20);
/// A packet is asked for this often at most: after 200 ms the picture has moved on.
const NACKS_PER_PACKET: u16 = 10;
/// Sent packets kept for repair, a power of two: 3 s of 1500 kbit/s. The payloads are shared by all viewers.
const REPAIR_PACKETS: u16 = 512;

/// How long a viewer may hold a picture back to even out its arrival: twice 12 bits, least and most, in steps of 10 ms.
/// A driver wants neither.
pub(super) const PLAYOUT_DELAY_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
/// Show each picture as soon as it is whole.
pub(super) const NO_PLAYOUT_DELAY: [u8; 3] = [0; 3];

/// Arrivals are noted in front of forward error correction: what that rebuilds has no number that was ever sent.
const ARRIVALS: usize = 5_500;

/// For the publisher's side: repair what is lost on the way in, and report arrivals to its congestion control.
pub(super) fn uplink() -> Result<(MediaEngine, Registry)> {
    let mut engine = media_engine()?;
    register_flexfec(&mut engine)?;
    let feedback = RTCPFeedback { typ: "transport-cc".to_owned(), parameter: String::new() };
    engine.register_feedback(feedback, RtpCodecKind::Video);
    let extension = RTCRtpHeaderExtensionCapability { uri: TRANSPORT_CC_URI.to_owned() };
    engine.register_header_extension(extension, RtpCodecKind::Video, None)?;
    let nacks = NackGeneratorBuilder::new().with_interval(NACK_INTERVAL).with_max_nacks_per_packet(NACKS_PER_PACKET);
    let registry = Registry::new()
        .with(Slot::from(ARRIVALS), TwccReceiverBuilder::new().build())
        .with(Slot::FecDecoder, FlexFec03ReceiveBuilder::new().build())
        .with(Slot::from(6_500), InChain::new(RtxUnwrap::default()))
        .with(Slot::NackGenerator, nacks.build())
        .with(Slot::ReceiverReport, ReceiverReportBuilder::new().build());
    Ok((engine, registry))
}

/// For a viewer's side: repair what it misses, and hear when it needs a key frame.
pub(super) fn downlink() -> Result<(MediaEngine, Registry)> {
    let registry = Registry::new()
        .with(Slot::NackResponder, NackResponderBuilder::new().with_size(REPAIR_PACKETS).build())
        .with(Slot::SenderReport, SenderReportBuilder::new().build())
        .with(Slot::from(14_000), InChain::new(KeyFrameRequestsToApplication));
    let mut engine = media_engine()?;
    let extension = RTCRtpHeaderExtensionCapability { uri: PLAYOUT_DELAY_URI.to_owned() };
    engine.register_header_extension(extension, RtpCodecKind::Video, None)?;
    Ok((engine, registry))
}
