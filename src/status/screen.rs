//! The document as one screen for a person. Pure.

use std::fmt::Write;

use super::document::{Camera, Document, FurtherCamera, LogEntry, Video};
use crate::config::printable;

/// Log entries shown.
const ENTRIES: usize = 8;

/// Nothing the daemon says can break the screen: control characters are escaped.
pub fn screen(document: &Document) -> String {
    let mut lines = vec![format!(
        "{}  rtcpub {}, process {}, up {}",
        document.channel,
        document.version,
        document.process.id,
        span(document.process.uptime_s as f64)
    )];
    let mut row = |title: &str, text: String| lines.push(format!("  {title:<8} {text}"));
    row("session", session(document));
    row("link", link(document));
    row("picture", picture(&document.camera, document.video.as_ref()));
    for FurtherCamera { name, camera, video } in &document.cameras {
        row("", format!("{name}: {}", picture(camera, video.as_ref())));
    }
    row("car", car(document));
    row("board", board(document));
    row("process", process(document));
    row("log", format!("{} errors, {} warnings", document.log.errors, document.log.warnings));
    lines.extend(document.log.recent.iter().take(ENTRIES).map(entry));
    lines.iter().map(|line| printable(line) + "\n").collect()
}

fn session(document: &Document) -> String {
    let session = &document.session;
    let mut text = match (session.publishing, session.tried) {
        (true, _) => "publishing".to_owned(),
        (false, true) => "not publishing, trying again for ever".to_owned(),
        (false, false) => "the server has not been tried yet".to_owned(),
    };
    let _ = write!(text, "; {} sessions, {} restarts, {} packets", session.sessions, session.restarts, session.packets);
    if let Some(trouble) = &session.last_trouble {
        let _ = write!(text, "; last trouble: {trouble}");
    }
    if let Some(millis) = session.recovery_ms {
        let _ = write!(text, "; last recovery took {millis} ms");
    }
    text
}

fn link(document: &Document) -> String {
    let Some(link) = &document.link else { return "nobody is connected".to_owned() };
    let parts = [
        Some(format!("quality {:.1} of 5", link.quality)),
        link.rtt_ms.map(|rtt| format!("round trip {rtt:.0} ms")),
        link.queue_ms.filter(|queue| *queue >= 1.0).map(|queue| format!("queue {queue:.0} ms")),
        link.loss.map(|loss| format!("loss {:.1} %", loss * 100.0)),
        Some(format!("{:.0} kbit/s sent", link.bitrate_kbps)),
        link.estimate_kbps.map(|estimate| format!("{estimate:.0} there would be")),
        Some(format!("by {}", link.basis)),
        link.path.clone(),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn picture(camera: &Camera, video: Option<&Video>) -> String {
    let cause =
        camera.message.as_ref().or(camera.cause.as_ref()).map(|cause| format!(" ({cause})")).unwrap_or_default();
    let camera = format!("camera {}{cause}", camera.state);
    let Some(video) = video else { return camera };
    format!(
        "{camera}; {} at {} kbit/s, {:.1} frames/s in, {:.1} out, {} dropped, {} key frames",
        video.encoder, video.bitrate_kbps, video.fps_in, video.fps_out, video.dropped, video.key_frames
    )
}

fn car(document: &Document) -> String {
    let drive = &document.drive;
    let cause = drive.cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
    let waits = if drive.awaits_neutral { ", waits for the stick at neutral" } else { "" };
    let hangs =
        if drive.age_s > 2.0 { format!(", DRIVE THREAD HANGS for {}", span(drive.age_s)) } else { String::new() };
    let took = drive.control_latency.map(|took| format!(" (in {:.2} ms, {:.2} at most)", took.p50_ms, took.max_ms));
    let took = took.unwrap_or_default();
    format!(
        "{}{cause}{waits}{hangs}; throttle {:+.2} ({}), steering {:+.2} ({}), maxSpeed {}; {} obeyed{took}, {} refused, {} rejected",
        drive.state,
        drive.throttle,
        drive.pulse_throttle,
        drive.steering,
        drive.pulse_steering,
        drive.max_speed,
        drive.obeyed,
        drive.refused,
        drive.rejected
    )
}

fn board(document: &Document) -> String {
    let host = &document.host;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let parts = [
        host.cpu_load.map(|load| format!("processors {}", percent(load))),
        host.memory_used.map(|used| format!("memory {}", percent(used))),
        host.disk_free_mb.map(|free| format!("disk {:.1} GB free", free / 1000.0)),
        host.temperature_c.map(|degrees| format!("{degrees:.0} °C")),
        host.thermal_throttling.filter(|throttling| *throttling).map(|_| "SLOWED DOWN BY HEAT".to_owned()),
        host.throttled.filter(|flags| *flags != 0).map(|flags| format!("THROTTLED (flags {flags:#x})")),
        host.wifi_dbm.map(|dbm| format!("Wi-Fi {dbm:.0} dBm")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn process(document: &Document) -> String {
    let process = &document.process;
    let parts = [
        process.rss_kib.map(|kib| format!("{:.1} MiB", kib as f64 / 1024.0)),
        process.threads.map(|count| format!("{count} threads")),
        process.open_files.map(|count| format!("{count} open files")),
        process.tasks.map(|count| format!("{count} tasks")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn entry(entry: &LogEntry) -> String {
    let times = if entry.times > 1 { format!(" ({} times)", entry.times) } else { String::new() };
    format!("    {:>4} ago  {:<5} {}{times}", span(entry.age_s), entry.level, entry.text)
}

/// `5s`, `3m`, `2h`, `4d`.
fn span(seconds: f64) -> String {
    let units = [(86_400.0, "d"), (3600.0, "h"), (60.0, "m")];
    let unit = units.into_iter().find(|(length, _)| seconds >= *length);
    unit.map_or_else(|| format!("{seconds:.0}s"), |(length, name)| format!("{:.0}{name}", (seconds / length).floor()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_largest_unit() {
        let rows = [(0.2, "0s"), (59.0, "59s"), (60.0, "1m"), (3599.0, "59m"), (7200.0, "2h"), (200_000.0, "2d")];
        for (seconds, text) in rows {
            assert_eq!(span(seconds), text);
        }
    }
}
