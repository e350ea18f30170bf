//! Which datagrams of a DTLS handshake are sent again, and when. Pure.
//!
//! DTLS repeats a flight that nothing answers (RFC 6347 §4.2.4). The crate's timer for it (rtc-dtls 0.21.1) fires after one
//! second, and any handshake message that comes before clears it, such as the peer's own repetition: then each side may
//! wait for the other until the session is given up. Here the flight is repeated sooner, and until it is answered.
//!
//! What is repeated are the same datagrams. To a peer that has them they are duplicates, as any network may make them,
//! and dropped by their record numbers (RFC 6347 §4.1.2.6).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rtc::stun::attributes::ATTR_DATA;
use rtc::stun::message::Message;
use webrtc::runtime::Transmit;

use crate::rtc::turn::queue::carries_data;

/// A flight is repeated after this long, then after twice as long, and so on.
const FIRST: Duration = Duration::from_millis(150);
/// At most after this long.
const LONGEST: Duration = Duration::from_secs(1);
/// Then nobody is there, or the peer has what it needs and says nothing.
const REPEATS: u32 = 15;
/// A flight leaves in one go. What follows later is another one, or the crate's own repetition of it.
const ONE_GO: Duration = Duration::from_millis(50);
/// Datagrams of a flight that are kept; the longest has four. Full: what comes then is not repeated.
const DATAGRAMS: usize = 16;

/// What a datagram is to a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A part of it.
    Handshake,
    /// Only sent by who has finished it.
    Later,
    /// Nothing.
    Other,
}

impl Kind {
    /// By its first byte (RFC 7983 §7, RFC 5246 §6.2.1), inside TURN's wrapping where it has one.
    pub(super) fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            first if !carries_data(datagram) => Self::of_first(first),
            Some(0) => {
                let mut message = Message::new();
                message.raw = datagram.to_vec();
                let data = message.decode().and_then(|()| message.get(ATTR_DATA));
                data.map_or(Self::Other, |data| Self::of_first(data.first()))
            }
            // RFC 8656 §12.4: ChannelData has four bytes in front.
            _ => Self::of_first(datagram.get(4)),
        }
    }

    fn of_first(byte: Option<&u8>) -> Self {
        match byte {
            Some(20 | 22) => Self::Handshake,
            Some(23 | 128..=191) => Self::Later,
            _ => Self::Other,
        }
    }
}

/// A datagram as it was sent, or several of the same size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) destination: SocketAddr,
    pub(super) contents: Box<[u8]>,
    pub(super) segment_size: Option<usize>,
}

impl Sent {
    pub(super) fn of(transmit: &Transmit<'_>) -> Self {
        let Transmit { destination, contents, segment_size, .. } = *transmit;
        Self { destination, contents: contents.into(), segment_size }
    }
}

/// The last flight that was sent.
#[derive(Debug, Default)]
pub(super) struct Flight {
    datagrams: Vec<Sent>,
    began: Option<Instant>,
    /// A part of a handshake has come since. It need not be the whole answer, nor an answer at all.
    heard: bool,
    repeats: u32,
    due: Option<Instant>,
}

impl Flight {
    /// A part of a handshake was sent.
    pub(super) fn sent(&mut self, datagram: Sent, now: Instant) {
        let goes_on = !self.heard && self.began.is_some_and(|began| now.saturating_duration_since(began) < ONE_GO);
        if !goes_on {
            *self = Self { began: Some(now), due: Some(now + FIRST), ..Self::default() };
        }
        if self.datagrams.len() < DATAGRAMS {
            self.datagrams.push(datagram);
        }
    }

    /// Something was sent that is only sent after a handshake.
    pub(super) fn sent_later(&mut self) {
        // Who sends the last flight is finished before the peer has it; who received it has heard something.
        if self.heard {
            *self = Self::default();
        }
    }

    /// Something has come.
    pub(super) fn received(&mut self, kind: Kind) {
        match kind {
            Kind::Handshake => self.heard = true,
            Kind::Later => *self = Self::default(),
            Kind::Other => {}
        }
    }

    /// When the flight is to be repeated.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What is to be sent again now that [`Flight::due`] has passed.
    pub(super) fn repeat(&mut self, now: Instant) -> &[Sent] {
        self.repeats += 1;
        let wait = LONGEST.min(FIRST * 2_u32.pow(self.repeats.min(8)));
        self.due = (self.repeats < REPEATS).then(|| now + wait);
        &self.datagrams
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    fn datagram(number: u8) -> Sent {
        Sent {
            destination: "192.0.2.1:9".parse().expect("an address"),
            contents: [22, number].into(),
            segment_size: None,
        }
    }

    /// The numbers of what is sent again at the time that is due, and when that is.
    fn next(flight: &mut Flight, start: Instant) -> Option<(Duration, Vec<u8>)> {
        let due = flight.due()?;
        Some((due - start, flight.repeat(due).iter().map(|sent| sent.contents[1]).collect()))
    }

    #[test]
    fn a_flight_is_repeated_ever_more_slowly_and_not_for_ever() {
        let (mut flight, start) = (Flight::default(), start());
        assert_eq!(flight.due(), None, "nothing was sent");
        flight.sent(datagram(1), start);
        flight.sent(datagram(2), start + MS);
        let repeats: Vec<_> = std::iter::from_fn(|| next(&mut flight, start)).collect();
        let at: Vec<_> = repeats.iter().take(5).map(|(at, _)| at.as_millis()).collect();
        assert_eq!(at, [150, 450, 1050, 2050, 3050]);
        assert!(repeats.iter().all(|(_, numbers)| *numbers == [1, 2]), "always the whole flight");
        assert_eq!(repeats.len(), REPEATS as usize);
    }

    #[test]
    fn the_next_flight_takes_the_place_of_the_one_before() {
        let (mut flight, start) = (Flight::default(), start());
        flight.sent(datagram(1), start);
        flight.received(Kind::Handshake);
        flight.sent(datagram(2), start + MS);
        flight.sent(datagram(3), start + MS);
        assert_eq!(next(&mut flight, start), Some((151 * MS, vec![2, 3])));
    }

    #[test]
    fn the_crates_own_repetition_takes_the_place_of_what_it_repeats() {
        let (mut flight, start) = (Flight::default(), start());
        flight.sent(datagram(1), start);
        flight.sent(datagram(2), start + 1000 * MS);
        assert_eq!(next(&mut flight, start), Some((1150 * MS, vec![2])));
    }

    #[test]
    fn half_an_answer_does_not_end_the_repetition() {
        let (mut flight, start) = (Flight::default(), start());
        flight.sent(datagram(1), start);
        flight.received(Kind::Handshake);
        assert_eq!(next(&mut flight, start), Some((150 * MS, vec![1])));
    }

    #[test]
    fn who_sent_the_last_flight_repeats_it_until_the_peer_is_finished() {
        let (mut flight, start) = (Flight::default(), start());
        flight.received(Kind::Handshake);
        flight.sent(datagram(1), start);
        flight.sent_later();
        flight.received(Kind::Other);
        assert_eq!(next(&mut flight, start), Some((150 * MS, vec![1])));
        flight.received(Kind::Later);
        assert_eq!(flight.due(), None);
    }

    #[test]
    fn who_received_the_last_flight_repeats_nothing() {
        let (mut flight, start) = (Flight::default(), start());
        flight.sent(datagram(1), start);
        flight.received(Kind::Handshake);
        flight.sent_later();
        assert_eq!(flight.due(), None);
    }

    #[test]
    fn a_handshake_is_known_in_the_clear_and_in_both_wrappings_of_turn() {
        let record = [22, 254, 253, 0];
        assert_eq!(Kind::of(&record), Kind::Handshake);
        assert_eq!(Kind::of(&[20, 254, 253]), Kind::Handshake, "change_cipher_spec");
        assert_eq!(Kind::of(&[23, 254, 253]), Kind::Later, "application data");
        assert_eq!(Kind::of(&[0x80, 96]), Kind::Later, "RTP");
        assert_eq!(Kind::of(&[&[0x40, 1, 0, 4][..], &record].concat()), Kind::Handshake, "ChannelData");
        let mut indication = vec![0, 0x16, 0, 8, 0x21, 0x12, 0xa4, 0x42];
        indication.extend_from_slice(&[0; 12]);
        indication.extend_from_slice(&[0, 0x13, 0, 4]);
        indication.extend_from_slice(&record);
        assert_eq!(Kind::of(&indication), Kind::Handshake, "a Send indication");
        for other in [&[][..], &[0, 1, 0, 0], &indication[..20], &[0x40, 1, 0, 0], &[21, 254, 253]] {
            assert_eq!(Kind::of(other), Kind::Other, "{other:?}");
        }
    }
}
