//! Receiver reports to [`Reception`]s (RFC 3550 §6.4.1). Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rtc::rtcp::reception_report::ReceptionReport;

use super::meter::LinkCounters;
use crate::video::rate::Reception;

/// Sender reports remembered: one leaves a second, and a receiver names the last it saw. Full: the oldest goes.
const SENDER_REPORTS_KEPT: usize = 8;
/// LSR and DLSR count in 1/65536 s.
const NTP_SHORT: f64 = 65_536.0;

/// What has been reported of our stream.
#[derive(Debug, Default)]
pub(crate) struct Receptions {
    stream: Option<Stream>,
    /// Middle 32 bits of the NTP time of each sender report, and when it left.
    sender_reports: VecDeque<(u32, Instant)>,
    before: Option<Before>,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    ssrc: u32,
    clock_hz: u32,
}

/// The last report: what it said had arrived, and what had been sent by then.
#[derive(Clone, Copy, Debug)]
struct Before {
    at: Instant,
    arrived: i64,
    sent: LinkCounters,
}

impl Receptions {
    /// From now on this stream's reports count.
    pub(crate) fn bind(&mut self, ssrc: u32, clock_hz: u32) {
        *self = Self { stream: Some(Stream { ssrc, clock_hz: clock_hz.max(1) }), ..Self::default() };
    }

    /// The stream whose reports count.
    pub(crate) fn media(&self) -> Option<u32> {
        self.stream.map(|stream| stream.ssrc)
    }

    /// Notes a sender report that leaves now.
    pub(crate) fn sent_report(&mut self, ntp_time: u64, now: Instant) {
        self.sender_reports.push_back((middle(ntp_time), now));
        if self.sender_reports.len() > SENDER_REPORTS_KEPT {
            self.sender_reports.pop_front();
        }
    }

    /// What a report block says, when it is of our stream. `sent` is what has been sent until now.
    pub(crate) fn heard(&mut self, block: &ReceptionReport, sent: LinkCounters, now: Instant) -> Option<Reception> {
        let stream = self.stream.filter(|stream| stream.ssrc == block.ssrc)?;
        Some(Reception {
            loss: f64::from(block.fraction_lost) / 256.0,
            jitter: Duration::from_secs_f64(f64::from(block.jitter) / f64::from(stream.clock_hz)),
            round_trip: self.round_trip(block, now),
            arriving_bps: self.arriving_bps(block, sent, now),
        })
    }

    fn round_trip(&self, block: &ReceptionReport, now: Instant) -> Option<Duration> {
        let (_, left) = self.sender_reports.iter().find(|(middle, _)| *middle == block.last_sender_report)?;
        let held = Duration::from_secs_f64(f64::from(block.delay) / NTP_SHORT);
        now.saturating_duration_since(*left).checked_sub(held)
    }

    fn arriving_bps(&mut self, block: &ReceptionReport, sent: LinkCounters, now: Instant) -> Option<f64> {
        // 24 bits, signed: repeated packets make it negative.
        let lost = i64::from((block.total_lost << 8) as i32 >> 8);
        let arrived = i64::from(block.last_sequence_number) - lost;
        let before = self.before.replace(Before { at: now, arrived, sent })?;
        let seconds = now.saturating_duration_since(before.at).as_secs_f64();
        let packets = sent.sent_packets - before.sent.sent_packets;
        if seconds <= 0.0 || packets == 0 {
            return None;
        }
        let packet_bits = (sent.sent_bytes - before.sent.sent_bytes) as f64 * 8.0 / packets as f64;
        Some((arrived - before.arrived).max(0) as f64 * packet_bits / seconds)
    }
}

fn middle(ntp_time: u64) -> u32 {
    // Truncation keeps the lower half of what is left.
    (ntp_time >> 16) as u32
}

#[cfg(test)]
mod tests;
