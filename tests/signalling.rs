//! The publisher against servers that misbehave, over real TLS sockets: nothing they do ends it, and what can be made
//! good is made good by the next attempt.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod spider;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use rtcpub::rtc::channels::{ControlSink, LinkState};
use rtcpub::rtc::publisher::{Edges, publish};
use rtcpub::rtc::pump::PictureEdge;
use rtcpub::rtc::session::PeerId;
use rtcpub::rtc::settings::{IceConfig, Reliability, RtcConfig};
use rtcpub::rtc::status::PublishStatus;
use rtcpub::signal::settings::{SignalConfig, TlsConfig, Trickle};
use rtcpub::video::units::{AccessUnitSender, access_unit_channel};
use spider::{Server, ServerSocket, text, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

/// The next publisher's socket, after its offer has come.
async fn offered(server: &Server) -> ServerSocket {
    let (mut socket, _, _) = server.accept().await;
    let offer = text(&mut socket).await;
    assert!(offer.starts_with(r#"{"type":"offer","data":"v=0"#), "{offer}");
    socket
}

struct Publisher {
    status: watch::Receiver<PublishStatus>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _units: AccessUnitSender,
    _metrics: mpsc::Sender<String>,
}

struct NoCar;

impl ControlSink for NoCar {
    fn message(&self, _message: &[u8], _arrived: Instant) {}
    fn link(&self, _peer: PeerId, _state: LinkState) {}
}

fn start(signal: SignalConfig) -> Publisher {
    let (sender, units) = access_unit_channel();
    let (metrics_sender, metrics) = mpsc::channel(8);
    let (status_sender, status) = watch::channel(PublishStatus::default());
    let shutdown = CancellationToken::new();
    let edges = Edges {
        picture: PictureEdge::new(units, Arc::new(|| {})),
        further: Vec::new(),
        control: Arc::new(NoCar),
        metrics,
        counters: Arc::default(),
        status: status_sender,
        rate: spider::rate_edge(800, |_| {}),
    };
    let rtc = RtcConfig {
        ice: IceConfig::without_servers(),
        metric: Reliability::ORDERED_RELIABLE,
        stream: Reliability::ORDERED_RELIABLE,
    };
    let task = tokio::spawn(publish(signal, rtc, edges, shutdown.clone()));
    Publisher { status, shutdown, task, _units: sender, _metrics: metrics_sender }
}

impl Publisher {
    async fn trouble(&mut self) -> String {
        let status = within(self.status.wait_for(|status| status.last_trouble.is_some())).await.unwrap();
        status.last_trouble.clone().unwrap()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        within(self.task).await.unwrap();
    }
}

#[tokio::test]
async fn the_upgrade_asks_for_the_channel_and_carries_the_token_only_in_a_header() {
    let server = Server::start().await;
    let token = rtcpub::secret::Secret::new("open sesame");
    let publisher = start(SignalConfig { token: Some(token), ..server.signal_config() });
    let (_socket, path, authorization) = server.accept().await;
    assert_eq!(path, "/live/ws/pub?channel=c40hipepjh65aeq6ndj0&vcodec=h264&brate=800");
    assert_eq!(authorization.as_deref(), Some("Bearer open sesame"));
    publisher.stop().await;
}

#[tokio::test]
async fn the_offer_is_bundled_muxed_and_holds_one_codec_with_rtx() {
    let server = Server::start().await;
    let publisher = start(SignalConfig { trickle: Trickle::None, ..server.signal_config() });
    let (mut socket, _, _) = server.accept().await;
    let offer: serde_json::Value = serde_json::from_str(&text(&mut socket).await).unwrap();
    let sdp = offer["data"].as_str().unwrap();
    let count = |needle: &str| sdp.lines().filter(|line| line.starts_with(needle)).count();
    assert_eq!(count("m=video"), 1, "{sdp}");
    assert_eq!(count("m=application"), 1, "{sdp}");
    assert_eq!(count("a=group:BUNDLE 0 1"), 1, "{sdp}");
    assert!(count("a=rtcp-mux") >= 1, "{sdp}");
    let codecs: Vec<_> = sdp.lines().filter(|line| line.starts_with("a=rtpmap:")).collect();
    assert_eq!(codecs, ["a=rtpmap:96 H264/90000", "a=rtpmap:97 rtx/90000"], "{sdp}");
    assert!(sdp.contains("packetization-mode=1"), "{sdp}");
    assert!(sdp.contains("profile-level-id=42e01f"), "{sdp}");
    assert!(sdp.contains("level-asymmetry-allowed=1"), "{sdp}");
    for feedback in ["a=rtcp-fb:96 nack", "a=rtcp-fb:96 nack pli", "a=rtcp-fb:96 ccm fir"] {
        assert!(sdp.lines().any(|line| line.trim_end() == feedback), "{feedback} in {sdp}");
    }
    assert!(count("a=candidate:") >= 1, "no trickle: the offer holds the candidates: {sdp}");
    let credentials: std::collections::HashSet<_> =
        sdp.lines().filter(|line| line.starts_with("a=ice-ufrag")).collect();
    assert_eq!(credentials.len(), 1, "one pair for the bundle: {sdp}");
    publisher.stop().await;
}

#[tokio::test]
async fn nothing_a_server_says_out_of_place_ends_the_session() {
    let server = Server::start().await;
    let publisher = start(SignalConfig { ping_interval: Duration::from_millis(200), ..server.signal_config() });
    let mut socket = offered(&server).await;
    let junk = [
        "[]",
        "5",
        "\"hello\"",
        "null",
        "{}",
        "nonsense",
        "",
        r#"{"type":5}"#,
        r#"{"type":"offer"}"#,
        r#"{"type":"weather","data":"rain"}"#,
        r#"{"type":"joins","data":"2"}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"candidate","data":"not a candidate"}"#,
        r#"{"type":"candidate2","data":"not json"}"#,
        r#"{"type":"offer","data":"v=0\r\n"}"#,
    ];
    for text in junk {
        within(socket.send(Message::text(text))).await.unwrap();
    }
    within(socket.send(Message::binary(vec![0, 159, 146, 150]))).await.unwrap();
    within(socket.send(Message::text("x".repeat(200 * 1024)))).await.unwrap();
    for _ in 0..3 {
        assert_eq!(text(&mut socket).await, r#"{"type":"ping"}"#, "the same socket lives and pings");
    }
    publisher.stop().await;
}

#[tokio::test]
async fn what_makes_an_attempt_hopeless_ends_it_and_it_is_made_again() {
    let other_m_lines = "v=0\\r\\no=- 1 2 IN IP4 127.0.0.1\\r\\ns=-\\r\\nt=0 0\\r\\nm=audio 9 UDP/TLS/RTP/SAVPF 0\\r\\nc=IN IP4 0.0.0.0\\r\\n";
    let frames = [
        ("the bare text close", Message::text("close")),
        ("an answer with no data", Message::text(r#"{"type":"answer"}"#)),
        ("an answer that is no SDP", Message::text(r#"{"type":"answer","data":"sorry"}"#)),
        ("an answer with other m-lines", Message::text(format!(r#"{{"type":"answer","data":"{other_m_lines}"}}"#))),
        ("8 MB of text", Message::text("x".repeat(8 * 1024 * 1024))),
    ];
    let server = Server::start().await;
    let mut publisher = start(server.signal_config());
    for (what, frame) in frames {
        let mut socket = offered(&server).await;
        // The peer may hang up in the middle of 8 MB: that is the point.
        let _ = within(socket.send(frame)).await;
        assert!(!publisher.trouble().await.is_empty(), "{what}");
    }
    drop(offered(&server).await);
    publisher.stop().await;
}

#[tokio::test]
async fn a_wire_that_is_torn_or_lies_is_survived() {
    let server = Server::start().await;
    let publisher = start(server.signal_config());
    // Raw WebSocket frames (RFC 6455 §5.2): final or not, opcode, unmasked length, payload.
    let wires: [(&str, &[u8]); 5] = [
        ("invalid UTF-8", &[0x81, 0x02, 0xff, 0xfe]),
        ("a close in the middle of a fragment", &[0x01, 0x03, b'{', b'"', b't', 0x88, 0x00]),
        ("a continuation of nothing", &[0x80, 0x01, b'x']),
        ("reserved bits", &[0xf1, 0x01, b'x']),
        ("a frame that claims 2^63 bytes", &[0x81, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ];
    for (what, wire) in wires {
        let mut socket = offered(&server).await;
        let stream = socket.get_mut();
        within(stream.write_all(wire)).await.unwrap();
        within(stream.flush()).await.unwrap();
        // It hangs up and comes back: the next `offered` is the proof.
        let mut rest = Vec::new();
        let _ = within(stream.read_to_end(&mut rest)).await;
        let _ = what;
    }
    // And wires that never become a socket.
    drop(server.tcp().await);
    let mut plain = server.tcp().await;
    plain.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    drop(plain);
    drop(offered(&server).await);
    publisher.stop().await;
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_and_tried_again() {
    let server = Server::start().await;
    let mut publisher = start(SignalConfig { answer_timeout: Duration::from_millis(200), ..server.signal_config() });
    let _silent = offered(&server).await;
    assert!(publisher.trouble().await.contains("no answer"));
    drop(offered(&server).await);
    publisher.stop().await;
}

#[tokio::test]
async fn certificates_are_judged_as_the_channel_file_says() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, &server.ca_pem).unwrap();
    let other = Server::start().await;

    for good in [TlsConfig::Pin(server.pin), TlsConfig::CaFile(ca_file), TlsConfig::Insecure] {
        let publisher = start(SignalConfig { tls: good, ..server.signal_config() });
        drop(offered(&server).await);
        publisher.stop().await;
    }
    for (bad, remark) in [
        (TlsConfig::Pin(other.pin), "tls.pin_sha256"),
        (TlsConfig::SystemRoots, "certificate"),
        (TlsConfig::CaFile(folder.path().join("missing.pem")), "tls.ca_file"),
    ] {
        // One of its own: the publisher before may have come back to the last one when it was told to stop.
        let server = Server::start().await;
        let mut publisher = start(SignalConfig { tls: bad.clone(), ..server.signal_config() });
        if !matches!(bad, TlsConfig::CaFile(_)) {
            let refused = within(server.tls.accept(server.tcp().await)).await;
            assert!(refused.is_err(), "{bad:?}");
        }
        let trouble = publisher.trouble().await;
        assert!(trouble.contains(remark), "{bad:?}: {trouble}");
        publisher.stop().await;
    }
    // Somebody vouches for it, but under another name.
    let elsewhere = Server::start_at("127.0.0.2:0").await;
    let ca_file = folder.path().join("elsewhere.pem");
    std::fs::write(&ca_file, &elsewhere.ca_pem).unwrap();
    let mut publisher = start(SignalConfig { tls: TlsConfig::CaFile(ca_file), ..elsewhere.signal_config() });
    assert!(within(elsewhere.tls.accept(elsewhere.tcp().await)).await.is_err());
    let trouble = publisher.trouble().await;
    assert!(trouble.contains("not valid for"), "{trouble}");
    publisher.stop().await;
}
