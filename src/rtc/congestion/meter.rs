//! What one peer's link has shown so far, and what is wanted of it: the meeting point of the packets' own tasks and of
//! rate control. Counters are atomics; what the peer says lies under a lock that is held for a copy, some tens of times
//! a second.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::pacer;
use crate::video::further::MOST_FURTHER;
use crate::video::rate::{Heard, LinkReading, Reception, Targets};
use crate::video::settings::RateConfig;

/// A standing link whose peer has not told anything for this long may be sent to again: what was under way is lost.
pub(super) const STANDSTILL_PATIENCE: Duration = Duration::from_millis(500);
/// The place of the first picture.
pub(crate) const FIRST: usize = 0;
/// No key frame has been sent yet, or none of late.
const NO_SEQUENCE: u32 = u32::MAX;
/// A key frame so many packets ago is forgotten, well before the sequence numbers have come round: from 2^15 on, what
/// comes after it would look older than it.
const KEY_FRAME_FORGOTTEN: std::ops::Range<u16> = 0x6000..0x8000;

/// One peer's link.
#[derive(Debug)]
pub struct LinkMeter {
    /// By the pictures' places; never none.
    pictures: Box<[PictureMeter]>,
    pictures_dropped: AtomicU64,
    sent_bytes: AtomicU64,
    sent_packets: AtomicU64,
    repair_bytes: AtomicU64,
    protection_packets: AtomicU64,
    repairs_refused: AtomicU64,
    repairs_impossible: AtomicU64,
    packets_missed: AtomicU64,
    /// Bits of the first picture that wait in the pacer, and of all.
    queued_bits: AtomicU64,
    all_queued_bits: AtomicU64,
    /// Whether anything waits in the pacer, repairs included.
    holds_back: AtomicBool,
    /// Wanted pace; 0 is at once.
    pacing_bps: AtomicU64,
    /// Wanted limit of repairs; 0 is none.
    repair_bps: AtomicU64,
    /// Limits of the estimate, in kbit/s; 0 is not told yet.
    least_kbps: AtomicU32,
    most_kbps: AtomicU32,
    transport_cc: AtomicBool,
    said: Mutex<Said>,
    news: Notify,
}

/// One picture of the link.
#[derive(Debug)]
struct PictureMeter {
    encoded_bytes: AtomicU64,
    /// First packet of the last key frame sent, and the newest packet of all: RTP sequence numbers.
    key_frame_sequence: AtomicU32,
    newest_sequence: AtomicU32,
}

impl Default for PictureMeter {
    fn default() -> Self {
        Self {
            encoded_bytes: AtomicU64::new(0),
            key_frame_sequence: AtomicU32::new(NO_SEQUENCE),
            newest_sequence: AtomicU32::new(NO_SEQUENCE),
        }
    }
}

/// Where a picture would find itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// On its way at once.
    AtOnce,
    /// Behind others, but not for long.
    Behind,
    /// Behind more than it can wait for.
    None,
}

/// What the peer said last.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    estimate: Option<Heard<f64>>,
    /// See [`LinkReading::unanswered`].
    unanswered: Option<Instant>,
    queue: Duration,
    standing: bool,
    remb: Option<Heard<f64>>,
    reception: Option<Heard<Reception>>,
}

/// A reading of the counters, each since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Bytes of RTP sent, headers and repairs included.
    pub sent_bytes: u64,
    /// RTP packets sent, repairs included.
    pub sent_packets: u64,
    /// Bytes of repairs among them, asked for or not.
    pub repair_bytes: u64,
    /// Packets of forward error correction among them.
    pub protection_packets: u64,
    /// Packets that the peer missed and asked for again (NACK), each counted once.
    pub packets_missed: u64,
    /// Repairs not sent because others had used up their share of the link.
    pub repairs_refused: u64,
    /// Requests for packets too old to be there still.
    pub repairs_impossible: u64,
    /// Pictures dropped because the pacer's queue was full.
    pub pictures_dropped: u64,
}

impl LinkMeter {
    /// The link of a peer that so many pictures go to, one at least.
    pub(crate) fn of(pictures: usize) -> Self {
        Self {
            pictures: (0..pictures.max(1)).map(|_| PictureMeter::default()).collect(),
            pictures_dropped: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            sent_packets: AtomicU64::new(0),
            repair_bytes: AtomicU64::new(0),
            protection_packets: AtomicU64::new(0),
            repairs_refused: AtomicU64::new(0),
            repairs_impossible: AtomicU64::new(0),
            packets_missed: AtomicU64::new(0),
            queued_bits: AtomicU64::new(0),
            all_queued_bits: AtomicU64::new(0),
            holds_back: AtomicBool::new(false),
            pacing_bps: AtomicU64::new(0),
            repair_bps: AtomicU64::new(0),
            least_kbps: AtomicU32::new(0),
            most_kbps: AtomicU32::new(0),
            transport_cc: AtomicBool::new(false),
            said: Mutex::default(),
            news: Notify::new(),
        }
    }

    /// The link as rate control needs to know it.
    pub fn reading(&self) -> LinkReading {
        let said = *self.said();
        let mut further_bytes = [0; MOST_FURTHER];
        for (bytes, picture) in further_bytes.iter_mut().zip(self.pictures.iter().skip(1)) {
            *bytes = picture.encoded_bytes.load(Relaxed);
        }
        LinkReading {
            transport_cc: self.transport_cc.load(Relaxed),
            estimate: said.estimate,
            unanswered: said.unanswered,
            remb: said.remb,
            reception: said.reception,
            repair_bytes: self.repair_bytes.load(Relaxed),
            encoded_bytes: self.pictures[FIRST].encoded_bytes.load(Relaxed),
            further_bytes,
        }
    }

    /// The counters now.
    pub fn counters(&self) -> LinkCounters {
        LinkCounters {
            sent_bytes: self.sent_bytes.load(Relaxed),
            sent_packets: self.sent_packets.load(Relaxed),
            repair_bytes: self.repair_bytes.load(Relaxed),
            protection_packets: self.protection_packets.load(Relaxed),
            packets_missed: self.packets_missed.load(Relaxed),
            repairs_refused: self.repairs_refused.load(Relaxed),
            repairs_impossible: self.repairs_impossible.load(Relaxed),
            pictures_dropped: self.pictures_dropped.load(Relaxed),
        }
    }

    /// RTP packets sent, repairs included.
    pub(crate) fn sent_packets(&self) -> u64 {
        self.sent_packets.load(Relaxed)
    }

    /// Whether packets wait in the pacer, repairs included.
    pub(crate) fn holds_back(&self) -> bool {
        self.holds_back.load(Relaxed)
    }

    /// How long packets stand in the path's queue, by the last transport-wide feedback.
    pub fn queueing_delay(&self) -> Duration {
        self.said().queue
    }

    /// How long an answer takes: the round trip by the last receiver report, and what packets stand in the queue since.
    pub(super) fn round_trip(&self) -> Duration {
        let queue = self.said().queue;
        self.reported_round_trip().unwrap_or_default().max(queue)
    }

    /// The round trip by the last receiver report, where that tells it.
    pub(super) fn reported_round_trip(&self) -> Option<Duration> {
        self.said().reception.and_then(|reception| reception.value.round_trip)
    }

    /// Waits until the peer has said something new of the link. Cancel safe.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// Sets pace and limit of repairs from the next packet on.
    pub fn set_targets(&self, targets: &Targets) {
        self.pacing_bps.store(targets.pacing_bps.unwrap_or(0), Relaxed);
        self.repair_bps.store(targets.repair_bps, Relaxed);
    }

    /// Sets the limits of the estimate from the next feedback on.
    pub(super) fn set_limits(&self, config: RateConfig) {
        self.least_kbps.store(config.min().kbps(), Relaxed);
        self.most_kbps.store(config.max().kbps(), Relaxed);
    }

    /// The limits of the estimate, in bit/s, once they are told.
    pub(super) fn limits(&self) -> Option<(f64, f64)> {
        let bps = |kbps: &AtomicU32| f64::from(kbps.load(Relaxed)) * 1e3;
        Some((bps(&self.least_kbps), bps(&self.most_kbps))).filter(|(least, most)| *least > 0.0 && least <= most)
    }

    /// Notes what this picture's encoder made, sent or not.
    pub(crate) fn encoded(&self, picture: usize, bytes: usize) {
        self.pictures[picture].encoded_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// How much room there is for so many bytes of this picture: see [`pacer::admits`]. The first one goes in front of the
    /// others, so only what waits of itself is in its way.
    pub(crate) fn room_for(&self, picture: usize, bytes: usize, now: Instant) -> Room {
        let queued = if picture == FIRST { &self.queued_bits } else { &self.all_queued_bits };
        let (queued, rate) = (queued.load(Relaxed), self.pacing_bps.load(Relaxed));
        if self.is_standing(now) || !pacer::admits(bytes as u64 * 8, queued, rate) {
            Room::None
        } else if queued > 0 {
            Room::Behind
        } else {
            Room::AtOnce
        }
    }

    fn is_standing(&self, now: Instant) -> bool {
        let said = self.said();
        let lately = |at: Instant| now.saturating_duration_since(at) < STANDSTILL_PATIENCE;
        said.standing && said.estimate.is_some_and(|estimate| lately(estimate.at))
    }

    /// Notes a picture that was not sent.
    pub(crate) fn dropped_picture(&self) {
        self.pictures_dropped.fetch_add(1, Relaxed);
    }

    /// Notes a key frame of this picture whose first packet is this.
    pub(crate) fn key_frame_sent(&self, picture: usize, first_sequence: u16) {
        self.pictures[picture].key_frame_sequence.store(first_sequence.into(), Relaxed);
    }

    /// Whether a decoder still needs this packet: it is not older than the picture's last key frame.
    pub(crate) fn still_needed(&self, picture: usize, sequence: u16) -> bool {
        match u16::try_from(self.pictures[picture].key_frame_sequence.load(Relaxed)) {
            Ok(key_frame) => sequence.wrapping_sub(key_frame) < 1 << 15,
            Err(_) => true,
        }
    }

    /// How many of the picture's packets ago this one was sent; `None` before any was.
    pub(crate) fn age_in_packets(&self, picture: usize, sequence: u16) -> Option<u16> {
        let newest = u16::try_from(self.pictures[picture].newest_sequence.load(Relaxed)).ok()?;
        Some(newest.wrapping_sub(sequence))
    }

    pub(super) fn sent(&self, bytes: usize, repair: bool) {
        self.sent_bytes.fetch_add(bytes as u64, Relaxed);
        self.sent_packets.fetch_add(1, Relaxed);
        if repair {
            self.repair_bytes.fetch_add(bytes as u64, Relaxed);
        }
    }

    pub(crate) fn sent_sequence(&self, picture: usize, sequence: u16) {
        let PictureMeter { newest_sequence, key_frame_sequence, .. } = &self.pictures[picture];
        newest_sequence.store(sequence.into(), Relaxed);
        let key_frame = key_frame_sequence.load(Relaxed);
        let since = |key_frame: u16| KEY_FRAME_FORGOTTEN.contains(&sequence.wrapping_sub(key_frame));
        if u16::try_from(key_frame).is_ok_and(since) {
            // Fails when another key frame has come meanwhile.
            let _ = key_frame_sequence.compare_exchange(key_frame, NO_SEQUENCE, Relaxed, Relaxed);
        }
    }

    pub(crate) fn missed(&self, packets: u64, impossible: u64) {
        self.packets_missed.fetch_add(packets, Relaxed);
        self.repairs_impossible.fetch_add(impossible, Relaxed);
    }

    pub(super) fn protected(&self, packets: u64) {
        self.protection_packets.fetch_add(packets, Relaxed);
    }

    pub(super) fn refused_repair(&self) {
        self.repairs_refused.fetch_add(1, Relaxed);
    }

    pub(super) fn set_queued(&self, first: u64, all: u64, holds_back: bool) {
        self.queued_bits.store(first, Relaxed);
        self.all_queued_bits.store(all, Relaxed);
        self.holds_back.store(holds_back, Relaxed);
    }

    /// Wanted pace and limit of repairs in bit/s; `None` is without limit.
    pub(super) fn rates(&self) -> (Option<u64>, Option<u64>) {
        let rate = |rate: &AtomicU64| Some(rate.load(Relaxed)).filter(|rate| *rate > 0);
        (rate(&self.pacing_bps), rate(&self.repair_bps))
    }

    pub(super) fn set_transport_cc(&self, negotiated: bool) {
        self.transport_cc.store(negotiated, Relaxed);
    }

    /// A packet was sent at this time, the first since the peer has told of all, or it has told of all since.
    pub(super) fn set_unanswered(&self, since: Option<Instant>) {
        self.said().unanswered = since;
    }

    pub(super) fn estimated(&self, estimate: Heard<f64>, queue: Duration, standing: bool) {
        let mut said = self.said();
        said.estimate = Some(estimate);
        said.queue = queue;
        said.standing = standing;
        drop(said);
        self.news.notify_one();
    }

    pub(crate) fn said_remb(&self, remb: Heard<f64>) {
        self.said().remb = Some(remb);
        self.news.notify_one();
    }

    pub(crate) fn said_reception(&self, reception: Heard<Reception>) {
        self.said().reception = Some(reception);
        self.news.notify_one();
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        // Nothing panics while holding it, and every assignment leaves it whole.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_needed_however_long_the_last_key_frame_is_ago() {
        let meter = LinkMeter::of(1);
        let key_frame = u16::MAX - 100;
        meter.key_frame_sent(FIRST, key_frame);
        // The last of the picture before it leave behind it.
        meter.sent_sequence(FIRST, key_frame - 2);
        assert!(!meter.still_needed(FIRST, key_frame - 1), "older than the key frame");
        for packets in 0..200_000_u32 {
            let sequence = key_frame.wrapping_add(packets as u16);
            meter.sent_sequence(FIRST, sequence);
            assert!(meter.still_needed(FIRST, sequence), "{packets} packets after the key frame");
        }
        meter.key_frame_sent(FIRST, 7);
        assert!(meter.still_needed(FIRST, 8) && !meter.still_needed(FIRST, 6), "and the next key frame counts again");
    }
}
