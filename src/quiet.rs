//! Bounded logging of what a stranger can repeat at will.

use std::time::{Duration, Instant};

/// Lets a few events of a kind through in each window and counts the rest.
#[derive(Debug)]
pub struct Quiet {
    per_window: u32,
    window: Option<Instant>,
    admitted: u32,
    suppressed: u64,
}

/// Events let through in one window, unless said otherwise.
const PER_WINDOW: u32 = 5;
/// Length of a window.
const WINDOW: Duration = Duration::from_secs(60);

impl Default for Quiet {
    fn default() -> Self {
        Self::letting_through(PER_WINDOW)
    }
}

impl Quiet {
    /// Lets this many through in a minute.
    pub fn letting_through(per_window: u32) -> Self {
        Self { per_window, window: None, admitted: 0, suppressed: 0 }
    }

    /// Whether to log this event; if so, how many were left out since the last one that was logged.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.window.is_none_or(|start| now.saturating_duration_since(start) >= WINDOW) {
            self.window = Some(now);
            self.admitted = 0;
        }
        if self.admitted >= self.per_window {
            self.suppressed += 1;
            return None;
        }
        self.admitted += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_logged_a_few_times_a_minute_and_counted() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let start = Instant::now();
        let mut quiet = Quiet::default();
        let logged = (0..1000).filter(|ms| quiet.admit(start + Duration::from_millis(*ms)).is_some()).count();
        assert_eq!(logged, 5);
        assert_eq!(quiet.admit(start + WINDOW), Some(995));
        assert_eq!(quiet.admit(start + WINDOW), Some(0));
    }
}
