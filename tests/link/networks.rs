//! The publisher behind a router that translates addresses, on a network that is slow, lossy, gone for a while, or
//! suddenly another one. What is measured in full is in `benches/link`; here are the claims that must never break.

use std::time::Duration;

use crate::lab::{Agrees, Event, Measured, Scenario, measure, percentile};

const fn scenario(agrees: Agrees, most_kbps: u32, seconds: u64, events: &'static [(u64, Event)]) -> Scenario {
    Scenario::new("test", agrees, most_kbps, seconds, events)
}

fn rate(measured: &Measured, from: f64) -> f64 {
    measured.pictures(from, measured.seconds()).len() as f64 / (measured.seconds() - from)
}

#[test]
fn a_link_that_falls_to_a_fifth_is_followed_down_and_up_again() {
    const STEP: &[(u64, Event)] = &[(0, Event::Rate(3000)), (8, Event::Rate(600)), (20, Event::Rate(3000))];
    let measured = measure(scenario(Agrees::ToTransportCc, 4000, 31, STEP));
    let use_of = |from, until, kbps: f64| measured.offered_kbps(from, until) / kbps;
    let gave_way = (0..15).map(|tenth| 8.0 + f64::from(tenth) / 10.0).any(|at| use_of(at, at + 0.5, 600.0) <= 0.9);
    assert!(gave_way, "within 2 s less is sent than the link carries: the queue drains");
    let queue = percentile(&measured.queue_ms(11.0, 20.0), 0.95);
    assert!(queue < 150.0, "a short queue from 3 s on: {queue} ms");
    let (gap, at) = measured.longest_gap(7.0, 31.0);
    assert!(gap < 1000.0, "no freeze: {gap} ms at {at} s");
    assert!(use_of(13.0, 20.0, 600.0) >= 0.75, "and yet it is used");
    assert!(use_of(29.0, 31.0, 3000.0) >= 0.75, "9 s after the rise as well");
    let late = percentile(&measured.lateness_ms(11.0, 31.0), 0.95);
    assert!(late < 300.0, "pictures are fresh: {late} ms");
}

#[test]
fn a_peer_without_transport_cc_is_steered_by_its_reports() {
    const DROP: &[(u64, Event)] = &[(0, Event::Rate(3000)), (6, Event::Rate(600))];
    let measured = measure(scenario(Agrees::ToNothing, 4000, 24, DROP));
    let late = percentile(&measured.lateness_ms(16.0, 24.0), 0.5);
    assert!(late < 1000.0, "ten seconds after the drop pictures are no later than the link's queue is long: {late} ms");
    assert!(measured.offered_kbps(16.0, 24.0) <= 1.3 * 600.0, "not much more is sent than the link carries");
    assert!(measured.near.link.iter().all(|(_, status)| status.targets.pacing_bps.is_none()), "and it is never paced");
}

#[test]
fn lost_packets_are_repaired() {
    // A busy machine costs some; unrepaired, each lost packet would cost all pictures to the next key frame.
    for loss in [2, 5, 10] {
        let events = match loss {
            2 => &[(0, Event::Rate(3000)), (0, Event::Loss(2))],
            5 => &[(0, Event::Rate(3000)), (0, Event::Loss(5))],
            _ => &[(0, Event::Rate(3000)), (0, Event::Loss(10))],
        };
        let measured = measure(scenario(Agrees::ToTransportCc, 1500, 9, events));
        let rate = rate(&measured, 1.0);
        assert!(rate >= 25.0, "{loss} % lost: {rate} pictures a second");
        let told = measured.near.link.iter().filter_map(|(_, status)| status.loss).fold(0.0, f64::max);
        assert!(told > 0.005, "and the loss is told: {told}");
    }
}

#[test]
fn with_forward_error_correction_pictures_do_not_wait_for_what_was_lost_on_a_long_way() {
    const LOSS: &[(u64, Event)] = &[(0, Event::Rate(3000)), (0, Event::Loss(5))];
    let far_away = scenario(Agrees::ToTransportCc, 1500, 16, LOSS).far_away(Duration::from_millis(200));
    let waited = |measured: &Measured| {
        let late = measured.lateness_ms(6.0, 16.0);
        late.iter().filter(|late| **late > 120.0).count() as f64 / late.len() as f64
    };
    let (bare, protected) = (measure(far_away), measure(far_away.protected()));
    let packets = |measured: &Measured| measured.near.link.last().map(|(_, status)| status.counters.protection_packets);
    assert_eq!(packets(&bare), Some(0), "off, it costs nothing");
    assert!(packets(&protected) > Some(200), "{:?}", packets(&protected));
    let (bare_waited, protected_waited) = (waited(&bare), waited(&protected));
    assert!(bare_waited > 0.4, "a loss delays its picture, and those behind it, by a round trip: {bare_waited}");
    assert!(protected_waited < bare_waited / 2.0, "{protected_waited}, without {bare_waited}");
    let (bare, protected) = (rate(&bare, 6.0), rate(&protected, 6.0));
    assert!(protected > bare, "{protected} pictures a second, without {bare}");
}

#[test]
fn a_change_of_address_costs_the_picture_little_more_than_a_second() {
    const MOVE: &[(u64, Event)] = &[(0, Event::Rate(3000)), (4, Event::NewAddress)];
    let measured = measure(scenario(Agrees::ToTransportCc, 1500, 10, MOVE));
    let (gap, at) = measured.longest_gap(3.5, 10.0);
    assert!((3.5..6.0).contains(&at) && gap < 2500.0, "{gap} ms at {at} s");
    assert_eq!(measured.near.publish.restarts, 1);
    assert!(measured.pictures(8.0, 10.0).len() > 50, "and all is well again");
}

#[test]
fn losing_an_address_that_the_session_does_not_use_costs_it_nothing() {
    const LOSE: &[(u64, Event)] = &[(0, Event::Rate(3000)), (0, Event::SpareAddress), (3, Event::SpareAddressGone)];
    let measured = measure(scenario(Agrees::ToTransportCc, 1500, 6, LOSE));
    let publish = &measured.near.publish;
    assert_eq!((publish.sessions, publish.restarts), (1, 0), "{:?}", publish.last_trouble);
}

#[test]
fn a_session_moves_to_the_network_that_is_preferred_without_a_gap() {
    const MOVE: &[(u64, Event)] = &[(0, Event::Rate(3000)), (4, Event::OtherNetwork)];
    let measured = measure(scenario(Agrees::ToTransportCc, 1500, 9, MOVE));
    let recovery = measured.near.publish.last_recovery.clone();
    assert!(recovery.as_ref().is_some_and(|recovery| recovery.cause == "the network changed"), "{recovery:?}");
    let (gap, at) = measured.longest_gap(3.5, 9.0);
    assert!(gap < 1000.0, "{gap} ms at {at} s");
}

#[test]
fn after_an_outage_the_car_can_be_driven_as_soon_as_it_is_seen() {
    // By itself SCTP would say nothing for another three seconds, and two.
    const OF_4_S: &[(u64, Event)] = &[(0, Event::Rate(3000)), (3, Event::Outage), (7, Event::OutageOver)];
    const OF_5_S: &[(u64, Event)] = &[(0, Event::Rate(3000)), (3, Event::Outage), (8, Event::OutageOver)];
    for (outage, over) in [(OF_4_S, 7), (OF_5_S, 8)] {
        let measured = measure(scenario(Agrees::ToTransportCc, 1500, over + 4, outage));
        let heard = measured.command_after(over as f64).unwrap_or(f64::INFINITY);
        assert!(heard < 1.0, "the car hears its first command {heard} s after the outage");
        assert_eq!(measured.near.publish.sessions, 1, "in the session that it was in");
    }
}

#[test]
fn after_an_outage_the_picture_is_back_within_a_second() {
    const OUTAGE: &[(u64, Event)] = &[(0, Event::Rate(3000)), (3, Event::Outage), (8, Event::OutageOver)];
    let measured = measure(scenario(Agrees::ToTransportCc, 1500, 12, OUTAGE));
    let back = measured.picture_after(8.0).unwrap_or(f64::INFINITY);
    assert!(back < 1.0, "{back} s");
    let late = percentile(&measured.lateness_ms(9.0, 12.0), 0.9);
    assert!(late < 150.0, "and nothing of the outage is played back: {late} ms");
}
