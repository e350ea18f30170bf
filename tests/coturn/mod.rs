//! A real TURN server for tests: Debian's coturn on loopback, on ports of its own, with a certificate of its own.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own selection of these")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rtcpub::rtc::settings::{IceServer, ServerAddress, TurnCredential, TurnServer, TurnTransport};
use rtcpub::secret::Secret;
use rtcpub::signal::settings::TlsConfig;
use rtcpub::signal::tls::certificate_sha256;
use tempfile::TempDir;

/// The user every coturn here knows, unless it uses a shared secret.
pub const USER: &str = "driver";
/// That user's password.
pub const PASSWORD: &str = "hunter2-and-three";
/// The shared secret of a coturn that was started with [`Settings::shared_secret`].
pub const SHARED_SECRET: &str = "north-star";
/// A coturn listens within some tenths of a second; a loaded machine gets more.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// What a test may want otherwise.
#[derive(Clone, Debug)]
pub struct Settings {
    /// TURN REST instead of one fixed user.
    pub shared_secret: bool,
    /// Lines appended to the generated configuration.
    pub extra: String,
    /// Where it listens.
    pub listens_at: Ipv4Addr,
    /// Where its relays are.
    pub relays_at: Ipv4Addr,
}

impl Default for Settings {
    fn default() -> Self {
        let local = Ipv4Addr::LOCALHOST;
        Self { shared_secret: false, extra: String::new(), listens_at: local, relays_at: local }
    }
}

/// One coturn process, killed on drop.
pub struct Coturn {
    folder: TempDir,
    ip: Ipv4Addr,
    plain: u16,
    tls: u16,
    pub pin: [u8; 32],
    process: Option<Child>,
}

impl Coturn {
    pub fn start() -> Self {
        Self::start_with(&Settings::default())
    }

    pub fn start_with(settings: &Settings) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let certified = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("cert.pem"), certified.cert.pem()).unwrap();
        std::fs::write(file("key.pem"), certified.signing_key.serialize_pem()).unwrap();
        let pin = certificate_sha256(certified.cert.der());
        let (plain, tls) = (free_port(), free_port());
        let mut config = format!(
            "listening-ip={}\nrelay-ip={}\nlistening-port={plain}\ntls-listening-port={tls}\n\
             realm=rtcpub.test\nfingerprint\nno-cli\nno-rfc5780\nallow-loopback-peers\ncert={}\npkey={}\npidfile={}\n\
             log-file={}\nsimple-log\nno-stdout-log\nuserdb={}\nverbose\n",
            settings.listens_at,
            settings.relays_at,
            file("cert.pem").display(),
            file("key.pem").display(),
            file("pid").display(),
            file("log").display(),
            file("db").display(),
        );
        let users = if settings.shared_secret {
            format!("use-auth-secret\nstatic-auth-secret={SHARED_SECRET}\n")
        } else {
            format!("lt-cred-mech\nuser={USER}:{PASSWORD}\n")
        };
        write!(config, "{users}{}", settings.extra).unwrap();
        std::fs::write(file("conf"), config).unwrap();
        let mut coturn = Self { folder, ip: settings.listens_at, plain, tls, pin, process: None };
        coturn.spawn();
        coturn
    }

    /// Kills it, as a crash does: no client hears a word.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself; a stopped one is killed too.
            let _ = process.kill();
            process.wait().expect("it ends");
        }
    }

    /// Kills it and starts it again on the same ports: every allocation is lost.
    pub fn restart(&mut self) {
        self.kill();
        self.spawn();
    }

    /// Sends the process a signal by name, such as `STOP` and `CONT`.
    pub fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status().expect("kill runs");
        assert!(sent.success(), "coturn takes signals");
    }

    /// What coturn has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn address(&self) -> SocketAddr {
        (self.ip, self.plain).into()
    }

    pub fn tls_address(&self) -> SocketAddr {
        (self.ip, self.tls).into()
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    pub fn stun(&self) -> IceServer {
        IceServer::Stun(ServerAddress { host: url::Host::Ipv4(self.ip), port: self.plain })
    }

    pub fn udp(&self) -> IceServer {
        self.turn(TurnTransport::Udp, static_credential())
    }

    pub fn tcp(&self) -> IceServer {
        self.turn(TurnTransport::Tcp, static_credential())
    }

    pub fn tls(&self) -> IceServer {
        self.turn(TurnTransport::Tls(TlsConfig::Pin(self.pin)), static_credential())
    }

    pub fn turn(&self, transport: TurnTransport, credential: TurnCredential) -> IceServer {
        let port = if matches!(transport, TurnTransport::Tls(_)) { self.tls } else { self.plain };
        let address = ServerAddress { host: url::Host::Ipv4(self.ip), port };
        IceServer::Turn(TurnServer { address, transport, credential })
    }

    fn spawn(&mut self) {
        let config = self.folder.path().join("conf");
        let process = Command::new("turnserver")
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| match error.kind() {
                ErrorKind::NotFound => panic!("turnserver is missing: apt-get install coturn"),
                _ => panic!("turnserver: {error}"),
            });
        self.process = Some(process);
        self.wait_until_it_listens();
    }

    /// By UDP as well, which it serves some time after TCP: a first request that is lost comes again after 200 ms, and by
    /// then a relay by a stream has been found.
    fn wait_until_it_listens(&mut self) {
        let (plain, tls) = (self.address(), self.tls_address());
        self.wait_for("by TCP", || TcpStream::connect(plain).is_ok());
        self.wait_for("by TLS", || TcpStream::connect(tls).is_ok());
        self.wait_for("by UDP", || answers_by_udp(plain));
    }

    fn wait_for(&mut self, what: &str, serves: impl Fn() -> bool) {
        #[expect(clippy::disallowed_methods, reason = "a deadline for another process")]
        let deadline = Instant::now() + START_TIMEOUT;
        while !serves() {
            #[expect(clippy::disallowed_methods, reason = "as above")]
            let now = Instant::now();
            let ended = self.process.as_mut().expect("just spawned").try_wait().expect("a child");
            assert!(ended.is_none() && now < deadline, "coturn does not serve {what}: {}", self.log());
            // Another process's start has no event to wait for.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The credential of [`USER`].
pub fn static_credential() -> TurnCredential {
    TurnCredential::Static { username: USER.to_owned(), password: Secret::new(PASSWORD) }
}

/// Whether a STUN binding request (RFC 8489 §5) is answered.
fn answers_by_udp(server: SocketAddr) -> bool {
    const REQUEST: [u8; 20] = *b"\x00\x01\x00\x00\x21\x12\xa4\x42rtcpub-tests";
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.connect(server).expect("an address of this machine");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("not zero");
    socket.send(&REQUEST).and_then(|_| socket.recv(&mut [0; 1500])).is_ok()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("an address").port()
}
