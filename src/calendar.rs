//! The calendar's time, for what expires by it: certificates and time-limited credentials.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since 1970; zero on a clock that is set to before.
pub(crate) fn unix_time() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "the one look at the calendar")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}
