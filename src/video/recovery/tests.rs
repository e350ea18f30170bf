use proptest::prelude::*;

use super::*;
use crate::video::encoder::EncoderError;

const STALL: Duration = Duration::from_secs(2);
const FRAME: Duration = Duration::from_millis(33);
const ENDED: VideoError = VideoError::Ended { key: "camera.pipeline" };

#[expect(clippy::disallowed_methods, reason = "an arbitrary origin; everything after it is virtual")]
fn origin() -> Instant {
    Instant::now()
}

fn camera(fault: CameraFault) -> VideoError {
    VideoError::Camera { key: "camera.device", problem: "it".into(), fault }
}

/// A camera on virtual time.
struct Story {
    recovery: Recovery,
    now: Instant,
}

impl Story {
    fn new() -> Self {
        Self { recovery: Recovery::new(STALL), now: origin() }
    }

    fn plays_for(&mut self, time: Duration) {
        self.recovery.opened(self.now);
        let end = self.now + time;
        while self.now < end {
            self.now += FRAME;
            self.recovery.picture(self.now);
            assert!(!self.recovery.is_stalled(self.now));
        }
    }

    /// Goes on at the next attempt; how long that was.
    fn lost_by(&mut self, error: &VideoError) -> Duration {
        let Verdict::RetryAt(at) = self.recovery.lost(error, self.now) else { panic!("given up") };
        let waited = at - self.now;
        self.now = at;
        waited
    }

    /// The time from now on after which it is found stalled, looking exactly when told to.
    fn stalls_after(&mut self) -> Duration {
        let from = self.now;
        for _ in 0..10 {
            self.now = self.recovery.deadline().expect("a pipeline is open");
            if self.recovery.is_stalled(self.now) {
                return self.now - from;
            }
        }
        panic!("it never stalls");
    }
}

#[test]
fn a_camera_that_played_well_is_tried_for_at_once_then_ever_more_seldom() {
    let mut story = Story::new();
    story.plays_for(HEALTHY_AFTER * 2);
    let delays: Vec<_> = (0..8).map(|_| story.lost_by(&ENDED).as_millis()).collect();
    assert_eq!(delays, [0, 250, 500, 1000, 2000, 4000, 4000, 4000]);
}

#[test]
fn only_a_camera_that_plays_for_a_while_starts_the_series_anew() {
    let mut story = Story::new();
    for expected in [0, 250, 500] {
        story.plays_for(HEALTHY_AFTER / 2);
        assert_eq!(story.lost_by(&ENDED).as_millis(), expected, "it dies soon after each start");
    }
    story.plays_for(HEALTHY_AFTER + FRAME);
    assert_eq!(story.lost_by(&ENDED), Duration::ZERO);
}

#[test]
fn a_device_that_is_not_there_is_looked_for_at_an_even_pace_for_ever() {
    let mut story = Story::new();
    for fault in [CameraFault::Lost, CameraFault::Missing] {
        assert!((0..10_000).all(|_| story.lost_by(&camera(fault)) == MISSING_RETRY), "{fault:?}");
    }
    story.plays_for(FRAME);
    assert_eq!(story.lost_by(&camera(CameraFault::Other)), Duration::ZERO, "and its absence is no fault of its");
}

#[test]
fn a_playing_camera_is_lost_after_the_stall_time_and_a_starting_one_has_longer() {
    let mut story = Story::new();
    story.recovery.opened(story.now);
    assert_eq!(story.stalls_after(), START_PATIENCE);
    story.plays_for(FRAME * 3);
    assert_eq!(story.stalls_after(), STALL);
}

#[test]
fn looking_again_at_the_same_last_picture_changes_nothing() {
    let mut story = Story::new();
    story.plays_for(FRAME);
    let last = story.now;
    story.now += STALL / 2;
    story.recovery.picture(last);
    assert_eq!(story.recovery.deadline(), Some(last + STALL));
}

#[test]
fn a_process_that_was_stopped_itself_blames_the_camera_only_after_another_term() {
    let mut story = Story::new();
    story.plays_for(FRAME);
    let last = story.now;
    story.now += Duration::from_secs(3600);
    assert!(!story.recovery.is_stalled(story.now));
    story.recovery.picture(last);
    assert_eq!(story.stalls_after(), STALL);
}

#[test]
fn what_never_worked_and_never_will_is_given_up_but_not_what_has_worked() {
    let hopeless = [
        camera(CameraFault::NoElement),
        camera(CameraFault::NoMode),
        VideoError::Encoder(EncoderError::Unknown { name: "x265enc".into() }),
        VideoError::GStreamer { problem: "not there".into() },
    ];
    for error in hopeless {
        let mut story = Story::new();
        assert_eq!(story.recovery.lost(&error, story.now), Verdict::GiveUp, "{error}");
        story.plays_for(FRAME);
        assert!(matches!(story.recovery.lost(&error, story.now), Verdict::RetryAt(_)), "{error}");
    }
    for fault in [CameraFault::Missing, CameraFault::Busy, CameraFault::Other] {
        let mut story = Story::new();
        assert!(matches!(story.recovery.lost(&camera(fault), story.now), Verdict::RetryAt(_)), "{fault:?}");
    }
}

#[test]
fn one_pipeline_that_hangs_is_left_behind_the_next_is_not() {
    let within = Duration::from_secs(1);
    let hangs = [VideoError::StopTimedOut { within }, VideoError::StartTimedOut { within }];
    for (first, second) in [(&hangs[0], &hangs[0]), (&hangs[0], &hangs[1]), (&hangs[1], &hangs[0])] {
        let mut story = Story::new();
        story.lost_by(first);
        story.plays_for(HEALTHY_AFTER);
        story.lost_by(&ENDED);
        assert_eq!(story.recovery.lost(second, story.now), Verdict::GiveUp, "{first}, then {second}");
    }
}

#[test]
fn each_loss_has_its_word() {
    let second = Duration::from_secs(1);
    let cases = [
        (camera(CameraFault::Missing), "missing"),
        (camera(CameraFault::Busy), "busy"),
        (camera(CameraFault::Other), "camera"),
        (camera(CameraFault::Syntax), "configuration"),
        (ENDED, "ended"),
        (VideoError::Stalled { within: second }, "stalled"),
        (VideoError::StartTimedOut { within: second }, "stalled"),
        (VideoError::EncoderFailed { problem: "it".into() }, "encoder"),
    ];
    for (error, word) in cases {
        assert_eq!(LossCause::of(&error).name(), word, "{error}");
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_next_attempt_is_near(
        steps in proptest::collection::vec((0_u64..10_000, 0_usize..4), 1..200),
    ) {
        let errors = [ENDED, camera(CameraFault::Missing), camera(CameraFault::Busy), camera(CameraFault::Other)];
        let mut story = Story::new();
        for (played_ms, error) in steps {
            if played_ms > 5_000 {
                story.plays_for(Duration::from_millis(played_ms));
            }
            prop_assert!(story.lost_by(&errors[error]) <= LONGEST_DELAY);
        }
    }
}
