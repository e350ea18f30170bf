use rtc::interceptor::{AttributedPacket, RTCPFeedback, RTPHeaderExtension};
use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, RunLengthChunk, StatusVectorChunk, SymbolTypeTcc,
};
use rtc::shared::TransportContext;

use super::*;
use crate::rtc::stage;

const MEDIA: u32 = 1;
const REPAIRS: u32 = 2;
const EXTENSION: u16 = 3;

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn origin() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn interceptor(now: Instant) -> (TransportCc, Arc<LinkMeter>) {
    let meter = Arc::new(LinkMeter::of(1));
    let streams = Streams::only(MEDIA, REPAIRS);
    (TransportCc::new(meter.clone(), streams, Estimator::new(800e3, 150e3, 4000e3, now)), meter)
}

fn stream(extension: bool, feedback: bool) -> StreamInfo {
    let offered = RTPHeaderExtension { uri: TRANSPORT_CC_URI.to_owned(), id: EXTENSION };
    let agreed = RTCPFeedback { typ: "transport-cc".to_owned(), parameter: String::new() };
    StreamInfo {
        ssrc: MEDIA,
        ssrc_rtx: Some(REPAIRS),
        rtp_header_extensions: Some(offered).filter(|_| extension).into_iter().collect(),
        rtcp_feedback: Some(agreed).filter(|_| feedback).into_iter().collect(),
        ..Default::default()
    }
}

fn tagged(packet: Packet, now: Instant) -> TaggedPacket {
    TaggedPacket { now, transport: TransportContext::default(), message: AttributedPacket::new(packet) }
}

fn rtp(ssrc: u32, sequence_number: u16, now: Instant) -> TaggedPacket {
    let header = rtp::Header { version: 2, ssrc, sequence_number, ..Default::default() };
    tagged(Packet::Rtp(rtp::Packet { header, payload: Bytes::from_static(&[0; 1000]) }), now)
}

/// Sends a packet; gives the number it leaves with.
fn number(cc: &mut TransportCc, packet: TaggedPacket) -> Option<u16> {
    let Packet::Rtp(sent) = stage::written(cc, packet).pop_front().expect("it passes").message.packet else {
        panic!("an RTP packet")
    };
    let extension = sent.header.get_extension(EXTENSION as u8)?;
    Some(u16::from_be_bytes([extension[0], extension[1]]))
}

/// Tells of packets from `base` on: when each arrived, in milliseconds of the receiver's clock.
fn tell(cc: &mut TransportCc, base: u16, arrivals: &[Option<u64>], now: Instant) {
    let mut before = 0;
    let mut recv_deltas = Vec::new();
    let symbols = arrivals.iter().map(|arrival| match arrival {
        Some(at) => {
            recv_deltas.push(RecvDelta { delta: (*at as i64 - before) * 1000, ..Default::default() });
            before = *at as i64;
            SymbolTypeTcc::PacketReceivedLargeDelta
        }
        None => SymbolTypeTcc::PacketNotReceived,
    });
    let mut symbol_list: Vec<_> = symbols.collect();
    // As on the wire, the last chunk is filled up with packets that do not exist.
    symbol_list.resize(symbol_list.len().next_multiple_of(7), SymbolTypeTcc::PacketNotReceived);
    let chunk = PacketStatusChunk::StatusVectorChunk(StatusVectorChunk { symbol_list, ..Default::default() });
    let feedback = TransportLayerCc {
        base_sequence_number: base,
        packet_status_count: arrivals.len() as u16,
        packet_chunks: vec![chunk],
        recv_deltas,
        ..Default::default()
    };
    let onward = stage::read(cc, tagged(Packet::Rtcp(vec![Box::new(feedback)]), now));
    assert_eq!(onward.len(), 1, "others see it too");
}

#[test]
fn without_agreement_nothing_is_numbered_and_nothing_is_estimated() {
    let now = origin();
    for (extension, feedback) in [(false, false), (true, false), (false, true)] {
        let (mut cc, meter) = interceptor(now);
        cc.bind_local(&stream(extension, feedback));
        assert_eq!(number(&mut cc, rtp(MEDIA, 7, now)), None, "extension {extension}, feedback {feedback}");
        tell(&mut cc, 0, &[Some(1)], now);
        assert_eq!((meter.reading().transport_cc, meter.reading().estimate), (false, None));
        assert_eq!(meter.counters().sent_packets, 1, "what is sent is counted all the same");
    }
}

#[test]
fn with_agreement_repairs_are_numbered_in_one_row_with_the_pictures() {
    let now = origin();
    let (mut cc, meter) = interceptor(now);
    cc.bind_local(&stream(true, true));
    assert!(meter.reading().transport_cc);
    let numbers = [(MEDIA, 7), (MEDIA, 8), (REPAIRS, 100), (MEDIA, 9)].map(|(ssrc, sequence)| {
        let mut packet = rtp(ssrc, sequence, now);
        if ssrc == REPAIRS {
            packet.message.add(Attribute::Retransmission);
        }
        number(&mut cc, packet)
    });
    assert_eq!(numbers, [Some(0), Some(1), Some(2), Some(3)]);
    let counters = meter.counters();
    assert_eq!((counters.sent_packets, counters.repair_bytes * 4), (4, counters.sent_bytes));
    assert_eq!(meter.age_in_packets(0, 8), Some(1), "repairs do not count as pictures");
    assert_eq!(number(&mut cc, rtp(99, 1, now)), None, "another stream");
    cc.unbind_local(&stream(true, true));
    assert!(!meter.reading().transport_cc);
}

/// Sends `count` packets 10 ms apart and tells of them a tenth of a second later.
fn exchange(cc: &mut TransportCc, from: u16, count: u16, start: Instant, lost: impl Fn(u16) -> bool) {
    for index in 0..count {
        number(cc, rtp(MEDIA, from.wrapping_add(index), start + Duration::from_millis(10) * u32::from(index)));
    }
    let since_origin = u64::from(from) * 10;
    let arrivals: Vec<_> =
        (0..count).map(|index| (!lost(index)).then_some(since_origin + 30 + u64::from(index) * 10)).collect();
    tell(cc, from, &arrivals, start + Duration::from_millis(10) * u32::from(count));
}

#[test]
fn feedback_makes_an_estimate_that_grows_on_a_good_path() {
    let start = origin();
    let (mut cc, meter) = interceptor(start);
    cc.bind_local(&stream(true, true));
    for round in 0..30_u16 {
        exchange(&mut cc, round * 10, 10, start + Duration::from_millis(100) * u32::from(round), |_| false);
    }
    let estimate = meter.reading().estimate.expect("feedback was heard");
    assert!(estimate.value > 850e3, "{estimate:?}");
    assert_eq!(meter.queueing_delay(), Duration::ZERO);
}

#[test]
fn numbers_wrap_and_old_packets_are_forgotten() {
    let start = origin();
    let (mut cc, meter) = interceptor(start);
    cc.bind_local(&stream(true, true));
    cc.next = u16::MAX - 4;
    let numbers: Vec<_> = (0..10).filter_map(|sequence| number(&mut cc, rtp(MEDIA, sequence, start))).collect();
    assert_eq!((numbers[0], numbers[9]), (u16::MAX - 4, 4));
    tell(&mut cc, u16::MAX - 4, &[Some(1); 10], start + Duration::from_millis(50));
    assert!(meter.reading().estimate.is_some());
    let heard = meter.reading().estimate;
    tell(&mut cc, 30_000, &[Some(1); 10], start + Duration::from_millis(90));
    assert_eq!(meter.reading().estimate, heard, "numbers that were never given say nothing");
}

#[test]
fn an_answer_is_due_from_the_first_packet_until_all_are_told_of() {
    let start = origin();
    let at = |ms| start + Duration::from_millis(ms);
    let (mut cc, meter) = interceptor(start);
    cc.bind_local(&stream(true, true));
    assert_eq!(meter.reading().unanswered, None);
    for sequence in 0..4 {
        number(&mut cc, rtp(MEDIA, sequence, at(100 + u64::from(sequence))));
    }
    assert_eq!(meter.reading().unanswered, Some(at(100)));
    tell(&mut cc, 0, &[Some(1), Some(2)], at(150));
    assert_eq!(meter.reading().unanswered, Some(at(100)), "two more are under way");
    tell(&mut cc, 2, &[Some(3), None], at(200));
    assert_eq!(meter.reading().unanswered, None, "one that is lost is told of too");
    number(&mut cc, rtp(MEDIA, 4, at(5000)));
    assert_eq!(meter.reading().unanswered, Some(at(5000)));
}

#[test]
fn what_is_told_again_counts_once() {
    let start = origin();
    let (mut cc, _) = interceptor(start);
    cc.bind_local(&stream(true, true));
    for sequence in 0..4 {
        number(&mut cc, rtp(MEDIA, sequence, start));
    }
    let fates = |cc: &mut TransportCc, arrived: [bool; 4]| {
        let told = (0..4).zip(arrived);
        told.filter_map(|(number, arrived)| cc.fate(number, arrived, arrived.then_some(Duration::ZERO))).count()
    };
    assert_eq!(fates(&mut cc, [true, false, true, false]), 4);
    assert_eq!(fates(&mut cc, [true, false, true, false]), 0, "all of it is known");
    assert_eq!(fates(&mut cc, [true, true, true, false]), 1, "one that was thought lost was only late");
}

#[test]
fn a_run_of_packets_longer_than_any_history_is_survived() {
    let start = origin();
    let (mut cc, _) = interceptor(start);
    cc.bind_local(&stream(true, true));
    number(&mut cc, rtp(MEDIA, 0, start));
    let run = RunLengthChunk {
        packet_status_symbol: SymbolTypeTcc::PacketReceivedSmallDelta,
        run_length: 8191,
        ..Default::default()
    };
    let feedback = TransportLayerCc {
        packet_status_count: u16::MAX,
        packet_chunks: vec![PacketStatusChunk::RunLengthChunk(run); 8],
        reference_time: u32::MAX,
        ..Default::default()
    };
    stage::read(&mut cc, tagged(Packet::Rtcp(vec![Box::new(feedback)]), start));
}
