//! Receiver reports to [`Reception`]s (RFC 3550 §6.4.1), of each picture and of the link. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rtc::rtcp::reception_report::ReceptionReport;

use super::meter::LinkCounters;
use crate::video::rate::Reception;

/// Sender reports remembered: one leaves a second, and a receiver names the last it saw. Full: the oldest goes.
const SENDER_REPORTS_KEPT: usize = 8;
/// A stream that no report has come of for this long is reported of no more: they come once a second, at the slowest every
/// five (RFC 3550 §6.2).
const REPORTED_OF: Duration = Duration::from_secs(6);
/// LSR and DLSR count in 1/65536 s.
const NTP_SHORT: f64 = 65_536.0;

/// What has been reported of our stream.
#[derive(Debug, Default)]
pub(crate) struct Receptions {
    stream: Option<Stream>,
    /// Middle 32 bits of the NTP time of each sender report, and when it left.
    sender_reports: VecDeque<(u32, Instant)>,
    before: Option<Before>,
    latest: Option<Latest>,
}

/// What was reported last, and of how many packets.
#[derive(Clone, Copy, Debug)]
struct Latest {
    at: Instant,
    reception: Reception,
    packets: f64,
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
    newest: u32,
    arrived: i64,
    sent: LinkCounters,
}

impl Receptions {
    /// From now on this stream's reports count.
    pub(crate) fn bind(&mut self, ssrc: u32, clock_hz: u32) {
        *self = Self { stream: Some(Stream { ssrc, clock_hz: clock_hz.max(1) }), ..Self::default() };
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
        let newest = self.before.map_or(block.last_sequence_number, |before| before.newest);
        let reception = Reception {
            loss: f64::from(block.fraction_lost) / 256.0,
            jitter: Duration::from_secs_f64(f64::from(block.jitter) / f64::from(stream.clock_hz)),
            round_trip: self.round_trip(block, now),
            arriving_bps: self.arriving_bps(block, sent, now),
        };
        let packets = f64::from(block.last_sequence_number.wrapping_sub(newest));
        self.latest = Some(Latest { at: now, reception, packets });
        Some(reception)
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
        let before = self.before.replace(Before { at: now, newest: block.last_sequence_number, arrived, sent })?;
        let seconds = now.saturating_duration_since(before.at).as_secs_f64();
        let packets = sent.sent_packets - before.sent.sent_packets;
        if seconds <= 0.0 || packets == 0 {
            return None;
        }
        let packet_bits = (sent.sent_bytes - before.sent.sent_bytes) as f64 * 8.0 / packets as f64;
        Some((arrived - before.arrived).max(0) as f64 * packet_bits / seconds)
    }
}

/// The link as the reports of its pictures tell it: what is lost of all their packets, and what arrives of them together.
/// Those of a picture that is reported of no more say nothing.
pub(crate) fn together<'r>(pictures: impl Iterator<Item = &'r Receptions>, now: Instant) -> Option<Reception> {
    let mut latest: Vec<_> = pictures.filter_map(|receptions| receptions.latest).collect();
    latest.retain(|latest| now.saturating_duration_since(latest.at) < REPORTED_OF);
    if let [only] = latest[..] {
        return Some(only.reception);
    }
    let packets: f64 = latest.iter().map(|latest| latest.packets).sum();
    let lost: f64 = latest.iter().map(|latest| latest.reception.loss * latest.packets).sum();
    let worst = latest.iter().map(|latest| latest.reception.loss).fold(0.0, f64::max);
    let newest = latest.iter().max_by_key(|latest| latest.at)?.reception;
    Some(Reception {
        loss: if packets > 0.0 { lost / packets } else { worst },
        arriving_bps: latest.iter().filter_map(|latest| latest.reception.arriving_bps).reduce(|sum, bps| sum + bps),
        ..newest
    })
}

fn middle(ntp_time: u64) -> u32 {
    // Truncation keeps the lower half of what is left.
    (ntp_time >> 16) as u32
}

#[cfg(test)]
mod tests;
