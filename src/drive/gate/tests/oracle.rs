//! An oracle that knows the gate's rules and none of its code.

use std::collections::BTreeMap;

use super::*;

pub(super) const DEADLINE: u64 = 500;
pub(super) const BRAKE: u64 = 150;

/// What may happen besides messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    LinkUp,
    LinkDown,
    Stop,
    EStop,
    ActuatorFault,
    ActuatorReady { hold: u64 },
    Stalled,
    Reload,
}

/// The rules, told as a ledger of the commands that count. Times are milliseconds since the beginning.
#[derive(Debug)]
pub(super) struct Oracle {
    /// The last stop: what arrived before counts for nothing.
    barrier: u64,
    /// No motion counts that arrived before this: the actuator was not ready, or the emergency stop not lifted.
    shut_until: u64,
    link_up: bool,
    actuator_ready: bool,
    estop: Option<u64>,
    /// Who drives, and when he was last heard unless he is gone.
    wheel: Option<(usize, Option<u64>)>,
    /// Highest number of whoever is at the wheel.
    seq: Option<u64>,
    /// Who pressed the emergency stop last with name and number, and the highest of his since nobody else has.
    pressed: Option<(usize, u64)>,
    /// Arrivals and wishes since the last stop.
    throttle: BTreeMap<u64, f64>,
    steering: BTreeMap<u64, f64>,
    /// The end of motion last seen: when, and how fast it was.
    pub(super) stopped: Option<(u64, f64)>,
    /// Nothing counts that arrives before a brake is over.
    brake_until: u64,
    /// Whether the stick must be known to be released, and what is known.
    neutral_first: bool,
    stick: Known,
    brakes: bool,
}

/// What is known of the throttle stick while nothing counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    QuietSince(u64),
    Released,
    Held,
}

impl Oracle {
    pub(super) fn new(config: GateConfig) -> Self {
        Self {
            barrier: 0,
            shut_until: 0,
            link_up: false,
            actuator_ready: false,
            estop: None,
            wheel: None,
            seq: None,
            pressed: None,
            throttle: BTreeMap::new(),
            steering: BTreeMap::new(),
            stopped: None,
            brake_until: 0,
            neutral_first: config.neutral_first,
            stick: Known::QuietSince(0),
            brakes: config.stop != StopBehaviour::Coast,
        }
    }

    fn last_valid(&self) -> Option<u64> {
        let last = |wishes: &BTreeMap<u64, f64>| wishes.last_key_value().map(|(at, _)| *at);
        last(&self.throttle).max(last(&self.steering))
    }

    fn wish(wishes: &BTreeMap<u64, f64>) -> f64 {
        wishes.last_key_value().map_or(0.0, |(_, wish)| *wish)
    }

    fn stop(&mut self, at: u64) {
        if self.last_valid().is_some() {
            let throttle = Self::wish(&self.throttle);
            self.stopped = Some((at, throttle));
            self.brake_until = if self.brakes && throttle > 0.0 { at + BRAKE } else { 0 };
            self.stick = if throttle == 0.0 { Known::Released } else { Known::Held };
        }
        self.throttle.clear();
        self.steering.clear();
        self.barrier = self.barrier.max(at);
    }

    fn let_pass(&mut self, now: u64) {
        if let Some(last) = self.last_valid()
            && now >= last + DEADLINE
        {
            self.stop(last + DEADLINE);
        }
    }

    /// The throttle and steering a gate without limits owes its driver.
    pub(super) fn motion(&mut self, now: u64) -> (f64, f64) {
        self.let_pass(now);
        (Self::wish(&self.throttle), Self::wish(&self.steering))
    }

    pub(super) fn happen(&mut self, happening: Happening, now: u64) {
        self.let_pass(now);
        match happening {
            Happening::LinkUp => {
                if !self.link_up && self.stick != Known::Held {
                    self.stick = Known::QuietSince(now);
                }
                self.link_up = true;
            }
            Happening::LinkDown => {
                self.link_up = false;
                self.stop(now);
                if let Some((driver, heard)) = &mut self.wheel {
                    *heard = None;
                    if *driver == 0 {
                        self.seq = None;
                    }
                }
            }
            Happening::Stop | Happening::Reload => self.stop(now),
            Happening::EStop => {
                self.stop(now);
                self.estop = self.estop.max(Some(now));
            }
            Happening::ActuatorFault => {
                self.stop(now);
                self.actuator_ready = false;
                self.brake_until = 0;
            }
            Happening::ActuatorReady { hold } => {
                self.actuator_ready = true;
                self.shut_until = self.shut_until.max(now + hold);
            }
            Happening::Stalled => {
                self.stop(now);
                self.barrier = self.barrier.max(now + DEADLINE);
            }
        }
    }

    /// `None` when the sender may not speak now; else whether he is new at the wheel.
    fn may_speak(&mut self, driver: usize, seq: Option<u64>, arrived: u64) -> Option<bool> {
        let Some((holder, heard)) = self.wheel else { return Some(false) };
        let holder_is_there = heard.is_some_and(|heard| arrived < heard + DEADLINE);
        if holder != driver {
            return (!holder_is_there).then_some(true);
        }
        if driver == 0 && !holder_is_there {
            self.seq = None;
        }
        let in_order = match (seq, self.seq) {
            (Some(new), Some(known)) => new > known,
            _ => true,
        };
        in_order.then_some(false)
    }

    pub(super) fn hear(&mut self, command: Command, driver: usize, seq: Option<u64>, arrived: u64, now: u64) {
        self.let_pass(arrived);
        self.judge(command, driver, seq, arrived, now);
        self.let_pass(now);
    }

    fn judge(&mut self, command: Command, driver: usize, seq: Option<u64>, arrived: u64, now: u64) {
        if let Command::EStop(EStop::Latch) = command {
            self.stop(arrived);
            self.estop = self.estop.max(Some(arrived));
            if self.wheel.is_some_and(|(holder, _)| holder == driver) {
                self.seq = self.seq.max(seq);
            }
            if let Some(seq) = seq.filter(|_| driver != 0) {
                let before = self.pressed.filter(|(presser, _)| *presser == driver);
                self.pressed = Some((driver, before.map_or(seq, |(_, before)| before.max(seq))));
            }
            return;
        }
        let overtaken =
            self.pressed.is_some_and(|(presser, pressed)| presser == driver && seq.is_some_and(|seq| seq <= pressed));
        if command == Command::EStop(EStop::Clear) && overtaken {
            return;
        }
        if let Command::Motion(motion) = command
            && now - arrived >= DEADLINE
        {
            self.refuse(motion);
            return;
        }
        let Some(new) = self.may_speak(driver, seq, arrived) else { return };
        let Command::Motion(motion) = command else {
            if !new && self.wheel.is_some() {
                self.seq = seq.or(self.seq);
            }
            if command == Command::Gone {
                self.stop(arrived);
            }
            let clears = arrived >= self.barrier && self.estop.is_none_or(|pressed| pressed < arrived);
            if command == Command::EStop(EStop::Clear) && clears {
                self.estop = None;
                self.shut_until = self.shut_until.max(arrived);
            }
            return;
        };
        if new {
            self.stop(arrived);
            self.seq = None;
            self.stick = Known::Held;
        }
        let heard = match self.wheel {
            Some((holder, Some(heard))) if holder == driver => heard.max(arrived),
            _ => arrived,
        };
        self.wheel = Some((driver, Some(heard)));
        self.seq = seq.or(self.seq);
        if motion == Motion::Throttle(Throttle::Stop) && (arrived > self.barrier || new) {
            self.stick = Known::Released;
        }
        let shut = !self.link_up || !self.actuator_ready || self.estop.is_some();
        let too_early = arrived <= self.barrier.max(self.brake_until).max(self.shut_until);
        let stick_held = match self.stick {
            Known::Released => false,
            Known::QuietSince(since) => arrived < since + DEADLINE,
            Known::Held => true,
        };
        if shut || too_early || (self.neutral_first && stick_held && self.last_valid().is_none()) {
            self.refuse(motion);
            return;
        }
        let (wishes, wish) = match motion {
            Motion::Throttle(Throttle::Forward(steps)) => (&mut self.throttle, steps.get() / 20.0),
            Motion::Throttle(Throttle::Back(steps)) => (&mut self.throttle, -steps.get() / 20.0),
            Motion::Throttle(Throttle::Stop) => (&mut self.throttle, 0.0),
            Motion::Steering(Steering::Left(steps)) => (&mut self.steering, steps.get() / 10.0),
            Motion::Steering(Steering::Right(steps)) => (&mut self.steering, -steps.get() / 10.0),
            Motion::Steering(Steering::Centre) => (&mut self.steering, 0.0),
        };
        wishes.insert(arrived, wish.clamp(-1.0, 1.0));
    }

    fn refuse(&mut self, motion: Motion) {
        let away = matches!(motion, Motion::Throttle(Throttle::Forward(_) | Throttle::Back(_)));
        if away && self.last_valid().is_none() {
            self.stick = Known::Held;
        }
    }
}
