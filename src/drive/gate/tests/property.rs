//! Whatever happens in whatever order: no motion later than the deadline after the last valid command of the current
//! driver, none while latched, none before arming. Judged by an oracle that knows the rules and none of the gate's code.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::oracle::{BRAKE, Happening, Oracle};
use super::*;

/// One thing that happens, and how long after the one before.
#[derive(Clone, Copy, Debug)]
struct Step {
    wait: u64,
    event: Event,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A message that arrived so many milliseconds before it is looked at.
    Message {
        command: Command,
        driver: usize,
        seq: Option<u64>,
        late: u64,
    },
    Input(Happening),
    /// Nobody calls the gate, time passes.
    Nothing,
}

const DRIVERS: [Option<&str>; 3] = [None, Some("ann"), Some("bob")];

/// The gate under test, the oracle, and what is to be held against it.
struct Trial {
    gate: Gate,
    config: GateConfig,
    oracle: Oracle,
    begin: Instant,
    now: u64,
    moved: u64,
    /// The last few steps, for whoever reads a failure.
    recent: VecDeque<(u64, Event)>,
}

impl Trial {
    #[expect(clippy::disallowed_methods, reason = "virtual time needs some moment to begin at")]
    fn new(config: GateConfig) -> Self {
        let begin = Instant::now();
        let gate = Gate::new(config, SCALE, begin);
        Self { gate, config, oracle: Oracle::new(config), begin, now: 0, moved: 0, recent: VecDeque::new() }
    }

    fn instant(&self, milliseconds: u64) -> Instant {
        self.begin + Duration::from_millis(milliseconds)
    }

    fn step(&mut self, step: Step) {
        self.now += step.wait;
        let now = self.instant(self.now);
        self.recent.push_back((self.now, step.event));
        if self.recent.len() > 12 {
            self.recent.pop_front();
        }
        match step.event {
            Event::Nothing => {}
            Event::Input(happening) => {
                let input = match happening {
                    Happening::LinkUp => Input::LinkUp,
                    Happening::LinkDown => Input::LinkDown(StopCause::PeerDisconnected),
                    Happening::Stop => Input::Stop(StopCause::Reload),
                    Happening::EStop => Input::Stop(StopCause::EStop),
                    Happening::ActuatorFault => Input::Stop(StopCause::ActuatorFault),
                    Happening::ActuatorReady { hold } => Input::ActuatorReady(self.instant(self.now + hold)),
                    Happening::Stalled => Input::Stalled,
                    Happening::Reload => Input::Reload(self.config, SCALE),
                };
                self.gate.handle(input, now);
                self.oracle.happen(happening, self.now);
            }
            Event::Message { command, driver, seq, late } => {
                let arrived = self.now.saturating_sub(late);
                let session = DRIVERS[driver].and_then(Session::new);
                let _ = self.gate.hear(Message { command, seq, session }, self.instant(arrived), now);
                self.oracle.hear(command, driver, seq, arrived, self.now);
            }
        }
    }

    /// What is true of every output whatever the configuration, and more where it promises more.
    fn check(&mut self) {
        let output = self.gate.output(self.instant(self.now));
        let allowed = self.oracle.motion(self.now);
        self.moved += u64::from(output.is_motion());
        let found = (output.throttle(), output.steering());
        let within = |found: f64, allowed: f64| found == 0.0 || (found * allowed > 0.0 && found.abs() <= allowed.abs());
        assert!(within(found.0, allowed.0) && within(found.1, allowed.1), "{found:?}, allowed {allowed:?}: {self:?}");
        self.check_brake(output);
        if self.config.limits == unlimited() {
            assert_eq!(found, allowed, "a gate without limits gives exactly what it must: {self:?}");
        }
        let timeout = self.gate.poll_timeout();
        assert!(timeout.is_none_or(|(at, _)| at > self.instant(self.now)), "would spin: {self:?}");
        assert!(timeout.is_some() || !output.is_motion(), "motion without an end: {self:?}");
    }

    fn check_brake(&self, output: SafeDrive) {
        if !output.is_brake() {
            return;
        }
        let (at, throttle) = self.oracle.stopped.expect("a brake comes out of a stop");
        let promised = self.config.stop == StopBehaviour::Brake(Duration::from_millis(BRAKE));
        assert!(promised && throttle > 0.0 && self.now < at + BRAKE, "{self:?}");
    }
}

impl std::fmt::Debug for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at {} ms after {:#?}\n{:#?}\n{:#?}", self.now, self.recent, self.gate, self.oracle)
    }
}

fn configs() -> [GateConfig; 4] {
    let limits = LimitsConfig { throttle_cap: 0.7, throttle_slew: Some(3.0), steering_slew: Some(5.0) };
    let brake = StopBehaviour::Brake(Duration::from_millis(BRAKE));
    [config(), neutral_first(), GateConfig { stop: brake, ..neutral_first() }, GateConfig { limits, ..neutral_first() }]
}

fn motions() -> impl Strategy<Value = Command> {
    let steps = || prop_oneof![Just(0.0), 0.1f64..25.0];
    prop_oneof![
        steps().prop_map(forward),
        steps().prop_map(back),
        steps().prop_map(left),
        steps().prop_map(|steps| Command::Motion(Motion::Steering(
            Steps::new(steps).map_or(Steering::Centre, Steering::Right)
        ))),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    let command = prop_oneof![
        20 => motions(),
        1 => Just(Command::EStop(EStop::Latch)),
        2 => Just(Command::EStop(EStop::Clear)),
        1 => Just(Command::MaxSpeed(420)),
        1 => Just(Command::Gone),
    ];
    let seq = prop_oneof![3 => Just(None), 1 => (0u64..50).prop_map(Some)];
    let late = prop_oneof![4 => Just(0u64), 3 => 0u64..60, 1 => 0u64..1200];
    let driver = prop_oneof![4 => Just(1usize), 1 => 0usize..3];
    let happening = prop_oneof![
        6 => Just(Happening::LinkUp),
        2 => Just(Happening::LinkDown),
        1 => Just(Happening::Stop),
        1 => Just(Happening::EStop),
        1 => Just(Happening::ActuatorFault),
        4 => prop_oneof![Just(0u64), 0u64..300].prop_map(|hold| Happening::ActuatorReady { hold }),
        1 => Just(Happening::Stalled),
        1 => Just(Happening::Reload),
    ];
    prop_oneof![
        8 => (command, driver, seq, late)
            .prop_map(|(command, driver, seq, late)| Event::Message { command, driver, seq, late }),
        2 => happening.prop_map(Event::Input),
        2 => Just(Event::Nothing),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![3 => Just(0u64), 8 => 1u64..80, 1 => 80u64..1500];
    (wait, events()).prop_map(|(wait, event)| Step { wait, event })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_moves_the_car_without_a_fresh_valid_command(
        config in prop::sample::select(configs().to_vec()),
        // Whether the gate is asked after each step or only now and then.
        steps in prop::collection::vec((steps(), any::<bool>()), 1..120),
    ) {
        let mut trial = Trial::new(config);
        trial.step(Step { wait: 0, event: Event::Input(Happening::ActuatorReady { hold: 0 }) });
        trial.step(Step { wait: 0, event: Event::Input(Happening::LinkUp) });
        for (step, asked) in steps {
            trial.step(step);
            if asked {
                trial.check();
            }
        }
        trial.check();
    }
}

/// Steps of the long run; a quarter for each configuration.
const LONG_RUN: u64 = 1_000_000;

#[test]
fn a_million_random_steps_bring_no_motion_past_the_deadline() {
    for (seed, config) in (1..).zip(configs()) {
        let mut random = Random { state: seed, messages: 0 };
        let mut trial = Trial::new(config);
        for _ in 0..LONG_RUN / 4 {
            let step = random.step();
            trial.step(step);
            trial.check();
        }
        assert!(trial.moved > LONG_RUN / 4 / 20, "a gate that never moves proves nothing: {}", trial.moved);
    }
}

/// A small generator of its own, so that the long run is the same each time (splitmix64).
struct Random {
    state: u64,
    messages: u64,
}

impl Random {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn step(&mut self) -> Step {
        let wait = match self.below(40) {
            0 => self.below(1500),
            1..10 => 0,
            _ => self.below(60),
        };
        Step { wait, event: self.event() }
    }

    fn event(&mut self) -> Event {
        let happening = match self.below(400) {
            0..8 => Happening::LinkUp,
            8..10 => Happening::LinkDown,
            10 => Happening::Stop,
            11 => Happening::EStop,
            12 => Happening::ActuatorFault,
            13..20 => Happening::ActuatorReady { hold: self.below(3) * 100 },
            20 => Happening::Stalled,
            21 => Happening::Reload,
            22..100 => return Event::Nothing,
            _ => return self.message(),
        };
        Event::Input(happening)
    }

    fn message(&mut self) -> Event {
        let steps = [0.0, 3.0, 20.0, 24.5][self.below(4) as usize];
        let command = match self.below(200) {
            0 => Command::EStop(EStop::Latch),
            1..8 => Command::EStop(EStop::Clear),
            8 => Command::MaxSpeed(420),
            9 => Command::Gone,
            10..90 => forward(steps),
            90..140 => back(steps),
            _ => left(steps),
        };
        let driver = if self.below(8) == 0 { self.below(3) as usize } else { 1 };
        let late = [0, 0, 0, self.below(40), self.below(700)][self.below(5) as usize];
        self.messages += 1;
        let seq = (self.below(3) == 0).then(|| self.messages.saturating_sub(self.below(3)));
        Event::Message { command, driver, seq, late }
    }
}
