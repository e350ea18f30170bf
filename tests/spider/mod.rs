//! A Spider pub server for tests: real TLS sockets, and what each test wants said on them.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use rtcpub::rtc::congestion::{Picture, RateEdge};
use rtcpub::signal::settings::{ChannelId, SignalConfig, TlsConfig, Trickle};
use rtcpub::signal::tls::certificate_sha256;
use rtcpub::video::rate::{Steering, Targets};
use rtcpub::video::settings::{Bitrate, Framerate, RateConfig, Size};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// The server's end of one publisher's socket.
pub type ServerSocket = WebSocketStream<TlsStream<TcpStream>>;

/// Nothing here takes a second; a minute means that it never comes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A pub server that does what each test tells it.
pub struct Server {
    pub listener: TcpListener,
    pub tls: tokio_rustls::TlsAcceptor,
    pub pin: [u8; 32],
    pub ca_pem: String,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub async fn start_at(address: &str) -> Self {
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
            listener: TcpListener::bind(address).await.unwrap(),
            tls: Arc::new(config).into(),
            pin: certificate_sha256(&certificate),
            ca_pem: certified.cert.pem(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub async fn tcp(&self) -> TcpStream {
        within(self.listener.accept()).await.unwrap().0
    }

    /// The next publisher that gets through TLS and the upgrade, the request line it came with and its authorization.
    #[expect(clippy::result_large_err, reason = "tungstenite's callback signature")]
    pub async fn accept(&self) -> (ServerSocket, String, Option<String>) {
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

    /// A channel file's settings for this server.
    pub fn signal_config(&self) -> SignalConfig {
        SignalConfig {
            server: format!("wss://{}", self.address()).parse().unwrap(),
            channel: ChannelId::new("c40hipepjh65aeq6ndj0").unwrap(),
            query: vec![("vcodec".into(), "h264".into()), ("brate".into(), "800".into())],
            token: None,
            trickle: Trickle::Candidate2,
            tls: TlsConfig::Pin(self.pin),
            ping_interval: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(90),
            retry_min: Duration::from_millis(10),
            retry_max: Duration::from_millis(50),
        }
    }
}

pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it comes within a minute")
}

/// The next text frame that is no candidate.
pub async fn text(socket: &mut ServerSocket) -> String {
    for _ in 0..100 {
        match within(socket.next()).await {
            Some(Ok(Message::Text(text))) if !text.contains(r#""candidate"#) => return text.to_string(),
            Some(Ok(_)) => {}
            other => panic!("a text frame, not {other:?}"),
        }
    }
    panic!("only candidates came");
}

/// Rate control of 640x480 at 30 frames a second, 150 … 4000 kbit/s; what it wants goes to `apply`.
pub fn rate_edge(start_kbps: u32, apply: impl FnMut(&Targets) + Send + 'static) -> RateEdge {
    let kbps = |kbps| Bitrate::from_kbps(kbps).unwrap();
    let steered =
        Picture { size: Size::new(640, 480).unwrap(), framerate: Framerate::new(30).unwrap(), steering: Steering::ANY };
    RateEdge {
        config: watch::channel(RateConfig::new(kbps(start_kbps), kbps(150), kbps(4000)).unwrap()).1,
        picture: Box::new(move || steered),
        apply: Box::new(apply),
        link: watch::Sender::new(None),
    }
}
