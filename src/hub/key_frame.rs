//! When to ask the publisher for a key frame: at once, at most one in 300 ms, and again until one comes.

use std::time::{Duration, Instant};

/// Requests closer together than this are one (`shared/reference/gstreamer-encoders.md`: PLI storms).
pub const COALESCE: Duration = Duration::from_millis(300);
/// A request that brought no key frame within this time was lost on the way, or its key frame was.
const REPEAT: Duration = Duration::from_millis(600);

/// The pending wish for a key frame. Any key frame that starts after a wish fulfils it; nothing else forgets it.
#[derive(Debug, Default)]
pub struct KeyFrameRequests {
    /// When to ask (again); `None` while nobody waits.
    due: Option<Instant>,
    last_asked: Option<Instant>,
    /// RTP timestamp of the newest key frame.
    newest: Option<u32>,
}

impl KeyFrameRequests {
    /// Someone needs a key frame from `now` on.
    pub fn want(&mut self, now: Instant) {
        let earliest = self.last_asked.map_or(now, |asked| now.max(asked + COALESCE));
        self.due = Some(self.due.map_or(earliest, |due| due.min(earliest)));
    }

    /// A packet with which a key frame of this RTP timestamp can start has arrived: whoever waited has it. Who wants one
    /// after the first of them has missed the start, and is not served by the others.
    pub fn arrived(&mut self, timestamp: u32) {
        if self.newest.replace(timestamp) != Some(timestamp) {
            self.due = None;
        }
    }

    /// Whether to ask the publisher now; a yes counts as having asked.
    pub fn take_due(&mut self, now: Instant) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            self.due = Some(now + REPEAT);
            self.last_asked = Some(now);
        }
        due
    }

    /// When [`KeyFrameRequests::take_due`] will next say yes; `None` while nobody waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn the_first_wish_is_asked_for_at_once() {
        let now = Instant::now();
        let mut requests = KeyFrameRequests::default();
        assert!(!requests.take_due(now), "nobody waits");
        requests.want(now);
        assert!(requests.take_due(now));
        assert!(!requests.take_due(now), "asked once");
    }

    #[test]
    fn a_storm_of_wishes_asks_once_in_300_ms_and_loses_none() {
        let start = Instant::now();
        let mut requests = KeyFrameRequests::default();
        let mut asked = Vec::new();
        for ms in 0..1000 {
            requests.want(at(start, ms));
            if requests.take_due(at(start, ms)) {
                asked.push(ms);
                requests.arrived(ms as u32);
            }
        }
        assert_eq!(asked, [0, 300, 600, 900]);
    }

    #[test]
    fn a_wish_while_a_key_frame_is_under_way_is_fulfilled_by_it() {
        let start = Instant::now();
        let mut requests = KeyFrameRequests::default();
        requests.want(start);
        assert!(requests.take_due(start));
        requests.want(at(start, 20));
        requests.arrived(0);
        assert_eq!(requests.poll_timeout(), None);
    }

    #[test]
    fn a_wish_after_a_key_frame_has_started_is_a_new_one() {
        let start = Instant::now();
        let mut requests = KeyFrameRequests::default();
        requests.want(start);
        assert!(requests.take_due(start));
        requests.arrived(3000);
        requests.want(at(start, 40));
        requests.arrived(3000);
        assert_eq!(requests.poll_timeout(), Some(at(start, 300)), "the rest of the same key frame does not serve it");
        assert!(requests.take_due(at(start, 300)));
        requests.arrived(6000);
        assert_eq!(requests.poll_timeout(), None);
    }

    #[test]
    fn an_unanswered_request_is_made_again() {
        let start = Instant::now();
        let mut requests = KeyFrameRequests::default();
        requests.want(start);
        assert!(requests.take_due(start));
        assert_eq!(requests.poll_timeout(), Some(at(start, 600)));
        assert!(requests.take_due(at(start, 600)));
        assert_eq!(requests.poll_timeout(), Some(at(start, 1200)));
    }
}
