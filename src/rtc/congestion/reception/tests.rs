use super::*;

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn origin() -> Instant {
    Instant::now()
}

fn bound() -> Receptions {
    let mut receptions = Receptions::default();
    receptions.bind(7, 90_000);
    receptions
}

fn sent(packets: u64) -> LinkCounters {
    LinkCounters { sent_packets: packets, sent_bytes: packets * 1000, ..LinkCounters::default() }
}

#[test]
fn the_round_trip_is_counted_from_the_sender_report_that_the_receiver_names() {
    let (now, mut receptions) = (origin(), bound());
    let later = |ms| now + Duration::from_millis(ms);
    receptions.sent_report(0x0001_2345_6789_0000, now);
    receptions.sent_report(0x0002_2345_6789_0000, later(1000));
    let block =
        |last_sender_report, delay| ReceptionReport { ssrc: 7, last_sender_report, delay, ..Default::default() };
    let mut round_trip = |block| receptions.heard(&block, sent(0), later(1300)).and_then(|heard| heard.round_trip);
    // A quarter of a second held: 0x4000 of 1/65536 s.
    assert_eq!(round_trip(block(0x2345_6789, 0x4000)), Some(Duration::from_millis(1050)), "the first of that number");
    assert_eq!(round_trip(block(0, 0)), None, "it has seen none yet");
    assert_eq!(round_trip(block(0x2345_6789, u32::MAX)), None, "held for longer than since it left");
}

#[test]
fn loss_jitter_and_what_arrives_are_read_from_two_reports() {
    let (now, mut receptions) = (origin(), bound());
    let block = |highest, lost: i32| ReceptionReport {
        ssrc: 7,
        fraction_lost: 64,
        total_lost: lost as u32 & 0x00ff_ffff,
        last_sequence_number: highest,
        jitter: 900,
        ..Default::default()
    };
    let first = receptions.heard(&block(1000, 0), sent(100), now).expect("our stream");
    assert_eq!((first.loss, first.jitter, first.arriving_bps), (0.25, Duration::from_millis(10), None));
    let second = receptions.heard(&block(1100, 20), sent(200), now + Duration::from_secs(2)).expect("our stream");
    assert_eq!(second.arriving_bps, Some(80.0 * 8000.0 / 2.0), "80 of 100 packets of 1000 bytes in 2 s");
    // Repeated packets make the cumulative loss negative: 24 bits, signed.
    let third = receptions.heard(&block(1200, -10), sent(300), now + Duration::from_secs(3)).expect("our stream");
    assert_eq!(third.arriving_bps, Some(130.0 * 8000.0));
}

#[test]
fn reports_of_other_streams_do_not_count() {
    let (now, mut receptions) = (origin(), bound());
    assert!(receptions.heard(&ReceptionReport { ssrc: 8, ..Default::default() }, sent(1), now).is_none());
    assert!(Receptions::default().heard(&ReceptionReport::default(), sent(1), now).is_none());
}

#[test]
fn sender_reports_that_nobody_names_do_not_pile_up() {
    let (now, mut receptions) = (origin(), bound());
    (0..1000).for_each(|number| receptions.sent_report(number << 16, now));
    assert_eq!(receptions.sender_reports.len(), SENDER_REPORTS_KEPT);
}
