//! The link as an operator or a viewer would want to know it.

use std::fmt;
use std::time::{Duration, Instant};

use rtc::peer_connection::transport::{RTCIceCandidateType, RTCIceServerTransportProtocol};
use rtc::statistics::report::{RTCStatsReport, RTCStatsReportEntry};
use rtc::statistics::stats::ice_candidate::RTCIceCandidateStats;

use super::meter::{LinkCounters, LinkMeter};
use crate::video::rate::{Basis, RateController, Targets};
use crate::video::settings::Framerate;

/// One second of the live link.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkStatus {
    /// What the rate is based on.
    pub basis: Basis,
    /// Whether the stream's rate can be changed at all.
    pub adaptable: bool,
    /// Round trip: the path's, by ICE's own checks, or the stream's, by receiver reports.
    pub round_trip: Option<Duration>,
    /// Share of the packets lost, 0 … 1: by the last receiver report, or, where that counts what was repaired as received,
    /// by what the peer asked for again in the last second.
    pub loss: Option<f64>,
    /// Interarrival jitter, by the last receiver report.
    pub jitter: Option<Duration>,
    /// How long packets stand in the path's queue, by transport-wide feedback.
    pub queueing_delay: Option<Duration>,
    /// RTP sent in the last second, repairs included, in bit/s.
    pub sent_bps: f64,
    /// The estimate of what the link carries, in bit/s, when there is one.
    pub estimate_bps: Option<f64>,
    /// What encoder, pipeline and pacer were told last.
    pub targets: Targets,
    /// The rate of the pictures when nothing is wrong.
    pub full_framerate: Framerate,
    /// Counters of the session.
    pub counters: LinkCounters,
    /// The candidate pair in use.
    pub pair: Option<CandidatePair>,
}

/// The two ends of the path in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandidatePair {
    /// Our candidate's type: `host`, `srflx`, `prflx` or `relay` (RFC 8839 §5.1).
    pub local: &'static str,
    /// The peer's.
    pub remote: &'static str,
    /// Between us and the peer, or us and our TURN server: `udp`, `tcp` or `tls`.
    pub protocol: &'static str,
}

impl fmt::Display for CandidatePair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}/{}", self.local, self.remote, self.protocol)
    }
}

/// What makes a [`LinkStatus`] of one second after another.
#[derive(Debug)]
pub(super) struct StatusMaker {
    at: Instant,
    before: LinkCounters,
    full_framerate: Framerate,
}

impl StatusMaker {
    pub(super) fn new(full_framerate: Framerate, now: Instant) -> Self {
        Self { at: now, before: LinkCounters::default(), full_framerate }
    }

    /// The last second, which ends now.
    pub(super) fn make(
        &mut self,
        meter: &LinkMeter,
        controller: &RateController,
        targets: Targets,
        path: &Path,
        now: Instant,
    ) -> LinkStatus {
        let (reading, counters) = (meter.reading(), meter.counters());
        let seconds = now.saturating_duration_since(self.at).as_secs_f64().max(0.001);
        let since = |count: fn(&LinkCounters) -> u64| (count(&counters) - count(&self.before)) as f64;
        let sent_bps = since(|counters| counters.sent_bytes) * 8.0 / seconds;
        let missed = since(|counters| counters.packets_missed) / since(|counters| counters.sent_packets).max(1.0);
        (self.at, self.before) = (now, counters);
        let reception = reading.reception.map(|reception| reception.value);
        LinkStatus {
            basis: controller.basis(),
            adaptable: controller.is_adaptable(),
            round_trip: path.round_trip.or(reception.and_then(|reception| reception.round_trip)),
            loss: reception.map(|reception| reception.loss.max(missed.min(1.0))),
            jitter: reception.map(|reception| reception.jitter),
            queueing_delay: reading.estimate.map(|_| meter.queueing_delay()),
            sent_bps,
            estimate_bps: reading.estimate.map(|estimate| estimate.value).or(reading.remb.map(|remb| remb.value)),
            targets,
            full_framerate: self.full_framerate,
            counters,
            pair: path.pair,
        }
    }
}

/// What ICE knows of the path in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) pair: Option<CandidatePair>,
    pub(super) round_trip: Option<Duration>,
}

impl Path {
    pub(super) fn of(report: &RTCStatsReport) -> Self {
        let selected = report.transport().map(|transport| transport.selected_candidate_pair_id.as_str());
        let pairs: Vec<_> = report.candidate_pairs().collect();
        // The transport names the pair that was chosen last; before it does, the nominated one is meant.
        let pair = pairs.iter().find(|pair| Some(pair.stats.id.as_str()) == selected);
        let Some(pair) = pair.or_else(|| pairs.iter().find(|pair| pair.nominated)) else { return Self::default() };
        let local = candidate(report, "RTCLocalIceCandidate_", &pair.local_candidate_id);
        let remote = candidate(report, "RTCRemoteIceCandidate_", &pair.remote_candidate_id);
        let round_trip = Duration::try_from_secs_f64(pair.current_round_trip_time).ok();
        Self {
            pair: Some(CandidatePair {
                local: local.map_or("prflx", |local| name(local.candidate_type)),
                remote: remote.map_or("prflx", |remote| name(remote.candidate_type)),
                protocol: local.map_or("udp", protocol),
            }),
            round_trip: round_trip.filter(|round_trip| !round_trip.is_zero()),
        }
    }
}

/// A candidate by the id that its pair gives it. The crate lists candidates under a prefixed id, and those found during
/// the checks (peer reflexive) not at all.
fn candidate<'a>(report: &'a RTCStatsReport, prefix: &str, id: &str) -> Option<&'a RTCIceCandidateStats> {
    match report.get(&format!("{prefix}{id}"))? {
        RTCStatsReportEntry::LocalCandidate(candidate) | RTCStatsReportEntry::RemoteCandidate(candidate) => {
            Some(candidate)
        }
        _ => None,
    }
}

fn protocol(local: &RTCIceCandidateStats) -> &'static str {
    match local.relay_protocol {
        RTCIceServerTransportProtocol::Tcp => "tcp",
        RTCIceServerTransportProtocol::Tls => "tls",
        _ if local.protocol.eq_ignore_ascii_case("tcp") => "tcp",
        _ => "udp",
    }
}

fn name(candidate: RTCIceCandidateType) -> &'static str {
    match candidate {
        RTCIceCandidateType::Host => "host",
        RTCIceCandidateType::Srflx => "srflx",
        RTCIceCandidateType::Prflx => "prflx",
        RTCIceCandidateType::Relay => "relay",
        _ => "unknown",
    }
}
