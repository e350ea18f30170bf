//! The link, in the form of `metric`: topic `link`, one message a key, once a second. Pure.
//!
//! | key | value |
//! |---|---|
//! | `quality` | 1 … 5, see [`quality`] |
//! | `rtt_ms`, `jitter_ms`, `queue_ms` | round trip, interarrival jitter, wait in the path's queue |
//! | `loss` | share of the packets lost, 0 … 1 |
//! | `bitrate_kbps` | RTP sent, repairs included |
//! | `target_kbps` | asked of the encoder |
//! | `estimate_kbps` | what the link is thought to carry |
//! | `basis` | `transport-cc`, `remb`, `reports`, `silence`, `nothing`, or `fixed`: the camera's own encoder cannot follow |
//! | `path` | our candidate's type, the peer's, and the protocol: `relay-host/tls` |
//! | `repairs_refused`, `pictures_dropped` | since the session began |
//! | `state` | `connecting`, `publishing`, `restarting-ice` (looking for another way), `reconnecting` (making a new session) |
//! | `restarts` | sessions and ICE restarts since the first session |
//! | `recovery_ms` | how long the last trouble took from its first sign to a connection, and a `cause` beside the value |
//!
//! What is not known is left out.

use super::report::{caused_metric, metric};
use crate::rtc::congestion::LinkStatus;
use crate::rtc::status::PublishStatus;
use crate::video::rate::{Basis, Scale};

/// The link's messages.
pub fn link(status: &LinkStatus, publish: &PublishStatus) -> Vec<String> {
    let millis = |time: std::time::Duration| rounded(time.as_secs_f64() * 1e3);
    let kbps = |bps: f64| (bps / 1e3).round();
    let numbers = [
        ("quality", Some(quality(status))),
        ("rtt_ms", status.round_trip.map(millis)),
        ("jitter_ms", status.jitter.map(millis)),
        ("queue_ms", status.queueing_delay.map(millis)),
        ("loss", status.loss.map(|loss| rounded(loss * 100.0) / 100.0)),
        ("bitrate_kbps", Some(kbps(status.sent_bps))),
        ("target_kbps", Some(f64::from(status.targets.bitrate.kbps()))),
        ("estimate_kbps", status.estimate_bps.map(kbps)),
        ("repairs_refused", Some(status.counters.repairs_refused as f64)),
        ("pictures_dropped", Some(status.counters.pictures_dropped as f64)),
        ("restarts", Some(publish.restarts as f64)),
    ];
    let known = numbers.into_iter().filter_map(|(key, value)| Some(metric("link", key, value?)));
    let path = status.pair.map(|pair| metric("link", "path", pair.to_string()));
    let recovery = publish.last_recovery.as_ref();
    let recovery = recovery
        .map(|recovery| caused_metric("link", "recovery_ms", recovery.took.as_millis() as u64, Some(&recovery.cause)));
    known
        .chain([metric("link", "basis", basis(status)), metric("link", "state", publish.state.name())])
        .chain(path)
        .chain(recovery)
        .collect()
}

/// What the rate is based on, in a word: see the table.
pub fn basis(status: &LinkStatus) -> &'static str {
    if status.adaptable { status.basis.name() } else { "fixed" }
}

/// How good the link is to drive by: 5 is as good as being there, 1 is not to be driven by. From 5 it takes
/// - 1 for each 100 ms beyond 50 that a command and its picture take (round trip and queue), at most 2;
/// - 1 for each 4 % of the packets lost, at most 2;
/// - 1 for smaller pictures, half for fewer;
/// - 2 while the peer has fallen silent.
pub fn quality(status: &LinkStatus) -> f64 {
    let delay = status.round_trip.unwrap_or_default() + status.queueing_delay.unwrap_or_default();
    let late = ((delay.as_secs_f64() - 0.05) / 0.1).clamp(0.0, 2.0);
    let lossy = (status.loss.unwrap_or(0.0) / 0.04).clamp(0.0, 2.0);
    let smaller = if status.targets.rung.scale < Scale::Full { 1.0 } else { 0.0 };
    let fewer = if status.targets.rung.framerate < status.full_framerate { 0.5 } else { 0.0 };
    let silent = if status.basis == Basis::Silence { 2.0 } else { 0.0 };
    rounded((5.0 - late - lossy - smaller - fewer - silent).max(1.0))
}

/// One decimal: what a viewer can show.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rtc::congestion::CandidatePair;
    use crate::rtc::congestion::meter::LinkCounters;
    use crate::rtc::status::{Recovery, SessionState};
    use crate::video::rate::{Rung, Targets};
    use crate::video::settings::{Bitrate, Framerate};

    fn good() -> LinkStatus {
        let full_framerate = Framerate::new(30).expect("a valid rate");
        LinkStatus {
            basis: Basis::TransportCc,
            adaptable: true,
            round_trip: Some(Duration::from_micros(20_250)),
            loss: Some(0.0),
            jitter: Some(Duration::from_millis(2)),
            queueing_delay: Some(Duration::ZERO),
            sent_bps: 812_345.0,
            estimate_bps: Some(900_000.0),
            targets: Targets {
                bitrate: Bitrate::from_kbps(800).expect("a valid rate"),
                rung: Rung { framerate: full_framerate, scale: Scale::Full },
                pacing_bps: None,
                repair_bps: 0,
            },
            full_framerate,
            counters: LinkCounters::default(),
            pair: Some(CandidatePair { local: "relay", remote: "host", protocol: "tls" }),
        }
    }

    #[test]
    fn each_message_has_the_references_form() {
        let recovery = Recovery { cause: "the network changed".to_owned(), took: Duration::from_millis(640) };
        let publish = PublishStatus {
            restarts: 3,
            state: SessionState::RestartingIce,
            last_recovery: Some(recovery),
            ..PublishStatus::default()
        };
        let messages = link(&good(), &publish);
        for expected in [
            r#"{"link":{"key":"quality","value":5.0}}"#,
            r#"{"link":{"key":"rtt_ms","value":20.3}}"#,
            r#"{"link":{"key":"bitrate_kbps","value":812.0}}"#,
            r#"{"link":{"key":"restarts","value":3.0}}"#,
            r#"{"link":{"key":"recovery_ms","value":640,"cause":"the network changed"}}"#,
            r#"{"link":{"key":"basis","value":"transport-cc"}}"#,
            r#"{"link":{"key":"state","value":"restarting-ice"}}"#,
            r#"{"link":{"key":"path","value":"relay-host/tls"}}"#,
        ] {
            assert!(messages.iter().any(|message| message == expected), "{expected} in {messages:#?}");
        }
    }

    #[test]
    fn what_is_not_known_is_left_out_and_a_passthrough_says_that_it_cannot_follow() {
        let status = LinkStatus { loss: None, round_trip: None, pair: None, adaptable: false, ..good() };
        let messages = link(&status, &PublishStatus::default()).concat();
        assert!(!messages.contains("loss") && !messages.contains("rtt_ms") && !messages.contains("path"), "{messages}");
        assert!(messages.contains(r#""key":"basis","value":"fixed""#), "{messages}");
    }

    #[test]
    fn the_quality_falls_with_everything_that_makes_driving_hard() {
        let slow = Rung { framerate: Framerate::new(15).expect("a valid rate"), scale: Scale::Half };
        let reduced = Targets { rung: slow, ..good().targets };
        let cases = [
            ("nothing wrong", good(), 5.0),
            ("150 ms round trip", LinkStatus { round_trip: Some(Duration::from_millis(150)), ..good() }, 4.0),
            ("a second of queue", LinkStatus { queueing_delay: Some(Duration::from_secs(1)), ..good() }, 3.0),
            ("6 % loss", LinkStatus { loss: Some(0.06), ..good() }, 3.5),
            ("half the pictures at half the size", LinkStatus { targets: reduced, ..good() }, 3.5),
            ("silence", LinkStatus { basis: Basis::Silence, ..good() }, 3.0),
            ("all of it", LinkStatus { basis: Basis::Silence, loss: Some(1.0), targets: reduced, ..good() }, 1.0),
        ];
        for (what, status, expected) in cases {
            assert_eq!(quality(&status), expected, "{what}");
        }
    }
}
