//! The gate: the only maker of [`SafeDrive`], so the only way to a motor. Pure.
//!
//! A fresh, valid command of the one driver means motion; everything else means stop. [`Gate::output`] itself judges the
//! age of what it lets through, so however late it is called, nothing moves past the deadline.
//!
//! ```text
//!                      the actuator answers
//!  Latched{start} ───────────────────────────▶ Parked{cause} ◀──────────────── brake over ───┐
//!                                                │   ▲   ▲                                   │
//!                  fresh command, link up,       │   │   │ stop                              │
//!                  stick known to be released    │   │   │            stop, going forward,   │
//!                                                ▼   │   │            brake configured       │
//!                                              Armed ┴───┴───────────────────────▶ Braking{cause}
//!                                                │                                           │
//!               emergency stop, actuator fault,  │                                           │ … and it latches
//!               shutdown, panic (from anywhere)  ▼                                           ▼
//!                                              Latched{cause, clear} ◀───────────────────────┘
//!                                                │
//!                                                └─▶ Parked, once every latch is lifted: by the driver's `clear`, by the
//!                                                    actuator answering, or never
//! ```
//!
//! # What a stop leaves behind
//! - Only a command that arrived after the stop moves the car: nothing that waited in a queue is played back.
//! - With `neutral_first`, only once the stick is known to be released: see `gate/stick.rs` for what shows that.
//! - After a stall (the process did not run) nothing moves for another deadline: what arrives first then has waited in
//!   a socket for as long as the stall was.
//!
//! # The deadline
//! It counts from the arrival of the last motion command, of either axis, that was obeyed. So a driver who repeats one
//! axis keeps the other alive as well.

mod axes;
mod driver;
mod safe;
mod state;
mod stick;

use std::time::Instant;

use super::command::{Command, EStop, Message, Motion, Throttle};
use super::settings::{GateConfig, StopBehaviour};
use axes::Axes;
use driver::{Drivers, Sender, Turn};
use state::{Changes, Latches};
use stick::Stick;

pub use axes::Scale;
pub use safe::SafeDrive;
pub use state::{Clear, State, StopCause};

/// Something the gate must know, besides messages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    /// The `stream` channel is open and its peer connected.
    LinkUp,
    /// It is not, and why. Whoever drove is gone.
    LinkDown(StopCause),
    /// Stop, for this reason.
    Stop(StopCause),
    /// The process did not run for so long that what arrives now may have waited in a socket.
    Stalled,
    /// The actuator answers and its outputs are at neutral; motion not before then.
    ActuatorReady(Instant),
    /// New settings.
    Reload(GateConfig, Scale),
}

/// Why a message was not obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// It was too old when it was looked at.
    #[error("older than the deadline")]
    Stale,
    /// It arrived before the last stop was over.
    #[error("arrived before the stop")]
    BeforeStop,
    /// A later message of the session came first.
    #[error("out of order")]
    OutOfOrder,
    /// Someone else drives.
    #[error("another driver has the wheel")]
    OtherDriver,
    /// The link it claims to come over is down.
    #[error("the link is down")]
    LinkDown,
    /// See [`State::Latched`].
    #[error("latched")]
    Latched,
    /// The car is being stopped.
    #[error("braking")]
    Braking,
    /// The stick has to be released first.
    #[error("the stick was not at neutral")]
    StickHeld,
}

/// What happens at a time [`Gate::poll_timeout`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The driver will have been silent for too long.
    Deadline,
    /// The brake pulse ends.
    BrakeOver,
    /// An axis under a slew rate moves on.
    Slew,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Gate {
    config: GateConfig,
    scale: Scale,
    phase: Phase,
    latches: Latches,
    /// The worst since it was last armed.
    cause: StopCause,
    entry: Entry,
    axes: Axes,
    changes: Changes,
}

/// Who may arm it.
#[derive(Debug)]
struct Entry {
    link_up: bool,
    /// The last stop. What arrived before it shows nothing, not even a released stick.
    stopped: Instant,
    /// Motion only by what arrived after this too: a brake, an ESC's arming, a stall or a latch ends then.
    closed_until: Instant,
    drivers: Drivers,
    stick: Stick,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Resting,
    /// With the arrival of the last command obeyed.
    Armed {
        heard: Instant,
    },
    Braking {
        until: Instant,
    },
}

impl Gate {
    /// A gate that lets nothing through until an actuator is ready, the link up and a driver there.
    pub fn new(config: GateConfig, scale: Scale, now: Instant) -> Self {
        Self {
            config,
            scale,
            phase: Phase::Resting,
            latches: Latches::START,
            cause: StopCause::Start,
            entry: Entry {
                link_up: false,
                stopped: now,
                closed_until: now,
                drivers: Drivers::default(),
                stick: Stick::Unknown { since: now },
            },
            axes: Axes::new(now),
            changes: Changes::default(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        self.advance(now);
        match input {
            Input::LinkUp if self.entry.link_up => {}
            Input::LinkUp => {
                self.entry.link_up = true;
                self.entry.stick.link_up(now);
            }
            Input::LinkDown(cause) => {
                self.entry.link_up = false;
                self.stop(cause, now);
                self.entry.drivers.gone();
            }
            Input::Stop(cause) => self.stop(cause, now),
            Input::Stalled => {
                let waited_until = now + self.config.deadline;
                self.stop(StopCause::Stalled, now);
                self.entry.stopped = self.entry.stopped.max(waited_until);
            }
            Input::ActuatorReady(from) => {
                self.latches.actuator_ready();
                self.entry.closed_until = self.entry.closed_until.max(from);
            }
            Input::Reload(config, scale) => {
                self.stop(StopCause::Reload, now);
                (self.config, self.scale) = (config, scale);
            }
        }
        self.note_change();
    }

    /// Takes in a message that arrived then. Of `maxSpeed` only the order and the sender are judged here.
    ///
    /// # Errors
    /// Why it is not obeyed.
    pub fn hear(&mut self, message: Message, arrived: Instant, now: Instant) -> Result<(), Refusal> {
        let arrived = arrived.min(now);
        // What was due before it came happened before it came, even if nobody looked until now.
        self.advance(arrived);
        let sender = Sender { session: message.session, seq: message.seq, arrived };
        let verdict = match message.command {
            Command::Motion(motion) => self.motion(motion, sender, now),
            Command::MaxSpeed(_) => self.entry.drivers.other(sender, self.config.deadline),
            Command::EStop(EStop::Clear) => self.clear(sender),
            Command::EStop(EStop::Latch) => {
                self.stop(StopCause::EStop, arrived);
                self.entry.drivers.latched(sender);
                Ok(())
            }
            Command::Gone => self.driver_gone(sender),
        };
        self.note_change();
        self.advance(now);
        verdict
    }

    /// What may reach the motors at `now`.
    pub fn output(&mut self, now: Instant) -> SafeDrive {
        self.advance(now);
        match self.phase {
            Phase::Resting => SafeDrive::NEUTRAL,
            Phase::Braking { .. } => SafeDrive::BRAKE,
            Phase::Armed { .. } => {
                let (throttle, steering) = self.axes.current();
                SafeDrive::travel(throttle, steering)
            }
        }
    }

    /// When the output changes by itself next, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        match self.phase {
            Phase::Resting => None,
            Phase::Braking { until } => Some((until, Reason::BrakeOver)),
            Phase::Armed { heard } => {
                let deadline = heard + self.config.deadline;
                let slew = self.axes.poll_timeout().filter(|slew| *slew < deadline);
                Some(slew.map_or((deadline, Reason::Deadline), |at| (at, Reason::Slew)))
            }
        }
    }

    /// Where it is.
    pub fn state(&self) -> State {
        match (self.phase, self.latches.worst()) {
            (Phase::Armed { .. }, _) => State::Armed,
            (Phase::Braking { .. }, _) => State::Braking { cause: self.cause },
            (Phase::Resting, Some((cause, clear))) => State::Latched { cause, clear },
            (Phase::Resting, None) => State::Parked { cause: self.cause },
        }
    }

    /// Whether the emergency stop is latched, be there a worse cause or not.
    pub fn is_estop_latched(&self) -> bool {
        self.latches.estop()
    }

    /// Whether it stands still because the stick must be released first.
    pub fn awaits_neutral(&self) -> bool {
        self.config.neutral_first && matches!((self.phase, self.entry.stick), (Phase::Resting, Stick::Held))
    }

    /// The states it went through since the last call, oldest first.
    pub fn take_changes(&mut self) -> impl Iterator<Item = State> + '_ {
        self.changes.take()
    }

    fn motion(&mut self, motion: Motion, sender: Sender, now: Instant) -> Result<(), Refusal> {
        let verdict = self.admit(motion, sender, now);
        let says_nothing_of_the_stick = matches!(verdict, Ok(()) | Err(Refusal::OtherDriver | Refusal::OutOfOrder));
        if is_away(motion) && !says_nothing_of_the_stick && !matches!(self.phase, Phase::Armed { .. }) {
            self.entry.stick = Stick::Held;
        }
        verdict
    }

    fn admit(&mut self, motion: Motion, sender: Sender, now: Instant) -> Result<(), Refusal> {
        let deadline = self.config.deadline;
        if now.saturating_duration_since(sender.arrived) >= deadline {
            return Err(Refusal::Stale);
        }
        if self.entry.drivers.motion(sender, deadline)? == Turn::Changed {
            self.stop(StopCause::DriverChanged, sender.arrived);
            self.entry.stick = if is_neutral(motion) { Stick::Released } else { Stick::Held };
        }
        if sender.arrived > self.entry.stopped && is_neutral(motion) {
            self.entry.stick = Stick::Released;
        }
        self.check_closed(sender.arrived)?;
        self.axes.advance(&self.config.limits, now);
        if !self.axes.aim(motion, sender.arrived, self.scale, &self.config.limits) {
            return Err(Refusal::OutOfOrder);
        }
        let heard = match self.phase {
            Phase::Armed { heard } => heard.max(sender.arrived),
            Phase::Resting | Phase::Braking { .. } => sender.arrived,
        };
        self.phase = Phase::Armed { heard };
        Ok(())
    }

    /// Whatever keeps a valid command of the driver from being obeyed.
    fn check_closed(&self, arrived: Instant) -> Result<(), Refusal> {
        if self.latches.worst().is_some() {
            return Err(Refusal::Latched);
        }
        if !self.entry.link_up {
            return Err(Refusal::LinkDown);
        }
        if arrived <= self.entry.stopped.max(self.entry.closed_until) {
            return Err(Refusal::BeforeStop);
        }
        match self.phase {
            Phase::Armed { .. } => Ok(()),
            Phase::Braking { .. } => Err(Refusal::Braking),
            Phase::Resting if !self.config.neutral_first => Ok(()),
            Phase::Resting if self.entry.stick.allows(arrived, self.config.deadline) => Ok(()),
            Phase::Resting => Err(Refusal::StickHeld),
        }
    }

    /// However old the word is: a stop is no less safe for that.
    fn driver_gone(&mut self, sender: Sender) -> Result<(), Refusal> {
        self.entry.drivers.other(sender, self.config.deadline)?;
        self.stop(StopCause::PeerDisconnected, sender.arrived);
        Ok(())
    }

    fn clear(&mut self, sender: Sender) -> Result<(), Refusal> {
        self.entry.drivers.clear(sender, self.config.deadline)?;
        // Nor one that may have waited in a socket through a stall.
        if sender.arrived < self.entry.stopped || !self.latches.clear_estop(sender.arrived) {
            return Err(Refusal::BeforeStop);
        }
        self.entry.closed_until = self.entry.closed_until.max(sender.arrived);
        Ok(())
    }

    /// Lets time pass up to `now`.
    fn advance(&mut self, now: Instant) {
        if let Phase::Armed { heard } = self.phase {
            let expiry = heard + self.config.deadline;
            if now >= expiry {
                self.stop(StopCause::Deadline, expiry);
            }
        }
        if let Phase::Braking { until } = self.phase
            && now >= until
        {
            self.phase = Phase::Resting;
            self.entry.closed_until = self.entry.closed_until.max(until);
            self.note_change();
        }
        self.axes.advance(&self.config.limits, now);
    }

    fn stop(&mut self, cause: StopCause, at: Instant) {
        self.latches.set(cause, at);
        self.entry.stopped = self.entry.stopped.max(at);
        match self.phase {
            Phase::Armed { .. } => {
                self.axes.advance(&self.config.limits, at);
                self.entry.stick = if self.axes.throttle_held() { Stick::Held } else { Stick::Released };
                self.phase = self.stopping(cause, at);
                self.axes.clear();
                self.cause = cause;
            }
            Phase::Braking { .. } if !cause.may_brake() => {
                self.phase = Phase::Resting;
                self.cause = self.cause.max(cause);
            }
            Phase::Braking { .. } | Phase::Resting => self.cause = self.cause.max(cause),
        }
        self.note_change();
    }

    fn stopping(&self, cause: StopCause, at: Instant) -> Phase {
        let (throttle, _) = self.axes.current();
        match self.config.stop {
            StopBehaviour::Brake(time) if throttle > 0.0 && cause.may_brake() => Phase::Braking { until: at + time },
            StopBehaviour::Brake(_) | StopBehaviour::Coast => Phase::Resting,
        }
    }

    fn note_change(&mut self) {
        self.changes.note(self.state());
    }
}

/// Whether it shows the throttle stick at neutral.
fn is_neutral(motion: Motion) -> bool {
    matches!(motion, Motion::Throttle(Throttle::Stop))
}

/// Whether it shows the throttle stick away from neutral.
fn is_away(motion: Motion) -> bool {
    matches!(motion, Motion::Throttle(Throttle::Forward(_) | Throttle::Back(_)))
}

#[cfg(test)]
mod tests;
