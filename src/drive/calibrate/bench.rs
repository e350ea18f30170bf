//! The car on its stand: the real drive thread and gate, with the pulse under test in the place of the driver's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::drive::actuator::{Actuator, ActuatorError, Output, Pulses};
use crate::drive::event::DriveEvent;
use crate::drive::gate::State;
use crate::drive::link::{LinkEvent, PeerId};
use crate::drive::settings::{DriveConfig, LimitsConfig, StopBehaviour};
use crate::drive::{Drive, DriveError, DriveHandle};

/// How soon a changed pulse goes out while the gate is open: one period of a servo.
const PERIOD: Duration = Duration::from_millis(20);

/// How long neutral may take at the end.
const END: Duration = Duration::from_secs(2);

/// The one who sits at the terminal.
const PEER: PeerId = PeerId(0);

/// The car. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Bench {
    drive: Drive,
    wish: Arc<Mutex<Wish>>,
}

/// Which pulses stand for "motion" and for "neutral".
#[derive(Clone, Copy, Debug)]
struct Wish {
    test: Pulses,
    neutral: Pulses,
}

impl Bench {
    /// Brings the board up at `neutral`. `told` is called, on the drive thread, when the gate or the board changes.
    pub(super) fn start(
        config: &DriveConfig,
        board: Box<dyn Actuator>,
        neutral: Pulses,
        told: impl Fn(DriveEvent) + Send + 'static,
    ) -> Result<Self, DriveError> {
        let mut config = config.clone();
        // The deadline is the channel's own; what limits a driver would only falsify the pulses.
        config.gate.neutral_first = false;
        config.gate.stop = StopBehaviour::Coast;
        config.gate.limits = LimitsConfig { throttle_cap: 1.0, throttle_slew: None, steering_slew: None };
        let wish = Arc::new(Mutex::new(Wish { test: neutral, neutral }));
        let actuator = Substitute { board, wish: Arc::clone(&wish) };
        let drive = Drive::spawn(&config, Box::new(actuator), Box::new(told))?;
        let handle = drive.handle();
        handle.link(PEER, LinkEvent::PeerConnected);
        handle.link(PEER, LinkEvent::ChannelOpen);
        Ok(Self { drive, wish })
    }

    /// Puts `pulses` out until the deadline, if the gate lets them through.
    pub(super) fn test(&self, pulses: Pulses, throttle: bool, now: Instant) {
        self.wish(|wish| wish.test = pulses);
        let command: &[u8] = if throttle {
            br#"{"motion":{"key":"forward","value":1}}"#
        } else {
            br#"{"motion":{"key":"left","value":1}}"#
        };
        self.handle().message(command, now);
    }

    /// To neutral now, which are these pulses from now on.
    pub(super) fn rest(&self, neutral: Pulses, now: Instant) {
        self.wish(|wish| *wish = Wish { test: neutral, neutral });
        for command in
            [br#"{"motion":{"key":"forward","value":0}}"#.as_slice(), br#"{"motion":{"key":"left","value":0}}"#]
        {
            self.handle().message(command, now);
        }
    }

    /// Where the gate is.
    pub(super) fn state(&self) -> State {
        self.handle().snapshot().state
    }

    /// Stops the car for good, and has the board confirm it.
    pub(super) fn end(self) -> Result<(), DriveError> {
        self.drive.shutdown(END)
    }

    fn handle(&self) -> DriveHandle {
        self.drive.handle()
    }

    fn wish(&self, change: impl FnOnce(&mut Wish)) {
        change(&mut self.wish.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The board, told the pulse under test where the gate lets motion through, and neutral everywhere else.
struct Substitute {
    board: Box<dyn Actuator>,
    wish: Arc<Mutex<Wish>>,
}

impl Substitute {
    fn substituted(&self, output: &Output) -> Output {
        let wish = *self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        let pulses = if output.safe().is_motion() { wish.test } else { wish.neutral };
        Output::new(output.safe(), pulses, output.at())
    }
}

impl Actuator for Substitute {
    fn name(&self) -> &'static str {
        self.board.name()
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    fn start(&mut self, neutral: &Output) -> Result<Duration, ActuatorError> {
        let neutral = self.substituted(neutral);
        self.board.start(&neutral)
    }

    fn apply(&mut self, output: &Output) -> Result<(), ActuatorError> {
        let output = self.substituted(output);
        self.board.apply(&output)
    }
}
