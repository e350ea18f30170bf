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

/// The car. Dropping it stops it, at the neutral it was started with: what was accepted for one meanwhile may turn wheels.
#[derive(Debug)]
pub(super) struct Bench {
    drive: Drive,
    wish: Arc<Mutex<Wish>>,
    at_last: Pulses,
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
        let wish = Arc::new(Mutex::new(Wish::rest(neutral)));
        let actuator = Substitute { board, wish: Arc::clone(&wish) };
        let drive = Drive::spawn(&config, Box::new(actuator), Box::new(told))?;
        let handle = drive.handle();
        handle.link(PEER, LinkEvent::PeerConnected);
        handle.link(PEER, LinkEvent::ChannelOpen);
        Ok(Self { drive, wish, at_last: neutral })
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
        self.wish(|wish| *wish = Wish::rest(neutral));
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

    /// Stops the car for good, at `confirmed` where a person has said that it is neutral and at what it was started with
    /// where not, and has the board confirm it.
    pub(super) fn end(mut self, confirmed: Option<Pulses>) -> Result<(), DriveError> {
        self.at_last = confirmed.unwrap_or(self.at_last);
        self.wish(|wish| *wish = Wish::rest(self.at_last));
        self.drive.end(END)
    }

    fn handle(&self) -> DriveHandle {
        self.drive.handle()
    }

    fn wish(&self, change: impl FnOnce(&mut Wish)) {
        change(&mut self.wish.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Before the drive is dropped, which puts out what it finds here.
        self.wish(|wish| *wish = Wish::rest(self.at_last));
    }
}

impl Wish {
    /// Neutral, whatever the gate lets through.
    fn rest(neutral: Pulses) -> Self {
        Self { test: neutral, neutral }
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;
    use crate::drive::settings::Pulse;
    use crate::drive::tests::config;

    struct Board(Sender<Pulses>);

    impl Actuator for Board {
        fn name(&self) -> &'static str {
            "board"
        }

        fn period(&self) -> Duration {
            PERIOD
        }

        fn start(&mut self, neutral: &Output) -> Result<Duration, ActuatorError> {
            self.apply(neutral).map(|()| Duration::ZERO)
        }

        fn apply(&mut self, output: &Output) -> Result<(), ActuatorError> {
            let _ = self.0.send(output.pulses());
            Ok(())
        }
    }

    fn pulses(throttle: u16) -> Pulses {
        Pulses { throttle: Pulse::new(throttle).unwrap(), steering: Pulse::new(399).unwrap() }
    }

    /// A bench that was started at 375 and rests at 425, where the wheels turn.
    fn turning() -> (Bench, Receiver<Pulses>) {
        let folder = tempfile::tempdir().unwrap();
        let (sender, written) = mpsc::channel();
        let bench = Bench::start(&config(folder.path()), Box::new(Board(sender)), pulses(375), |_| {}).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the bench is a real one")]
        bench.rest(pulses(425), Instant::now());
        while written.recv_timeout(END).expect("it is put out") != pulses(425) {}
        (bench, written)
    }

    #[test]
    fn a_bench_that_ends_without_a_calibration_ends_at_the_neutral_of_its_beginning() {
        let (bench, written) = turning();
        bench.end(None).unwrap();
        assert_eq!(written.iter().last(), Some(pulses(375)));

        let (bench, written) = turning();
        drop(bench);
        assert_eq!(written.iter().last(), Some(pulses(375)), "after a panic as well");
    }

    #[test]
    fn a_bench_that_ends_with_one_ends_at_its_neutral() {
        let (bench, written) = turning();
        bench.end(Some(pulses(380))).unwrap();
        assert_eq!(written.iter().last(), Some(pulses(380)));
    }
}
