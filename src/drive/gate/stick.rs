//! Whether the throttle stick is known to be released: what `neutral_first` goes by.

use std::time::{Duration, Instant};

#[cfg(doc)]
use crate::drive::command::Command;

/// What is known of the throttle stick while nothing obeys it.
///
/// A car must not start by itself because somebody still holds a key. So with `neutral_first` nothing arms until the
/// stick is known to be at neutral:
///
/// | situation | what shows it is released |
/// |---|---|
/// | a stop found the stick away from neutral | a neutral throttle command |
/// | a command away from neutral was refused, for whatever reason | a neutral throttle command |
/// | another driver took over | a neutral throttle command of his |
/// | the stick was at neutral when the car stopped | nothing more is needed |
/// | a start, or a link that came up, with nothing of the above | a neutral throttle command, or silence for the deadline: who holds a key is heard within it |
///
/// The last row is what spares a person who opens the page and presses a key the extra step, while a key held through a
/// restart of this program starts nothing. The hub's word that a driver is gone ([`Command::Gone`]) is a stop and no
/// neutral command: nobody has let go of anything. A neutral command counts when it is fresh and arrived after the stop.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stick {
    /// At neutral.
    Released,
    /// Not heard of since then.
    Unknown { since: Instant },
    /// Away from neutral.
    Held,
}

impl Stick {
    /// The link came up: who is at its other end may hold a key.
    pub(super) fn link_up(&mut self, now: Instant) {
        if !matches!(self, Self::Held) {
            *self = Self::Unknown { since: now };
        }
    }

    /// Whether a command that arrived then may arm the gate.
    pub(super) fn allows(self, arrived: Instant, deadline: Duration) -> bool {
        match self {
            Self::Released => true,
            Self::Unknown { since } => arrived >= since + deadline,
            Self::Held => false,
        }
    }
}
