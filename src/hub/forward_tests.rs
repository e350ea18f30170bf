#![expect(clippy::disallowed_methods, reason = "any instant will do")]

use super::*;

const CAR: PublisherId = PublisherId(1);
const CAR_AGAIN: PublisherId = PublisherId(2);
/// One frame at 30 Hz.
const FRAME: u32 = 3000;

#[derive(Clone, Copy)]
enum Part {
    ParameterSets,
    Idr,
    Rest,
}

fn packet(source: PublisherId, index: u64, timestamp: u32, part: Part) -> Packet {
    let entry = match part {
        Part::ParameterSets => Some(Entry::ParameterSets),
        Part::Idr => Some(Entry::Idr),
        Part::Rest => None,
    };
    Packet { source, index, timestamp, marker: false, entry, payload: Bytes::from(vec![index as u8]) }
}

/// A key frame of three packets.
fn key_frame(source: PublisherId, index: u64, timestamp: u32) -> [Packet; 3] {
    [
        packet(source, index, timestamp, Part::ParameterSets),
        packet(source, index + 1, timestamp, Part::Idr),
        packet(source, index + 2, timestamp, Part::Rest),
    ]
}

fn forward(forwarder: &mut Forwarder, packets: &[Packet], now: Instant) -> Vec<(u16, u32, u8)> {
    let mut out = Vec::new();
    packets.iter().for_each(|packet| forwarder.forward(packet, now, &mut out));
    out.iter().map(|packet| (packet.sequence, packet.timestamp, packet.payload[0])).collect()
}

#[test]
fn nothing_is_sent_before_the_first_key_frame() {
    let mut viewer = Forwarder::new(100);
    let now = Instant::now();
    let middle = [packet(CAR, 50, 0, Part::Rest), packet(CAR, 51, FRAME, Part::Rest)];
    assert_eq!(forward(&mut viewer, &middle, now), []);
    assert!(viewer.needs_key_frame());
    let sent = forward(&mut viewer, &key_frame(CAR, 52, 2 * FRAME), now);
    assert_eq!(sent, [(100, 2 * FRAME, 52), (101, 2 * FRAME, 53), (102, 2 * FRAME, 54)]);
    assert!(!viewer.needs_key_frame());
}

#[test]
fn loss_and_reordering_before_the_hub_are_passed_on_as_they_are() {
    let mut viewer = Forwarder::new(65535);
    let now = Instant::now();
    forward(&mut viewer, &key_frame(CAR, 10, 0), now);
    let rest = [15, 13, 14].map(|index| packet(CAR, index, FRAME, Part::Rest));
    assert_eq!(forward(&mut viewer, &rest, now), [(4, FRAME, 15), (2, FRAME, 13), (3, FRAME, 14)]);
}

#[test]
fn a_key_frame_whose_parameter_sets_come_late_is_whole_all_the_same() {
    let mut viewer = Forwarder::new(0);
    let now = Instant::now();
    let [parameter_sets, idr, rest] = key_frame(CAR, 10, FRAME);
    let delta = packet(CAR, 9, 0, Part::Rest);
    let sent = forward(&mut viewer, &[delta, rest, idr, parameter_sets], now);
    assert_eq!(sent, [(0, FRAME, 10), (1, FRAME, 11), (2, FRAME, 12)]);
}

#[test]
fn a_publisher_without_parameter_sets_in_band_is_shown_from_its_idr() {
    let mut viewer = Forwarder::new(0);
    let now = Instant::now();
    let packets = [packet(CAR, 9, 0, Part::Rest), packet(CAR, 10, FRAME, Part::Idr)];
    assert_eq!(forward(&mut viewer, &packets, now), [(0, FRAME, 10)]);
}

#[test]
fn a_viewer_that_fell_behind_goes_on_at_the_next_key_frame_without_a_gap() {
    let mut viewer = Forwarder::new(0);
    let now = Instant::now();
    forward(&mut viewer, &key_frame(CAR, 10, 0), now);
    viewer.lost_packets();
    assert!(viewer.needs_key_frame());
    assert_eq!(forward(&mut viewer, &[packet(CAR, 40, 9 * FRAME, Part::Rest)], now), []);
    let sent = forward(&mut viewer, &key_frame(CAR, 41, 10 * FRAME), now);
    assert_eq!(sent[0], (3, 10 * FRAME, 41), "the timeline is the publisher's own");
}

#[test]
fn a_late_packet_from_before_the_start_is_not_sent() {
    let mut viewer = Forwarder::new(0);
    let now = Instant::now();
    forward(&mut viewer, &key_frame(CAR, 10, FRAME), now);
    assert_eq!(forward(&mut viewer, &[packet(CAR, 9, 0, Part::Rest)], now), []);
}

#[test]
fn when_the_publisher_is_replaced_numbers_and_time_go_on() {
    let mut viewer = Forwarder::new(0);
    let start = Instant::now();
    forward(&mut viewer, &key_frame(CAR, 10, 5000), start);
    let later = start + Duration::from_millis(500);
    let unfinished = packet(CAR_AGAIN, 7, 4_000_000, Part::Rest);
    assert_eq!(forward(&mut viewer, &[unfinished], later), [], "the new one starts with a key frame too");
    assert_eq!(forward(&mut viewer, &[packet(CAR, 13, 8000, Part::Rest)], later), [], "the old one is over");
    assert_eq!(forward(&mut viewer, &key_frame(CAR, 14, 9000), later), [], "even with a key frame");
    let sent = forward(&mut viewer, &key_frame(CAR_AGAIN, 8, 4_003_000), later);
    assert_eq!(sent[0], (3, 5000 + 45_000, 8));
    let next = [packet(CAR_AGAIN, 11, 4_006_000, Part::Rest)];
    assert_eq!(forward(&mut viewer, &next, later), [(6, 5000 + 45_000 + 3000, 11)]);
}

#[test]
fn a_replacement_at_the_same_instant_is_still_a_later_picture() {
    let mut viewer = Forwarder::new(0);
    let now = Instant::now();
    forward(&mut viewer, &key_frame(CAR, 10, 5000), now);
    let sent = forward(&mut viewer, &key_frame(CAR_AGAIN, 10, 5000), now);
    assert_eq!(sent[0].1, 5000 + 990);
}

#[test]
fn what_is_kept_for_a_late_start_is_bounded() {
    let mut viewer = Forwarder::new(0);
    let now = Instant::now();
    let flood: Vec<_> = (10..1000).map(|index| packet(CAR, index, FRAME, Part::Rest)).collect();
    assert_eq!(forward(&mut viewer, &flood, now), []);
    let State::Waiting(waiting) = &viewer.state else { panic!("still waiting") };
    assert_eq!(waiting.early.len(), EARLY_CAPACITY);
}
