//! What the status socket answers with: one JSON document. Pure.
//!
//! Its keys may become more, not other: programs read it. Ages are in seconds, −1 … 1 is a fraction of full travel.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::drive::latency::ControlLatency;
use crate::logging::recent::Noted;
use crate::rtc::congestion::LinkStatus;
use crate::telemetry;
use crate::telemetry::snapshot::{FrameRates, FurtherSnapshot, Snapshot};
use crate::video::control::VideoStats;
use crate::video::recovery::CameraState;

/// The longest document there can be, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;

/// The daemon at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Document {
    /// The channel's id.
    pub channel: String,
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub process: Process,
    /// The session with the server.
    pub session: Session,
    /// How good the link is; none while nobody is connected.
    pub link: Option<Link>,
    /// The camera.
    pub camera: Camera,
    /// The encoder; none before one has run.
    pub video: Option<Video>,
    /// The cameras beside the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cameras: Vec<FurtherCamera>,
    /// The car.
    pub drive: Drive,
    /// The board.
    pub host: Host,
    /// Warnings and errors.
    pub log: Log,
}

/// The daemon's process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub id: u32,
    /// Since it started publishing.
    pub uptime_s: u64,
    /// Resident memory.
    pub rss_kib: Option<u64>,
    /// Threads.
    pub threads: Option<usize>,
    /// Open file descriptors.
    pub open_files: Option<usize>,
    /// Tasks of the runtime.
    pub tasks: Option<usize>,
}

/// The session with the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Whether the server has been tried at all.
    pub tried: bool,
    /// Whether a peer carries the picture.
    pub publishing: bool,
    /// Sessions that came up since the start.
    pub sessions: u64,
    /// Sessions and ICE restarts that became necessary after the first session.
    pub restarts: u64,
    /// Why the last session or attempt ended.
    pub last_trouble: Option<String>,
    /// What the last trouble that is over began with.
    pub recovered_from: Option<String>,
    /// How long it took.
    pub recovery_ms: Option<u64>,
    /// RTP packets sent.
    pub packets: u64,
    /// Telemetry messages that did not fit.
    pub metrics_dropped: u64,
}

/// How good the link is: see [`crate::telemetry::link`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// 1 … 5.
    pub quality: f64,
    /// `transport-cc`, `remb`, `reports`, `silence` or `nothing`; `fixed` when the rate cannot be changed.
    pub basis: String,
    /// Round trip.
    pub rtt_ms: Option<f64>,
    /// How long packets stand in the path's queue.
    pub queue_ms: Option<f64>,
    /// 0 … 1.
    pub loss: Option<f64>,
    /// RTP sent in the last second, repairs included.
    pub bitrate_kbps: f64,
    /// What the link is thought to carry.
    pub estimate_kbps: Option<f64>,
    /// The candidate pair: `relay-host/tls`.
    pub path: Option<String>,
    /// Pictures that the link had no room for.
    pub pictures_dropped: u64,
}

/// The camera.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Camera {
    /// `starting`, `playing` or `lost`.
    pub state: String,
    /// Why it is lost.
    pub cause: Option<String>,
    /// In a sentence.
    pub message: Option<String>,
}

/// A camera beside the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FurtherCamera {
    /// What its track is called.
    pub name: String,
    /// The camera.
    pub camera: Camera,
    /// Its encoder; none before one has run.
    pub video: Option<Video>,
}

/// The encoder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Video {
    /// GStreamer's name for the encoder.
    pub encoder: String,
    /// What the encoder is asked for.
    pub bitrate_kbps: u32,
    /// Frames a second into the encoder.
    pub fps_in: f64,
    /// And out of it.
    pub fps_out: f64,
    /// Frames and access units dropped since the start.
    pub dropped: u64,
    /// Key frames since the start.
    pub key_frames: u64,
}

/// The car.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Drive {
    /// `parked`, `armed`, `braking` or `latched`.
    pub state: String,
    /// Why it stands.
    pub cause: Option<String>,
    /// Whether the stick must be released first.
    pub awaits_neutral: bool,
    /// −1 … 1.
    pub throttle: f64,
    /// −1 … 1.
    pub steering: f64,
    /// In ticks.
    pub pulse_throttle: u16,
    /// In ticks.
    pub pulse_steering: u16,
    /// The highest forward pulse, in ticks.
    pub max_speed: u16,
    /// Commands obeyed.
    pub obeyed: u64,
    /// Commands refused.
    pub refused: u64,
    /// Messages not understood.
    pub rejected: u64,
    /// Times the actuator failed.
    pub actuator_faults: u64,
    /// From a command's arrival to the write to the actuator; none before the first command.
    pub control_latency: Option<Latency>,
    /// Since the drive thread went around: more than two seconds means that it hangs.
    pub age_s: f64,
}

/// How long something took, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How often it was done.
    pub count: u64,
    /// Half of the times it took no longer.
    pub p50_ms: f64,
    /// 19 of 20.
    pub p95_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// The board; what it does not tell is left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    /// 0 … 1.
    pub cpu_load: Option<f64>,
    /// 0 … 1.
    pub memory_used: Option<f64>,
    /// Free space.
    pub disk_free_mb: Option<f64>,
    /// The hottest zone.
    pub temperature_c: Option<f64>,
    /// Whether heat slows it down.
    pub thermal_throttling: Option<bool>,
    /// The Raspberry Pi's "now" flags.
    pub throttled: Option<u32>,
    /// Wi-Fi signal.
    pub wifi_dbm: Option<f64>,
}

/// Warnings and errors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Log {
    /// Since the start.
    pub warnings: u64,
    /// Since the start.
    pub errors: u64,
    /// The last ones, the newest first.
    pub recent: Vec<LogEntry>,
}

/// One warning or error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// `error` or `warn`.
    pub level: String,
    /// What it says, redacted.
    pub text: String,
    /// Since it was last seen.
    pub age_s: f64,
    /// How often.
    pub times: u64,
}

impl Document {
    /// From what is known.
    pub fn new(snapshot: &Snapshot, noted: &[Noted], counts: (u64, u64), now: Instant) -> Self {
        Self {
            channel: snapshot.channel.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: process(snapshot),
            session: session(snapshot),
            link: snapshot.quality.as_ref().map(link),
            camera: camera(&snapshot.camera),
            video: snapshot.video.as_ref().map(video),
            cameras: snapshot.further.iter().map(further).collect(),
            drive: drive(snapshot),
            host: host(snapshot),
            log: Log {
                warnings: counts.0,
                errors: counts.1,
                recent: noted.iter().map(|noted| entry(noted, now)).collect(),
            },
        }
    }

    /// As JSON on one line; without the oldest log entries where it would be longer than [`MAX_BYTES`].
    pub fn to_json(mut self) -> String {
        loop {
            let json = serde_json::to_string(&self).expect("strings and numbers under string keys always serialise");
            if json.len() < MAX_BYTES || self.log.recent.pop().is_none() {
                return json;
            }
        }
    }
}

fn process(snapshot: &Snapshot) -> Process {
    let process = &snapshot.process;
    Process {
        id: process.id,
        uptime_s: process.uptime.as_secs(),
        rss_kib: process.resident_kib,
        threads: process.threads,
        open_files: process.open_files,
        tasks: process.tasks,
    }
}

fn session(snapshot: &Snapshot) -> Session {
    let recovery = snapshot.publish.last_recovery.as_ref();
    Session {
        tried: snapshot.publish.tried,
        publishing: snapshot.publish.publishing,
        sessions: snapshot.publish.sessions,
        restarts: snapshot.publish.restarts,
        recovered_from: recovery.map(|recovery| recovery.cause.clone()),
        recovery_ms: recovery.map(|recovery| recovery.took.as_millis() as u64),
        last_trouble: snapshot.publish.last_trouble.clone(),
        packets: snapshot.link.packets,
        metrics_dropped: snapshot.link.metrics_dropped,
    }
}

fn link(status: &LinkStatus) -> Link {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    Link {
        quality: telemetry::link::quality(status),
        basis: telemetry::link::basis(status).to_owned(),
        rtt_ms: status.round_trip.map(millis),
        queue_ms: status.queueing_delay.map(millis),
        loss: status.loss,
        bitrate_kbps: status.sent_bps / 1e3,
        estimate_kbps: status.estimate_bps.map(|bps| bps / 1e3),
        path: status.pair.map(|pair| pair.to_string()),
        pictures_dropped: status.counters.pictures_dropped,
    }
}

fn further(further: &FurtherSnapshot) -> FurtherCamera {
    FurtherCamera {
        name: further.name.to_string(),
        camera: camera(&further.camera),
        video: further.video.as_ref().map(video),
    }
}

fn camera(state: &CameraState) -> Camera {
    let message = match state {
        CameraState::Lost { message, .. } => Some(message.clone()),
        CameraState::Starting | CameraState::Playing => None,
    };
    let cause = state.cause().map(|cause| cause.name().to_owned());
    Camera { state: state.name().to_owned(), cause, message }
}

fn video((stats, rates): &(VideoStats, FrameRates)) -> Video {
    Video {
        encoder: stats.encoder.to_owned(),
        bitrate_kbps: stats.bitrate.kbps(),
        fps_in: rates.frames_in,
        fps_out: rates.frames_out,
        dropped: stats.frames_dropped + stats.units_dropped,
        key_frames: stats.key_frames,
    }
}

fn drive(snapshot: &Snapshot) -> Drive {
    let drive = &snapshot.drive;
    Drive {
        state: drive.state.name().to_owned(),
        cause: drive.state.cause().map(|cause| cause.name().to_owned()),
        awaits_neutral: drive.awaits_neutral,
        throttle: drive.throttle,
        steering: drive.steering,
        pulse_throttle: drive.pulses.throttle.ticks(),
        pulse_steering: drive.pulses.steering.ticks(),
        max_speed: drive.max_speed.ticks(),
        obeyed: drive.counters.obeyed,
        refused: drive.counters.refused,
        rejected: drive.counters.rejected,
        actuator_faults: drive.counters.actuator_faults,
        control_latency: snapshot.control.as_ref().map(latency),
        age_s: snapshot.drive_age.as_secs_f64(),
    }
}

fn latency(of: &ControlLatency) -> Latency {
    let [p50_ms, p95_ms, p99_ms, max_ms] = [of.p50, of.p95, of.p99, of.max].map(|time| time.as_secs_f64() * 1e3);
    Latency { count: of.commands, p50_ms, p95_ms, p99_ms, max_ms }
}

fn host(snapshot: &Snapshot) -> Host {
    let host = &snapshot.host;
    Host {
        cpu_load: host.cpu_load,
        memory_used: host.memory_used,
        disk_free_mb: host.disk_free_mb,
        temperature_c: host.temperature_c,
        thermal_throttling: host.thermal_throttling,
        throttled: host.throttled,
        wifi_dbm: host.wifi_dbm,
    }
}

fn entry(noted: &Noted, now: Instant) -> LogEntry {
    LogEntry {
        level: noted.level.as_str().to_ascii_lowercase(),
        text: noted.text.clone(),
        age_s: now.saturating_duration_since(noted.last).as_secs_f64(),
        times: noted.times,
    }
}
