//! What is known, in the form of `metric`: `{"<topic>":{"key":"<name>","value":…}}`
//! (`shared/reference/spider-protocol.md`). Pure.
//!
//! Ours beside the reference's messages: topic `drive` with the keys `state` (`parked`, `armed`, `braking`, `latched`,
//! and a `cause` beside the value), `throttle` and `steering` (−1 … 1), `pulse_throttle` and `pulse_steering` (ticks),
//! `awaits_neutral` (0 or 1), `fault` (a sentence, `""` when it is over); topic `video` with `state` (`starting`,
//! `playing`, `lost`, and a `cause` beside the value: [`LossCause`](crate::video::recovery::LossCause)); topic
//! `camera` with `shown` (0 the front camera, 1 the rear one; only where there are two); more of `video`,
//! and the topics `host`, `process` and `link`, as their functions say. A message of topic `video` that is of a camera beside
//! the first has its name as `camera` beside the value.

use std::time::Duration;

use serde::Serialize;

use super::host::HostReading;
use super::snapshot::{FrameRates, LinkReading};
use crate::drive::event::{DriveEvent, DriveSnapshot};
use crate::drive::gate::State;
use crate::drive::latency::ControlLatency;
use crate::drive::simulated::CarState;
use crate::video::control::VideoStats;
use crate::video::further::CameraName;
use crate::video::recovery::CameraState;
use crate::video::settings::View;
use crate::video::{trace, views};

/// One message of `metric`: `{"topic":{"key":key,"value":value}}`.
pub fn metric(topic: &str, key: &str, value: impl Serialize) -> String {
    caused_metric(topic, key, value, None)
}

/// As [`metric`], with a `cause` beside the value.
pub fn caused_metric(topic: &str, key: &str, value: impl Serialize, cause: Option<&str>) -> String {
    write(topic, &Body { key, value, cause, camera: None })
}

/// The gate's state with its cause.
pub fn drive_state(state: State) -> String {
    let cause = state.cause().map(|cause| cause.name());
    caused_metric("drive", "state", state.name(), cause)
}

/// What an event of the drive says to viewers; some concern only the log.
pub fn drive_event(event: &DriveEvent) -> Option<String> {
    match event {
        DriveEvent::State(state) => Some(drive_state(*state)),
        DriveEvent::MaxSpeed(pulse) => Some(metric("speed", "maxSpeed", pulse.ticks())),
        DriveEvent::ActuatorFault(what) => Some(metric("drive", "fault", what)),
        DriveEvent::ActuatorRecovered => Some(metric("drive", "fault", "")),
        DriveEvent::Direction(_)
        | DriveEvent::MaxSpeedRefused(_)
        | DriveEvent::MaxSpeedFile(_)
        | DriveEvent::MessagesRejected { .. }
        | DriveEvent::Ended(_) => None,
    }
}

/// Lap sensor passed at this Unix time, in seconds (the reference's `ir` message).
pub fn lap_pass(unix_seconds: f64) -> String {
    metric("ir", "detectTime", unix_seconds)
}

/// What moves, for a viewer's gauges: only what differs from `before`, or all when there is nothing to compare with.
pub fn drive_motion(now: &DriveSnapshot, before: Option<&DriveSnapshot>) -> Vec<String> {
    let mut messages = Vec::new();
    let changed = |of: fn(&DriveSnapshot) -> f64| before.is_none_or(|before| of(before) != of(now));
    let mut tell = |key: &str, of: fn(&DriveSnapshot) -> f64| {
        if changed(of) {
            messages.push(metric("drive", key, rounded(of(now))));
        }
    };
    tell("throttle", |drive| drive.throttle);
    tell("steering", |drive| drive.steering);
    tell("pulse_throttle", |drive| f64::from(drive.pulses.throttle.ticks()));
    tell("pulse_steering", |drive| f64::from(drive.pulses.steering.ticks()));
    tell("awaits_neutral", |drive| f64::from(u8::from(drive.awaits_neutral)));
    messages
}

/// The picture: `encoder`, `bitrate_kbps` (asked of the encoder), `fps_in`, `fps_out`, `dropped`, `key_frames` (since the
/// start). `camera` is none for the first.
pub fn video(camera: Option<&CameraName>, now: &VideoStats, rates: FrameRates) -> Vec<String> {
    vec![
        video_metric(camera, "encoder", now.encoder),
        video_metric(camera, "bitrate_kbps", now.bitrate.kbps()),
        video_metric(camera, "fps_in", rounded(rates.frames_in)),
        video_metric(camera, "fps_out", rounded(rates.frames_out)),
        video_metric(camera, "dropped", now.frames_dropped + now.units_dropped),
        video_metric(camera, "key_frames", now.key_frames),
    ]
}

fn video_metric(camera: Option<&CameraName>, key: &str, value: impl Serialize) -> String {
    write("video", &Body { key, value, cause: None, camera: camera.map(CameraName::as_str) })
}

/// Which of two cameras is shown: 0 is the front one.
pub fn camera_shown(view: View) -> String {
    metric(views::TOPIC, "shown", view.number())
}

/// How long pictures took, a message a stage: `capture` (to the encoder), `encode`, `packetise`, `send`, and the `whole` way;
/// each with `p50_ms`, `p95_ms` and `max_ms` since the last.
pub fn latency(report: &trace::Report) -> Vec<String> {
    trace::STAGES.iter().zip(&report.0).map(|(stage, quantiles)| metric("latency", stage, quantiles)).collect()
}

/// How long commands took from their arrival to the write to the actuator, since the start: as the stages of a picture.
pub fn control_latency(of: &ControlLatency) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    metric("latency", "control", trace::Quantiles { p50_ms: ms(of.p50), p95_ms: ms(of.p95), max_ms: ms(of.max) })
}

/// How the picture is doing: `starting`, `playing` or `lost`, then with its cause. `camera` is none for the first.
pub fn video_state(camera: Option<&CameraName>, state: &CameraState) -> String {
    let cause = state.cause().map(|cause| cause.name());
    write("video", &Body { key: "state", value: state.name(), cause, camera: camera.map(CameraName::as_str) })
}

/// The simulated car: `speed_mps`, `heading_deg`.
pub fn simulated(car: &CarState) -> Vec<String> {
    vec![metric("car", "speed_mps", rounded(car.speed)), metric("car", "heading_deg", rounded(car.heading))]
}

/// The board: `cpu_load` and `memory_used` (0 … 1), `disk_free_mb`, `temperature_c` (the hottest), `temperature_c.ZONE`,
/// `thermal_throttling` (0 or 1), `over_current_events` (Jetson), `wifi_dbm`, `throttled` (the Raspberry Pi's flags); what
/// the board does not tell is left out.
pub fn host(reading: &HostReading) -> Vec<String> {
    let values = [
        ("cpu_load", reading.cpu_load),
        ("memory_used", reading.memory_used),
        ("disk_free_mb", reading.disk_free_mb),
        ("temperature_c", reading.temperature_c),
        ("thermal_throttling", reading.thermal_throttling.map(|throttling| f64::from(u8::from(throttling)))),
        ("over_current_events", reading.over_current_events.map(|events| events as f64)),
        ("wifi_dbm", reading.wifi_dbm),
        ("throttled", reading.throttled.map(f64::from)),
    ];
    let told = values.into_iter().filter_map(|(key, value)| Some(metric("host", key, rounded(value?))));
    let zones = reading.temperatures.iter();
    told.chain(zones.map(|(zone, degrees)| metric("host", &format!("temperature_c.{zone}"), rounded(*degrees))))
        .collect()
}

/// The connection: `publishing` (0 or 1), `sessions` (that came up since the start), `packets` (sent), `metrics_dropped`.
pub fn link(reading: &LinkReading) -> Vec<String> {
    vec![
        metric("link", "publishing", u8::from(reading.publishing)),
        metric("link", "sessions", reading.sessions),
        metric("link", "packets", reading.packets),
        metric("link", "metrics_dropped", reading.metrics_dropped),
    ]
}

/// This process: `rss_kib`, `uptime_s`, `version`.
pub fn process(uptime: Duration, resident_kib: Option<u64>) -> Vec<String> {
    let mut messages =
        vec![metric("process", "uptime_s", uptime.as_secs()), metric("process", "version", env!("CARGO_PKG_VERSION"))];
    messages.extend(resident_kib.map(|kib| metric("process", "rss_kib", kib)));
    messages
}

#[derive(Serialize)]
struct Body<'a, V> {
    key: &'a str,
    value: V,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    camera: Option<&'a str>,
}

fn write<V: Serialize>(topic: &str, body: &Body<'_, V>) -> String {
    let body = serde_json::to_string(body).expect("strings and numbers under string keys always serialise");
    let topic = serde_json::to_string(topic).expect("a string always serialises");
    format!("{{{topic}:{body}}}")
}

/// Three decimals: what a viewer can show.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::gate::StopCause;
    use crate::drive::settings::Pulse;
    use crate::video::recovery::LossCause;

    #[test]
    fn messages_have_the_references_form() {
        let pulse = Pulse::new(420).expect("within 12 bits");
        let echo = drive_event(&DriveEvent::MaxSpeed(pulse));
        assert_eq!(echo.as_deref(), Some(r#"{"speed":{"key":"maxSpeed","value":420}}"#));
        assert_eq!(lap_pass(1_700_000_000.25), r#"{"ir":{"key":"detectTime","value":1700000000.25}}"#);
    }

    #[test]
    fn the_state_carries_its_cause() {
        assert_eq!(drive_state(State::Armed), r#"{"drive":{"key":"state","value":"armed"}}"#);
        assert_eq!(
            drive_state(State::Parked { cause: StopCause::Deadline }),
            r#"{"drive":{"key":"state","value":"parked","cause":"deadline"}}"#
        );
    }

    #[test]
    fn a_lost_camera_is_told_with_its_cause() {
        assert_eq!(video_state(None, &CameraState::Playing), r#"{"video":{"key":"state","value":"playing"}}"#);
        let lost = CameraState::Lost {
            cause: LossCause::Missing,
            message: "camera.device: gone".into(),
            since: std::time::SystemTime::UNIX_EPOCH,
        };
        assert_eq!(video_state(None, &lost), r#"{"video":{"key":"state","value":"lost","cause":"missing"}}"#);
        let left = CameraName::new("left").expect("a name");
        let message = r#"{"video":{"key":"state","value":"lost","cause":"missing","camera":"left"}}"#;
        assert_eq!(video_state(Some(&left), &lost), message, "which one, where it is not the first");
    }

    #[test]
    fn what_the_board_does_not_tell_is_left_out() {
        let reading = HostReading { cpu_load: Some(0.123_456), temperature_c: None, ..HostReading::default() };
        assert_eq!(host(&reading), [r#"{"host":{"key":"cpu_load","value":0.123}}"#]);
    }

    #[test]
    fn a_text_cannot_break_out_of_its_message() {
        let fault = drive_event(&DriveEvent::ActuatorFault("\"}}\n{".into())).expect("a message");
        let read: serde_json::Value = serde_json::from_str(&fault).expect("JSON");
        assert_eq!(read["drive"]["value"], "\"}}\n{");
    }
}
