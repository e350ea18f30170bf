//! Which pictures go onto the track. Pure.
//!
//! One that the pacer has no room for is dropped, and with it everything up to the next IDR, because nothing in between
//! could be decoded. The IDR is asked for as soon as nothing waits any more: one made earlier might find no room either.

use std::time::{Duration, Instant};

use super::congestion::meter::Room;

/// An IDR that was asked for and has not come within this is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What to do with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Send,
    Drop,
    /// It cannot be decoded, and an IDR would find room: ask for one.
    DropAndAsk,
}

/// Lets pictures onto one peer's track. It begins with an IDR, which has been asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admission {
    chain: Chain,
}

/// Whether the last picture can be built upon by the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chain {
    Whole,
    Broken { asked: Option<Instant> },
}

impl Admission {
    pub(crate) fn new(now: Instant) -> Self {
        Self { chain: Chain::Broken { asked: Some(now) } }
    }

    /// What to do with a picture that would find this room.
    pub(crate) fn judge(&mut self, idr: bool, room: Room, now: Instant) -> Verdict {
        if room != Room::None && (idr || self.chain == Chain::Whole) {
            self.chain = Chain::Whole;
            return Verdict::Send;
        }
        let asked = match self.chain {
            // An IDR that found no room is lost with its request.
            Chain::Broken { asked } if !idr => asked,
            _ => None,
        };
        let ask = room == Room::AtOnce && asked.is_none_or(|at| now.saturating_duration_since(at) >= ASK_AGAIN);
        self.chain = Chain::Broken { asked: if ask { Some(now) } else { asked } };
        if ask { Verdict::DropAndAsk } else { Verdict::Drop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_track_begins_with_an_idr_that_is_asked_for_again_when_it_does_not_come() {
        let start = start();
        let mut admission = Admission::new(start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(admission.judge(false, Room::AtOnce, at(33)), Verdict::Drop);
        assert_eq!(admission.judge(false, Room::AtOnce, at(499)), Verdict::Drop);
        assert_eq!(admission.judge(false, Room::AtOnce, at(500)), Verdict::DropAndAsk);
        assert_eq!(admission.judge(false, Room::AtOnce, at(533)), Verdict::Drop);
        assert_eq!(admission.judge(true, Room::AtOnce, at(566)), Verdict::Send);
        assert_eq!(admission.judge(false, Room::AtOnce, at(600)), Verdict::Send);
    }

    #[test]
    fn a_picture_without_room_breaks_the_chain_until_an_idr_asked_for_when_nothing_waits() {
        let start = start();
        let mut admission = Admission { chain: Chain::Whole };
        assert_eq!(admission.judge(false, Room::None, start), Verdict::Drop, "the queue is full");
        assert_eq!(admission.judge(false, Room::Behind, start), Verdict::Drop, "room, but it builds on a dropped one");
        assert_eq!(
            admission.judge(false, Room::AtOnce, start),
            Verdict::DropAndAsk,
            "nothing waits: now an IDR has room"
        );
        assert_eq!(admission.judge(true, Room::None, start), Verdict::Drop, "a repair came in between");
        assert_eq!(admission.judge(false, Room::AtOnce, start), Verdict::DropAndAsk, "that IDR is lost: a new one");
        assert_eq!(admission.judge(true, Room::AtOnce, start), Verdict::Send);
        assert_eq!(admission.judge(false, Room::Behind, start), Verdict::Send);
    }
}
