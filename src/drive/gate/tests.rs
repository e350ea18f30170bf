//! Stories on virtual time. `property` holds the gate against an oracle of its own.

mod drivers;
mod gone;
mod latches;
mod limits;
mod neutral_first;
mod oracle;
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
