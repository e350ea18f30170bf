//! The last warnings and errors, for `rtcpub status`: a bounded ring in which the same event is counted, not repeated.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::Level;

/// Events kept. Full: the one that was last seen the longest ago is forgotten.
pub const RECENT_EVENTS: usize = 32;
/// Longest text kept of one event, in characters.
const LONGEST: usize = 240;

/// A warning or error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// [`Level::ERROR`] or [`Level::WARN`].
    pub level: Level,
    /// What it says, with its fields, redacted.
    pub text: String,
    /// When it was last seen.
    pub last: Instant,
    /// How often.
    pub times: u64,
}

/// Remembers the last warnings and errors. Clones share one memory.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Memory>);

#[derive(Debug, Default)]
struct Memory {
    noted: Mutex<VecDeque<Noted>>,
    warnings: AtomicU64,
    errors: AtomicU64,
}

impl Recent {
    /// The last ones, the newest first.
    pub fn list(&self) -> Vec<Noted> {
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }

    /// Warnings and errors since the start.
    pub fn counts(&self) -> (u64, u64) {
        (self.0.warnings.load(Relaxed), self.0.errors.load(Relaxed))
    }

    pub(super) fn note(&self, level: Level, text: &str, now: Instant) {
        let counter = if level == Level::ERROR { &self.0.errors } else { &self.0.warnings };
        counter.fetch_add(1, Relaxed);
        let text: String = match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        };
        let mut noted = self.0.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let known = noted.iter().position(|known| known.level == level && known.text == text);
        let times = known.and_then(|index| noted.remove(index)).map_or(0, |known| known.times);
        if noted.len() == RECENT_EVENTS {
            noted.pop_front();
        }
        noted.push_back(Noted { level, text, last: now, times: times + 1 });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_newest_are_kept_and_the_same_one_is_counted() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let start = Instant::now();
        let recent = Recent::default();
        recent.note(Level::ERROR, "first", start);
        for number in 0..RECENT_EVENTS as u64 {
            recent.note(Level::WARN, &format!("number {number}"), start);
        }
        recent.note(Level::WARN, "number 3", start + Duration::from_secs(1));
        recent.note(Level::WARN, &"ä".repeat(1000), start + Duration::from_secs(2));
        let list = recent.list();
        assert_eq!(list.len(), RECENT_EVENTS);
        assert_eq!(list[0].text.chars().count(), LONGEST + 1);
        assert_eq!((list[1].text.as_str(), list[1].times), ("number 3", 2));
        assert_eq!(list[1].last, start + Duration::from_secs(1));
        assert!(
            !list.iter().any(|noted| noted.text == "first" || noted.text == "number 0"),
            "the oldest are forgotten"
        );
        assert_eq!(recent.counts(), (RECENT_EVENTS as u64 + 2, 1));
    }
}
