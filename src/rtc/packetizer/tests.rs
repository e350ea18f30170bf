use super::*;

fn picture(data: Vec<u8>, timestamp: u32) -> rtp::Packet {
    let header = rtp::header::Header { version: 2, payload_type: 100, ssrc: 7, timestamp, ..Default::default() };
    rtp::Packet { header, payload: Bytes::from(data) }
}

fn nal(kind: u8, len: usize) -> Vec<u8> {
    let mut nal = vec![0, 0, 0, 1, kind];
    nal.resize(5 + len, 0xaa);
    nal
}

#[test]
fn a_picture_becomes_packets_that_fit_and_end_with_a_marker() {
    let mut packetizer = Packetizer::default();
    let first = packetizer.packetize(&picture(nal(0x65, 5000), 1)).expect("packets");
    assert_eq!(first.packets.len(), 5);
    assert!(first.packets.iter().all(|packet| packet.payload.len() <= MAX_PAYLOAD_BYTES));
    let markers: Vec<_> = first.packets.iter().map(|packet| packet.header.marker).collect();
    assert_eq!(markers, [false, false, false, false, true]);
    let second = packetizer.packetize(&picture(nal(0x41, 100), 9001)).expect("packets");
    let (before, after) = (&first.packets[4].header, &second.packets[0].header);
    assert_eq!(after.sequence_number, before.sequence_number.wrapping_add(1));
    assert_eq!((before.timestamp, after.timestamp), (1, 9001));
    assert_eq!((after.ssrc, after.payload_type, after.version), (7, 100, 2));
}

#[test]
fn numbers_do_not_come_round_before_a_receiver_has_heard_one() {
    for random in [0, 0x7fff, 0x8000, u16::MAX] {
        assert!(first_sequence_number(random) <= u16::MAX / 2, "{random}");
    }
    assert!((0..100).all(|_| Packetizer::default().sequence_number <= u16::MAX / 2));
}

#[test]
fn parameter_sets_travel_in_front_of_the_idr() {
    let data = [nal(0x67, 10), nal(0x68, 4), nal(0x65, 200)].concat();
    let made = Packetizer::default().packetize(&picture(data, 0)).expect("packets");
    let kinds: Vec<_> = made.packets.iter().map(|packet| packet.payload[0] & 0x1f).collect();
    assert_eq!(kinds, [24, 5], "STAP-A with SPS and PPS, then the IDR");
}

#[test]
fn an_idr_is_told_by_its_slices_whole_or_in_fragments() {
    for (data, idr) in [
        (nal(0x65, 200), true),
        (nal(0x65, 5000), true),
        (nal(0x41, 200), false),
        (nal(0x41, 5000), false),
        ([nal(0x67, 10), nal(0x68, 4), nal(0x65, 5000)].concat(), true),
    ] {
        let told = Packetizer::default().packetize(&picture(data.clone(), 0)).expect("packets").idr;
        assert_eq!(told, idr, "{:?}", &data[..6]);
    }
}

#[test]
fn no_packet_holds_the_encoders_buffer() {
    let picture = picture([nal(0x41, 300), nal(0x41, 3000)].concat(), 0);
    let made = Packetizer::default().packetize(&picture).expect("packets");
    let buffer = picture.payload.as_ptr_range();
    assert!(made.packets.iter().all(|packet| !buffer.contains(&packet.payload.as_ptr())));
}
