//! The gate's states, and why it stops.

use std::collections::VecDeque;
use std::time::Instant;

/// Where the gate is. See the diagram in [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Standing still; a fresh command of a driver arms it.
    Parked {
        /// The worst cause since it was last armed.
        cause: StopCause,
    },
    /// Obeying a driver.
    Armed,
    /// Stopping a car that drove forward with a brake pulse, for the configured moment.
    Braking {
        /// Why it stops.
        cause: StopCause,
    },
    /// Standing still whatever a driver says.
    Latched {
        /// The worst cause that still holds.
        cause: StopCause,
        /// What lifts that one.
        clear: Clear,
    },
}

/// What lifts a latch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clear {
    /// The driver's `{"estop":{"key":"clear","value":1}}`.
    Driver,
    /// The actuator answering again.
    Actuator,
    /// Nothing: the process is ending.
    Never,
}

/// Why the car was stopped, from the mildest to the worst: of several, the worst is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopCause {
    /// Nothing has moved it yet.
    Start,
    /// No valid motion command for the deadline.
    Deadline,
    /// Another driver took over.
    DriverChanged,
    /// A new configuration.
    Reload,
    /// The `stream` channel closed.
    ChannelClosed,
    /// ICE is not connected.
    IceLost,
    /// The peer is gone.
    PeerDisconnected,
    /// The process did not run for a while, so it cannot tell new commands from old ones.
    Stalled,
    /// The actuator failed.
    ActuatorFault,
    /// Someone pressed the emergency stop.
    EStop,
    /// The process is ending.
    Shutdown,
    /// A part of the program panicked.
    Panic,
}

impl State {
    /// The state's name on `metric` and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parked { .. } => "parked",
            Self::Armed => "armed",
            Self::Braking { .. } => "braking",
            Self::Latched { .. } => "latched",
        }
    }

    /// Whether the car may be moving by what is written to it.
    pub const fn moves(self) -> bool {
        matches!(self, Self::Armed | Self::Braking { .. })
    }

    /// Why it is not armed.
    pub const fn cause(self) -> Option<StopCause> {
        match self {
            Self::Armed => None,
            Self::Parked { cause } | Self::Braking { cause } | Self::Latched { cause, .. } => Some(cause),
        }
    }
}

impl StopCause {
    /// Every cause, from the mildest to the worst.
    pub const ALL: [Self; 12] = [
        Self::Start,
        Self::Deadline,
        Self::DriverChanged,
        Self::Reload,
        Self::ChannelClosed,
        Self::IceLost,
        Self::PeerDisconnected,
        Self::Stalled,
        Self::ActuatorFault,
        Self::EStop,
        Self::Shutdown,
        Self::Panic,
    ];

    /// The cause's name on `metric` and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Deadline => "deadline",
            Self::DriverChanged => "driver_changed",
            Self::Reload => "reload",
            Self::ChannelClosed => "channel_closed",
            Self::IceLost => "ice_lost",
            Self::PeerDisconnected => "peer_disconnected",
            Self::Stalled => "stalled",
            Self::ActuatorFault => "actuator_fault",
            Self::EStop => "estop",
            Self::Shutdown => "shutdown",
            Self::Panic => "panic",
        }
    }

    /// What lifts it, for a cause that latches.
    pub const fn latch(self) -> Option<Clear> {
        match self {
            Self::EStop => Some(Clear::Driver),
            Self::Start | Self::ActuatorFault => Some(Clear::Actuator),
            Self::Shutdown | Self::Panic => Some(Clear::Never),
            _ => None,
        }
    }

    /// Whether there is time, and an actuator, for a brake pulse before neutral.
    pub(super) const fn may_brake(self) -> bool {
        !matches!(self, Self::ActuatorFault | Self::Shutdown | Self::Panic)
    }
}

/// The causes that keep the gate latched. Each is lifted on its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latches {
    actuator: Option<StopCause>,
    /// When the emergency stop was last pressed.
    estop: Option<Instant>,
    ending: Option<StopCause>,
}

impl Latches {
    /// No actuator has been started yet.
    pub(super) const START: Self = Self { actuator: Some(StopCause::Start), estop: None, ending: None };

    /// Takes a cause that came up `at` this moment; one that does not latch changes nothing.
    pub(super) fn set(&mut self, cause: StopCause, at: Instant) {
        match cause.latch() {
            Some(Clear::Driver) => self.estop = self.estop.max(Some(at)),
            Some(Clear::Actuator) => self.actuator = self.actuator.max(Some(cause)),
            Some(Clear::Never) => self.ending = self.ending.max(Some(cause)),
            None => {}
        }
    }

    /// Lifts the emergency stop, unless it was pressed after that clear arrived. Tells whether it is lifted.
    #[must_use]
    pub(super) fn clear_estop(&mut self, arrived: Instant) -> bool {
        if self.estop.is_some_and(|pressed| pressed >= arrived) {
            return false;
        }
        self.estop = None;
        true
    }

    pub(super) fn estop(&self) -> bool {
        self.estop.is_some()
    }

    pub(super) fn actuator_ready(&mut self) {
        self.actuator = None;
    }

    /// The worst that holds, and what lifts it.
    pub(super) fn worst(&self) -> Option<(StopCause, Clear)> {
        let cause = self.ending.or(self.estop.map(|_| StopCause::EStop)).or(self.actuator)?;
        cause.latch().map(|clear| (cause, clear))
    }
}

/// Changes of state that wait to be told; the oldest go first when there are more, for more between two looks tell
/// nobody anything.
const CHANGES_CAPACITY: usize = 16;

/// The states the gate went through since someone asked.
#[derive(Debug)]
pub(super) struct Changes {
    last: State,
    pending: VecDeque<State>,
}

impl Default for Changes {
    fn default() -> Self {
        let start = State::Latched { cause: StopCause::Start, clear: Clear::Actuator };
        Self { last: start, pending: VecDeque::with_capacity(CHANGES_CAPACITY) }
    }
}

impl Changes {
    pub(super) fn note(&mut self, state: State) {
        if state == self.last {
            return;
        }
        if self.pending.len() == CHANGES_CAPACITY {
            self.pending.pop_front();
        }
        self.pending.push_back(state);
        self.last = state;
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = State> + '_ {
        self.pending.drain(..)
    }
}
