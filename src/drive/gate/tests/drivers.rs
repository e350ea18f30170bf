//! One driver at a time, and his commands in order.

use super::*;

#[test]
fn a_second_driver_takes_over_only_when_the_first_is_silent() {
    let mut story = Story::begin(config());
    story.hear(of("ann", forward(20.0))).unwrap();
    assert_eq!(story.pass(499).hear(of("bob", back(20.0))), Err(Refusal::OtherDriver));
    assert_eq!(story.hear(anonymous(back(20.0))), Err(Refusal::OtherDriver));
    assert_eq!(story.throttle(), 1.0);
    assert_eq!(story.pass(1).hear(of("bob", back(20.0))), Err(Refusal::BeforeStop), "a change of driver is a stop");
    assert_eq!(story.parked(), Some(StopCause::DriverChanged));
    assert_eq!(story.pass(50).hear(of("ann", forward(20.0))), Err(Refusal::OtherDriver));
    assert_eq!(story.hear(of("bob", back(20.0))), Ok(()));
    assert_eq!(story.throttle(), -1.0);
}

#[test]
fn a_second_driver_takes_over_when_the_first_is_gone_with_the_link() {
    let mut story = Story::begin(config());
    story.hear(of("ann", forward(20.0))).unwrap();
    story.input(Input::LinkDown(StopCause::ChannelClosed));
    story.input(Input::LinkUp);
    assert_eq!(story.pass(1).hear(of("bob", back(20.0))), Err(Refusal::BeforeStop));
    assert_eq!(story.pass(1).hear(of("bob", back(20.0))), Ok(()));
}

#[test]
fn only_the_driver_sets_the_top_speed_while_he_drives() {
    let mut story = Story::begin(config());
    story.hear(of("ann", forward(20.0))).unwrap();
    assert_eq!(story.hear(of("ann", Command::MaxSpeed(420))), Ok(()));
    assert_eq!(story.hear(of("bob", Command::MaxSpeed(420))), Err(Refusal::OtherDriver));
    assert_eq!(story.pass(500).hear(of("bob", Command::MaxSpeed(420))), Ok(()));
    assert_eq!(story.pass(1).hear(of("ann", forward(20.0))), Ok(()), "setting it does not take the wheel");
}

#[test]
fn reordered_and_repeated_commands_of_a_session_are_dropped() {
    let mut story = Story::begin(config());
    let mut numbered = |seq, command| story.pass(10).hear(Message { seq: Some(seq), ..of("ann", command) });
    assert_eq!(numbered(5, forward(5.0)), Ok(()));
    assert_eq!(numbered(5, forward(20.0)), Err(Refusal::OutOfOrder));
    assert_eq!(numbered(4, forward(20.0)), Err(Refusal::OutOfOrder));
    assert_eq!(numbered(6, Command::MaxSpeed(420)), Ok(()));
    assert_eq!(numbered(6, left(5.0)), Err(Refusal::OutOfOrder));
    assert_eq!(numbered(900, release()), Ok(()));
    assert_eq!(numbered(7, forward(20.0)), Err(Refusal::OutOfOrder), "and they do not keep it alive either");
    assert_eq!(story.hear(of("ann", forward(4.0))), Ok(()), "a message without a number has no order to keep");
    story.pass(10_000);
    assert_eq!(story.hear(Message { seq: Some(900), ..of("ann", forward(20.0)) }), Err(Refusal::OutOfOrder));
}

#[test]
fn the_anonymous_drivers_next_page_may_count_from_zero_again() {
    let mut story = Story::begin(config());
    story.hear(Message { seq: Some(900), ..anonymous(forward(20.0)) }).unwrap();
    assert_eq!(story.hear(Message { seq: Some(0), ..anonymous(forward(20.0)) }), Err(Refusal::OutOfOrder));
    story.pass(501);
    assert_eq!(story.hear(Message { seq: Some(0), ..anonymous(forward(20.0)) }), Ok(()));
    story.input(Input::LinkDown(StopCause::ChannelClosed));
    story.input(Input::LinkUp);
    assert_eq!(story.pass(1).hear(Message { seq: Some(0), ..anonymous(forward(20.0)) }), Ok(()));
}
