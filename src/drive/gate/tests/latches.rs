//! What keeps the gate shut until it is lifted, and which cause is told.

use super::*;

#[test]
fn an_emergency_stop_survives_reconnections_and_is_lifted_only_by_a_clear() {
    let mut story = Story::begin(config());
    story.says(forward(20.0)).unwrap();
    story.pass(50).says(Command::EStop(EStop::Latch)).unwrap();
    assert_eq!(story.throttle(), 0.0);
    assert_eq!(story.latched(), Some((StopCause::EStop, Clear::Driver)));
    for cause in [StopCause::ChannelClosed, StopCause::PeerDisconnected] {
        story.pass(1000).input(Input::LinkDown(cause));
        story.pass(1000).input(Input::LinkUp);
        assert_eq!(story.pass(1000).says(forward(20.0)), Err(Refusal::Latched));
        assert_eq!(story.latched(), Some((StopCause::EStop, Clear::Driver)));
    }
    story.input(Input::Reload(config(), SCALE));
    assert_eq!(story.latched(), Some((StopCause::EStop, Clear::Driver)));
    story.says(Command::EStop(EStop::Clear)).unwrap();
    assert_eq!(story.parked(), Some(StopCause::EStop));
    assert_eq!(story.says(forward(20.0)), Err(Refusal::BeforeStop), "not in the same breath as the clear");
    assert_eq!(story.pass(1).says(forward(20.0)), Ok(()));
}

#[test]
fn a_clear_that_arrived_before_the_emergency_stop_lifts_nothing() {
    let mut story = Story::begin(config());
    story.pass(50).input(Input::Stop(StopCause::EStop));
    assert_eq!(story.hear_late(Command::EStop(EStop::Clear), 10), Err(Refusal::BeforeStop));
    assert_eq!(story.latched(), Some((StopCause::EStop, Clear::Driver)));
}

#[test]
fn a_clear_that_may_have_waited_through_a_stall_lifts_nothing() {
    let mut story = Story::begin(config());
    story.pass(50).says(Command::EStop(EStop::Latch)).unwrap();
    story.pass(2000).input(Input::Stalled);
    assert_eq!(story.pass(50).says(Command::EStop(EStop::Clear)), Err(Refusal::BeforeStop));
    assert_eq!(story.latched(), Some((StopCause::EStop, Clear::Driver)));
    assert_eq!(story.pass(500).says(Command::EStop(EStop::Clear)), Ok(()));
}

#[test]
fn anyone_may_press_the_emergency_stop_even_out_of_order() {
    let mut story = Story::begin(config());
    story.hear(Message { seq: Some(9), ..of("ann", forward(20.0)) }).unwrap();
    story.hear(Message { seq: Some(1), ..of("ann", Command::EStop(EStop::Latch)) }).unwrap();
    assert_eq!(story.latched(), Some((StopCause::EStop, Clear::Driver)));
    assert_eq!(
        story.pass(1).hear(Message { seq: Some(2), ..of("ann", Command::EStop(EStop::Clear)) }),
        Err(Refusal::OutOfOrder),
        "an old clear comes late"
    );
    assert_eq!(story.hear(of("bob", Command::EStop(EStop::Clear))), Err(Refusal::OtherDriver));
    assert_eq!(story.pass(500).hear(of("bob", Command::EStop(EStop::Clear))), Ok(()));
    story.hear(of("eve", Command::EStop(EStop::Latch))).unwrap();
    assert_eq!(story.latched(), Some((StopCause::EStop, Clear::Driver)));
}

#[test]
fn a_clear_from_before_an_emergency_stop_that_overtook_it_lifts_nothing() {
    let mut story = Story::begin(config());
    let numbered = |seq, command| Message { seq: Some(seq), ..of("ann", command) };
    story.hear(numbered(40, forward(20.0))).unwrap();
    story.pass(50).hear(numbered(42, Command::EStop(EStop::Latch))).unwrap();
    assert_eq!(story.pass(50).hear(numbered(41, Command::EStop(EStop::Clear))), Err(Refusal::OutOfOrder));
    assert_eq!(story.latched(), Some((StopCause::EStop, Clear::Driver)));
    story.hear(numbered(39, Command::EStop(EStop::Latch))).unwrap();
    assert_eq!(story.hear(numbered(41, Command::EStop(EStop::Clear))), Err(Refusal::OutOfOrder));
    assert_eq!(story.pass(50).hear(numbered(43, Command::EStop(EStop::Clear))), Ok(()));
}

#[test]
fn nor_does_it_when_whoever_pressed_it_has_not_driven() {
    for first in [None, Some("ann")] {
        let mut story = Story::begin(config());
        if let Some(driver) = first {
            story.hear(of(driver, forward(20.0))).unwrap();
            story.pass(600);
        }
        let mut numbered = |seq, command| story.pass(50).hear(Message { seq: Some(seq), ..of("bob", command) });
        numbered(42, Command::EStop(EStop::Latch)).unwrap();
        numbered(40, Command::EStop(EStop::Latch)).unwrap();
        assert_eq!(numbered(41, Command::EStop(EStop::Clear)), Err(Refusal::OutOfOrder));
        assert_eq!(story.latched(), Some((StopCause::EStop, Clear::Driver)));
        let clear = |seq| Message { seq: Some(seq), ..of("bob", Command::EStop(EStop::Clear)) };
        assert_eq!(story.hear(clear(43)), Ok(()));
    }
}

#[test]
fn an_anonymous_driver_may_clear_what_his_last_page_pressed() {
    let mut story = Story::begin(config());
    story.hear(Message { seq: Some(900), ..anonymous(Command::EStop(EStop::Latch)) }).unwrap();
    story.pass(50);
    assert_eq!(story.hear(Message { seq: Some(0), ..anonymous(Command::EStop(EStop::Clear)) }), Ok(()));
}

#[test]
fn a_failed_actuator_latches_until_it_answers() {
    let mut story = Story::begin(config());
    story.says(forward(20.0)).unwrap();
    story.input(Input::Stop(StopCause::ActuatorFault));
    assert_eq!(story.throttle(), 0.0);
    assert_eq!(story.latched(), Some((StopCause::ActuatorFault, Clear::Actuator)));
    assert_eq!(story.pass(50).says(forward(20.0)), Err(Refusal::Latched));
    assert_eq!(story.says(Command::EStop(EStop::Clear)), Ok(()), "nothing to clear");
    assert_eq!(story.pass(50).says(forward(20.0)), Err(Refusal::Latched));
    story.input(Input::ActuatorReady(story.now));
    assert_eq!(story.parked(), Some(StopCause::ActuatorFault));
    assert_eq!(story.pass(1).says(forward(20.0)), Ok(()));
}

#[test]
fn the_end_is_final() {
    for cause in [StopCause::Shutdown, StopCause::Panic] {
        let mut story = Story::begin(config());
        story.says(forward(20.0)).unwrap();
        story.input(Input::Stop(cause));
        story.input(Input::ActuatorReady(story.now));
        story.pass(50).says(Command::EStop(EStop::Clear)).unwrap();
        assert_eq!(story.pass(50).says(forward(20.0)), Err(Refusal::Latched));
        assert_eq!(story.latched(), Some((cause, Clear::Never)));
    }
}

#[test]
fn the_worst_cause_is_told() {
    assert!(StopCause::ALL.is_sorted());
    let mut story = Story::begin(config());
    story.says(forward(20.0)).unwrap();
    story.input(Input::LinkDown(StopCause::ChannelClosed));
    story.input(Input::LinkDown(StopCause::PeerDisconnected));
    story.input(Input::LinkDown(StopCause::ChannelClosed));
    assert_eq!(story.parked(), Some(StopCause::PeerDisconnected));
    story.input(Input::Stop(StopCause::ActuatorFault));
    story.input(Input::Stop(StopCause::EStop));
    assert_eq!(story.latched(), Some((StopCause::EStop, Clear::Driver)));
    story.pass(1).says(Command::EStop(EStop::Clear)).unwrap();
    assert_eq!(story.latched(), Some((StopCause::ActuatorFault, Clear::Actuator)));
    story.input(Input::ActuatorReady(story.now));
    story.input(Input::LinkUp);
    story.pass(1).says(forward(20.0)).unwrap();
    story.pass(500);
    assert_eq!(story.parked(), Some(StopCause::Deadline), "arming begins a new account");
}
