//! The hub says, in a driver's name, that he is gone or out of reach.

use super::*;

#[test]
fn a_key_held_through_an_outage_the_hub_noticed_starts_nothing() {
    let mut story = Story::begin(neutral_first());
    story.holds(forward(20.0), 300);
    assert_eq!(story.throttle(), 1.0);
    story.pass(3000);
    assert_eq!(story.parked(), Some(StopCause::Deadline));
    assert_eq!(story.says(Command::Gone), Ok(()));
    assert_eq!(story.pass(1000).says(forward(20.0)), Err(Refusal::StickHeld));
    story.holds(forward(20.0), 2000);
    assert_eq!(story.throttle(), 0.0);
    assert!(story.gate.awaits_neutral());
    assert_eq!(story.pass(50).says(release()), Ok(()));
    assert_eq!(story.pass(50).says(forward(20.0)), Ok(()));
    assert_eq!(story.throttle(), 1.0);
}

#[test]
fn a_driver_who_is_gone_is_stopped_at_once_and_lets_go_before_he_drives_again() {
    let mut story = Story::begin(neutral_first());
    story.holds(forward(20.0), 300);
    assert_eq!(story.pass(20).says(Command::Gone), Ok(()));
    assert_eq!(story.throttle(), 0.0);
    assert_eq!(story.parked(), Some(StopCause::PeerDisconnected));
    assert_eq!(story.pass(20).says(Command::Gone), Ok(()), "the hub says it once an axis");
    assert_eq!(story.pass(50).says(forward(20.0)), Err(Refusal::StickHeld));
    assert_eq!(story.says(release()), Ok(()));
    assert_eq!(story.pass(50).says(forward(20.0)), Ok(()));
}

#[test]
fn a_driver_whose_stick_was_released_drives_again_without_an_extra_step() {
    let mut story = Story::begin(neutral_first());
    story.holds(release(), 300);
    story.holds(left(5.0), 100);
    assert_eq!(story.pass(20).says(Command::Gone), Ok(()));
    assert_eq!(story.steering(), 0.0);
    assert_eq!(story.pass(1000).says(forward(20.0)), Ok(()));
    assert_eq!(story.throttle(), 1.0);
}

#[test]
fn who_is_gone_says_nothing_of_a_stick_that_was_not_heard_of_and_starts_nothing() {
    let mut story = Story::cold(neutral_first());
    story.input(Input::ActuatorReady(story.now));
    story.pass(3000).input(Input::LinkUp);
    assert_eq!(story.pass(20).says(Command::Gone), Ok(()));
    assert!(!story.gate.state().moves());
    assert_eq!(story.pass(20).says(forward(20.0)), Err(Refusal::StickHeld), "it may have been held through a restart");
}

#[test]
fn only_the_driver_can_be_gone_while_he_drives_and_only_in_order() {
    let mut story = Story::begin(config());
    let numbered = |seq, command| Message { seq: Some(seq), ..of("ann", command) };
    story.hear(numbered(17, forward(20.0))).unwrap();
    assert_eq!(story.pass(20).hear(of("bob", Command::Gone)), Err(Refusal::OtherDriver));
    assert_eq!(story.hear(numbered(17, Command::Gone)), Err(Refusal::OutOfOrder));
    assert_eq!(story.throttle(), 1.0);
    assert_eq!(story.hear(numbered(18, Command::Gone)), Ok(()));
    assert_eq!(story.throttle(), 0.0);
    assert_eq!(story.pass(20).hear(numbered(18, forward(20.0))), Err(Refusal::OutOfOrder));
    assert_eq!(story.hear(numbered(19, forward(20.0))), Ok(()));
    story.pass(500);
    assert_eq!(story.hear(of("bob", Command::Gone)), Ok(()), "nobody drives");
    assert_eq!(story.pass(1).hear(numbered(20, forward(20.0))), Ok(()), "and it does not take the wheel");
}
