//! Where a picture's time goes, from its capture to its last packet.
//!
//! ```text
//! capture ──▶ encoder in ──▶ encoder out ──▶ packetised ──▶ sent
//!     capture          encode          packetise        send          whole
//! ```
//!
//! The moment of capture is the buffer's own timestamp, on the pipeline's clock; the others are looked up where they happen.
//! While nobody asks, a picture costs one look at a flag a stage.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::frame::AccessUnit;

/// Topic of the message that asks for the trace.
pub const TOPIC: &str = "trace";
/// Pictures on their way at the same time; of more, the oldest is not followed any further.
const ON_THEIR_WAY: usize = 32;
/// Samples kept for a report; of more, the oldest are left out.
const SAMPLES: usize = 1024;

/// Follows pictures, while somebody wants it to. Clones are of the same.
#[derive(Clone, Debug, Default)]
pub struct LatencyTrace(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    on: AtomicBool,
    followed: Mutex<Followed>,
}

impl LatencyTrace {
    /// Whether pictures are followed.
    pub fn is_on(&self) -> bool {
        self.0.on.load(Relaxed)
    }

    /// Begins to follow pictures, or ends it.
    pub fn set(&self, on: bool) {
        self.0.on.store(on, Relaxed);
        *self.followed() = Followed::default();
    }

    /// A picture with this presentation time, captured so long ago, enters the encoder.
    pub(super) fn entered(&self, time: Duration, age: Duration) {
        if self.is_on() {
            let now = now();
            self.followed().entered(time, now.checked_sub(age).unwrap_or(now), now);
        }
    }

    /// The picture with this unit's presentation time came out of the encoder.
    pub(super) fn encoded(&self, unit: &AccessUnit) {
        if self.is_on() {
            self.followed().encoded(unit.pts, unit.encoded_at);
        }
    }

    /// This unit is handed to the peer connection, where its RTP time is all that is known of it.
    pub fn handed_over(&self, unit: &AccessUnit, rtp_time: u32) {
        if self.is_on() {
            self.followed().handed_over(unit.encoded_at, rtp_time);
        }
    }

    /// The packets of the picture with this RTP time are made.
    pub fn packetised(&self, rtp_time: u32) {
        if self.is_on() {
            self.followed().packetised(rtp_time, now());
        }
    }

    /// The last of them leaves.
    pub fn sent(&self, rtp_time: u32) {
        if self.is_on() {
            self.followed().sent(rtp_time, now());
        }
    }

    /// What was seen since the last report; `None` when nothing was, or nobody asks.
    pub fn report(&self) -> Option<Report> {
        if !self.is_on() {
            return None;
        }
        self.followed().report()
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.0.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a `stream` message `{"trace":{"key":"latency","value":0|1}}` asks for the trace. `None` for any other message.
pub fn request_in(message: &[u8]) -> Option<bool> {
    #[derive(Deserialize)]
    struct Message {
        trace: Body,
    }
    #[derive(Deserialize)]
    struct Body {
        key: String,
        value: f64,
    }

    let Message { trace } = serde_json::from_slice(message).ok()?;
    match trace.value {
        _ if trace.key != "latency" => None,
        0.0 => Some(false),
        1.0 => Some(true),
        _ => None,
    }
}

/// The stages, in their order, and the whole way.
pub const STAGES: [&str; 5] = ["capture", "encode", "packetise", "send", "whole"];

/// How long each of the [`STAGES`] took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report(pub [Quantiles; STAGES.len()]);

/// Of one stage, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half of the pictures took no longer.
    pub p50_ms: f64,
    /// 19 of 20 took no longer.
    pub p95_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (stage, of)) in STAGES.iter().zip(&self.0).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{stage} {:.2}/{:.2}/{:.2} ms", of.p50_ms, of.p95_ms, of.max_ms)?;
        }
        Ok(())
    }
}

/// A picture on its way: when it passed each point so far.
#[derive(Clone, Copy, Debug)]
struct OnItsWay {
    time: Duration,
    captured: Instant,
    entered: Instant,
    encoded: Option<Instant>,
    rtp_time: Option<u32>,
    packetised: Option<Instant>,
}

/// The pictures on their way and what was seen of those that arrived. Pure.
#[derive(Debug, Default)]
struct Followed {
    on_their_way: VecDeque<OnItsWay>,
    seen: VecDeque<[Duration; STAGES.len()]>,
}

impl Followed {
    fn entered(&mut self, time: Duration, captured: Instant, entered: Instant) {
        if self.on_their_way.len() == ON_THEIR_WAY {
            self.on_their_way.pop_front();
        }
        self.on_their_way.push_back(OnItsWay {
            time,
            captured,
            entered,
            encoded: None,
            rtp_time: None,
            packetised: None,
        });
    }

    fn encoded(&mut self, time: Duration, at: Instant) {
        if let Some(picture) = self.on_their_way.iter_mut().rev().find(|picture| picture.time == time) {
            picture.encoded = Some(at);
        }
    }

    /// `encoded` names the access unit: no two come out at the same moment.
    fn handed_over(&mut self, encoded: Instant, rtp_time: u32) {
        if let Some(picture) = self.on_their_way.iter_mut().find(|picture| picture.encoded == Some(encoded)) {
            picture.rtp_time = Some(rtp_time);
        }
    }

    fn packetised(&mut self, rtp_time: u32, at: Instant) {
        if let Some(picture) = self.on_their_way.iter_mut().find(|picture| picture.rtp_time == Some(rtp_time)) {
            picture.packetised = Some(at);
        }
    }

    fn sent(&mut self, rtp_time: u32, at: Instant) {
        let Some(index) = self.on_their_way.iter().position(|picture| picture.rtp_time == Some(rtp_time)) else {
            return;
        };
        // What is before it was dropped on the way.
        let Some(picture) = self.on_their_way.drain(..=index).next_back() else { return };
        let encoded = picture.encoded.unwrap_or(picture.entered);
        let packetised = picture.packetised.unwrap_or(at);
        if self.seen.len() == SAMPLES {
            self.seen.pop_front();
        }
        self.seen.push_back([
            picture.entered.saturating_duration_since(picture.captured),
            encoded.saturating_duration_since(picture.entered),
            packetised.saturating_duration_since(encoded),
            at.saturating_duration_since(packetised),
            at.saturating_duration_since(picture.captured),
        ]);
    }

    fn report(&mut self) -> Option<Report> {
        let seen = std::mem::take(&mut self.seen);
        if seen.is_empty() {
            return None;
        }
        Some(Report(std::array::from_fn(|stage| Quantiles::of(seen.iter().map(|sample| sample[stage]).collect()))))
    }
}

impl Quantiles {
    /// By nearest rank; of at least one sample.
    fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let ms = |percent: usize| samples[(samples.len() * percent).div_ceil(100) - 1].as_secs_f64() * 1000.0;
        Self { p50_ms: ms(50), p95_ms: ms(95), max_ms: ms(100) }
    }
}

#[expect(clippy::disallowed_methods, reason = "delays are measured by the real clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn each_stage_is_told_by_itself_and_the_whole_way() {
        let (mut followed, begin) = (Followed::default(), now());
        for picture in 1..=100 {
            let captured = begin + ms(40 * picture);
            followed.entered(ms(picture), captured, captured + ms(1));
            let encoded = captured + ms(1 + picture);
            followed.encoded(ms(picture), encoded);
            let rtp_time = 1000 + picture as u32;
            followed.handed_over(encoded, rtp_time);
            followed.packetised(rtp_time, encoded + ms(2));
            followed.sent(rtp_time, encoded + ms(5));
        }
        let Report([capture, encode, packetise, send, whole]) = followed.report().expect("pictures were seen");
        let of = |p50_ms, p95_ms, max_ms| Quantiles { p50_ms, p95_ms, max_ms };
        assert_eq!((capture, encode), (of(1.0, 1.0, 1.0), of(50.0, 95.0, 100.0)));
        assert_eq!((packetise, send), (of(2.0, 2.0, 2.0), of(3.0, 3.0, 3.0)));
        assert_eq!(whole, of(56.0, 101.0, 106.0));
        assert_eq!(followed.report(), None, "each is told once");
    }

    #[test]
    fn pictures_that_are_dropped_on_the_way_are_forgotten() {
        let (mut followed, begin) = (Followed::default(), now());
        for picture in 0..1000 {
            followed.entered(ms(picture), begin, begin);
        }
        assert_eq!(followed.on_their_way.len(), ON_THEIR_WAY);
        followed.encoded(ms(999), begin + ms(1));
        followed.handed_over(begin + ms(1), 7);
        followed.sent(7, begin + ms(2));
        assert!(followed.on_their_way.is_empty(), "those before it did not come out");
        assert_eq!(followed.report().map(|Report(stages)| stages[4].max_ms), Some(2.0));
    }

    #[test]
    fn nothing_is_followed_unless_it_is_asked_for() {
        let trace = LatencyTrace::default();
        trace.entered(ms(1), ms(3));
        assert!(trace.followed().on_their_way.is_empty());
        assert_eq!(trace.report(), None);
        trace.set(true);
        trace.entered(ms(1), ms(3));
        assert_eq!(trace.followed().on_their_way.len(), 1);
        trace.set(false);
        assert!(trace.followed().on_their_way.is_empty());
    }

    #[test]
    fn a_message_asks_for_it_and_nothing_else_does() {
        for (message, expected) in [
            (r#"{"trace":{"key":"latency","value":1}}"#, Some(true)),
            (r#"{"trace":{"key":"latency","value":0},"seq":1}"#, Some(false)),
            (r#"{"trace":{"key":"latency","value":2}}"#, None),
            (r#"{"trace":{"key":"other","value":1}}"#, None),
            ("junk", None),
        ] {
            assert_eq!(request_in(message.as_bytes()), expected, "{message}");
        }
    }
}
