//! How a car is stopped, and how far it may be driven.

use super::*;

#[test]
fn a_stop_brakes_a_car_that_drives_forward_for_the_configured_moment() {
    let mut story = Story::begin(braking());
    story.says(forward(20.0)).unwrap();
    story.says(left(10.0)).unwrap();
    story.pass(10).input(Input::LinkDown(StopCause::ChannelClosed));
    assert!(story.brakes());
    assert_eq!((story.throttle(), story.steering()), (0.0, 0.0));
    assert_eq!(story.gate.state(), State::Braking { cause: StopCause::ChannelClosed });
    assert_eq!(story.gate.poll_timeout(), Some((story.now + Duration::from_millis(200), Reason::BrakeOver)));
    story.input(Input::LinkUp);
    assert_eq!(story.pass(100).says(forward(20.0)), Err(Refusal::Braking));
    assert!(story.brakes());
    story.pass(100);
    assert!(!story.brakes());
    assert_eq!(story.parked(), Some(StopCause::ChannelClosed));
    assert_eq!(story.pass(1).says(forward(20.0)), Ok(()));
}

#[test]
fn the_brake_after_the_deadline_counts_from_the_deadline_however_late_anyone_looks() {
    let mut story = Story::begin(braking());
    story.says(forward(20.0)).unwrap();
    story.pass(690);
    assert!(story.brakes());
    assert_eq!(story.gate.poll_timeout(), Some((story.now + Duration::from_millis(10), Reason::BrakeOver)));
    story.pass(10);
    assert!(!story.brakes());

    story.pass(1).says(forward(20.0)).unwrap();
    story.pass(700);
    assert!(!story.brakes(), "neutral was due already");
}

#[test]
fn nothing_brakes_a_car_that_stands_or_reverses() {
    for command in [release(), back(20.0), left(10.0)] {
        let mut story = Story::begin(braking());
        story.says(command).unwrap();
        story.pass(500);
        assert!(!story.brakes(), "{command:?}");
        assert_eq!(story.parked(), Some(StopCause::Deadline));
    }
}

#[test]
fn there_is_no_brake_on_the_way_out_nor_without_an_actuator() {
    for cause in [StopCause::Shutdown, StopCause::Panic, StopCause::ActuatorFault] {
        let mut story = Story::begin(braking());
        story.says(forward(20.0)).unwrap();
        story.input(Input::Stop(cause));
        assert!(!story.brakes(), "{cause:?}");

        let mut story = Story::begin(braking());
        story.says(forward(20.0)).unwrap();
        story.input(Input::Stop(StopCause::EStop));
        assert!(story.brakes());
        story.input(Input::Stop(cause));
        assert!(!story.brakes(), "{cause:?} cuts a brake short");
    }
}

#[test]
fn an_emergency_stop_while_braking_ends_latched() {
    let mut story = Story::begin(braking());
    story.says(forward(20.0)).unwrap();
    story.pass(500);
    assert!(story.brakes());
    story.input(Input::Stop(StopCause::EStop));
    assert_eq!(story.gate.state(), State::Braking { cause: StopCause::EStop });
    story.pass(200);
    assert_eq!(story.latched(), Some((StopCause::EStop, Clear::Driver)));
}

#[test]
fn the_cap_holds_in_both_directions_and_leaves_less_alone() {
    let limits = LimitsConfig { throttle_cap: 0.4, ..unlimited() };
    let mut story = Story::begin(GateConfig { limits, ..config() });
    for (command, throttle) in [(forward(20.0), 0.4), (back(20.0), -0.4), (forward(5.0), 0.25), (back(8.0), -0.4)] {
        story.says(command).unwrap();
        assert_eq!(story.throttle(), throttle);
    }
}

#[test]
fn slewing_slows_the_way_away_from_neutral_and_never_the_way_back() {
    let limits = LimitsConfig { throttle_slew: Some(2.0), steering_slew: Some(10.0), ..unlimited() };
    let mut story = Story::begin(GateConfig { limits, ..config() });
    story.pass(60_000);
    story.says(forward(20.0)).unwrap();
    story.says(left(10.0)).unwrap();
    assert_eq!((story.throttle(), story.steering()), (0.0, 0.0), "a long rest earns no jump");
    let next = story.now + Duration::from_millis(20);
    assert_eq!(story.gate.poll_timeout(), Some((next, Reason::Slew)));
    story.pass(100);
    assert!((story.throttle() - 0.2).abs() < 1e-9);
    assert_eq!(story.steering(), 1.0);
    story.pass(100);
    assert!((story.throttle() - 0.4).abs() < 1e-9);
    story.says(forward(6.0)).unwrap();
    assert_eq!(story.throttle(), 0.3, "less throttle comes at once");
    story.says(back(20.0)).unwrap();
    assert_eq!(story.throttle(), 0.0, "and so does neutral on the way to reverse");
    story.pass(50);
    assert!((story.throttle() + 0.1).abs() < 1e-9);
    story.says(release()).unwrap();
    assert_eq!(story.throttle(), 0.0);
    assert_eq!(story.gate.poll_timeout().map(|(_, reason)| reason), Some(Reason::Deadline));
}

#[test]
fn a_slew_rate_does_not_delay_the_deadline() {
    let limits = LimitsConfig { throttle_slew: Some(0.1), ..unlimited() };
    let mut story = Story::begin(GateConfig { limits, ..config() });
    story.says(forward(20.0)).unwrap();
    for _ in 0..24 {
        story.pass(20);
        assert!(story.throttle() > 0.0);
        let (at, _) = story.gate.poll_timeout().unwrap();
        assert!(at > story.now, "a timeout in the past would make the thread spin");
    }
    assert_eq!(story.gate.poll_timeout(), Some((story.now + Duration::from_millis(20), Reason::Deadline)));
    story.pass(20);
    assert_eq!(story.throttle(), 0.0);
}

#[test]
fn a_reload_brings_the_new_limits() {
    let mut story = Story::begin(config());
    story.says(forward(20.0)).unwrap();
    let limits = LimitsConfig { throttle_cap: 0.5, ..unlimited() };
    let scale = Scale { throttle_steps: 40, ..SCALE };
    story.input(Input::Reload(GateConfig { deadline: Duration::from_millis(200), limits, ..config() }, scale));
    assert_eq!(story.parked(), Some(StopCause::Reload));
    story.pass(1).says(forward(10.0)).unwrap();
    assert_eq!(story.throttle(), 0.25);
    story.says(forward(40.0)).unwrap();
    assert_eq!(story.throttle(), 0.5);
    story.pass(200);
    assert_eq!(story.throttle(), 0.0);
}
