use std::time::Duration;

use rtc::interceptor::{FlexFec03Decoder, RTCPFeedback, RTPHeaderExtension};
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::shared::TransportContext;

use super::super::estimator::Estimator;
use super::super::transport_cc::{TRANSPORT_CC_URI, TransportCc};
use super::*;
use crate::rtc::stage;
use crate::rtc::streams::Streams;

const MEDIA: u32 = 1;
const REPAIRS: u32 = 2;
/// A further picture of the same session, and what repairs it.
const REAR: u32 = 5;
const REAR_REPAIRS: u32 = 6;
const EXTENSION: u16 = 3;

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn start() -> Instant {
    Instant::now()
}

fn stream(payload_type_fec: Option<u8>) -> StreamInfo {
    StreamInfo {
        ssrc: MEDIA,
        ssrc_fec: Some(REPAIRS),
        payload_type_fec,
        rtp_header_extensions: vec![RTPHeaderExtension { uri: TRANSPORT_CC_URI.to_owned(), id: EXTENSION }],
        rtcp_feedback: vec![RTCPFeedback { typ: "transport-cc".to_owned(), parameter: String::new() }],
        ..Default::default()
    }
}

fn rear_stream() -> StreamInfo {
    StreamInfo { ssrc: REAR, ssrc_fec: Some(REAR_REPAIRS), ..stream(Some(98)) }
}

/// The part of the chain that protects and numbers, as a packet goes down it.
struct Chain {
    fec: FlexFec,
    cc: TransportCc,
    now: Instant,
    sequence: u16,
}

impl Chain {
    fn new(payload_type_fec: Option<u8>) -> Self {
        let (meter, now) = (Arc::new(LinkMeter::of(1)), start());
        let mut chain = Self {
            fec: FlexFec::new(meter.clone()),
            cc: TransportCc::new(meter, Streams::only(MEDIA, 4), Estimator::new(800e3, 150e3, 4000e3, now)),
            now,
            sequence: 65_530,
        };
        chain.fec.bind_local(&stream(payload_type_fec));
        chain.cc.bind_local(&stream(payload_type_fec));
        chain
    }

    fn loses(&mut self, fraction_lost: u8) {
        let report = ReceptionReport { ssrc: MEDIA, fraction_lost, ..Default::default() };
        let report = ReceiverReport { reports: vec![report], ..Default::default() };
        for _ in 0..10 {
            self.now += Duration::from_secs(1);
            let packet = Packet::Rtcp(vec![Box::new(report.clone())]);
            let packet = self.tagged(packet);
            assert_eq!(stage::read(&mut self.fec, packet).len(), 1, "others see it too");
        }
    }

    fn tagged(&self, packet: Packet) -> TaggedPacket {
        TaggedPacket { now: self.now, transport: TransportContext::default(), message: AttributedPacket::new(packet) }
    }

    /// Sends a picture of packets of these sizes; gives everything that leaves, in order.
    fn picture(&mut self, sizes: &[usize]) -> Vec<rtp::Packet> {
        let mut left = Vec::new();
        for (index, size) in sizes.iter().enumerate() {
            left.extend(self.send(MEDIA, self.sequence, *size, index + 1 == sizes.len()));
            self.sequence = self.sequence.wrapping_add(1);
        }
        left
    }

    /// Sends one packet of a stream; gives what leaves for it.
    fn send(&mut self, ssrc: u32, sequence_number: u16, size: usize, marker: bool) -> Vec<rtp::Packet> {
        let header = rtp::Header {
            version: 2,
            ssrc,
            payload_type: 96,
            sequence_number,
            timestamp: u32::from(sequence_number) * 3000,
            marker,
            ..Default::default()
        };
        let payload = (0..size).map(|at| (at as u8) ^ (sequence_number as u8)).collect::<Vec<_>>().into();
        let packet = self.tagged(Packet::Rtp(rtp::Packet { header, payload }));
        let protected = stage::written(&mut self.fec, packet);
        let numbered = protected.into_iter().map(|packet| {
            let packet = stage::written(&mut self.cc, packet).pop_front().expect("it passes");
            let Packet::Rtp(sent) = packet.message.packet else { panic!("RTP") };
            sent
        });
        numbered.collect()
    }
}

/// What a receiver rebuilds when one of these packets does not arrive.
fn rebuilt(decoder: &mut FlexFec03Decoder, sent: &[rtp::Packet], lost: usize) -> Vec<rtp::Packet> {
    let arrived = sent.iter().enumerate().filter(|(index, _)| *index != lost);
    arrived.flat_map(|(_, packet)| decoder.decode(packet.clone())).collect()
}

fn is_repair(packet: &rtp::Packet) -> bool {
    [REPAIRS, REAR_REPAIRS].contains(&packet.header.ssrc)
}

#[test]
fn any_one_lost_packet_of_a_picture_is_rebuilt_though_all_were_numbered_after_they_were_protected() {
    let sizes = [1188, 1188, 1188, 400, 37];
    for lost in 0..sizes.len() {
        let mut chain = Chain::new(Some(98));
        chain.loses(13);
        let mut decoder = FlexFec03Decoder::new(REPAIRS, MEDIA);
        // What came before must not matter.
        chain.picture(&sizes).into_iter().for_each(|packet| drop(decoder.decode(packet)));
        let sent = chain.picture(&sizes);
        let missing = &sent[lost];
        let rebuilt = rebuilt(&mut decoder, &sent, lost);
        assert_eq!(rebuilt.len(), 1, "packet {lost}");
        assert_eq!(rebuilt[0].payload, missing.payload, "packet {lost}");
        let header = |packet: &rtp::Packet| {
            let header = packet.header.clone();
            (header.sequence_number, header.timestamp, header.marker, header.payload_type, header.ssrc)
        };
        assert_eq!(header(&rebuilt[0]), header(missing));
    }
}

#[test]
fn pictures_whose_packets_leave_in_turns_are_each_rebuilt_from_their_own_repairs() {
    let mut chain = Chain::new(Some(98));
    chain.fec.bind_local(&rear_stream());
    chain.cc.bind_local(&rear_stream());
    chain.loses(13);
    let sent: Vec<_> = (0..5)
        .flat_map(|sequence| [MEDIA, REAR].map(|ssrc| (ssrc, sequence)))
        .flat_map(|(ssrc, sequence)| chain.send(ssrc, sequence, 900 + ssrc as usize, sequence == 4))
        .collect();
    for (media, repairs) in [(MEDIA, REPAIRS), (REAR, REAR_REPAIRS)] {
        let own: Vec<_> =
            sent.iter().filter(|packet| [media, repairs].contains(&packet.header.ssrc)).cloned().collect();
        assert_eq!(own.iter().filter(|packet| is_repair(packet)).count(), 1, "{media}: one repair of its own");
        let rebuilt = rebuilt(&mut FlexFec03Decoder::new(repairs, media), &own, 2);
        assert_eq!(rebuilt.iter().map(|packet| &packet.payload).collect::<Vec<_>>(), [&own[2].payload], "{media}");
    }
}

#[test]
fn repairs_follow_the_picture_at_once_are_numbered_and_count_as_sent() {
    let mut chain = Chain::new(Some(98));
    chain.loses(26);
    let sent = chain.picture(&[1188; 6]);
    assert_eq!(sent.iter().map(is_repair).collect::<Vec<_>>(), [vec![false; 6], vec![true; 2]].concat());
    let numbers = sent.iter().map(|packet| packet.header.get_extension(EXTENSION as u8).map(|number| number[1]));
    assert_eq!(numbers.collect::<Vec<_>>(), (0..8).map(Some).collect::<Vec<_>>(), "one for each");
    let counters = chain.fec.meter.counters();
    assert_eq!((counters.sent_packets, counters.protection_packets), (8, 2));
    assert!(counters.repair_bytes > 2 * 1188 && counters.repair_bytes < 2 * 1300, "{}", counters.repair_bytes);
}

#[test]
fn small_pictures_share_a_repair_and_large_ones_are_protected_in_parts() {
    let mut chain = Chain::new(Some(98));
    chain.loses(26);
    let repairs: Vec<_> =
        (0..6).map(|_| chain.picture(&[300]).iter().filter(|packet| is_repair(packet)).count()).collect();
    assert_eq!(repairs, [0, 0, 1, 0, 0, 1]);
    let sent = chain.picture(&[1188; 100]);
    let first = sent.iter().position(is_repair);
    assert_eq!(first, Some(LARGEST_BLOCK), "the first part's repairs do not wait for the last packet");
    let held = chain.fec.streams[&MEDIA].block.len();
    assert_eq!(held, 0, "nothing is kept of what is protected");
}

#[test]
fn a_peer_that_has_not_agreed_and_a_link_that_loses_nothing_cost_nothing() {
    for (payload_type, lost) in [(None, 26), (Some(98), 0)] {
        let mut chain = Chain::new(payload_type);
        chain.loses(lost);
        let sent = chain.picture(&[1188; 30]);
        assert_eq!(sent.len(), 30, "{payload_type:?}, {lost}");
        assert!(chain.fec.streams.values().all(|stream| stream.block.is_empty()));
    }
}

#[test]
fn sequence_numbers_of_repairs_go_on_when_the_stream_is_bound_again() {
    let mut chain = Chain::new(Some(98));
    chain.loses(26);
    let number = |sent: Vec<rtp::Packet>| sent.into_iter().find(is_repair).map(|packet| packet.header.sequence_number);
    let before = number(chain.picture(&[1188; 3])).expect("a repair");
    chain.fec.bind_local(&stream(Some(98)));
    assert_eq!(number(chain.picture(&[1188; 3])), Some(before.wrapping_add(1)));
}
