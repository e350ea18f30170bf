//! The same warning or error again and again is logged a few times a minute; the rest is counted. Pure.
//!
//! "The same" is the same place in the code: a fault that repeats itself says something slightly different each time.

use std::collections::HashMap;
use std::time::Instant;

use tracing::{Level, Metadata};

use crate::quiet::Quiet;

/// Events of one place let through in a minute. A start with a page of warnings must still come through.
const PER_MINUTE: u32 = 20;
/// Places remembered; when there are more, all are forgotten, and each may say a little more than its share.
const PLACES: usize = 256;

/// Limits each place in the code.
#[derive(Debug, Default)]
pub(super) struct Limit {
    places: HashMap<(String, u32), Quiet>,
}

impl Limit {
    /// Whether to log an event of this place; if so, how many were left out since the last one.
    pub(super) fn admit(&mut self, metadata: &Metadata<'_>, now: Instant) -> Option<u64> {
        if *metadata.level() > Level::WARN {
            return Some(0);
        }
        let place = (metadata.target().to_owned(), metadata.line().unwrap_or_default());
        if self.places.len() >= PLACES && !self.places.contains_key(&place) {
            self.places.clear();
        }
        self.places.entry(place).or_insert_with(|| Quiet::letting_through(PER_MINUTE)).admit(now)
    }
}
