//! A publisher, a bottleneck and a receiver on virtual time: the real estimator, controller and pacer, a made-up
//! encoder, a first-in-first-out link with a rate trace, and a receiver with the feedback of choice.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::estimator::{Estimator, PacketFate};
use super::meter::{Room, STANDSTILL_PATIENCE};
use super::pacer::{Pacer, admits};
use crate::rtc::admission::{Admission, Verdict};
use crate::video::rate::{Heard, LinkReading, RateController, Reception, Steering, Targets};
use crate::video::settings::{Bitrate, Framerate, RateConfig, Size};

const TICK: Duration = Duration::from_millis(50);
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(1);
const PACKET_BYTES: usize = 1200;
/// Pictures a second when none are left out.
const FULL_RATE: u32 = 30;
/// Ethernet, IP, UDP, SRTP tag.
const WIRE_OVERHEAD: usize = 14 + 20 + 8 + 10;

/// What the receiver sends back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Feedback {
    TransportCc,
    /// The link's rate times this.
    Remb(f64),
    Reports,
    Nothing,
    /// Transport-wide until this moment, then nothing.
    StopsAt(Duration),
}

/// The link and the encoder on it.
#[derive(Clone)]
pub(super) struct World {
    pub(super) rate: fn(Duration) -> f64,
    pub(super) feedback: Feedback,
    /// One way, and jitter on top of it.
    pub(super) delay: fn(Duration) -> Duration,
    pub(super) jitter: Duration,
    pub(super) loss: f64,
    /// Bytes the link's queue holds before it drops.
    pub(super) buffer: usize,
    /// What the encoder makes of the rate it is asked for.
    pub(super) overshoot: f64,
    /// It gives each picture its share of a second at the full rate: of half the pictures it makes half the bits.
    pub(super) counts_by_pictures: bool,
    /// Pictures a second, at the most; none come from the first of these moments until the second.
    pub(super) camera_fps: u32,
    pub(super) camera_away: (Duration, Duration),
    pub(super) start_kbps: u32,
    pub(super) max_kbps: u32,
    pub(super) length: Duration,
    pub(super) crate_gcc: bool,
}

impl World {
    pub(super) fn new(rate: fn(Duration) -> f64, length_s: u64) -> Self {
        Self {
            rate,
            feedback: Feedback::TransportCc,
            delay: |_| Duration::from_millis(25),
            jitter: Duration::ZERO,
            loss: 0.0,
            buffer: 150_000,
            overshoot: 1.0,
            counts_by_pictures: false,
            camera_fps: FULL_RATE,
            camera_away: (Duration::MAX, Duration::MAX),
            start_kbps: 800,
            max_kbps: 4000,
            length: Duration::from_secs(length_s),
            crate_gcc: false,
        }
    }
}

/// One tenth of a second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    pub(super) at: f64,
    pub(super) link_bps: f64,
    /// What left towards the link, headers of all layers included.
    pub(super) sent_bps: f64,
    pub(super) delivered_bps: f64,
    /// Longest queueing on the link in this sample.
    pub(super) queue_ms: f64,
    /// Longest wait in the pacer.
    pub(super) pacer_ms: f64,
    pub(super) target_kbps: u32,
    pub(super) framerate: u32,
    pub(super) width: u32,
    pub(super) dropped_pictures: u32,
}

struct OnTheWay {
    sequence: usize,
    wire_bytes: usize,
}

struct Sent {
    departure: Instant,
    bytes: usize,
    /// Receiver's clock.
    arrival: Option<Duration>,
}

pub(super) fn run(world: &World) -> Vec<Sample> {
    Run::new(world).run()
}

struct Run<'a> {
    world: &'a World,
    epoch: Instant,
    random: SmallRng,
    estimator: Estimator,
    gcc: rtc::interceptor::Gcc,
    controller: RateController,
    targets: Targets,
    pacer: Pacer<(usize, Instant)>,
    reading: LinkReading,
    sent: Vec<Sent>,
    link: VecDeque<OnTheWay>,
    link_bytes: usize,
    link_credit: f64,
    reported: usize,
    highest_arrived: usize,
    arrived_since_report: usize,
    lost_since_report: usize,
    /// Feedback on its way back: when it is here, and the packets it covers.
    returning: VecDeque<(Instant, std::ops::Range<usize>)>,
    returning_reports: VecDeque<(Instant, Reception)>,
    admission: Admission,
    idr_asked: bool,
    samples: Vec<Sample>,
    sample: Sample,
    last_arrival: Duration,
}

impl<'a> Run<'a> {
    fn new(world: &'a World) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let epoch = Instant::now() + Duration::from_secs(1000);
        let kbps = |kbps| Bitrate::from_kbps(kbps).expect("a valid rate");
        let config = RateConfig::new(kbps(world.start_kbps), kbps(150), kbps(world.max_kbps)).expect("ordered rates");
        let size = Size::new(1280, 720).expect("a valid size");
        let framerate = Framerate::new(FULL_RATE).expect("a valid rate");
        let mut controller = RateController::new(config, Steering::ANY, size, framerate, epoch);
        let reading = LinkReading { transport_cc: world.feedback_is_transport(), ..LinkReading::default() };
        let targets = controller.tick(&reading, epoch);
        let bounds = (f64::from(world.start_kbps) * 1e3, 150e3, f64::from(world.max_kbps) * 1e3);
        Self {
            world,
            epoch,
            random: SmallRng::seed_from_u64(7),
            estimator: Estimator::new(bounds.0, bounds.1, bounds.2, epoch),
            gcc: rtc::interceptor::Gcc::new(bounds.0, bounds.1, bounds.2),
            controller,
            targets,
            pacer: Pacer::new(epoch),
            reading,
            sent: Vec::new(),
            link: VecDeque::new(),
            link_bytes: 0,
            link_credit: 0.0,
            reported: 0,
            highest_arrived: 0,
            arrived_since_report: 0,
            lost_since_report: 0,
            returning: VecDeque::new(),
            returning_reports: VecDeque::new(),
            admission: Admission::new(epoch),
            idr_asked: true,
            samples: Vec::new(),
            sample: Sample::default(),
            last_arrival: Duration::ZERO,
        }
    }

    fn run(mut self) -> Vec<Sample> {
        let mut next_picture = Duration::ZERO;
        let mut at = Duration::ZERO;
        while at < self.world.length {
            let now = self.epoch + at;
            if at >= next_picture {
                if !(self.world.camera_away.0..self.world.camera_away.1).contains(&at) {
                    self.picture(now);
                }
                next_picture +=
                    self.targets.rung.framerate.interval().max(Duration::from_secs(1) / self.world.camera_fps);
            }
            self.release(now);
            self.carry(at);
            self.feed_back(at, now);
            if at.as_millis().is_multiple_of(TICK.as_millis()) {
                self.tick(now);
            }
            if at.as_millis() % 100 == 99 {
                self.close_sample(at);
            }
            at += STEP;
        }
        self.samples
    }

    fn picture(&mut self, now: Instant) {
        let rate = self.targets.rung.framerate;
        let fps = f64::from(if self.world.counts_by_pictures { FULL_RATE } else { rate.per_second() });
        let ordinary = f64::from(self.targets.bitrate.bps()) / 8.0 / fps * self.world.overshoot;
        let noise = 0.7 + 0.6 * self.random.random::<f64>();
        let idr = std::mem::take(&mut self.idr_asked);
        let bytes = (ordinary * if idr { 3.5 } else { noise }) as usize;
        self.reading.encoded_bytes += bytes as u64;
        match self.admission.judge(idr, self.room_for(bytes, now), now) {
            Verdict::Send => self.packetize(bytes, now),
            verdict => {
                self.sample.dropped_pictures += 1;
                self.idr_asked = verdict == Verdict::DropAndAsk;
            }
        }
    }

    fn room_for(&self, bytes: usize, now: Instant) -> Room {
        let standing = self.estimator.is_standing() && self.heard_lately(now);
        let queued = self.pacer.queued_bits();
        match self.targets.pacing_bps.unwrap_or(0) {
            rate if standing || !admits(bytes as u64 * 8, queued, rate) => Room::None,
            _ if queued > 0 => Room::Behind,
            _ => Room::AtOnce,
        }
    }

    fn packetize(&mut self, bytes: usize, now: Instant) {
        let mut left = bytes.max(100);
        while left > 0 {
            let payload = left.min(PACKET_BYTES - 20);
            left -= payload;
            let packet = payload + 20;
            self.pacer.push((packet, now), packet as f64 * 8.0, now);
        }
    }

    fn heard_lately(&self, now: Instant) -> bool {
        self.reading.estimate.is_some_and(|estimate| now - estimate.at < STANDSTILL_PATIENCE)
    }

    fn release(&mut self, now: Instant) {
        while let Some((bytes, queued_at)) = self.pacer.pop(now) {
            let waited = now.saturating_duration_since(queued_at).as_secs_f64() * 1e3;
            self.sample.pacer_ms = self.sample.pacer_ms.max(waited);
            let wire_bytes = bytes + WIRE_OVERHEAD;
            self.sample.sent_bps += wire_bytes as f64 * 80.0;
            let sequence = self.sent.len();
            self.sent.push(Sent { departure: now, bytes: bytes + 38, arrival: None });
            self.reading.unanswered.get_or_insert(now);
            let lost = self.random.random::<f64>() < self.world.loss;
            if !lost && self.link_bytes + wire_bytes <= self.world.buffer {
                self.link_bytes += wire_bytes;
                self.link.push_back(OnTheWay { sequence, wire_bytes });
            }
        }
    }

    fn carry(&mut self, at: Duration) {
        let rate = (self.world.rate)(at);
        self.link_credit = (self.link_credit + rate / 8.0 * STEP.as_secs_f64()).min(rate / 8.0 * 0.002 + 1600.0);
        while let Some(front) = self.link.front() {
            let wait = self.epoch + at - self.sent[front.sequence].departure;
            self.sample.queue_ms = self.sample.queue_ms.max(wait.as_secs_f64() * 1e3);
            if (front.wire_bytes as f64) > self.link_credit {
                break;
            }
            self.link_credit -= front.wire_bytes as f64;
            self.link_bytes -= front.wire_bytes;
            self.sample.delivered_bps += front.wire_bytes as f64 * 80.0;
            let jitter = self.world.jitter.mul_f64(self.random.random::<f64>());
            // In order: jitter does not reorder.
            let arrival = (at + (self.world.delay)(at) + jitter).max(self.last_arrival);
            self.last_arrival = arrival;
            self.sent[front.sequence].arrival = Some(arrival + Duration::from_secs(77));
            self.highest_arrived = front.sequence + 1;
            self.arrived_since_report += 1;
            self.link.pop_front();
        }
        if self.link.is_empty() {
            self.link_credit = self.link_credit.min(1600.0);
        }
    }

    fn feed_back(&mut self, at: Duration, now: Instant) {
        let delay = (self.world.delay)(at);
        let back = now + delay * 2;
        let transport = match self.world.feedback {
            Feedback::TransportCc => true,
            Feedback::StopsAt(end) => at < end,
            Feedback::Remb(_) | Feedback::Reports | Feedback::Nothing => false,
        };
        if at.as_millis().is_multiple_of(FEEDBACK_INTERVAL.as_millis()) {
            if transport && self.highest_arrived > self.reported {
                self.returning.push_back((back, self.reported..self.highest_arrived));
            }
            self.lost_since_report +=
                self.sent[self.reported..self.highest_arrived].iter().filter(|sent| sent.arrival.is_none()).count();
            self.reported = self.highest_arrived;
        }
        if at.as_millis().is_multiple_of(REPORT_INTERVAL.as_millis()) && self.arrived_since_report > 0 {
            let queue = Duration::from_secs_f64(self.link_bytes as f64 * 8.0 / (self.world.rate)(at).max(1.0));
            let expected = self.arrived_since_report + self.lost_since_report;
            let loss = self.lost_since_report as f64 / expected as f64;
            let round_trip = Some(delay * 2 + queue);
            self.returning_reports.push_back((
                back,
                Reception {
                    loss,
                    jitter: Duration::ZERO,
                    round_trip,
                    arriving_bps: Some(self.arrived_since_report as f64 * 8.0 * 1000.0),
                },
            ));
            (self.arrived_since_report, self.lost_since_report) = (0, 0);
            if let Feedback::Remb(share) = self.world.feedback {
                self.reading.remb = Some(Heard { value: (self.world.rate)(at) * share, at: now });
            }
        }
        while self.returning.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, range)) = self.returning.pop_front() else { break };
            self.estimate(range, now);
        }
        while self.returning_reports.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, reception)) = self.returning_reports.pop_front() else { break };
            if matches!(self.world.feedback, Feedback::Reports) {
                self.reading.reception = Some(Heard { value: reception, at: now });
            }
        }
    }

    fn estimate(&mut self, range: std::ops::Range<usize>, now: Instant) {
        use rtc::interceptor::BandwidthEstimator;
        let all_told = range.end == self.sent.len();
        let target = if self.world.crate_gcc {
            let reports: Vec<_> = range.map(|sequence| self.crate_report(sequence)).collect();
            self.gcc.on_reports(now, &reports);
            self.gcc.target_bitrate()
        } else {
            let fates: Vec<_> = self.sent[range]
                .iter()
                .map(|sent| PacketFate { departure: sent.departure, bytes: sent.bytes, arrival: sent.arrival })
                .collect();
            self.estimator.on_feedback(&fates, all_told, now);
            self.estimator.target()
        };
        self.reading.estimate = Some(Heard { value: target, at: now });
        if all_told {
            self.reading.unanswered = None;
        }
    }

    fn crate_report(&self, sequence: usize) -> rtc::interceptor::PacketReport {
        let sent = &self.sent[sequence];
        rtc::interceptor::PacketReport {
            ssrc: 1,
            id: sequence as u64,
            rtp_sequence_number: sequence as u16,
            is_twcc: true,
            twcc_sequence_number: sequence as u16,
            size: sent.bytes,
            arrived: sent.arrival.is_some(),
            departure: sent.departure,
            arrival: sent.arrival,
            ecn: Default::default(),
        }
    }

    fn tick(&mut self, now: Instant) {
        self.targets = self.controller.tick(&self.reading, now);
        self.pacer.set_rates(self.targets.pacing_bps, Some(self.targets.repair_bps), now);
    }

    fn close_sample(&mut self, at: Duration) {
        let size = self.targets.rung.scale.of(Size::new(1280, 720).expect("a valid size"));
        self.samples.push(Sample {
            at: at.as_secs_f64(),
            link_bps: (self.world.rate)(at),
            target_kbps: self.targets.bitrate.kbps(),
            framerate: self.targets.rung.framerate.per_second(),
            width: size.width(),
            ..self.sample
        });
        self.sample = Sample::default();
    }
}

impl World {
    fn feedback_is_transport(&self) -> bool {
        matches!(self.feedback, Feedback::TransportCc | Feedback::StopsAt(_))
    }
}
