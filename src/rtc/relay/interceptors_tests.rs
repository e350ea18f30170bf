#![expect(clippy::disallowed_methods, reason = "any instant will do")]

use std::time::Instant;

use bytes::Bytes;
use rtc::rtcp::payload_feedbacks::full_intra_request::FirEntry;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtp;
use rtc::shared::TransportContext;

use super::*;
use crate::rtc::stage;

const MEDIA: u32 = 1;
const RTX: u32 = 2;

fn tagged(packet: Packet) -> TaggedPacket {
    TaggedPacket { now: Instant::now(), transport: TransportContext::default(), message: AttributedPacket::new(packet) }
}

fn rtp(ssrc: u32, payload_type: u8, sequence_number: u16, payload: &'static [u8]) -> TaggedPacket {
    let header = rtp::Header {
        version: 2,
        ssrc,
        payload_type,
        sequence_number,
        timestamp: 9000,
        marker: true,
        ..Default::default()
    };
    tagged(Packet::Rtp(rtp::Packet { header, payload: Bytes::from_static(payload) }))
}

fn unwrap() -> RtxUnwrap {
    let mut unwrap = RtxUnwrap::default();
    unwrap.bind_remote(&StreamInfo {
        ssrc: MEDIA,
        ssrc_rtx: Some(RTX),
        payload_type: 96,
        payload_type_rtx: Some(97),
        ..Default::default()
    });
    unwrap
}

fn pass(interceptor: &mut RtxUnwrap, packet: TaggedPacket) -> Option<rtp::Packet> {
    stage::read(interceptor, packet).pop_front().map(|msg| match msg.message.packet {
        Packet::Rtp(packet) => packet,
        other => panic!("not RTP: {other:?}"),
    })
}

#[test]
fn a_retransmission_becomes_the_packet_it_repairs() {
    // RFC 4588 §4: the original sequence number, then the original payload.
    let packet = pass(&mut unwrap(), rtp(RTX, 97, 7, &[0x12, 0x34, 0x65, 0x88])).expect("kept");
    assert_eq!((packet.header.ssrc, packet.header.payload_type), (MEDIA, 96));
    assert_eq!(packet.header.sequence_number, 0x1234);
    assert_eq!((packet.header.timestamp, packet.header.marker), (9000, true));
    assert_eq!(&packet.payload[..], [0x65, 0x88]);
}

#[test]
fn a_retransmission_of_nothing_is_dropped() {
    for payload in [&[][..], &[0x12], &[0x12, 0x34]] {
        assert_eq!(pass(&mut unwrap(), rtp(RTX, 97, 7, payload)).map(|packet| packet.payload), None, "{payload:?}");
    }
}

#[test]
fn what_is_no_retransmission_passes_as_it_is() {
    for (ssrc, payload_type) in [(MEDIA, 96), (3, 97), (RTX, 96)] {
        let packet = pass(&mut unwrap(), rtp(ssrc, payload_type, 7, &[1, 2, 3])).expect("kept");
        assert_eq!((packet.header.ssrc, packet.header.sequence_number), (ssrc, 7));
        assert_eq!(&packet.payload[..], [1, 2, 3]);
    }
    let mut unbound = unwrap();
    unbound.unbind_remote(&StreamInfo { ssrc: MEDIA, ..Default::default() });
    assert_eq!(pass(&mut unbound, rtp(RTX, 97, 7, &[1, 2, 3])).expect("kept").header.ssrc, RTX);
}

#[test]
fn only_key_frame_requests_reach_the_application_each_for_its_own_track() {
    let pass = |packets: Vec<Box<dyn rtc::rtcp::Packet>>| {
        let passed = stage::read(&mut KeyFrameRequestsToApplication, tagged(Packet::Rtcp(packets)));
        let wanted = passed.into_iter().map(|msg| {
            let Packet::Rtcp(packets) = &msg.message.packet else { panic!("not RTCP") };
            assert!(msg.message.has(&Attribute::DeliverToApplication));
            assert_eq!(packets.len(), 1);
            packets[0].destination_ssrc()
        });
        wanted.collect::<Vec<_>>()
    };
    let report = || Box::new(ReceiverReport::default());
    let pli = |media_ssrc| Box::new(PictureLossIndication { sender_ssrc: 0, media_ssrc });
    let fir = |ssrcs: &[u32]| {
        let fir = ssrcs.iter().map(|ssrc| FirEntry { ssrc: *ssrc, sequence_number: 1 }).collect();
        Box::new(FullIntraRequest { sender_ssrc: 0, media_ssrc: 0, fir })
    };
    let none: [Vec<u32>; 0] = [];
    assert_eq!(pass(vec![report()]), none);
    assert_eq!(pass(vec![report(), pli(MEDIA)]), [[MEDIA]]);
    assert_eq!(pass(vec![report(), pli(MEDIA), pli(7)]), [[MEDIA], [7]]);
    assert_eq!(pass(vec![fir(&[7, MEDIA])]), [[7], [MEDIA]]);
}
