//! Which datagrams of the data channels are sent again once the far end is heard after an outage. Pure.
//!
//! SCTP repeats what nobody acknowledges ever more slowly (RFC 9260 §6.3.3): the crate's (rtc-sctp 0.21.1) after 1, 3, 7
//! and 15 s, and nothing new goes out in between. So the picture is back a fifth of a second after an outage, and the car
//! can be driven seconds later, up to as many as the outage took. Here what was sent meanwhile goes out again as soon as
//! anything comes, and its acknowledgement sets SCTP going.
//!
//! What is repeated are the same datagrams. A peer that has them drops them by their record numbers
//! (RFC 6347 §4.1.2.6).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use webrtc::runtime::Transmit;

use super::flight::Sent;

/// What is acknowledged takes less: SCTP itself repeats nothing sooner.
const ACKNOWLEDGED_IN: Duration = Duration::from_secs(1);
/// So often: the way back may change once more, and an acknowledgement of ours is in turn never acknowledged.
const REPEATS: u8 = 4;
/// Datagrams that are kept. Full: the oldest goes, for what it held SCTP has put into a later one by then.
const DATAGRAMS: usize = 16;
/// A DTLS record's type (RFC 5246 §6.2.1), which is the first byte of its datagram.
const APPLICATION_DATA: u8 = 23;

/// What was sent on the data channels, newest last, since the far end said anything there.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    datagrams: VecDeque<Sent>,
    /// When the first of them was sent, or all were last sent again.
    since: Option<Instant>,
    repeats: u8,
    repeated_to: Option<SocketAddr>,
    /// They go out again behind whatever is sent next: that takes the way that is selected now.
    due: bool,
}

impl Unheard {
    /// This has come. The time is asked for when it matters: not at each packet of a picture.
    pub(super) fn received(&mut self, datagram: &[u8], now: impl FnOnce() -> Instant) {
        let Some((_, first @ (APPLICATION_DATA | 128..=191))) = content(datagram) else { return };
        let Some(since) = self.since else { return };
        self.due = self.due || now().saturating_duration_since(since) >= ACKNOWLEDGED_IN;
        if first == APPLICATION_DATA && !self.due {
            self.forget();
        }
    }

    /// This was sent. What is to go out behind it.
    pub(super) fn sent(&mut self, transmit: &Transmit<'_>, now: impl Fn() -> Instant) -> Vec<Sent> {
        let Some((way, first @ (APPLICATION_DATA | 128..=191))) = content(transmit.contents) else { return Vec::new() };
        let destination = transmit.destination;
        let mut again = Vec::new();
        let another_way = self.repeated_to.is_some_and(|before| before != destination);
        if std::mem::take(&mut self.due) || another_way {
            // By another relay, or by none, they would have to be wrapped anew.
            let same_way = |sent: &&Sent| content(&sent.contents).is_some_and(|(by, _)| by == way);
            again.extend(self.datagrams.iter().filter(same_way).map(|sent| Sent { destination, ..sent.clone() }));
            self.since = Some(now());
            self.repeated_to = Some(destination);
            self.repeats += 1;
            if self.repeats == REPEATS {
                self.forget();
            }
        }
        if first == APPLICATION_DATA {
            if self.datagrams.len() == DATAGRAMS {
                self.datagrams.pop_front();
            }
            self.datagrams.push_back(Sent::of(transmit));
            self.since.get_or_insert_with(now);
        }
        again
    }

    fn forget(&mut self) {
        self.datagrams.clear();
        (self.since, self.repeats, self.repeated_to, self.due) = (None, 0, None, false);
    }
}

/// The channel by which a relay passes a datagram on (RFC 8656 §12.4), where there is one, and the first byte of what is
/// in it.
fn content(datagram: &[u8]) -> Option<(Option<[u8; 2]>, u8)> {
    match datagram {
        [high @ 0x40..=0x7f, low, _, _, first, ..] => Some((Some([*high, *low]), *first)),
        [first, ..] => Some((None, *first)),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const RTP: &[u8] = &[0x80, 96];

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    fn at(host: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], 9))
    }

    fn to(destination: SocketAddr, contents: &[u8]) -> Transmit<'_> {
        Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None }
    }

    /// The numbers of what goes out again, and where to.
    fn again(repeated: Vec<Sent>) -> Vec<(u8, SocketAddr)> {
        repeated.iter().map(|sent| (sent.contents[sent.contents.len() - 1], sent.destination)).collect()
    }

    #[test]
    fn what_an_outage_took_goes_out_again_behind_what_is_sent_next() {
        let (mut unheard, start) = (Unheard::default(), start());
        for number in 1..=3 {
            assert_eq!(unheard.sent(&to(at(1), &[23, number]), || start + u32::from(number) * MS), []);
            assert_eq!(unheard.sent(&to(at(1), RTP), || start), [], "nothing has come since");
        }
        unheard.received(RTP, || start + 5000 * MS);
        assert_eq!(unheard.sent(&to(at(1), &[0, 1]), || start), [], "an ICE check takes any way");
        assert_eq!(again(unheard.sent(&to(at(2), RTP), || start + 5001 * MS)), [(1, at(2)), (2, at(2)), (3, at(2))]);
        unheard.received(RTP, || start + 5010 * MS);
        assert_eq!(unheard.sent(&to(at(2), RTP), || start + 5011 * MS), [], "it has had no time to be acknowledged");
        unheard.received(&[23, 9], || start + 5100 * MS);
        unheard.received(RTP, || start + 9000 * MS);
        assert_eq!(unheard.sent(&to(at(2), RTP), || start + 9001 * MS), [], "it was");
    }

    #[test]
    fn by_another_way_they_go_out_again_at_once() {
        let (mut unheard, start) = (Unheard::default(), start());
        unheard.sent(&to(at(1), &[23, 1]), || start);
        unheard.received(RTP, || start + 5000 * MS);
        assert_eq!(again(unheard.sent(&to(at(1), RTP), || start + 5001 * MS)), [(1, at(1))]);
        assert_eq!(again(unheard.sent(&to(at(2), RTP), || start + 5002 * MS)), [(1, at(2))]);
        assert_eq!(unheard.sent(&to(at(2), RTP), || start + 5003 * MS), []);
    }

    #[test]
    fn what_is_never_acknowledged_goes_out_a_few_times_more() {
        let (mut unheard, start) = (Unheard::default(), start());
        unheard.sent(&to(at(1), &[23, 1]), || start);
        let mut times = Vec::new();
        for ms in (0..10_000).step_by(10) {
            unheard.received(RTP, || start + ms * MS);
            if !unheard.sent(&to(at(1), RTP), || start + ms * MS).is_empty() {
                times.push(ms);
            }
        }
        assert_eq!(times, [1000, 2000, 3000, 4000]);
    }

    #[test]
    fn what_is_acknowledged_in_time_does_not() {
        let (mut unheard, start) = (Unheard::default(), start());
        for number in 0..100 {
            let now = start + number * 300 * MS;
            assert_eq!(unheard.sent(&to(at(1), &[23, 1]), || now), []);
            unheard.received(RTP, || now + 100 * MS);
            unheard.received(&[23, 9], || now + 250 * MS);
        }
    }

    #[test]
    fn an_acknowledgement_that_was_held_up_by_the_outage_does_not_make_void_what_is_due() {
        let (mut unheard, start) = (Unheard::default(), start());
        unheard.sent(&to(at(1), &[23, 1]), || start);
        unheard.received(&[23, 9], || start + 1100 * MS);
        unheard.received(&[23, 9], || start + 1101 * MS);
        assert_eq!(again(unheard.sent(&to(at(1), &[23, 2]), || start + 1102 * MS)), [(1, at(1))]);
        unheard.received(RTP, || start + 2200 * MS);
        let repeated = unheard.sent(&to(at(1), RTP), || start + 2201 * MS);
        assert_eq!(again(repeated), [(1, at(1)), (2, at(1))], "nor what follows it");
    }

    #[test]
    fn an_ice_check_is_no_sign_of_life_that_counts() {
        let (mut unheard, start) = (Unheard::default(), start());
        unheard.sent(&to(at(1), &[23, 1]), || start);
        for other in [&[0, 1, 0, 0][..], &[0x40, 1, 0, 4, 0], &[22, 254], &[]] {
            unheard.received(other, || start + 5000 * MS);
        }
        assert_eq!(unheard.sent(&to(at(1), RTP), || start + 5001 * MS), []);
    }

    #[test]
    fn the_newest_are_kept() {
        let (mut unheard, start) = (Unheard::default(), start());
        for number in 0..40 {
            unheard.sent(&to(at(1), &[23, number]), || start);
        }
        unheard.received(RTP, || start + 5000 * MS);
        let repeated = again(unheard.sent(&to(at(1), RTP), || start));
        assert!(repeated.iter().map(|(number, _)| *number).eq(24..40), "{repeated:?}");
    }

    #[test]
    fn a_relays_wrapping_goes_by_that_relay_alone() {
        let channel = |number: u8, first: u8| [0x40, number, 0, 2, first, number];
        let (mut unheard, start) = (Unheard::default(), start());
        unheard.sent(&to(at(1), &channel(1, 23)), || start);
        unheard.sent(&to(at(1), &channel(2, 23)), || start);
        unheard.sent(&to(at(1), &[23, 3]), || start);
        unheard.received(&channel(2, 0x80), || start + 5000 * MS);
        assert_eq!(again(unheard.sent(&to(at(1), &channel(2, 0x80)), || start)), [(2, at(1))]);
    }
}
