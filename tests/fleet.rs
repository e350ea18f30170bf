//! What the person who runs fifty cars sees of each: status, metrics, reloads, and logs without secrets. Real hub, real
//! daemon.

mod common;

use std::net::Ipv4Addr;
use std::process::Stdio;

use common::daemon::PROGRAM;
use common::running::{CHANNEL, Daemon, SMALL, server};
use common::viewer::Viewer;
use common::wiretap::Wiretap;
use common::{TestHub, within};
use rtcpub::secret::Secret;
use rtcpub::signal::tls::hex;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

async fn rtcpub(daemon: &Daemon, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("RUNTIME_DIRECTORY", daemon.runtime_folder()).stdin(Stdio::null());
    let output = within("the command", command.output()).await.expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_daemon_tells_how_it_is_and_one_that_has_ended_does_not() {
    let hub = TestHub::start().await;
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        free.local_addr().expect("it listens").port()
    };
    let metrics = format!("[metrics]\nlisten = \"127.0.0.1:{port}\"\n");
    let daemon = Daemon::start(&format!("{}{SMALL}{metrics}", server(&hub)), &[]);
    daemon.logs("publishing", 0).await;

    let status = daemon.status().await;
    assert_eq!((status.channel.as_str(), status.process.id), (CHANNEL, daemon.id()));
    assert!(status.session.publishing && status.session.tried && status.session.sessions == 1);
    assert_eq!(status.drive.state, "parked");
    assert!(status.process.rss_kib > Some(5_000) && status.process.threads > Some(3), "{:?}", status.process);

    let (code, out, err) = rtcpub(&daemon, &["status", CHANNEL]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for part in [CHANNEL, "publishing; 1 sessions", "parked", "threads", "0 errors"] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    let (code, all, _) = rtcpub(&daemon, &["status", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&all).expect("JSON");
    assert_eq!((code, json["channel"].as_str()), (Some(0), Some(CHANNEL)));

    let mut http = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    http.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("it reads");
    let mut page = String::new();
    within("the page", http.read_to_string(&mut page)).await.expect("text");
    assert!(page.contains(&format!("rtcpub_publishing{{channel=\"{CHANNEL}\"}} 1\n")), "{page}");

    let folder = daemon.runtime_folder().to_owned();
    let (code, lines) = daemon.stop().await;
    assert_eq!(code, Some(0), "{lines:#?}");
    let mut command = Command::new(PROGRAM);
    let output = command.args(["status", CHANNEL]).env("RUNTIME_DIRECTORY", folder).output().await;
    let output = output.expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no daemon answers at"), "{output:?}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_shows_a_screen_again_and_again_also_of_a_daemon_that_has_gone() {
    let hub = TestHub::start().await;
    let daemon = Daemon::start(&format!("{}{SMALL}", server(&hub)), &[]);
    daemon.logs("publishing", 0).await;
    let mut watching = Command::new(PROGRAM)
        .args(["status", CHANNEL, "--watch"])
        .env("RUNTIME_DIRECTORY", daemon.runtime_folder())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut screens = watching.stdout.take().expect("it is piped");
    let mut shown = String::new();
    let mut until = async |what: &str, fits: &dyn Fn(&[&str]) -> bool| {
        let reading = async {
            let mut part = [0; 4096];
            // The last one may be there in part only.
            while !fits(&shown.split("\u{1b}[2J\u{1b}[H").collect::<Vec<_>>()) {
                let length = screens.read(&mut part).await.expect("it is open");
                assert!(length > 0, "it ends: {shown}");
                shown.push_str(std::str::from_utf8(&part[..length]).expect("text"));
            }
        };
        within(what, reading).await;
    };
    let alive = |screen: &&&str| screen.contains(CHANNEL) && screen.contains("publishing; 1 sessions");
    until("two screens", &|screens| screens.iter().filter(alive).count() >= 2).await;
    assert_eq!(daemon.stop().await.0, Some(0));
    until("that it is gone", &|screens| screens.iter().any(|screen| screen.contains("no daemon answers at"))).await;
    watching.kill().await.expect("it runs until it is told to end");
    hub.stop().await;
}

/// Waits for the encoder to be asked for such a rate: less than configured by what headers take.
async fn bitrate_within(daemon: &Daemon, kbps: std::ops::RangeInclusive<u32>) {
    while !kbps.contains(&daemon.status().await.video.expect("it encodes").bitrate_kbps) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_applies_what_it_can_names_the_rest_and_refuses_a_broken_file() {
    let hub = TestHub::start().await;
    let file = format!("{}{SMALL}", server(&hub));
    let daemon = Daemon::start(&file, &[]);
    let mut seen = daemon.logs(" encoding ", 0).await;
    seen = seen.max(daemon.logs("publishing", 0).await);
    within("a session at its first rate", bitrate_within(&daemon, 700..=800)).await;

    let better = file.replace("width = 160", "width = 320")
        + "[encoder]\nbitrate_kbps = 450\n[drive]\ndeadline_ms = 300\n[telemetry]\ntopics = [\"link\"]\n[log]\nlevel = \"debug\"\n";
    daemon.write_file(&better);
    daemon.signal(Signal::HUP);
    seen = daemon.logs("configuration reloaded", seen).await;
    let applied = &daemon.lines()[seen - 1];
    for key in ["encoder.bitrate_kbps", "drive.deadline_ms", "telemetry.topics", "log.level"] {
        assert!(applied.contains(key), "{key}: {applied}");
    }
    seen = daemon.logs("need a restart", seen).await;
    assert!(daemon.lines()[seen - 1].contains("camera.width"));
    within("the new rate", bitrate_within(&daemon, 380..=450)).await;

    daemon.write_file(&better.replace("450", "0").replace("[telemetry]", "[telemtry]"));
    daemon.signal(Signal::HUP);
    seen = daemon.logs("not reloaded", seen).await;
    seen = daemon.logs("encoder.bitrate_kbps = 0", seen).await;
    daemon.logs("did you mean telemetry", 0).await;
    let bitrate = daemon.status().await.video.expect("it encodes").bitrate_kbps;
    assert!((380..=450).contains(&bitrate), "nothing has changed: {bitrate}");

    daemon.write_file(&better);
    daemon.signal(Signal::HUP);
    daemon.logs("need a restart", seen).await;
    assert!(daemon.status().await.session.publishing, "the session has not noticed");

    let mut viewer = Viewer::join(&hub, CHANNEL).await;
    viewer.metric_with("\"link\"").await;
    viewer.leave().await;
    let (code, lines) = daemon.stop().await;
    assert_eq!(code, Some(0), "{lines:#?}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_of_a_whole_run_at_trace_holds_a_secret() {
    const TOKEN: &str = "t0ken-of-the-hub";
    const CREDENTIAL: &str = "cr3dential of \"turn\"";
    let hub = TestHub::start_with(|config| config.publisher_token = Some(Secret::new(TOKEN))).await;
    let tap = Wiretap::new(Ipv4Addr::LOCALHOST.into(), hub.secure, hub.pin, TOKEN).await;
    let file = format!(
        "[server]\nurl = \"ws://{}\"\ntoken = \"{TOKEN}\"\n[log]\nlevel = \"{}\"\n{SMALL}\
         [[ice.servers]]\nurl = \"turn:127.0.0.1:9?transport=udp\"\nusername = \"car\"\ncredential = {CREDENTIAL:?}\n",
        tap.address,
        // Everything, from everyone.
        [
            "trace",
            "webrtc",
            "rtc",
            "rtc_ice",
            "rtc_stun",
            "rtc_turn",
            "rtc_dtls",
            "rtc_sdp",
            "rtc_sctp",
            "tungstenite",
            "tokio_tungstenite",
            "rustls",
            "hyper",
            "mio",
            "tokio"
        ]
        .join("=trace,")
            + "=trace",
    );
    let file = file.replace("trace=trace,", "trace,");
    let daemon = Daemon::start(&file, &[]);
    daemon.logs("publishing", 0).await;
    let mut viewer = Viewer::join(&hub, CHANNEL).await;
    viewer.drive(r#"{"motion":{"key":"forward","value":0}}"#).await;
    viewer.metric_with("host").await;
    // A reload with another token, a broken one, and a panic-free end.
    daemon.write_file(&file.replace(TOKEN, "an0ther-token"));
    daemon.signal(Signal::HUP);
    let seen = daemon.logs("server.token", 0).await;
    daemon.write_file(&file.replace("[log]", "[log]\ntoken = \"misplac3d\""));
    daemon.signal(Signal::HUP);
    daemon.logs("not reloaded", seen).await;
    viewer.leave().await;
    let (_, lines) = daemon.stop().await;
    hub.stop().await;

    let mut secrets = tap.secrets();
    assert!(secrets.len() >= 4 && secrets.iter().all(|secret| secret.len() >= 16), "both sides': {secrets:?}");
    secrets.extend([TOKEN, CREDENTIAL, "cr3dential", "an0ther-token", "misplac3d"].map(str::to_owned));
    assert!(lines.iter().any(|line| line.contains("TRACE")) && lines.len() > 200, "{} lines", lines.len());
    for secret in &secrets {
        let bytes = secret.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
        let forms = [secret.clone(), secret.replace('"', "\\\""), hex(secret.as_bytes()), bytes];
        for line in &lines {
            let found = forms.iter().find(|form| line.contains(form.as_str()));
            assert!(found.is_none(), "{found:?} in {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_manager_hears_of_the_start_the_state_and_the_end_and_is_kept_awake() {
    let hub = TestHub::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let manager = tokio::net::UnixDatagram::bind(&path).expect("a socket");
    let variables = [("NOTIFY_SOCKET", path.to_str().expect("text")), ("WATCHDOG_USEC", "800000")];
    let file = format!("{}{SMALL}", server(&hub));
    let daemon = Daemon::start_with(&file, &[], &variables);
    let mut heard = Vec::new();
    let mut hears = async |what: &str| loop {
        let mut datagram = [0; 4096];
        let length = within(what, manager.recv(&mut datagram)).await.expect("a datagram");
        let message = String::from_utf8_lossy(&datagram[..length]).into_owned();
        heard.push(message.clone());
        if message.contains(what) {
            return heard.clone();
        }
    };
    let before = hears("READY=1").await;
    assert!(!before.iter().any(|message| message.contains("WATCHDOG")), "{before:?}");
    hears("STATUS=publishing; camera playing").await;
    for _ in 0..5 {
        hears("WATCHDOG=1").await;
    }
    daemon.signal(Signal::HUP);
    hears("RELOADING=1").await;
    hears("READY=1").await;
    daemon.signal(Signal::TERM);
    hears("STOPPING=1").await;
    let (code, lines) = daemon.ended().await;
    assert_eq!(code, Some(0), "{lines:#?}");
    hub.stop().await;
}
