//! The publisher against servers that misbehave, over real TLS sockets: nothing they do ends it, and what can be made
//! good is made good by the next attempt.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use rtcpub::rtc::channels::{ControlSink, LinkState};
use rtcpub::rtc::publisher::{Edges, PublishStatus, publish};
use rtcpub::rtc::settings::{IceConfig, IcePolicy, Reliability, RtcConfig};
use rtcpub::signal::settings::{ChannelId, SignalConfig, TlsConfig, Trickle};
use rtcpub::signal::tls::certificate_sha256;
use rtcpub::video::units::{AccessUnitSender, access_unit_channel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_util::sync::CancellationToken;

type ServerSocket = WebSocketStream<TlsStream<TcpStream>>;

/// Nothing here takes a second; a minute means that it never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pub server that does what each test tells it.
struct Server {
    listener: TcpListener,
    tls: tokio_rustls::TlsAcceptor,
    pin: [u8; 32],
    ca_pem: String,
}

impl Server {
    async fn start() -> Self {
        let certified = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        let certificate = certified.cert.der().clone();
        let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            tls: Arc::new(config).into(),
            pin: certificate_sha256(&certificate),
            ca_pem: certified.cert.pem(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    async fn tcp(&self) -> TcpStream {
        within(self.listener.accept()).await.unwrap().0
    }

    /// The next publisher that gets through TLS and the upgrade, and the request line it came with.
    #[expect(clippy::result_large_err, reason = "tungstenite's callback signature")]
    async fn accept(&self) -> (ServerSocket, String, Option<String>) {
        let stream = within(self.tls.accept(self.tcp().await)).await.unwrap();
        let (mut path, mut authorization) = (String::new(), None);
        let record = |request: &Request, response: Response| {
            path = request.uri().to_string();
            authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
            Ok(response)
        };
        let socket = within(tokio_tungstenite::accept_hdr_async(stream, record)).await.unwrap();
        (socket, path, authorization)
    }

    /// The next publisher, after its offer has come.
    async fn offered(&self) -> ServerSocket {
        let (mut socket, _, _) = self.accept().await;
        let offer = text(&mut socket).await;
        assert!(offer.starts_with(r#"{"type":"offer","data":"v=0"#), "{offer}");
        socket
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it comes within a minute")
}

/// The next text frame that is no candidate.
async fn text(socket: &mut ServerSocket) -> String {
    for _ in 0..100 {
        match within(socket.next()).await {
            Some(Ok(Message::Text(text))) if !text.contains(r#""candidate"#) => return text.to_string(),
            Some(Ok(_)) => {}
            other => panic!("a text frame, not {other:?}"),
        }
    }
    panic!("only candidates came");
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
    fn link(&self, _state: LinkState) {}
    fn replaced(&self) {}
}

fn signal_config(server: &Server) -> SignalConfig {
    SignalConfig {
        server: format!("wss://{}", server.address()).parse().unwrap(),
        channel: ChannelId::new("c40hipepjh65aeq6ndj0").unwrap(),
        query: vec![("vcodec".into(), "h264".into()), ("brate".into(), "800".into())],
        token: None,
        trickle: Trickle::Candidate2,
        tls: TlsConfig::Pin(server.pin),
        ping_interval: Duration::from_secs(30),
        answer_timeout: Duration::from_secs(10),
        silence_timeout: Duration::from_secs(90),
        retry_min: Duration::from_millis(10),
        retry_max: Duration::from_millis(50),
    }
}

fn start(signal: SignalConfig) -> Publisher {
    let (sender, units) = access_unit_channel();
    let (metrics_sender, metrics) = mpsc::channel(8);
    let (status_sender, status) = watch::channel(PublishStatus::default());
    let shutdown = CancellationToken::new();
    let edges = Edges {
        units,
        on_key_frame_request: Arc::new(|| {}),
        control: Arc::new(NoCar),
        metrics,
        counters: Arc::default(),
        status: status_sender,
    };
    let rtc = RtcConfig {
        ice: IceConfig { servers: Vec::new(), policy: IcePolicy::All },
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
    let publisher = start(SignalConfig { token: Some(token), ..signal_config(&server) });
    let (_socket, path, authorization) = server.accept().await;
    assert_eq!(path, "/live/ws/pub?channel=c40hipepjh65aeq6ndj0&vcodec=h264&brate=800");
    assert_eq!(authorization.as_deref(), Some("Bearer open sesame"));
    publisher.stop().await;
}

#[tokio::test]
async fn the_offer_is_bundled_muxed_and_holds_one_codec_with_rtx() {
    let server = Server::start().await;
    let publisher = start(SignalConfig { trickle: Trickle::None, ..signal_config(&server) });
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
    let publisher = start(SignalConfig { ping_interval: Duration::from_millis(200), ..signal_config(&server) });
    let mut socket = server.offered().await;
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
    let mut publisher = start(signal_config(&server));
    for (what, frame) in frames {
        let mut socket = server.offered().await;
        // The peer may hang up in the middle of 8 MB: that is the point.
        let _ = within(socket.send(frame)).await;
        assert!(!publisher.trouble().await.is_empty(), "{what}");
    }
    drop(server.offered().await);
    publisher.stop().await;
}

#[tokio::test]
async fn a_wire_that_is_torn_or_lies_is_survived() {
    let server = Server::start().await;
    let publisher = start(signal_config(&server));
    // Raw WebSocket frames (RFC 6455 §5.2): final or not, opcode, unmasked length, payload.
    let wires: [(&str, &[u8]); 5] = [
        ("invalid UTF-8", &[0x81, 0x02, 0xff, 0xfe]),
        ("a close in the middle of a fragment", &[0x01, 0x03, b'{', b'"', b't', 0x88, 0x00]),
        ("a continuation of nothing", &[0x80, 0x01, b'x']),
        ("reserved bits", &[0xf1, 0x01, b'x']),
        ("a frame that claims 2^63 bytes", &[0x81, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ];
    for (what, wire) in wires {
        let mut socket = server.offered().await;
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
    drop(server.offered().await);
    publisher.stop().await;
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_and_tried_again() {
    let server = Server::start().await;
    let mut publisher = start(SignalConfig { answer_timeout: Duration::from_millis(200), ..signal_config(&server) });
    let _silent = server.offered().await;
    assert!(publisher.trouble().await.contains("no answer"));
    drop(server.offered().await);
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
        let publisher = start(SignalConfig { tls: good, ..signal_config(&server) });
        drop(server.offered().await);
        publisher.stop().await;
    }
    for (bad, remark) in [
        (TlsConfig::Pin(other.pin), "tls.pin_sha256"),
        (TlsConfig::SystemRoots, "certificate"),
        (TlsConfig::CaFile(folder.path().join("missing.pem")), "tls.ca_file"),
    ] {
        let mut publisher = start(SignalConfig { tls: bad.clone(), ..signal_config(&server) });
        if !matches!(bad, TlsConfig::CaFile(_)) {
            let refused = within(server.tls.accept(server.tcp().await)).await;
            assert!(refused.is_err(), "{bad:?}");
        }
        let trouble = publisher.trouble().await;
        assert!(trouble.contains(remark), "{bad:?}: {trouble}");
        publisher.stop().await;
    }
}
