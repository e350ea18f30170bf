//! Claims about what is told, and about those who ask.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::document::{Document, MAX_BYTES};
use super::exposition::exposition;
use super::http::MetricsServer;
use super::settings::{MetricsConfig, StatusConfig};
use super::socket::StatusSocket;
use super::{ask, screen};
use crate::drive::actuator::Pulses;
use crate::drive::event::{Counters, DriveSnapshot};
use crate::drive::gate::{State, StopCause};
use crate::drive::latency::ControlLatency;
use crate::drive::settings::Pulse;
use crate::logging::recent::Noted;
use crate::rtc::congestion::meter::LinkCounters;
use crate::rtc::congestion::{CandidatePair, LinkStatus};
use crate::rtc::status::{PublishStatus, SessionState};
use crate::telemetry::host::HostReading;
use crate::telemetry::snapshot::{FrameRates, FurtherSnapshot, LinkReading, ProcessReading, Snapshot};
use crate::video::control::VideoStats;
use crate::video::further::CameraName;
use crate::video::rate::{Basis, Rung, Scale, Targets};
use crate::video::recovery::{CameraState, LossCause};
use crate::video::settings::{Bitrate, Framerate};

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn now() -> Instant {
    Instant::now()
}

fn link_status() -> LinkStatus {
    let full_framerate = Framerate::new(30).expect("a valid rate");
    let bitrate = Bitrate::from_kbps(800).expect("a valid rate");
    LinkStatus {
        basis: Basis::TransportCc,
        adaptable: true,
        round_trip: Some(Duration::from_millis(40)),
        loss: Some(0.01),
        jitter: Some(Duration::from_millis(2)),
        queueing_delay: Some(Duration::from_millis(12)),
        sent_bps: 812e3,
        estimate_bps: Some(1200e3),
        targets: Targets {
            bitrate,
            rung: Rung { framerate: full_framerate, scale: Scale::Full },
            pacing_bps: None,
            repair_bps: 0,
        },
        full_framerate,
        counters: LinkCounters { pictures_dropped: 3, ..LinkCounters::default() },
        pair: Some(CandidatePair { local: "relay", remote: "host", protocol: "tls" }),
    }
}

fn snapshot() -> Snapshot {
    let pulse = |ticks| Pulse::new(ticks).expect("a pulse");
    Snapshot {
        channel: "car \"one\"\\\n".to_owned(),
        publish: PublishStatus {
            publishing: true,
            state: SessionState::Publishing,
            tried: true,
            sessions: 3,
            restarts: 2,
            last_recovery: None,
            last_trouble: Some("the socket was lost\u{1b}[2J".to_owned()),
        },
        link: LinkReading { publishing: true, sessions: 3, packets: 9_000, access_units: 300, metrics_dropped: 1 },
        quality: Some(link_status()),
        camera: CameraState::Playing,
        video: Some((
            VideoStats {
                encoder: "x264enc",
                bitrate: Bitrate::from_kbps(800).expect("a valid rate"),
                frames_in: 301,
                frames_dropped: 2,
                units_out: 300,
                units_dropped: 1,
                key_frames: 4,
            },
            FrameRates { frames_in: 30.0, frames_out: 29.97 },
        )),
        further: vec![FurtherSnapshot {
            name: CameraName::new("left").expect("a name"),
            camera: CameraState::Lost {
                cause: LossCause::Missing,
                message: "cameras[].device: gone".to_owned(),
                since: std::time::SystemTime::UNIX_EPOCH,
            },
            video: None,
        }],
        drive: DriveSnapshot {
            state: State::Parked { cause: StopCause::Deadline },
            awaits_neutral: true,
            throttle: -0.25,
            steering: 0.5,
            pulses: Pulses { throttle: pulse(375), steering: pulse(399) },
            max_speed: pulse(420),
            counters: Counters { obeyed: 5, refused: 1, ..Counters::default() },
            ticked: now(),
        },
        drive_age: Duration::from_millis(20),
        control: Some(ControlLatency {
            commands: 5,
            p50: Duration::from_micros(250),
            p95: Duration::from_micros(500),
            p99: Duration::from_micros(750),
            max: Duration::from_millis(1),
        }),
        host: HostReading {
            cpu_load: Some(0.5),
            temperature_c: Some(48.0),
            temperatures: vec![("cpu".into(), 48.0), ("gpu".into(), 46.0), ("cpu".into(), 47.0)],
            over_current_events: Some(2),
            ..HostReading::default()
        },
        process: ProcessReading {
            id: 7,
            uptime: Duration::from_secs(3700),
            resident_kib: Some(30_000),
            threads: Some(12),
            open_files: Some(40),
            tasks: Some(9),
        },
    }
}

fn document() -> Document {
    let noted = Noted { level: Level::WARN, text: "no session".to_owned(), last: now(), times: 2 };
    Document::new(&snapshot(), &[noted], (2, 0), now() + Duration::from_secs(90))
}

#[test]
fn the_document_reads_back_and_fits_one_screen() {
    let json = document().to_json();
    let read: Document = serde_json::from_str(&json).expect("its own form");
    assert_eq!(read.to_json(), json);
    let screen = screen::screen(&document());
    for part in [
        "up 1h",
        "publishing; 3 sessions",
        "quality 4.7 of 5, round trip 40 ms, queue 12 ms",
        "relay-host/tls",
        "5 obeyed (in 0.25 ms, 1.00 at most), 1 refused",
        "camera playing; x264enc at 800 kbit/s, 30.0 frames/s in",
        "left: camera lost (cameras[].device: gone)",
        "parked (deadline)",
        "48 °C",
    ] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
    assert!(screen.contains("1m ago  warn  no session (2 times)"), "{screen}");
    assert!(!screen.contains('\u{1b}'), "nobody's text steers the terminal: {screen:?}");
    assert!(screen.lines().count() <= 20);
}

#[test]
fn the_document_never_outgrows_its_limit() {
    let long = |number: usize| Noted {
        level: Level::ERROR,
        text: format!("{number}{}", "\u{1}".repeat(400)),
        last: now(),
        times: 1,
    };
    let noted: Vec<_> = (0..64).map(long).collect();
    let json = Document::new(&snapshot(), &noted, (0, 64), now()).to_json();
    assert!(json.len() <= MAX_BYTES);
    let read: Document = serde_json::from_str(&json).expect("JSON");
    assert!(!read.log.recent.is_empty() && read.log.recent.len() < 64);
    assert!(read.log.recent[0].text.starts_with('0'), "the newest are kept");
}

/// Reads a page by the format's grammar, strictly; returns each sample's value by name and labels.
pub(super) fn read_exposition(page: &str) -> BTreeMap<(String, BTreeMap<String, String>), f64> {
    assert!(page.ends_with('\n'), "the last line ends too");
    let (mut samples, mut done) = (BTreeMap::new(), BTreeSet::new());
    let mut current: Option<(String, Option<String>)> = None;
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect(line);
            assert!(is_name(name) && !text.is_empty() && in_base_units(name), "{line}");
            assert!(done.insert(name.to_owned()), "{name} is in two groups");
            current = Some((name.to_owned(), None));
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect(line);
            let (current, found) = current.as_mut().expect("HELP comes first");
            assert_eq!(name, current);
            assert!(matches!(kind, "counter" | "gauge"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            *found = Some(kind.to_owned());
        } else {
            let (name, labels, value) = sample(line);
            let (current, kind) = current.as_ref().expect("HELP comes first");
            assert_eq!((&name, kind.is_some()), (current, true), "{line}");
            assert!(samples.insert((name, labels), value).is_none(), "twice: {line}");
        }
    }
    samples
}

/// As `promtool check metrics` has it: seconds, bytes, ratios; and nothing abbreviated or named after its type.
fn in_base_units(name: &str) -> bool {
    const OTHERS: [&str; 14] = [
        "ms",
        "milliseconds",
        "us",
        "microseconds",
        "minutes",
        "hours",
        "days",
        "bits",
        "kilobytes",
        "megabytes",
        "kib",
        "percent",
        "gauge",
        "counter",
    ];
    !name.split('_').any(|word| OTHERS.contains(&word))
}

fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':');
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// `name{label="value",…} value`
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (name, mut rest) = line.split_once('{').expect(line);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    loop {
        let (label, after) = rest.split_once("=\"").expect(line);
        assert!(is_name(label) && !label.contains(':'), "{line}");
        let (mut value, mut chars) = (String::new(), after.chars());
        loop {
            match chars.next().expect(line) {
                '"' => break,
                '\\' => value.push(match chars.next().expect(line) {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    c => panic!("\\{c} in {line}"),
                }),
                c => value.push(c),
            }
        }
        assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
        rest = chars.as_str();
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    let value = rest.strip_prefix("} ").expect(line);
    (name.to_owned(), labels, value.parse().expect(line))
}

#[test]
fn the_exposition_keeps_to_the_grammar_and_tells_what_is_known() {
    type Labels<'l> = &'l [(&'l str, &'l str)];
    let samples = read_exposition(&exposition(&snapshot(), (2, 1)));
    let channel = "car \"one\"\\\n";
    let value = |name: &str, label: Labels<'_>| {
        let labels = std::iter::once(("channel", channel)).chain(label.iter().copied());
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        *samples.get(&(name.to_owned(), labels)).unwrap_or_else(|| panic!("{name} {label:?} in {samples:?}"))
    };
    let rows: [(&str, Labels<'_>, f64); 14] = [
        ("rtcpub_publishing", &[], 1.0),
        ("rtcpub_sessions_total", &[], 3.0),
        ("rtcpub_camera_state", &[("camera", "camera"), ("state", "playing")], 1.0),
        ("rtcpub_camera_state", &[("camera", "left"), ("state", "playing")], 0.0),
        ("rtcpub_camera_state", &[("camera", "left"), ("state", "lost")], 1.0),
        ("rtcpub_video_target_bytes_per_second", &[("camera", "camera")], 100_000.0),
        ("rtcpub_link_sent_bytes_per_second", &[], 101_500.0),
        ("rtcpub_drive_state", &[("state", "parked")], 1.0),
        ("rtcpub_drive_state", &[("state", "armed")], 0.0),
        ("rtcpub_drive_commands_total", &[("outcome", "obeyed")], 5.0),
        ("rtcpub_drive_command_latency_seconds", &[("quantile", "0.99")], 0.00075),
        ("rtcpub_host_temperature_celsius", &[("zone", "gpu")], 46.0),
        ("process_resident_memory_bytes", &[], 30_720_000.0),
        ("rtcpub_log_events_total", &[("level", "error")], 1.0),
    ];
    for (name, label, expected) in rows {
        assert_eq!(value(name, label), expected, "{name}");
    }
    assert!(!samples.keys().any(|(name, _)| name == "rtcpub_host_wifi_signal_dbm"), "what is not known is left out");
    let before_video = Snapshot { video: None, ..snapshot() };
    assert!(!exposition(&before_video, (0, 0)).contains("rtcpub_video"));
}

#[test]
fn the_dashboard_asks_only_for_what_there_is() {
    let dashboard = include_str!("../../config/grafana-dashboard.json");
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).expect("JSON");
    let samples = read_exposition(&exposition(&snapshot(), (0, 0)));
    let names: BTreeSet<_> = samples.keys().map(|(name, _)| name.as_str()).collect();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a query");
            let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            for word in words.filter(|word| word.starts_with("rtcpub_") || word.starts_with("process_")) {
                assert!(names.contains(word), "{word} in {query}");
                asked += 1;
            }
        }
    }
    assert!(asked > 10);
}

#[tokio::test]
async fn whoever_asks_at_the_socket_is_told_and_those_who_do_not_listen_cost_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = StatusConfig { socket: folder.path().join("a.status.sock") };
    let socket = StatusSocket::open(&config).expect("a socket");
    let mode = std::fs::metadata(&config.socket).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert!(StatusSocket::open(&config).is_err(), "never taken from a daemon that lives");
    let shutdown = CancellationToken::new();
    // More than a socket's buffers hold, so that a deaf asker blocks its answer.
    let long = "x".repeat(4_000_000);
    let serving = tokio::spawn(socket.serve(Arc::new(move || long.clone()), shutdown.clone()));
    let mut deaf = Vec::new();
    for _ in 0..4 {
        deaf.push(UnixStream::connect(&config.socket).await.expect("it listens"));
    }
    let mut heard = String::new();
    let mut asker = UnixStream::connect(&config.socket).await.expect("it listens");
    let answer = tokio::time::timeout(Duration::from_secs(20), asker.read_to_string(&mut heard)).await;
    assert_eq!(answer.expect("in time").expect("an answer"), 4_000_001);
    shutdown.cancel();
    serving.await.expect("it ends");
    assert!(!config.socket.exists(), "its file goes with it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_tells_a_daemon_from_none_and_from_one_that_hangs() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = StatusConfig { socket: folder.path().join("a.status.sock") };
    let ask_it = |path: std::path::PathBuf| tokio::task::spawn_blocking(move || ask::ask(&path));
    let none = ask_it(config.socket.clone()).await.expect("no panic").expect_err("nobody is there");
    assert!(matches!(none, ask::AskError::NotRunning(_)), "{none}");

    let socket = StatusSocket::open(&config).expect("a socket");
    let hangs = ask_it(config.socket.clone()).await.expect("no panic").expect_err("nobody serves it");
    assert!(matches!(hangs, ask::AskError::Hangs(_)), "{hangs}");

    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(socket.serve(Arc::new(|| document().to_json()), shutdown.clone()));
    let (json, told) = ask_it(config.socket.clone()).await.expect("no panic").expect("it answers");
    assert_eq!((told.drive.state.as_str(), json.lines().count()), ("parked", 1));
    assert_eq!(ask::sockets(folder.path()), std::slice::from_ref(&config.socket));
    shutdown.cancel();
    serving.await.expect("it ends");

    let mut other = std::os::unix::net::UnixListener::bind(&config.socket).expect("a socket");
    let talk = std::thread::spawn(move || {
        let listener = &mut other;
        listener.accept().and_then(|(mut stream, _)| stream.write_all(b"hello\n")).expect("someone asks");
    });
    let strange = ask_it(config.socket.clone()).await.expect("no panic").expect_err("no document");
    assert!(matches!(strange, ask::AskError::NotAStatus { .. }), "{strange}");
    talk.join().expect("it has answered");
}

#[tokio::test]
async fn prometheus_gets_the_page_by_http_and_others_a_hint() {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let server = MetricsServer::bind(MetricsConfig { listen }).await.expect("a free port");
    let address = server.address().expect("it listens");
    let taken = MetricsServer::bind(MetricsConfig { listen: address }).await.expect_err("it is taken");
    assert!(taken.contains("metrics.listen"), "{taken}");
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.serve(Arc::new(|| exposition(&snapshot(), (0, 0))), shutdown.clone()));
    let rows = [
        ("GET /metrics", "200 OK", true),
        ("GET /", "404 Not Found", false),
        ("POST /metrics", "405 Method Not Allowed", false),
    ];
    for (request, status, page) in rows {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let head = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.expect("it answers");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        assert_eq!(
            page,
            head.contains("content-type: text/plain; version=0.0.4") && !body.is_empty() && body.contains("# TYPE")
        );
    }
    shutdown.cancel();
    serving.await.expect("it ends");
}
