//! Who drives, and whose commands come in order.

use std::time::{Duration, Instant};

use super::Refusal;
use crate::drive::command::Session;

/// The driver last heard, and the order of his commands.
///
/// - There is one driver at a time; everyone without a session id is together one anonymous driver.
/// - Another takes over once the driver has been silent for the deadline, or is gone with the link.
/// - Of a driver's numbered messages only those that count up are taken. A session is remembered until another driver
///   takes over; the anonymous driver's count only until he falls silent or the link goes, because his next page
///   starts at 0 again and has no new name.
#[derive(Debug, Default)]
pub(super) struct Drivers {
    last: Option<Driver>,
    /// The newest emergency stop of a session, whether it drove or not, and its number. The anonymous driver's is not kept:
    /// his next page would be refused for it.
    pressed: Option<(Session, u64)>,
}

#[derive(Debug)]
struct Driver {
    session: Option<Session>,
    /// The newest arrival of a motion command, until he is gone.
    heard: Option<Instant>,
    seq: Option<u64>,
}

/// Who sent a message, by its own account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) session: Option<Session>,
    pub(super) seq: Option<u64>,
    pub(super) arrived: Instant,
}

/// What a motion command says about the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It comes from the driver.
    Driver,
    /// It comes from another, who is the driver from now on.
    Changed,
}

impl Drivers {
    /// Judges a motion command, and lets its sender take over where that is allowed.
    pub(super) fn motion(&mut self, sender: Sender, silence: Duration) -> Result<Turn, Refusal> {
        let turn = self.admit(sender, silence)?;
        if turn == Turn::Changed || self.last.is_none() {
            self.last = Some(Driver { session: sender.session, heard: None, seq: None });
        }
        if let Some(driver) = &mut self.last {
            driver.heard = driver.heard.max(Some(sender.arrived));
            driver.seq = sender.seq.or(driver.seq);
        }
        Ok(turn)
    }

    /// Judges a message that does not take the wheel. Someone else's is refused while the driver is there.
    pub(super) fn other(&mut self, sender: Sender, silence: Duration) -> Result<(), Refusal> {
        if self.admit(sender, silence)? == Turn::Driver
            && let Some(driver) = &mut self.last
        {
            driver.seq = sender.seq.or(driver.seq);
        }
        Ok(())
    }

    /// Judges what lifts an emergency stop: whoever pressed it may have said that before, and it was overtaken.
    pub(super) fn clear(&mut self, sender: Sender, silence: Duration) -> Result<(), Refusal> {
        let overtaken =
            |(session, pressed)| sender.session == Some(session) && sender.seq.is_some_and(|seq| seq <= pressed);
        if self.pressed.is_some_and(overtaken) {
            return Err(Refusal::OutOfOrder);
        }
        self.other(sender, silence)
    }

    /// An emergency stop, which anyone may press in any order: what its driver said before it must not lift it.
    pub(super) fn latched(&mut self, sender: Sender) {
        if let (Some(session), Some(seq)) = (sender.session, sender.seq) {
            let before = self.pressed.filter(|(pressed_by, _)| *pressed_by == session).map_or(0, |(_, seq)| seq);
            self.pressed = Some((session, seq.max(before)));
        }
        if let Some(driver) = self.last.as_mut().filter(|driver| driver.session == sender.session) {
            driver.seq = driver.seq.max(sender.seq);
        }
    }

    /// The link is gone, and with it whoever was at its other end.
    pub(super) fn gone(&mut self) {
        if let Some(driver) = &mut self.last {
            driver.heard = None;
            driver.forget_anonymous_order();
        }
    }

    fn admit(&mut self, sender: Sender, silence: Duration) -> Result<Turn, Refusal> {
        let Some(driver) = &mut self.last else { return Ok(Turn::Driver) };
        let present = driver.heard.is_some_and(|heard| sender.arrived < heard + silence);
        if driver.session != sender.session {
            return if present { Err(Refusal::OtherDriver) } else { Ok(Turn::Changed) };
        }
        if !present {
            driver.forget_anonymous_order();
        }
        match (sender.seq, driver.seq) {
            (Some(seq), Some(last)) if seq <= last => Err(Refusal::OutOfOrder),
            _ => Ok(Turn::Driver),
        }
    }
}

impl Driver {
    fn forget_anonymous_order(&mut self) {
        if self.session.is_none() {
            self.seq = None;
        }
    }
}
