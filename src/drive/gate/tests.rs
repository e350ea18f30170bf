//! Stories on virtual time. `property` holds the gate against an oracle of its own.

mod property;

use std::time::Duration;

use super::*;
use crate::drive::command::{Session, Steering, Steps};
use crate::drive::settings::LimitsConfig;

const SCALE: Scale = Scale { throttle_steps: 20, steering_steps: 10 };

fn unlimited() -> LimitsConfig {
    LimitsConfig { throttle_cap: 1.0, throttle_slew: None, steering_slew: None }
}

/// 500 ms deadline, coast, no neutral first, no limits.
fn config() -> GateConfig {
    GateConfig {
        deadline: Duration::from_millis(500),
        neutral_first: false,
        stop: StopBehaviour::Coast,
        limits: unlimited(),
    }
}

fn neutral_first() -> GateConfig {
    GateConfig { neutral_first: true, ..config() }
}

fn braking() -> GateConfig {
    GateConfig { stop: StopBehaviour::Brake(Duration::from_millis(200)), ..config() }
}

fn forward(steps: f64) -> Command {
    Command::Motion(Motion::Throttle(Steps::new(steps).map_or(Throttle::Stop, Throttle::Forward)))
}

fn back(steps: f64) -> Command {
    Command::Motion(Motion::Throttle(Steps::new(steps).map_or(Throttle::Stop, Throttle::Back)))
}

fn left(steps: f64) -> Command {
    Command::Motion(Motion::Steering(Steps::new(steps).map_or(Steering::Centre, Steering::Left)))
}

fn release() -> Command {
    forward(0.0)
}

fn anonymous(command: Command) -> Message {
    Message { command, seq: None, session: None }
}

fn of(session: &str, command: Command) -> Message {
    Message { command, seq: None, session: Session::new(session) }
}

/// A gate and the time of day.
struct Story {
    gate: Gate,
    now: Instant,
}

impl Story {
    /// Nothing has happened yet.
    #[expect(clippy::disallowed_methods, reason = "virtual time needs some moment to begin at")]
    fn cold(config: GateConfig) -> Self {
        let now = Instant::now();
        Self { gate: Gate::new(config, SCALE, now), now }
    }

    /// The actuator is ready and the link has been up and quiet for a while.
    fn begin(config: GateConfig) -> Self {
        let mut story = Self::cold(config);
        story.input(Input::ActuatorReady(story.now));
        story.input(Input::LinkUp);
        story.pass(1000);
        story
    }

    fn pass(&mut self, milliseconds: u64) -> &mut Self {
        self.now += Duration::from_millis(milliseconds);
        self
    }

    fn input(&mut self, input: Input) {
        self.gate.handle(input, self.now);
    }

    /// A message that arrives and is looked at now.
    fn hear(&mut self, message: Message) -> Result<(), Refusal> {
        self.gate.hear(message, self.now, self.now)
    }

    fn says(&mut self, command: Command) -> Result<(), Refusal> {
        self.hear(anonymous(command))
    }

    /// A message that arrived so long ago and is looked at only now.
    fn hear_late(&mut self, command: Command, milliseconds: u64) -> Result<(), Refusal> {
        let arrived = self.now - Duration::from_millis(milliseconds);
        self.gate.hear(anonymous(command), arrived, self.now)
    }

    /// Repeats a command every 50 ms for so long; the last one arrives now.
    fn holds(&mut self, command: Command, milliseconds: u64) {
        for _ in 0..milliseconds / 50 {
            self.pass(50);
            let _ = self.says(command);
        }
    }

    fn throttle(&mut self) -> f64 {
        self.gate.output(self.now).throttle()
    }

    fn steering(&mut self) -> f64 {
        self.gate.output(self.now).steering()
    }

    fn brakes(&mut self) -> bool {
        self.gate.output(self.now).is_brake()
    }

    fn parked(&mut self) -> Option<StopCause> {
        self.gate.output(self.now);
        match self.gate.state() {
            State::Parked { cause } => Some(cause),
            _ => None,
        }
    }

    fn latched(&mut self) -> Option<(StopCause, Clear)> {
        self.gate.output(self.now);
        match self.gate.state() {
            State::Latched { cause, clear } => Some((cause, clear)),
            _ => None,
        }
    }

    fn went_through(&mut self) -> Vec<State> {
        self.gate.take_changes().collect()
    }
}

#[test]
fn a_driver_drives() {
    let mut story = Story::begin(config());
    assert_eq!(story.says(forward(5.0)), Ok(()));
    assert_eq!(story.throttle(), 0.25);
    story.pass(50);
    assert_eq!(story.says(left(5.0)), Ok(()));
    assert_eq!((story.throttle(), story.steering()), (0.25, 0.5));
    assert_eq!(story.says(back(40.0)), Ok(()));
    assert_eq!((story.throttle(), story.steering()), (-1.0, 0.5));
    assert_eq!(story.says(release()), Ok(()));
    assert_eq!((story.throttle(), story.steering()), (0.0, 0.5));
    assert_eq!(story.gate.state(), State::Armed);
}

#[test]
fn a_silent_driver_is_stopped_at_the_deadline_and_not_before() {
    let mut story = Story::begin(config());
    story.says(forward(20.0)).unwrap();
    assert_eq!(story.gate.poll_timeout(), Some((story.now + Duration::from_millis(500), Reason::Deadline)));
    story.pass(499);
    assert_eq!(story.throttle(), 1.0);
    story.pass(1);
    assert_eq!(story.throttle(), 0.0);
    assert_eq!(story.parked(), Some(StopCause::Deadline));
    assert_eq!(story.gate.poll_timeout(), None);
}

#[test]
fn the_deadline_counts_from_arrival_however_late_a_command_is_looked_at() {
    let mut story = Story::begin(config());
    story.pass(400);
    assert_eq!(story.hear_late(forward(20.0), 400), Ok(()));
    assert_eq!(story.throttle(), 1.0);
    story.pass(99);
    assert_eq!(story.throttle(), 1.0);
    story.pass(1);
    assert_eq!(story.throttle(), 0.0);
}

#[test]
fn a_command_in_time_keeps_a_car_going_though_the_gate_hears_of_it_after_the_deadline() {
    let mut story = Story::begin(config());
    story.says(forward(20.0)).unwrap();
    story.pass(600);
    assert_eq!(story.hear_late(forward(10.0), 150), Ok(()));
    assert_eq!(story.throttle(), 0.5);
    assert_eq!(story.went_through().last(), Some(&State::Armed));
}

#[test]
fn a_command_older_than_the_deadline_is_no_motion() {
    let mut story = Story::begin(config());
    story.pass(500);
    assert_eq!(story.hear_late(forward(20.0), 500), Err(Refusal::Stale));
    assert_eq!(story.throttle(), 0.0);
}

#[test]
fn a_process_that_was_frozen_comes_back_with_the_car_at_neutral() {
    let mut story = Story::begin(config());
    story.says(forward(20.0)).unwrap();
    story.pass(60_000);
    assert_eq!(story.throttle(), 0.0, "the output itself judges the age");
    story.input(Input::Stalled);
    assert_eq!(story.says(forward(20.0)), Err(Refusal::BeforeStop), "it waited in a socket for up to a minute");
    story.pass(501);
    assert_eq!(story.says(forward(20.0)), Ok(()));
    assert_eq!(story.throttle(), 1.0);
}

#[test]
fn nothing_moves_before_the_actuator_is_ready_and_the_link_up() {
    let mut story = Story::cold(config());
    story.pass(1000);
    assert_eq!(story.latched(), Some((StopCause::Start, Clear::Actuator)));
    assert_eq!(story.says(forward(20.0)), Err(Refusal::Latched));
    story.input(Input::LinkUp);
    assert_eq!(story.says(forward(20.0)), Err(Refusal::Latched));
    story.input(Input::LinkDown(StopCause::PeerDisconnected));
    story.input(Input::ActuatorReady(story.now));
    story.pass(50);
    assert_eq!(story.says(forward(20.0)), Err(Refusal::LinkDown));
    story.input(Input::LinkUp);
    assert_eq!(story.says(forward(20.0)), Ok(()));
    assert_eq!(story.throttle(), 1.0);
}

#[test]
fn nothing_moves_while_the_esc_arms() {
    let mut story = Story::cold(config());
    story.input(Input::ActuatorReady(story.now + Duration::from_secs(2)));
    story.input(Input::LinkUp);
    story.pass(2000);
    assert_eq!(story.says(forward(20.0)), Err(Refusal::BeforeStop));
    story.pass(1);
    assert_eq!(story.says(forward(20.0)), Ok(()));
}

#[test]
fn every_stop_is_at_once_and_needs_a_command_that_arrives_after_it() {
    let stops = [
        Input::Stop(StopCause::Reload),
        Input::LinkDown(StopCause::ChannelClosed),
        Input::LinkDown(StopCause::IceLost),
        Input::LinkDown(StopCause::PeerDisconnected),
        Input::Reload(config(), SCALE),
    ];
    for stop in stops {
        let mut story = Story::begin(config());
        story.says(forward(20.0)).unwrap();
        story.pass(30).input(stop);
        assert_eq!(story.throttle(), 0.0, "{stop:?}");
        story.input(Input::LinkUp);
        assert_eq!(story.hear_late(forward(20.0), 10), Err(Refusal::BeforeStop), "{stop:?}");
        assert_eq!(story.says(forward(20.0)), Err(Refusal::BeforeStop), "{stop:?}");
        assert_eq!(story.throttle(), 0.0, "{stop:?}");
        story.pass(1);
        assert_eq!(story.says(forward(20.0)), Ok(()), "{stop:?}");
        assert_eq!(story.throttle(), 1.0, "{stop:?}");
    }
}

#[test]
fn a_burst_of_queued_commands_moves_the_car_once_and_only_by_the_last() {
    let mut story = Story::begin(config());
    for steps in 1..=20 {
        let _ = story.says(forward(f64::from(steps)));
    }
    story.says(forward(2.0)).unwrap();
    assert_eq!(story.throttle(), 0.1);
    story.pass(500);
    assert_eq!(story.throttle(), 0.0);
}

#[test]
fn of_two_commands_the_one_that_arrived_later_counts() {
    let mut story = Story::begin(config());
    story.pass(100);
    story.hear_late(forward(4.0), 10).unwrap();
    assert_eq!(story.hear_late(forward(20.0), 20), Err(Refusal::OutOfOrder));
    assert_eq!(story.throttle(), 0.2);
}

#[test]
fn steering_alone_keeps_the_throttle_alive() {
    let mut story = Story::begin(config());
    story.says(forward(20.0)).unwrap();
    story.holds(left(5.0), 2000);
    assert_eq!(story.throttle(), 1.0);
}

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
fn a_stick_released_while_braking_counts() {
    let mut story = Story::begin(GateConfig { neutral_first: true, ..braking() });
    story.says(forward(20.0)).unwrap();
    story.pass(500);
    assert!(story.brakes());
    assert_eq!(story.pass(50).says(release()), Err(Refusal::Braking));
    story.pass(151);
    assert_eq!(story.says(forward(20.0)), Ok(()));
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

#[test]
fn every_change_of_state_is_told_once_in_order() {
    let mut story = Story::begin(braking());
    story.says(forward(20.0)).unwrap();
    story.holds(forward(20.0), 1000);
    story.pass(800);
    story.throttle();
    story.says(Command::EStop(EStop::Latch)).unwrap();
    story.pass(1).says(Command::EStop(EStop::Clear)).unwrap();
    assert_eq!(
        story.went_through(),
        [
            State::Parked { cause: StopCause::Start },
            State::Armed,
            State::Braking { cause: StopCause::Deadline },
            State::Parked { cause: StopCause::Deadline },
            State::Latched { cause: StopCause::EStop, clear: Clear::Driver },
            State::Parked { cause: StopCause::EStop },
        ]
    );
    assert_eq!(story.went_through(), []);
}

#[test]
fn a_stop_and_a_new_start_between_two_looks_are_both_told() {
    let mut story = Story::begin(config());
    story.says(forward(20.0)).unwrap();
    story.pass(600);
    story.says(forward(20.0)).unwrap();
    assert_eq!(story.went_through()[1..], [State::Armed, State::Parked { cause: StopCause::Deadline }, State::Armed]);
}

#[test]
fn changes_nobody_asks_for_do_not_pile_up() {
    let mut story = Story::begin(config());
    for _ in 0..1000 {
        story.says(forward(20.0)).unwrap();
        story.pass(600);
    }
    assert_eq!(story.went_through().len(), 16);
}
