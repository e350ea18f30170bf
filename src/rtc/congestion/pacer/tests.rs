use proptest::prelude::*;

use super::*;

const PACKET: f64 = 1200.0 * 8.0;

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn start() -> Instant {
    Instant::now()
}

fn all(pacer: &mut Pacer<u32>, now: Instant) -> Vec<u32> {
    std::iter::from_fn(|| pacer.pop(now)).collect()
}

/// Pops whenever there is something, until nothing waits; gives each packet with its wait in milliseconds.
fn drained(pacer: &mut Pacer<u32>, from: Instant) -> Vec<(u32, u128)> {
    let (mut now, mut left) = (from, Vec::new());
    loop {
        left.extend(all(pacer, now).into_iter().map(|packet| (packet, (now - from).as_millis())));
        match pacer.poll_timeout() {
            Some(at) => {
                assert!(at > now, "each deadline is later than the last");
                now = at;
            }
            None => return left,
        }
    }
}

#[test]
fn switched_off_it_holds_nothing_back() {
    let start = start();
    let mut pacer = Pacer::new(start);
    (0..1000).for_each(|packet| pacer.push(packet, PACKET, start));
    assert_eq!(all(&mut pacer, start).len(), 1000);
    assert_eq!((pacer.queued_bits(), pacer.poll_timeout()), (0, None));
}

#[test]
fn an_ordinary_picture_leaves_at_once_and_a_key_frame_in_bites() {
    let start = start();
    let mut pacer = Pacer::new(start);
    pacer.set_rates(Some(2_000_000), None, start);
    (0..4).for_each(|packet| pacer.push(packet, PACKET, start));
    assert_eq!(all(&mut pacer, start), [0, 1, 2, 3], "a thirtieth of 800 kbit/s is less than four packets");
    let later = start + Duration::from_millis(33);
    (0..14).for_each(|packet| pacer.push(packet, PACKET, later));
    let left = drained(&mut pacer, later);
    assert_eq!(left.iter().map(|(packet, _)| *packet).collect::<Vec<_>>(), (0..14).collect::<Vec<_>>());
    let (last, most_at_once) = (left[13].1, left.iter().filter(|(_, ms)| *ms == 0).count());
    assert!((40..=60).contains(&last) && most_at_once <= 6, "{left:?}");
}

#[test]
fn a_rate_that_falls_makes_nothing_wait_longer() {
    let start = start();
    let mut pacer = Pacer::new(start);
    pacer.set_rates(Some(6_000_000), None, start);
    (0..60).for_each(|packet| pacer.push(packet, PACKET, start));
    all(&mut pacer, start);
    pacer.set_rates(Some(100_000), None, start);
    let longest = drained(&mut pacer, start).iter().map(|(_, ms)| *ms).max();
    assert!(longest <= Some(LONGEST_WAIT.as_millis()), "{longest:?}");
}

#[test]
fn repairs_go_first_and_are_refused_beyond_their_share() {
    let start = start();
    let mut pacer = Pacer::new(start);
    pacer.set_rates(Some(1_000_000), Some(400_000), start);
    (0..10).for_each(|packet| pacer.push(packet, PACKET, start));
    all(&mut pacer, start);
    let accepted = (100..200).filter(|packet| pacer.push_repair(*packet, PACKET, start)).count();
    assert_eq!(accepted, 16, "four tenths of a second's worth");
    let order: Vec<_> = drained(&mut pacer, start).into_iter().map(|(packet, _)| packet).collect();
    assert_eq!(order[..16], (100..116).collect::<Vec<_>>());
    assert!(order[16..].iter().all(|packet| *packet < 10));
    let second_later = start + Duration::from_secs(10);
    assert!(pacer.push_repair(0, PACKET, second_later), "and accepted again");
}

#[test]
fn a_picture_finds_room_where_it_waits_no_longer_than_it_may() {
    let cases = [
        ("no pacer", 1_000_000, 5_000_000, 0, true),
        ("an empty queue, however large the picture", 10_000_000, 0, 1_000_000, true),
        ("behind a little", 50_000, 50_000, 1_000_000, true),
        ("behind too much", 50_001, 50_000, 1_000_000, false),
    ];
    for (what, bits, queued, rate, expected) in cases {
        assert_eq!(admits(bits, queued, rate), expected, "{what}");
    }
}

#[test]
fn the_first_picture_goes_in_front_of_the_others_and_they_are_late_but_not_for_long() {
    let start = start();
    let mut pacer = Pacer::new(start);
    pacer.set_rates(Some(2_000_000), None, start);
    (0..20).for_each(|packet| pacer.push_behind(packet, PACKET, start));
    let at_once = all(&mut pacer, start).len() as u32;
    assert!(at_once < 20, "the rest waits");
    assert_eq!((pacer.queued_bits(), pacer.all_queued_bits()), (0, u64::from(20 - at_once) * PACKET as u64));
    (100..105).for_each(|packet| pacer.push(packet, PACKET, start));
    let left = drained(&mut pacer, start);
    let order: Vec<_> = left.iter().map(|(packet, _)| *packet).collect();
    assert_eq!(order, (100..105).chain(at_once..20).collect::<Vec<_>>());
    assert!(left.iter().all(|(_, ms)| u128::from(*ms as u64) <= LONGEST_WAIT.as_millis() + 1), "{left:?}");
    assert_eq!((pacer.queued_bits(), pacer.all_queued_bits(), pacer.poll_timeout()), (0, 0, None));
}

proptest! {
    #[test]
    fn whatever_the_rates_become_what_was_admitted_leaves_in_order_and_in_time(
        steps in prop::collection::vec((0_u64..40, prop::option::of(50_000_u64..20_000_000), 1_u32..60), 1..80),
    ) {
        let start = start();
        let mut pacer = Pacer::new(start);
        let (mut now, mut rate, mut next) = (start, None, 0);
        let (mut queued, mut left) = (Vec::new(), Vec::new());
        for (wait, new_rate, packets) in steps {
            let until = now + Duration::from_millis(wait);
            while let Some(at) = pacer.poll_timeout().filter(|at| *at < until) {
                now = at.max(now);
                left.extend(all(&mut pacer, now).into_iter().map(|packet| (packet, now)));
            }
            now = until;
            if new_rate.is_some() {
                rate = new_rate;
                pacer.set_rates(rate, None, now);
            }
            if admits(u64::from(packets) * PACKET as u64, pacer.queued_bits(), rate.unwrap_or(0)) {
                for packet in next..next + packets {
                    pacer.push(packet, PACKET, now);
                    queued.push(now);
                }
                next += packets;
            }
            left.extend(all(&mut pacer, now).into_iter().map(|packet| (packet, now)));
        }
        let end = now;
        left.extend(drained(&mut pacer, end).into_iter().map(|(packet, ms)| (packet, end + Duration::from_millis(ms as u64))));
        prop_assert!(left.iter().map(|(packet, _)| *packet).eq(0..next), "in order, and all of them");
        for (packet, at) in left {
            let waited = at - queued[packet as usize];
            prop_assert!(waited <= LONGEST_WAIT + Duration::from_millis(1), "{packet} waited {waited:?}");
        }
    }
}
