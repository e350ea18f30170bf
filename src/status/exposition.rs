//! The figures in Prometheus' text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>). Pure.
//!
//! Names by Prometheus' conventions: base units (seconds, bytes, ratios), `_total` for what only grows. Each sample carries
//! the label `channel`, and one of a picture the label `camera`: the first one's is `camera`.

use std::fmt::Write;
use std::time::Duration;

use crate::drive::event::DriveSnapshot;
use crate::rtc::congestion::LinkStatus;
use crate::telemetry::host::HostReading;
use crate::telemetry::link::quality;
use crate::telemetry::snapshot::{FrameRates, ProcessReading, Snapshot};
use crate::video::control::VideoStats;
use crate::video::further::CameraName;
use crate::video::recovery::CameraState;

/// What a response says it is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every figure.
pub fn exposition(snapshot: &Snapshot, (warnings, errors): (u64, u64)) -> String {
    let mut page = Page { text: String::with_capacity(8192), channel: &snapshot.channel };
    page.metric("rtcpub_build_info", Type::Gauge, "Version of the program; always 1.", |metric| {
        metric.labelled(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    });
    session(&mut page, snapshot);
    if let Some(status) = &snapshot.quality {
        link(&mut page, status);
    }
    video(&mut page, snapshot);
    drive(&mut page, &snapshot.drive);
    if let Some(control) = &snapshot.control {
        let times = [("0.5", control.p50), ("0.95", control.p95), ("0.99", control.p99), ("1", control.max)];
        let help = "From a command's arrival to its write, since the start.";
        page.metric("rtcpub_drive_command_latency_seconds", Type::Gauge, help, |metric| {
            for (quantile, time) in times {
                metric.labelled(&[("quantile", quantile)], time.as_secs_f64());
            }
        });
    }
    page.gauge(
        "rtcpub_drive_loop_age_seconds",
        "Since the drive thread went around.",
        snapshot.drive_age.as_secs_f64(),
    );
    host(&mut page, &snapshot.host);
    process(&mut page, &snapshot.process);
    page.metric("rtcpub_log_events_total", Type::Counter, "Warnings and errors, logged or limited away.", |metric| {
        metric.labelled(&[("level", "warn")], warnings as f64);
        metric.labelled(&[("level", "error")], errors as f64);
    });
    page.text
}

fn session(page: &mut Page<'_>, snapshot: &Snapshot) {
    page.gauge("rtcpub_publishing", "Whether a peer carries the picture.", truth(snapshot.publish.publishing));
    page.counter("rtcpub_sessions_total", "Sessions that came up.", snapshot.publish.sessions);
    page.counter("rtcpub_restarts_total", "Sessions and ICE restarts after the first.", snapshot.publish.restarts);
    page.counter("rtcpub_rtp_packets_sent_total", "RTP packets handed to the connection.", snapshot.link.packets);
    page.counter("rtcpub_access_units_sent_total", "Encoded frames handed to it.", snapshot.link.access_units);
    page.counter("rtcpub_metric_messages_dropped_total", "Telemetry that did not fit.", snapshot.link.metrics_dropped);
}

fn link(page: &mut Page<'_>, status: &LinkStatus) {
    let (seconds, counters) = (|time: Duration| time.as_secs_f64(), &status.counters);
    page.gauge("rtcpub_link_quality", "1 (not to be driven by) to 5.", quality(status));
    page.maybe("rtcpub_link_round_trip_seconds", "Round trip.", status.round_trip.map(seconds));
    page.maybe("rtcpub_link_jitter_seconds", "Interarrival jitter.", status.jitter.map(seconds));
    page.maybe("rtcpub_link_queue_seconds", "Wait in the path's queue.", status.queueing_delay.map(seconds));
    page.maybe("rtcpub_link_loss_ratio", "Share of the packets lost.", status.loss);
    page.gauge("rtcpub_link_sent_bytes_per_second", "RTP sent, repairs included.", status.sent_bps / 8.0);
    let estimate = status.estimate_bps.map(|bps| bps / 8.0);
    page.maybe("rtcpub_link_estimate_bytes_per_second", "What it is thought to carry.", estimate);
    page.gauge(
        "rtcpub_link_packets_missed",
        "Packets asked for again in this session.",
        counters.packets_missed as f64,
    );
    page.gauge(
        "rtcpub_link_pictures_dropped",
        "Pictures without room in this session.",
        counters.pictures_dropped as f64,
    );
    if let Some(pair) = status.pair {
        page.metric("rtcpub_link_path_info", Type::Gauge, "The candidate pair in use; always 1.", |metric| {
            metric.labelled(&[("local", pair.local), ("remote", pair.remote), ("protocol", pair.protocol)], 1.0);
        });
    }
}

/// A picture, and what it is called.
struct Picture<'s> {
    name: &'s str,
    camera: &'s CameraState,
    video: Option<&'s VideoStats>,
}

fn video(page: &mut Page<'_>, snapshot: &Snapshot) {
    fn stats(video: &Option<(VideoStats, FrameRates)>) -> Option<&VideoStats> {
        video.as_ref().map(|(stats, _)| stats)
    }
    let first = Picture { name: CameraName::FIRST, camera: &snapshot.camera, video: stats(&snapshot.video) };
    let further = snapshot.further.iter().map(|further| Picture {
        name: further.name.as_str(),
        camera: &further.camera,
        video: stats(&further.video),
    });
    let pictures: Vec<_> = std::iter::once(first).chain(further).collect();
    page.metric("rtcpub_camera_state", Type::Gauge, "The camera: 1 for that state, 0 for the others.", |metric| {
        for Picture { name, camera, .. } in &pictures {
            for state in ["starting", "playing", "lost"] {
                metric.labelled(&[("camera", name), ("state", state)], truth(camera.name() == state));
            }
        }
    });
    let coded: Vec<_> = pictures.iter().filter_map(|picture| Some((picture.name, picture.video?))).collect();
    if coded.is_empty() {
        return;
    }
    page.metric("rtcpub_video_info", Type::Gauge, "The encoder in use; always 1.", |metric| {
        coded.iter().for_each(|(name, stats)| metric.labelled(&[("camera", name), ("encoder", stats.encoder)], 1.0));
    });
    let mut figure = |name: &str, kind: Type, help: &str, of: fn(&VideoStats) -> f64| {
        page.metric(name, kind, help, |metric| {
            coded.iter().for_each(|(camera, stats)| metric.labelled(&[("camera", camera)], of(stats)));
        });
    };
    figure("rtcpub_video_target_bytes_per_second", Type::Gauge, "Bit rate asked of the encoder.", |stats| {
        f64::from(stats.bitrate.bps()) / 8.0
    });
    figure("rtcpub_video_frames_encoded_total", Type::Counter, "Frames that entered the encoder.", |stats| {
        stats.frames_in as f64
    });
    figure("rtcpub_video_access_units_total", Type::Counter, "Encoded frames it gave out.", |stats| {
        stats.units_out as f64
    });
    figure("rtcpub_video_key_frames_total", Type::Counter, "Of these, key frames.", |stats| stats.key_frames as f64);
    page.metric("rtcpub_video_dropped_total", Type::Counter, "Frames dropped.", |metric| {
        for (name, stats) in &coded {
            metric.labelled(&[("camera", name), ("before", "encoder")], stats.frames_dropped as f64);
            metric.labelled(&[("camera", name), ("before", "track")], stats.units_dropped as f64);
        }
    });
}

fn drive(page: &mut Page<'_>, drive: &DriveSnapshot) {
    page.metric(
        "rtcpub_drive_state",
        Type::Gauge,
        "Where the gate is: 1 for that state, 0 for the others.",
        |metric| {
            for state in ["parked", "armed", "braking", "latched"] {
                metric.labelled(&[("state", state)], truth(drive.state.name() == state));
            }
        },
    );
    page.gauge("rtcpub_drive_throttle_ratio", "-1 full reverse to 1 full forward.", drive.throttle);
    page.gauge("rtcpub_drive_steering_ratio", "-1 full right to 1 full left.", drive.steering);
    page.gauge("rtcpub_drive_max_speed_ticks", "Highest forward pulse.", f64::from(drive.max_speed.ticks()));
    page.metric("rtcpub_drive_commands_total", Type::Counter, "Commands by what became of them.", |metric| {
        let counters = &drive.counters;
        let outcomes = [
            ("obeyed", counters.obeyed),
            ("refused", counters.refused),
            ("rejected", counters.rejected),
            ("superseded", counters.superseded),
        ];
        for (outcome, count) in outcomes {
            metric.labelled(&[("outcome", outcome)], count as f64);
        }
    });
    page.counter("rtcpub_drive_actuator_faults_total", "Times the actuator failed.", drive.counters.actuator_faults);
}

fn host(page: &mut Page<'_>, host: &HostReading) {
    page.maybe("rtcpub_host_cpu_load_ratio", "Share of all processors in use.", host.cpu_load);
    page.maybe("rtcpub_host_memory_used_ratio", "Share of memory not available.", host.memory_used);
    page.maybe("rtcpub_host_disk_free_bytes", "Free on the root file system.", host.disk_free_mb.map(|mb| mb * 1e6));
    if !host.temperatures.is_empty() {
        page.metric("rtcpub_host_temperature_celsius", Type::Gauge, "By thermal zone.", |metric| {
            let mut told: Vec<&str> = Vec::new();
            for (zone, degrees) in &host.temperatures {
                // Two zones of one name would be one sample twice.
                if !told.contains(&zone.as_str()) {
                    told.push(zone);
                    metric.labelled(&[("zone", zone)], *degrees);
                }
            }
        });
    }
    let throttling = host.thermal_throttling.map(truth);
    page.maybe("rtcpub_host_thermal_throttling", "Whether heat slows a processor down.", throttling);
    let flags = host.throttled.map(f64::from);
    page.maybe("rtcpub_host_pi_throttled_flags", "Raspberry Pi: the four flags of now.", flags);
    if let Some(events) = host.over_current_events {
        page.counter("rtcpub_host_over_current_events_total", "Jetson: throttled for want of power.", events);
    }
    page.maybe("rtcpub_host_wifi_signal_dbm", "Of the first wireless interface.", host.wifi_dbm);
}

fn process(page: &mut Page<'_>, process: &ProcessReading) {
    let resident = process.resident_kib.map(|kib| kib as f64 * 1024.0);
    page.maybe("process_resident_memory_bytes", "Resident memory.", resident);
    page.maybe("process_threads", "Threads.", process.threads.map(|count| count as f64));
    page.maybe("process_open_fds", "Open file descriptors.", process.open_files.map(|count| count as f64));
    page.maybe("rtcpub_tasks", "Tasks of the runtime.", process.tasks.map(|count| count as f64));
    page.gauge("rtcpub_uptime_seconds", "Since it started publishing.", process.uptime.as_secs_f64());
}

fn truth(of: bool) -> f64 {
    f64::from(u8::from(of))
}

#[derive(Clone, Copy)]
enum Type {
    Counter,
    Gauge,
}

struct Page<'a> {
    text: String,
    channel: &'a str,
}

struct Metric<'p, 'a> {
    page: &'p mut Page<'a>,
    name: &'p str,
}

impl<'a> Page<'a> {
    fn metric(&mut self, name: &str, kind: Type, help: &str, samples: impl FnOnce(&mut Metric<'_, 'a>)) {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        samples(&mut Metric { page: self, name });
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.metric(name, Type::Gauge, help, |metric| metric.labelled(&[], value));
    }

    fn maybe(&mut self, name: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.gauge(name, help, value);
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.metric(name, Type::Counter, help, |metric| metric.labelled(&[], value as f64));
    }
}

impl Metric<'_, '_> {
    fn labelled(&mut self, labels: &[(&str, &str)], value: f64) {
        let channel = [("channel", self.page.channel)];
        let labels = channel.iter().chain(labels).map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
        let labels = labels.collect::<Vec<_>>().join(",");
        let _ = writeln!(self.page.text, "{}{{{labels}}} {value}", self.name);
    }
}

/// A label's value: backslash, quote and line feed are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
