//! A held stick starts nothing.

use super::*;

#[test]
fn a_key_held_through_an_outage_does_not_restart_the_car_by_itself() {
    let mut story = Story::begin(neutral_first());
    story.holds(forward(20.0), 300);
    assert_eq!(story.throttle(), 1.0);
    story.pass(600);
    assert_eq!(story.throttle(), 0.0);
    story.holds(forward(20.0), 5000);
    assert_eq!(story.throttle(), 0.0);
    assert!(story.gate.awaits_neutral());
    assert_eq!(story.says(left(5.0)), Err(Refusal::StickHeld), "the wheels wait as well");
    assert_eq!(story.pass(50).says(release()), Ok(()));
    assert!(!story.gate.awaits_neutral());
    assert_eq!(story.pass(50).says(forward(20.0)), Ok(()));
    assert_eq!(story.throttle(), 1.0);
}

#[test]
fn without_neutral_first_a_held_key_goes_on_after_the_outage() {
    let mut story = Story::begin(config());
    story.holds(forward(20.0), 300);
    story.pass(600);
    assert_eq!(story.throttle(), 0.0);
    story.holds(forward(20.0), 50);
    assert_eq!(story.throttle(), 1.0);
}

#[test]
fn silence_after_an_outage_does_not_show_a_released_stick() {
    let mut story = Story::begin(neutral_first());
    story.holds(forward(20.0), 300);
    story.pass(60_000);
    assert_eq!(story.says(forward(20.0)), Err(Refusal::StickHeld));
}

#[test]
fn a_car_that_stood_with_the_stick_released_needs_no_extra_step() {
    let mut story = Story::begin(neutral_first());
    story.holds(forward(20.0), 300);
    story.holds(release(), 100);
    story.pass(3000);
    assert_eq!(story.parked(), Some(StopCause::Deadline));
    assert_eq!(story.says(forward(20.0)), Ok(()));
    assert_eq!(story.throttle(), 1.0);
}

#[test]
fn a_person_who_opens_the_page_and_presses_a_key_drives() {
    let mut story = Story::cold(neutral_first());
    story.input(Input::ActuatorReady(story.now));
    story.pass(3000).input(Input::LinkUp);
    story.pass(500);
    assert_eq!(story.says(forward(20.0)), Ok(()));
}

#[test]
fn a_key_held_through_a_restart_or_a_reconnection_starts_nothing() {
    let mut story = Story::cold(neutral_first());
    story.input(Input::ActuatorReady(story.now));
    story.pass(3000).input(Input::LinkUp);
    story.holds(forward(20.0), 5000);
    assert_eq!(story.throttle(), 0.0);
    story.holds(release(), 50);
    story.input(Input::LinkDown(StopCause::PeerDisconnected));
    story.pass(3000).input(Input::LinkUp);
    story.holds(forward(20.0), 5000);
    assert_eq!(story.throttle(), 0.0);
}

#[test]
fn a_neutral_command_from_before_the_stop_shows_nothing() {
    let mut story = Story::begin(neutral_first());
    story.says(forward(20.0)).unwrap();
    story.pass(50).input(Input::Stop(StopCause::Reload));
    assert_eq!(story.hear_late(release(), 20), Err(Refusal::BeforeStop));
    story.pass(50);
    assert_eq!(story.says(forward(20.0)), Err(Refusal::StickHeld));
}

#[test]
fn a_stick_pushed_while_latched_does_not_start_the_car_when_the_latch_is_lifted() {
    let mut story = Story::begin(neutral_first());
    story.says(Command::EStop(EStop::Latch)).unwrap();
    story.holds(forward(20.0), 200);
    story.pass(50);
    story.says(Command::EStop(EStop::Clear)).unwrap();
    story.holds(forward(20.0), 2000);
    assert_eq!(story.throttle(), 0.0);
}

#[test]
fn with_neutral_first_a_second_driver_shows_his_stick_released_first() {
    let mut story = Story::begin(neutral_first());
    story.hear(of("ann", forward(20.0))).unwrap();
    story.pass(2000);
    let _ = story.hear(of("bob", back(20.0)));
    assert_eq!(story.pass(50).hear(of("bob", back(20.0))), Err(Refusal::StickHeld));
    story.pass(50).hear(of("bob", release())).unwrap();
    assert_eq!(story.pass(50).hear(of("bob", back(20.0))), Ok(()));

    story.pass(2000);
    let _ = story.hear(of("cat", release()));
    assert_eq!(story.pass(50).hear(of("cat", forward(20.0))), Ok(()), "one neutral on taking the wheel is enough");
}

#[test]
fn a_stick_released_while_braking_counts() {
    let mut story = Story::begin(GateConfig { neutral_first: true, ..braking() });
    story.says(forward(20.0)).unwrap();
    story.pass(500);
    assert!(story.brakes());
    assert_eq!(story.pass(50).says(release()), Err(Refusal::Braking));
    story.pass(151);
    assert_eq!(story.says(forward(20.0)), Ok(()));
}
