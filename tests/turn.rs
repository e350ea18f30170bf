//! The publisher behind a real TURN server: Debian's coturn on loopback.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on fails and says why")]

mod coturn;
mod far;
mod spider;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use coturn::{Coturn, SHARED_SECRET, Settings, static_credential};
use far::{Far, Publisher, picture};
use rtcpub::rtc::settings::{
    IceConfig, IcePolicy, IceServer, InterfaceFilter, ServerAddress, TurnCredential, TurnServer, TurnTransport,
};
use rtcpub::secret::Secret;
use rtcpub::signal::settings::{SignalConfig, TlsConfig, Trickle};
use spider::{Server, within};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// What coturn is told it soon logs.
const GIVEN_BACK_AFTER: Duration = Duration::from_secs(10);

fn ice(policy: IcePolicy, servers: Vec<IceServer>) -> IceConfig {
    IceConfig { servers, policy, interfaces: InterfaceFilter::default() }
}

/// A session of a publisher with these ICE servers, pictures flowing.
struct Session {
    server: Server,
    publisher: Publisher,
    far: Far,
    film: JoinHandle<()>,
}

impl Session {
    async fn start(trickle: Trickle, ice: IceConfig) -> Self {
        log();
        let server = Server::start().await;
        let publisher = Publisher::start(SignalConfig { trickle, ..server.signal_config() }, ice);
        let film = film(&publisher);
        let far = Self::next_far(&server).await;
        Self { server, publisher, far, film }
    }

    async fn next_far(server: &Server) -> Far {
        let (socket, _, _) = server.accept().await;
        Far::serve(socket).await
    }

    /// Picture, control and telemetry each make it through.
    async fn works(&mut self) {
        for _ in 0..20 {
            self.far.packet().await;
        }
        let stream = self.far.channel("stream").await;
        stream.send_text(r#"{"motion":{"key":"forward","value":3}}"#).await.unwrap();
        self.publisher.hears(r#"{"motion":{"key":"forward","value":3}}"#).await;
        self.publisher.metrics.send(r#"{"lap":{"key":"n","value":1}}"#.into()).await.unwrap();
        assert_eq!(within(self.far.messages.recv()).await.as_deref(), Some(r#"{"lap":{"key":"n","value":1}}"#));
    }

    /// Every candidate line that has left the publisher since this was last asked.
    fn candidates(&mut self) -> Vec<String> {
        let lines = std::iter::from_fn(|| self.far.candidates.try_recv().ok());
        lines.filter(|line| !line.is_empty()).collect()
    }

    /// Pictures flow again, in this session or in one that replaces it. Returns the longest silence.
    async fn comes_back(&mut self) -> Duration {
        let begin = far::now();
        let (mut last, mut silence) = (begin, Duration::ZERO);
        loop {
            tokio::select! {
                packet = within(self.far.packets.recv()) => {
                    let arrived = packet.expect("the track goes on").arrived.max(begin);
                    silence = silence.max(arrived - last);
                    last = arrived;
                    // More than what was on its way when it began.
                    if last > begin + Duration::from_millis(500) {
                        return silence;
                    }
                }
                far = Self::next_far(&self.server) => self.far = far,
            }
        }
    }

    async fn stop(self) {
        self.publisher.stop().await;
        self.far.close().await;
        self.film.abort();
    }
}

/// Pictures for ever, 30 a second.
fn film(publisher: &Publisher) -> JoinHandle<()> {
    let mut units = publisher.units.clone();
    tokio::spawn(async move {
        let mut frames = tokio::time::interval(Duration::from_millis(33));
        for number in 0_u32.. {
            frames.tick().await;
            let _ = units.offer(picture(number, Duration::from_millis(33) * number, 5000));
        }
    })
}

/// Everything this process logs at warning level and above.
fn log() -> &'static Mutex<Vec<u8>> {
    static LOG: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    struct Writer;
    impl Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            std::io::stderr().write_all(bytes)?;
            LOG.get().expect("set before the first line").lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    LOG.get_or_init(|| {
        let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Writer);
        tracing_subscriber::registry().with(filter.parse::<Targets>().unwrap()).with(lines).init();
        Mutex::default()
    })
}

/// Waits until a line of the log holds all of these.
async fn logged(words: &[&str]) -> String {
    within(async {
        loop {
            let text = String::from_utf8_lossy(&log().lock().unwrap()).into_owned();
            if let Some(line) = text.lines().find(|line| words.iter().all(|word| line.contains(word))) {
                return line.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// A TCP server's stand-in whose connections can be cut.
struct Proxy {
    address: SocketAddr,
    cut: Arc<Mutex<CancellationToken>>,
    serving: JoinHandle<()>,
}

impl Proxy {
    async fn to(server: SocketAddr) -> Self {
        Self::slowly_to(server, Duration::ZERO).await
    }

    /// Each connection gets through to the server only after this time.
    async fn slowly_to(server: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::new(Mutex::new(CancellationToken::new()));
        let cuts = cut.clone();
        let serving = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let cut = cuts.lock().unwrap().clone();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let Ok(mut server) = TcpStream::connect(server).await else { return };
                    let _ = cut.run_until_cancelled(tokio::io::copy_bidirectional(&mut client, &mut server)).await;
                });
            }
        });
        Self { address, cut, serving }
    }

    fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }
}

/// A UDP server's stand-in that loses the first datagram of each client.
async fn losing_the_first_to(server: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = front.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut clients, mut answering) = (HashMap::<SocketAddr, Arc<UdpSocket>>::new(), JoinSet::new());
        let mut datagram = [0; 2048];
        loop {
            let (length, client) = front.recv_from(&mut datagram).await.unwrap();
            if let Some(back) = clients.get(&client) {
                let _ = back.send(&datagram[..length]).await;
                continue;
            }
            let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            back.connect(server).await.unwrap();
            clients.insert(client, back.clone());
            let front = front.clone();
            answering.spawn(async move {
                let mut datagram = [0; 2048];
                while let Ok(length) = back.recv(&mut datagram).await {
                    let _ = front.send_to(&datagram[..length], client).await;
                }
            });
        }
    });
    (address, serving)
}

fn turn(address: SocketAddr, transport: TurnTransport, credential: TurnCredential) -> IceServer {
    let host = match address {
        SocketAddr::V4(address) => url::Host::Ipv4(*address.ip()),
        SocketAddr::V6(address) => url::Host::Ipv6(*address.ip()),
    };
    let address = ServerAddress { host, port: address.port() };
    IceServer::Turn(TurnServer { address, transport, credential })
}

fn rest(ttl: Duration) -> TurnCredential {
    TurnCredential::Rest { user: "car".into(), secret: Secret::new(SHARED_SECRET), ttl }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_transport_alone_carries_picture_control_and_telemetry_and_nothing_else_is_used() {
    let coturn = Coturn::start();
    for turn in [coturn.udp(), coturn.tcp(), coturn.tls()] {
        for trickle in [Trickle::Candidate2, Trickle::None] {
            let mut session = Session::start(trickle, ice(IcePolicy::Relay, vec![turn.clone()])).await;
            session.works().await;
            let pair = session.far.selected_pair().await;
            let candidates = session.candidates();
            let relayed = |candidate: &String| candidate.ends_with("typ relay raddr 0.0.0.0 rport 0");
            assert!(!candidates.is_empty() && candidates.iter().all(relayed), "{}: {candidates:?}", turn.url());
            // Its check may have come before its candidate: then it is called peer-reflexive.
            let address = |candidate: &String| candidate.split(' ').skip(4).take(2).collect::<Vec<_>>().join(":");
            let (_, remote) = pair.split_once("(remote)").unwrap();
            assert!(candidates.iter().any(|candidate| remote.contains(&address(candidate))), "{pair}: {candidates:?}");
            session.stop().await;
        }
    }
    assert!(!String::from_utf8_lossy(&log().lock().unwrap()).contains(coturn::PASSWORD), "no secret is logged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_gives_its_relay_back() {
    let coturn = Coturn::start();
    for turn in [coturn.udp(), coturn.tcp(), coturn.tls()] {
        // The old one would count against it for ten minutes. Several times: it is a matter of what the driver is about.
        for _ in 0..3 {
            let given_back = || coturn.log().matches("lifetime=0").count();
            let before = given_back();
            let mut session = Session::start(Trickle::None, ice(IcePolicy::Relay, vec![turn.clone()])).await;
            session.works().await;
            session.stop().await;
            let one_more = async {
                while given_back() == before {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(GIVEN_BACK_AFTER, one_more).await.unwrap_or_else(|_| panic!("{}", turn.url()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_three_servers_of_a_spider_channel_work_together_and_a_direct_way_is_preferred() {
    let coturn = Coturn::start();
    let servers = vec![coturn.stun(), coturn.udp(), coturn.tcp()];
    let mut session = Session::start(Trickle::None, ice(IcePolicy::All, servers)).await;
    session.works().await;
    let pair = session.far.selected_pair().await;
    assert!(pair.contains("(remote) udp host 127.0.0.1:"), "{pair}");
    let candidates: HashSet<_> = session.candidates().into_iter().collect();
    let of_ours = |candidate: &&String| candidate.contains(" 1 udp ") && candidate.contains("relay raddr 127.0.0.1");
    let relays: Vec<_> = candidates.iter().filter(of_ours).collect();
    assert_eq!(relays.len(), 2, "one by UDP, one by TCP, though both are the same host and port: {relays:?}");
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_reached_by_ipv6() {
    let coturn = Coturn::start_with(&Settings { extra: "listening-ip=::1\n".into(), ..Settings::default() });
    let at = |port: u16| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let (plain, tls) = (at(coturn.address().port()), at(coturn.tls_address().port()));
    for server in [
        turn(plain, TurnTransport::Udp, static_credential()),
        turn(plain, TurnTransport::Tcp, static_credential()),
        turn(tls, TurnTransport::Tls(TlsConfig::Pin(coturn.pin)), static_credential()),
    ] {
        let mut session = Session::start(Trickle::Candidate2, ice(IcePolicy::Relay, vec![server])).await;
        session.works().await;
        session.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_credential_is_told_with_its_remedy_and_costs_only_the_relay() {
    let fixed = Coturn::start();
    let shared = Coturn::start_with(&Settings { shared_secret: true, ..Settings::default() });
    let wrong = TurnCredential::Static { username: coturn::USER.into(), password: Secret::new("not the password") };
    let long_ago = rest(Duration::from_secs(3600)).at(Duration::from_secs(1_600_000_000));
    let expired = TurnCredential::Static { username: long_ago.username, password: long_ago.password };
    for (coturn, credential) in [(&fixed, wrong), (&shared, expired)] {
        for (transport, port) in [
            (TurnTransport::Udp, coturn.address().port()),
            (TurnTransport::Tcp, coturn.address().port()),
            (TurnTransport::Tls(TlsConfig::Pin(coturn.pin)), coturn.tls_address().port()),
        ] {
            let server = coturn.turn(transport, credential.clone());
            let url = server.url().to_string();
            assert!(url.contains(&port.to_string()));
            let mut session = Session::start(Trickle::None, ice(IcePolicy::All, vec![server])).await;
            session.works().await;
            logged(&[&url, "refuses an allocation: 401", "check its username"]).await;
            session.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_does_not_verify_is_told_and_costs_only_the_relay() {
    let coturn = Coturn::start();
    let cases = [
        (TlsConfig::Pin([7; 32]), "ice.servers[0].tls_pin_sha256"),
        (TlsConfig::SystemRoots, "certificate"),
        (TlsConfig::CaFile("/nonexistent/ca.pem".into()), "ice.servers[0].tls_ca_file /nonexistent/ca.pem"),
    ];
    for (judgement, remark) in cases {
        let server = coturn.turn(TurnTransport::Tls(judgement), static_credential());
        let url = server.url().to_string();
        let mut session = Session::start(Trickle::Candidate2, ice(IcePolicy::All, vec![server])).await;
        session.works().await;
        logged(&[&url, remark]).await;
        session.stop().await;
    }
    let by_ca_file = coturn.turn(TurnTransport::Tls(TlsConfig::CaFile(coturn.certificate())), static_credential());
    let mut session = Session::start(Trickle::Candidate2, ice(IcePolicy::Relay, vec![by_ca_file])).await;
    session.works().await;
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_never_answer_delay_an_offer_by_seconds_at_most_and_cost_only_the_relay() {
    let silent_tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (tcp, udp) = (silent_tcp.local_addr().unwrap(), silent_udp.local_addr().unwrap());
    let stun = ServerAddress { host: url::Host::Domain("no-such-host.invalid".into()), port: 3478 };
    let servers = vec![
        turn(udp, TurnTransport::Udp, static_credential()),
        turn(tcp, TurnTransport::Tcp, static_credential()),
        turn(tcp, TurnTransport::Tls(TlsConfig::Insecure), static_credential()),
        IceServer::Stun(stun),
    ];
    for (trickle, limit) in [(Trickle::Candidate2, 3), (Trickle::None, 6)] {
        let begin = far::now();
        let mut session = Session::start(trickle, ice(IcePolicy::All, servers.clone())).await;
        session.works().await;
        let taken = begin.elapsed();
        assert!(taken < Duration::from_secs(limit), "{trickle:?}: {taken:?}");
        session.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_slow_to_answer_is_waited_for() {
    let coturn = Coturn::start();
    let proxy = Proxy::slowly_to(coturn.tls_address(), Duration::from_secs(2)).await;
    let tls = TurnTransport::Tls(TlsConfig::Pin(coturn.pin));
    for trickle in [Trickle::Candidate2, Trickle::None] {
        let server = turn(proxy.address, tls.clone(), static_credential());
        let mut session = Session::start(trickle, ice(IcePolicy::Relay, vec![server])).await;
        session.works().await;
        assert_eq!(session.publisher.status.borrow().sessions, 1, "in the first session");
        session.stop().await;
    }
    proxy.serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_udp_is_dropped_a_stream_gets_through() {
    let coturn = Coturn::start();
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let blocked = turn(silent.local_addr().unwrap(), TurnTransport::Udp, static_credential());
    for trickle in [Trickle::Candidate2, Trickle::None] {
        let servers = vec![blocked.clone(), coturn.tls()];
        let mut session = Session::start(trickle, ice(IcePolicy::Relay, servers)).await;
        session.works().await;
        session.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_relays_the_one_by_udp_is_used_and_losing_the_others_costs_nothing() {
    let coturn = Coturn::start();
    let (tcp, tls) = (Proxy::to(coturn.address()).await, Proxy::to(coturn.tls_address()).await);
    let servers = vec![
        turn(tls.address, TurnTransport::Tls(TlsConfig::Pin(coturn.pin)), static_credential()),
        turn(tcp.address, TurnTransport::Tcp, static_credential()),
        coturn.udp(),
    ];
    let mut session = Session::start(Trickle::None, ice(IcePolicy::Relay, servers)).await;
    session.works().await;
    tcp.cut();
    tls.cut();
    session.comes_back().await;
    assert_eq!(session.far.offers.load(Ordering::SeqCst), 1, "no ICE restart");
    session.stop().await;
    tcp.serving.abort();
    tls.serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_datagram_that_is_lost_does_not_make_the_second_best_relay_the_sessions_way() {
    let coturn = Coturn::start();
    let tcp = Proxy::to(coturn.address()).await;
    let (udp, losing) = losing_the_first_to(coturn.address()).await;
    let servers = vec![
        turn(tcp.address, TurnTransport::Tcp, static_credential()),
        turn(udp, TurnTransport::Udp, static_credential()),
    ];
    let mut session = Session::start(Trickle::None, ice(IcePolicy::Relay, servers)).await;
    session.works().await;
    tcp.cut();
    session.comes_back().await;
    assert_eq!(session.far.offers.load(Ordering::SeqCst), 1, "media did not go by TCP");
    session.stop().await;
    tcp.serving.abort();
    losing.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_stream_costs_an_ice_restart_and_no_session() {
    let coturn = Coturn::start();
    let tls = TurnTransport::Tls(TlsConfig::Pin(coturn.pin));
    for (transport, server, trickle) in
        [(TurnTransport::Tcp, coturn.address(), Trickle::Candidate2), (tls, coturn.tls_address(), Trickle::None)]
    {
        let proxy = Proxy::to(server).await;
        let server = turn(proxy.address, transport, static_credential());
        let mut session = Session::start(trickle, ice(IcePolicy::Relay, vec![server])).await;
        session.works().await;
        proxy.cut();
        let silence = session.comes_back().await;
        eprintln!("{} ms of silence", silence.as_millis());
        assert!(silence < Duration::from_secs(2), "{silence:?}");
        assert_eq!(session.far.offers.load(Ordering::SeqCst), 2, "the offer and one ICE restart");
        let candidates = session.candidates();
        let unique: HashSet<_> = candidates.iter().collect();
        assert_eq!(unique.len(), candidates.len(), "no relay of the time before is offered again: {candidates:?}");
        assert_eq!(session.publisher.status.borrow().sessions, 1);
        session.stop().await;
        proxy.serving.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_limited_credentials_are_rotated_in_a_running_session() {
    let coturn = Coturn::start_with(&Settings { shared_secret: true, ..Settings::default() });
    let proxy = Proxy::to(coturn.address()).await;
    let server = turn(proxy.address, TurnTransport::Tcp, rest(Duration::from_secs(2)));
    let mut session = Session::start(Trickle::Candidate2, ice(IcePolicy::Relay, vec![server])).await;
    session.works().await;
    // The credential expires; what it was used for goes on.
    tokio::time::sleep(Duration::from_secs(4)).await;
    session.comes_back().await;
    assert_eq!(session.far.offers.load(Ordering::SeqCst), 1, "nothing had to be done");
    // A new allocation needs a new credential, and gets it within the session.
    proxy.cut();
    session.comes_back().await;
    assert_eq!(session.far.offers.load(Ordering::SeqCst), 2);
    assert_eq!(session.publisher.status.borrow().sessions, 1);
    let users: Vec<_> =
        coturn.log().lines().filter(|line| line.contains("ALLOCATE processed, success")).map(str::to_owned).collect();
    assert!(users.len() >= 2, "{}", coturn.log());
    session.stop().await;
    proxy.serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_server_that_was_restarted_is_used_again() {
    let mut coturn = Coturn::start();
    for turn in [coturn.udp(), coturn.tcp(), coturn.tls()] {
        let mut session = Session::start(Trickle::Candidate2, ice(IcePolicy::Relay, vec![turn.clone()])).await;
        session.works().await;
        coturn.restart();
        let silence = session.comes_back().await;
        eprintln!("{}: {} ms of silence", turn.url(), silence.as_millis());
        assert!(silence < Duration::from_secs(20), "{}: {silence:?}", turn.url());
        session.stop().await;
    }
}
