//! When the driver of a peer connection must go round once more. Pure.
//!
//! The crate's driver writes what its TURN clients hold *before* it hands them what the peer connection has to send
//! (webrtc 0.21.1, `PeerConnectionDriver::poll_writes`). Without another turn of its loop, the last packet of each
//! picture, each control acknowledgement and each step of a handshake waits for whatever comes next: measured, a frame
//! interval for a picture. An incoming packet takes two turns to become an answer that has left.
//!
//! While a connection comes up, turns are missing without a relay as well: a DTLS client sends its first flight, and SCTP
//! its first chunk, only when a timer has been served, and the next one is ICE's, up to 200 ms later.
//!
//! The driver asks its runtime for a timer once a turn, just before it waits for that or for something to happen. While
//! a relay is in use or the connection comes up, that timer is over at once, until some turns have ended by it and by
//! nothing else.

use std::time::{Duration, Instant};

/// Turns the driver is made to take after something has happened.
const TURNS: u8 = 2;
/// A relay over which nothing went for this long is not in use. ICE checks the selected way every 500 ms.
const IN_USE: Duration = Duration::from_secs(3);
/// What SCTP and its channels have to say after the last step of the handshake is said in this time: three round trips of
/// 300 ms.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Flush {
    closing: bool,
    /// Sockets have been bound, and neither media nor data have gone over them yet.
    coming_up: bool,
    /// A relay, or a connection that comes up or settles.
    in_use_until: Option<Instant>,
    owed: u8,
    /// The wait before this one was ended by its timer, which was over at once: nothing has happened.
    nothing_happened: bool,
}

impl Flush {
    /// A TURN server has been talked to, or soon will be.
    pub(super) fn note_traffic(&mut self, now: Instant) {
        self.in_use_until = Some(now + IN_USE);
    }

    /// A socket was bound.
    pub(super) fn note_socket(&mut self) {
        self.coming_up = true;
    }

    /// A step of ICE's or of the handshake came or went. Those of a connection that is up are in no haste.
    pub(super) fn note_step(&mut self, now: Instant) {
        if self.coming_up {
            self.in_use_until = self.in_use_until.max(Some(now + SETTLED_AFTER));
        }
    }

    /// Media or data came or went.
    pub(super) fn note_up(&mut self) {
        self.coming_up = false;
    }

    /// The connection is about to be closed. A timer served after that ends the driver with an error, before it has told
    /// the peer.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// The driver is about to wait: whether its timer is to be over at once.
    pub(super) fn at_once(&mut self, now: Instant) -> bool {
        if self.closing || self.in_use_until.is_none_or(|until| until <= now) {
            return false;
        }
        let nothing_happened = std::mem::take(&mut self.nothing_happened);
        self.owed = if nothing_happened { self.owed.saturating_sub(1) } else { TURNS };
        self.owed > 0
    }

    /// A timer that was over at once has ended the driver's wait.
    pub(super) fn nothing_happened(&mut self) {
        self.nothing_happened = true;
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
    fn after_the_last_thing_that_happened_the_driver_takes_two_more_turns() {
        let (mut flush, now) = (Flush::default(), start());
        flush.note_traffic(now);
        for happenings in [1, 2, 5] {
            for _ in 0..happenings {
                assert!(flush.at_once(now), "something has just happened");
            }
            flush.nothing_happened();
            assert!(flush.at_once(now), "the second turn");
            flush.nothing_happened();
            assert!(!flush.at_once(now), "now it may wait");
        }
    }

    #[test]
    fn a_connection_that_comes_up_has_its_steps_taken_at_once_and_one_that_is_up_has_time() {
        let (mut flush, now) = (Flush::default(), start());
        flush.note_step(now);
        assert!(!flush.at_once(now), "no socket");
        flush.note_socket();
        assert!(!flush.at_once(now), "nothing to do yet");
        flush.note_step(now);
        assert!(flush.at_once(now));
        flush.note_up();
        assert!(flush.at_once(now), "SCTP is not finished");
        flush.note_step(now + SETTLED_AFTER);
        assert!(!flush.at_once(now + SETTLED_AFTER), "a check of ICE's");
    }

    #[test]
    fn a_driver_whose_connection_is_closed_serves_no_timer() {
        let (mut flush, now) = (Flush::default(), start());
        flush.note_traffic(now);
        assert!(flush.at_once(now));
        flush.close();
        assert!(!flush.at_once(now));
    }

    #[test]
    fn without_a_relay_in_use_the_driver_is_left_alone() {
        let (mut flush, now) = (Flush::default(), start());
        assert!(!flush.at_once(now), "no relay");
        flush.note_traffic(now);
        assert!(flush.at_once(now));
        assert!(!flush.at_once(now + IN_USE), "a relay that went quiet");
    }
}
