use super::super::actuator::Pulses;
use super::super::command::{Motion, Session, Steering, Steps, Throttle};
use super::super::event::Counters;
use super::super::gate::State;
use super::super::settings::Pulse;
use super::*;

const PEER: PeerId = PeerId(7);

#[expect(clippy::disallowed_methods, reason = "tests need some moment to begin at")]
fn now() -> Instant {
    Instant::now()
}

fn inbox() -> Inbox {
    let pulse = Pulse::new(375).unwrap();
    Inbox::new(DriveSnapshot {
        state: State::Parked { cause: StopCause::Start },
        awaits_neutral: false,
        throttle: 0.0,
        steering: 0.0,
        pulses: Pulses { throttle: pulse, steering: pulse },
        max_speed: pulse,
        counters: Counters::default(),
        ticked: now(),
    })
}

fn message(command: Command) -> Message {
    Message { command, seq: None, session: None }
}

fn forward(steps: u32) -> Message {
    message(Command::Motion(Motion::Throttle(Throttle::Forward(Steps::new(f64::from(steps)).unwrap()))))
}

fn taken(inbox: &Inbox) -> Batch {
    let mut batch = Batch::new();
    assert!(inbox.try_take(&mut batch));
    batch
}

fn stops(batch: &Batch) -> Vec<StopCause> {
    batch.stops.iter().collect()
}

#[test]
fn many_messages_of_one_axis_do_not_cost_the_other_its_stop() {
    let (inbox, at) = (inbox(), now());
    let stop = message(Command::Motion(Motion::Throttle(Throttle::Stop)));
    let left = message(Command::Motion(Motion::Steering(Steering::Left(Steps::new(1.0).unwrap()))));
    let others = Message { session: Session::new("eve"), ..forward(20) };
    inbox.message(forward(20), at);
    inbox.message(stop, at);
    for _ in 0..1000 {
        inbox.message(left, at);
        inbox.message(others, at);
    }
    let batch = taken(&inbox);
    let of_the_driver = batch.messages.iter().map(|(message, _)| *message).find(|message| message.session.is_none());
    assert_eq!(of_the_driver, Some(stop));
    assert_eq!(batch.messages.len() + batch.superseded as usize, 2002);
}

#[test]
fn of_many_messages_the_newest_are_kept_and_the_rest_counted() {
    let (inbox, at) = (inbox(), now());
    for steps in 1..=1000 {
        inbox.message(forward(steps), at);
    }
    let batch = taken(&inbox);
    let kept: Vec<_> = batch.messages.iter().map(|(message, _)| *message).collect();
    assert_eq!(kept, (969..=1000).map(forward).collect::<Vec<_>>());
    assert_eq!(batch.superseded, 968);
    assert!(taken(&inbox).messages.is_empty());
}

#[test]
fn an_emergency_stop_is_not_lost_in_a_flood() {
    let (inbox, at) = (inbox(), now());
    let latch = message(Command::EStop(EStop::Latch));
    inbox.message(latch, at);
    for steps in 1..=1000 {
        inbox.message(forward(steps), at);
    }
    assert_eq!(taken(&inbox).messages.front(), Some(&(latch, at)), "the others make each other void");

    inbox.message(latch, at);
    for driver in 1..=1000 {
        inbox.message(Message { session: Session::new(&driver.to_string()), ..forward(1) }, at);
    }
    assert_eq!(stops(&taken(&inbox)), [StopCause::EStop]);
}

#[test]
fn what_a_driver_held_when_he_was_lost_is_not_made_void_by_what_he_holds_afterwards() {
    let (inbox, at) = (inbox(), now());
    let gone = message(Command::Gone);
    inbox.message(forward(1), at);
    inbox.message(gone, at);
    for steps in 1..=1000 {
        inbox.message(forward(steps), at);
    }
    let kept: Vec<_> = taken(&inbox).messages.iter().map(|(message, _)| *message).collect();
    assert_eq!(kept[..3], [forward(1), gone, forward(971)]);
}

#[test]
fn every_stop_is_taken_once_and_none_is_lost() {
    let inbox = inbox();
    for cause in StopCause::ALL {
        inbox.stop(cause);
        inbox.stop(cause);
    }
    let batch = taken(&inbox);
    assert_eq!(stops(&batch), StopCause::ALL);
    assert_eq!(batch.ticket, 24);
    assert_eq!(stops(&taken(&inbox)), []);
}

#[test]
fn a_stop_is_taken_though_somebody_holds_the_lock() {
    let inbox = inbox();
    let held = inbox.pending();
    let ticket = inbox.stop(StopCause::Panic);
    let mut batch = Batch::new();
    assert!(!inbox.try_take(&mut batch));
    inbox.take_stops(&mut batch);
    assert_eq!((stops(&batch), batch.ticket), (vec![StopCause::Panic], ticket));
    drop(held);
    assert!(inbox.try_take(&mut batch));
}

#[test]
fn a_link_that_fell_and_came_back_between_two_looks_leaves_both() {
    let inbox = inbox();
    inbox.link(PEER, LinkEvent::PeerConnected);
    inbox.link(PEER, LinkEvent::ChannelOpen);
    let batch = taken(&inbox);
    assert!(batch.link_up && batch.stops.is_empty());
    inbox.link(PEER, LinkEvent::ChannelClosed);
    inbox.link(PEER, LinkEvent::ChannelOpen);
    let batch = taken(&inbox);
    assert!(batch.link_up);
    assert_eq!(stops(&batch), [StopCause::ChannelClosed]);
}

#[test]
fn a_stop_is_confirmed_by_a_neutral_that_was_written_after_it() {
    let inbox = inbox();
    let first = inbox.stop(StopCause::Reload);
    let batch = taken(&inbox);
    let second = inbox.stop(StopCause::Panic);
    assert!(inbox.try_publish(inbox.snapshot(), batch.ticket));
    assert!(inbox.wait_for_neutral(first, Duration::ZERO));
    assert!(!inbox.wait_for_neutral(second, Duration::ZERO));
    assert!(inbox.try_publish(inbox.snapshot(), taken(&inbox).ticket));
    assert!(inbox.wait_for_neutral(second, Duration::ZERO));
}

#[test]
fn the_end_of_the_thread_ends_the_waiting() {
    for (ended, neutral) in [
        (Ended::Neutral, true),
        (Ended::Panicked { neutral: true }, true),
        (Ended::Panicked { neutral: false }, false),
        (Ended::Unconfirmed, false),
    ] {
        let inbox = inbox();
        let ticket = inbox.stop(StopCause::Panic);
        inbox.ended(ended);
        assert_eq!(inbox.wait_for_neutral(ticket, Duration::from_secs(60)), neutral);
        assert_eq!(inbox.wait_for_end(Duration::ZERO), Some(ended));
    }
}
