//! Which of two cameras the picture is of: what is selected, what is shown, and what is to be opened or closed for it.
//!
//! Selecting leaves a wish; the selected camera's own first frame after that carries it out (in `pipeline/cameras.rs`),
//! so what was shown before stays until there is something to take its place. A selected camera that gives nothing is lost
//! like any other: the picture of the other one is never shown in its place for longer than that takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::watch;

use super::recovery::START_PATIENCE;
use super::settings::{Idle, View};

/// How long after a failure an unselected camera that should run on is opened again.
pub const IDLE_RETRY: Duration = Duration::from_secs(2);

/// Topic of the messages that select a camera, and of those that tell which is shown.
pub const TOPIC: &str = "camera";

/// What is selected and what is shown. Clones are of the same.
#[derive(Clone, Debug, Default)]
pub struct Views(Arc<Wishes>);

#[derive(Debug, Default)]
struct Wishes {
    selected: watch::Sender<View>,
    shown: watch::Sender<View>,
}

impl Views {
    /// Asks for this camera; the newest wish wins. Never waits.
    pub fn select(&self, view: View) {
        set(&self.0.selected, view);
    }

    /// The camera that was asked for last.
    pub fn selected(&self) -> View {
        *self.0.selected.borrow()
    }

    /// Each change of what is asked for.
    pub fn selection(&self) -> watch::Receiver<View> {
        self.0.selected.subscribe()
    }

    /// The camera whose frames are coded, and each change of it.
    pub fn shown(&self) -> watch::Receiver<View> {
        self.0.shown.subscribe()
    }

    /// The next frame to be coded is of this one.
    pub(super) fn show(&self, view: View) {
        set(&self.0.shown, view);
    }
}

fn set(of: &watch::Sender<View>, view: View) {
    of.send_if_modified(|before| std::mem::replace(before, view) != view);
}

/// The camera that a `stream` message `{"camera":{"key":"select","value":0|1}}` selects: 0 is the front one. The fields
/// `seq` and `session` may stand where the drive's messages have them. `None` for any other message.
pub fn selection_in(message: &[u8]) -> Option<View> {
    #[derive(Deserialize)]
    struct Message {
        camera: Body,
    }
    #[derive(Deserialize)]
    struct Body {
        key: String,
        value: f64,
    }

    let Message { camera } = serde_json::from_slice(message).ok()?;
    let chosen = View::ALL.into_iter().find(|view| f64::from(view.number()) == camera.value);
    chosen.filter(|_| camera.key == "select")
}

/// What is to be done with a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Opened.
    Open(View),
    /// Closed.
    Close(View),
}

/// The two cameras of a pipeline, and what is to be done with them. Pure.
#[derive(Debug)]
pub struct Seats {
    idle: Idle,
    seats: [Seat; 2],
    /// Since when the selected camera is waited for.
    awaited: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Closed { reopen_at: Option<Instant> },
    Open { since: Instant },
    Broken,
}

impl Seats {
    /// The pipeline has opened this camera at its start, and no other.
    pub fn new(idle: Idle, opened: View, now: Instant) -> Self {
        let mut seats = Self { idle, seats: [Seat::Closed { reopen_at: None }; 2], awaited: None };
        seats.opened(opened, now);
        seats
    }

    /// This camera runs.
    pub fn opened(&mut self, view: View, now: Instant) {
        self.seats[view as usize] = Seat::Open { since: now };
    }

    /// This camera is closed.
    pub fn closed(&mut self, view: View, now: Instant) {
        let reopen_at = (self.seats[view as usize] == Seat::Broken).then(|| now + IDLE_RETRY);
        self.seats[view as usize] = Seat::Closed { reopen_at };
    }

    /// This camera gives nothing any more, and must be closed.
    pub fn broke(&mut self, view: View) {
        self.seats[view as usize] = Seat::Broken;
    }

    /// This camera could not be opened, and is closed.
    pub fn failed(&mut self, view: View, now: Instant) {
        self.seats[view as usize] = Seat::Closed { reopen_at: Some(now + IDLE_RETRY) };
    }

    /// What is to be done next, with the selected camera first.
    pub fn chore(&self, selected: View, shown: View, now: Instant) -> Option<Chore> {
        let (wanted, other) = (self.seats[selected as usize], self.seats[selected.other() as usize]);
        match (wanted, other) {
            (Seat::Broken, _) => Some(Chore::Close(selected)),
            (Seat::Closed { .. }, _) => Some(Chore::Open(selected)),
            (_, Seat::Broken) => Some(Chore::Close(selected.other())),
            (_, Seat::Open { .. }) if self.idle == Idle::Stopped && shown == selected => {
                Some(Chore::Close(selected.other()))
            }
            (_, Seat::Closed { reopen_at })
                if self.idle == Idle::Warm && reopen_at.is_none_or(|reopen_at| reopen_at <= now) =>
            {
                Some(Chore::Open(selected.other()))
            }
            _ => None,
        }
    }

    /// Whether the selected camera is waited for in vain: for `stall`, and longer right after it was opened.
    pub fn is_overdue(&mut self, selected: View, shown: View, stall: Duration, now: Instant) -> bool {
        if selected == shown {
            self.awaited = None;
            return false;
        }
        self.awaited.get_or_insert(now);
        self.due(selected, stall).is_some_and(|due| due <= now)
    }

    /// When to look again.
    pub fn poll_timeout(&self, selected: View, stall: Duration) -> Option<Instant> {
        let reopen_at = match self.seats[selected.other() as usize] {
            Seat::Closed { reopen_at } if self.idle == Idle::Warm => reopen_at,
            _ => None,
        };
        [reopen_at, self.due(selected, stall)].into_iter().flatten().min()
    }

    fn due(&self, selected: View, stall: Duration) -> Option<Instant> {
        let opening = match self.seats[selected as usize] {
            Seat::Open { since } => Some(since + stall.max(START_PATIENCE)),
            Seat::Closed { .. } | Seat::Broken => None,
        };
        self.awaited.map(|awaited| (awaited + stall).max(opening.unwrap_or(awaited)))
    }
}

#[cfg(test)]
mod tests;
