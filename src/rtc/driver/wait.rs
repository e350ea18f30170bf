//! How late the timers of a driver may be. Pure.
//!
//! Each turn of the driver's loop serves whatever has become due, and each picture makes it turn. So while pictures go out
//! a timer need not wake the thread of itself: a wake-up costs more than what is done in it. The pacer's are the only ones
//! that a few milliseconds matter to.
//!
//! Tokio's timers make this worth more than the timer alone: one that stands in another slot of 64 ms than now wakes the
//! thread when its slot begins as well, and one that is always due soon does so at the beginning of every slot.

use std::time::{Duration, Instant};

/// Pictures go out when the last packet was sent less than this ago.
const FLOWING: Duration = Duration::from_millis(100);
/// How late a timer may be when the pictures end. More than tokio's slot and the interval of 30 pictures a second
/// together, so that the next picture comes before the slot that the timer stands in.
const LATEST: Duration = Duration::from_millis(100);

/// What is known of the packets that go out.
#[derive(Debug, Default)]
pub(super) struct Wait {
    sent: u64,
    /// When the driver was first about to wait after the last of them.
    at: Option<Instant>,
}

impl Wait {
    /// How long the driver is to wait that asked for so long, when so many packets have been sent and it holds back others
    /// or not.
    pub(super) fn of(&mut self, asked: Duration, sent: u64, holds_back: bool, now: Instant) -> Duration {
        if self.sent != sent {
            (self.sent, self.at) = (sent, Some(now));
        }
        let flowing = self.at.is_some_and(|at| now.saturating_duration_since(at) < FLOWING);
        if flowing && !holds_back { asked.max(LATEST) } else { asked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Duration = Duration::from_millis(20);

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn before_the_first_picture_timers_are_punctual() {
        assert_eq!(Wait::default().of(ASKED, 0, false, start()), ASKED);
    }

    #[test]
    fn while_pictures_go_out_timers_wait_for_the_next_one() {
        let (mut wait, now) = (Wait::default(), start());
        for picture in 1..=5 {
            assert_eq!(
                wait.of(ASKED, 3 * u64::from(picture), false, now + picture * Duration::from_millis(33)),
                LATEST
            );
        }
        assert_eq!(wait.of(LATEST * 2, 18, false, now + Duration::from_millis(198)), LATEST * 2, "none is early");
    }

    #[test]
    fn a_packet_that_is_held_back_leaves_on_time() {
        let (mut wait, now) = (Wait::default(), start());
        assert_eq!(wait.of(ASKED, 3, true, now), ASKED);
        assert_eq!(wait.of(ASKED, 4, false, now), LATEST);
    }

    #[test]
    fn when_the_pictures_end_one_timer_is_late_and_no_other() {
        let (mut wait, now) = (Wait::default(), start());
        assert_eq!(wait.of(ASKED, 3, false, now), LATEST);
        assert_eq!(wait.of(ASKED, 3, false, now + LATEST), ASKED);
    }
}
