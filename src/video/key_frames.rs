//! When a key frame is forced: requests are coalesced, and none is lost.
//!
//! Requests are a counter that any thread may raise without waiting. Each frame about to enter the encoder asks
//! [`KeyFrames::should_force`], so no timer is needed: a request that falls into the quiet window is served by the first
//! frame after it.
//!
//! ```text
//!            request                 frame, window over
//!   answered ───────▶ pending ──────────────────────────▶ forced, pending still
//!      ▲                 │                                        │
//!      └─────────────────┴────────── an IDR comes out ◀───────────┘
//! ```
//!
//! A forced frame alone does not answer: an encoder may skip the frame or lose the order, and then the request is forced
//! again when the window is over. An IDR that comes out answers every request made up to that moment, whoever caused
//! it: it is sent after the peer asked, so the peer can start at it. If it is lost on the way, the peer asks again.

use std::time::{Duration, Instant};

/// The shortest time between two forced key frames: a storm of PLIs must not turn the stream into IDRs.
pub const QUIET_WINDOW: Duration = Duration::from_millis(300);

/// Decides which frames are forced to be key frames.
#[derive(Debug, Default)]
pub struct KeyFrames {
    answered: u64,
    // Only forced key frames open the window. One that came by itself (the first, or the GOP's) went out before the
    // peer asked, perhaps before it was connected: it must not delay the answer.
    last_forced: Option<Instant>,
}

impl KeyFrames {
    /// True when the frame that enters the encoder at `now` is to be forced; `requests` is the counter's value.
    pub fn should_force(&mut self, requests: u64, now: Instant) -> bool {
        if requests == self.answered {
            return false;
        }
        if self.last_forced.is_some_and(|last| now.saturating_duration_since(last) < QUIET_WINDOW) {
            return false;
        }
        self.last_forced = Some(now);
        true
    }

    /// The next request is not held back, whenever the last key frame was forced.
    pub fn end_quiet_window(&mut self) {
        self.last_forced = None;
    }

    /// An IDR has come out of the encoder, forced or not; `requests` is the counter's value now.
    pub fn idr_came_out(&mut self, requests: u64) {
        self.answered = requests;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: Duration = Duration::from_millis(33);

    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin; everything after it is virtual")]
    fn origin() -> Instant {
        Instant::now()
    }

    /// An encoder that gives out each frame before the next one enters.
    struct Encoder {
        keys: KeyFrames,
        requests: u64,
        now: Instant,
        obeys: bool,
    }

    impl Encoder {
        fn new() -> Self {
            Self { keys: KeyFrames::default(), requests: 0, now: origin(), obeys: true }
        }

        fn request(&mut self) {
            self.requests += 1;
        }

        /// One frame interval goes by and a frame is encoded. True when it was forced.
        fn frame(&mut self) -> bool {
            self.now += FRAME;
            let forced = self.keys.should_force(self.requests, self.now);
            if forced && self.obeys {
                self.keys.idr_came_out(self.requests);
            }
            forced
        }

        fn forced_among(&mut self, frames: usize) -> Vec<usize> {
            (0..frames).filter(|_| self.frame()).collect()
        }
    }

    #[test]
    fn nothing_is_forced_unasked() {
        assert_eq!(Encoder::new().forced_among(100), [0_usize; 0]);
    }

    #[test]
    fn a_request_forces_the_very_next_frame_and_only_that() {
        let mut encoder = Encoder::new();
        encoder.request();
        assert_eq!(encoder.forced_among(100), [0]);
    }

    #[test]
    fn a_burst_of_requests_is_one_key_frame() {
        let mut encoder = Encoder::new();
        (0..50).for_each(|_| encoder.request());
        assert_eq!(encoder.forced_among(100), [0]);
    }

    #[test]
    fn a_request_in_the_quiet_window_is_served_by_the_first_frame_after_it() {
        let mut encoder = Encoder::new();
        encoder.request();
        assert!(encoder.frame());
        encoder.request();
        assert_eq!(
            encoder.forced_among(30),
            [9],
            "frame 10 after the forced one, 330 ms later, is the first past 300 ms"
        );
    }

    #[test]
    fn a_peer_that_never_stops_asking_gets_one_key_frame_a_window() {
        let mut encoder = Encoder::new();
        let mut forced = Vec::new();
        for frame in 0..40 {
            encoder.request();
            if encoder.frame() {
                forced.push(frame);
            }
        }
        assert_eq!(forced, [0, 10, 20, 30]);
    }

    #[test]
    fn a_request_that_may_not_wait_is_served_within_the_quiet_window() {
        let mut encoder = Encoder::new();
        encoder.request();
        assert!(encoder.frame());
        encoder.request();
        assert!(!encoder.frame());
        encoder.keys.end_quiet_window();
        assert_eq!(encoder.forced_among(20), [0]);
    }

    #[test]
    fn an_idr_that_comes_by_itself_answers_what_was_asked_before_it_and_nothing_after() {
        let mut encoder = Encoder::new();
        encoder.request();
        encoder.keys.idr_came_out(encoder.requests);
        assert_eq!(encoder.forced_among(20), [0_usize; 0]);
        encoder.request();
        assert!(encoder.frame());
    }

    #[test]
    fn an_idr_that_came_by_itself_does_not_delay_a_forced_one() {
        let mut encoder = Encoder::new();
        encoder.keys.idr_came_out(encoder.requests);
        encoder.request();
        assert!(encoder.frame());
    }

    #[test]
    fn a_request_made_while_the_forced_frame_is_being_encoded_is_answered_by_it() {
        let mut encoder = Encoder::new();
        encoder.obeys = false;
        encoder.request();
        assert!(encoder.frame());
        encoder.request();
        encoder.keys.idr_came_out(encoder.requests);
        assert_eq!(encoder.forced_among(30), [0_usize; 0]);
    }

    #[test]
    fn an_order_the_encoder_lost_is_given_again_after_each_window() {
        let mut encoder = Encoder::new();
        encoder.obeys = false;
        encoder.request();
        assert_eq!(encoder.forced_among(25), [0, 10, 20]);
    }

    proptest! {
        #[test]
        fn whatever_is_asked_when_key_frames_stay_apart_and_each_request_is_answered_in_time(
            asked in proptest::collection::vec(any::<bool>(), 1..300),
        ) {
            let mut encoder = Encoder::new();
            let (mut last_forced, mut waiting_since) = (None::<Instant>, None::<Instant>);
            for asks in asked {
                if asks {
                    encoder.request();
                    waiting_since.get_or_insert(encoder.now);
                }
                if encoder.frame() {
                    prop_assert!(last_forced.is_none_or(|last| encoder.now - last >= QUIET_WINDOW));
                    prop_assert!(waiting_since.is_some());
                    (last_forced, waiting_since) = (Some(encoder.now), None);
                }
                prop_assert!(waiting_since.is_none_or(|since| encoder.now - since <= QUIET_WINDOW + FRAME));
            }
        }
    }
}
