//! What a probe says about servers that serve, and about servers that do not.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on fails and says why")]

mod coturn;
#[path = "link/lab/mod.rs"]
mod lab;
mod spider;

use std::time::Duration;

use coturn::{Coturn, PASSWORD, Settings, static_credential};
use rtcpub::probe::{ProbeOutcome, probe};
use rtcpub::rtc::settings::{
    IceConfig, IcePolicy, IceServer, InterfaceFilter, Reliability, RtcConfig, ServerAddress, TurnCredential,
    TurnServer, TurnTransport,
};
use rtcpub::secret::Secret;
use rtcpub::signal::settings::{SignalConfig, TlsConfig};
use rtcpub::signal::tls::hex;
use spider::Server;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

async fn probed(signal: &SignalConfig, policy: IcePolicy, servers: Vec<IceServer>) -> (ProbeOutcome, Vec<String>) {
    let reliable = Reliability::ORDERED_RELIABLE;
    let ice = IceConfig { servers, policy, interfaces: InterfaceFilter::default() };
    let mut out = Vec::new();
    let outcome = probe(signal, &RtcConfig { ice, metric: reliable, stream: reliable }, &mut out).await;
    let text = String::from_utf8(out).unwrap();
    eprintln!("{text}");
    assert!(!text.contains(PASSWORD) && !text.contains("not it"), "no secret is shown");
    (outcome, text.lines().map(str::to_owned).collect())
}

/// A pub server that answers each upgrade until the test ends: lets it in, or with this text instead.
async fn open_server(answer: Option<&'static str>) -> (SignalConfig, JoinHandle<()>) {
    let server = Server::start().await;
    let config = server.signal_config();
    let accepting = tokio::spawn(async move {
        loop {
            let (stream, _) = server.listener.accept().await.unwrap();
            let tls = server.tls.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = tls.accept(stream).await else { return };
                match answer {
                    None => drop(tokio_tungstenite::accept_async(stream).await),
                    Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                }
            });
        }
    });
    (config, accepting)
}

fn assert_line(lines: &[String], words: &[&str]) {
    assert!(lines.iter().any(|line| words.iter().all(|word| line.contains(word))), "{words:?} in {lines:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_serve_get_a_line_each_with_what_they_told() {
    let coturn = Coturn::start();
    let (signal, accepting) = open_server(None).await;
    let servers = vec![coturn.stun(), coturn.udp(), coturn.tcp(), coturn.tls()];
    let urls: Vec<_> = servers.iter().map(|server| server.url().to_string()).collect();
    let (outcome, lines) = probed(&signal, IcePolicy::Relay, servers).await;
    assert!(outcome.session_possible());
    assert_eq!(outcome.relays, 3);
    assert_line(&lines, &["ok", "dns", "127.0.0.1"]);
    assert_line(&lines, &["ok", "tcp", "127.0.0.1:"]);
    let TlsConfig::Pin(pin) = &signal.tls else { panic!("pinned") };
    assert_line(&lines, &["ok", "tls", "rcgen self signed cert", "days left", &hex(pin)]);
    assert_line(&lines, &["ok", "websocket", "c40hipepjh65aeq6ndj0"]);
    assert_line(&lines, &["ok", "addresses", "127.0.0.1"]);
    assert_line(&lines, &["ok", &urls[0], "seen as 127.0.0.1:"]);
    for url in &urls[1..] {
        assert_line(&lines, &["ok", url, "relays from 127.0.0.1:", "allocated in", "round trip"]);
    }
    assert_eq!(lines.last().map(String::as_str), Some("a session could be made"));
    assert_eq!(lines.len(), 5 + 4 + 1, "{lines:#?}");
    accepting.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_do_not_serve_are_told_with_a_remedy() {
    let coturn = Coturn::start();
    let expired = Coturn::start_with(&Settings { shared_secret: true, ..Settings::default() });
    let silent_tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let turn = |host: url::Host, port: u16, transport: TurnTransport| {
        let address = ServerAddress { host, port };
        IceServer::Turn(TurnServer { address, transport, credential: static_credential() })
    };
    let here = || url::Host::Ipv4([127, 0, 0, 1].into());
    let nowhere = url::Host::Domain("no-such-host.invalid".to_owned());
    let wrong = TurnCredential::Static { username: coturn::USER.into(), password: Secret::new("not it") };
    let shared =
        TurnCredential::Rest { user: String::new(), secret: Secret::new("not it"), ttl: Duration::from_secs(9) };
    let pin = hex(&coturn.pin);
    let cases: Vec<(IceServer, Vec<&str>)> = vec![
        (coturn.turn(TurnTransport::Udp, wrong.clone()), vec!["401", "check its username"]),
        (coturn.turn(TurnTransport::Tls(TlsConfig::Pin(coturn.pin)), wrong), vec!["401", "check its username"]),
        (expired.turn(TurnTransport::Tcp, shared), vec!["401", "rest_secret and this machine's clock"]),
        (
            turn(here(), silent_udp.local_addr().unwrap().port(), TurnTransport::Udp),
            vec!["no answer within", "firewall"],
        ),
        (turn(here(), silent_tcp.local_addr().unwrap().port(), TurnTransport::Tcp), vec!["no answer", "TURN server?"]),
        (turn(here(), closed.port(), TurnTransport::Tcp), vec!["refused", "is it running"]),
        (turn(nowhere.clone(), 3478, TurnTransport::Udp), vec!["cannot be resolved", "correct its url"]),
        (coturn.turn(TurnTransport::Tls(TlsConfig::SystemRoots), static_credential()), vec!["self-signed", &pin]),
        (coturn.turn(TurnTransport::Tls(TlsConfig::Pin([9; 32])), static_credential()), vec!["SHA-256", &pin]),
        (IceServer::Stun(ServerAddress { host: nowhere, port: 3478 }), vec!["cannot be resolved"]),
    ];
    let servers = cases.iter().map(|(server, _)| server.clone()).collect();
    let (signal, accepting) = open_server(None).await;
    let (outcome, lines) = probed(&signal, IcePolicy::Relay, servers).await;
    assert!(outcome.signalling && outcome.relays == 0 && !outcome.session_possible());
    for (server, words) in &cases {
        let url = server.url().to_string();
        let words: Vec<_> = ["FAIL", &url].into_iter().chain(words.iter().copied()).collect();
        assert_line(&lines, &words);
    }
    assert_eq!(lines.last().map(String::as_str), Some("no session can be made"));
    accepting.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pub_server_that_cannot_be_used_is_told_with_a_remedy() {
    let (good, accepting) = open_server(None).await;
    let (closed_to_us, refusing) = open_server(Some("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")).await;
    let TlsConfig::Pin(pin) = good.tls.clone() else { panic!("pinned") };
    let pin = hex(&pin);
    let url = |text: &str| text.parse().unwrap();
    let cases: Vec<(SignalConfig, Vec<&str>)> = vec![
        (SignalConfig { server: url("wss://no-such-host.invalid"), ..good.clone() }, vec!["dns", "a DNS server"]),
        (
            SignalConfig { server: url("wss://127.0.0.1:1"), ..good.clone() },
            vec!["tcp", "refused", "is the server running"],
        ),
        (
            SignalConfig { tls: TlsConfig::Pin([3; 32]), ..good.clone() },
            vec!["tls", "it shows", "tls.pin_sha256 = ", &pin],
        ),
        (SignalConfig { tls: TlsConfig::SystemRoots, ..good.clone() }, vec!["tls", "tls.pin_sha256 = ", &pin]),
        (closed_to_us, vec!["websocket", "403", "server.token"]),
    ];
    for (signal, words) in cases {
        let (outcome, lines) = probed(&signal, IcePolicy::All, Vec::new()).await;
        assert!(!outcome.signalling && !outcome.session_possible());
        let words: Vec<_> = ["FAIL"].into_iter().chain(words).collect();
        assert_line(&lines, &words);
    }
    accepting.abort();
    refusing.abort();
}

/// What `rtcpub probe` says of this machine's addresses, in the publisher's namespace.
fn addresses(net: &lab::net::Net, settings: &[&str]) -> String {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), "[server]\nurl = \"wss://10.77.1.1:9\"\n[ice]\nhost = \"\"\n").unwrap();
    let mut command = std::process::Command::new("ip");
    command.args(["netns", "exec", net.near_name(), env!("CARGO_BIN_EXE_rtcpub"), "probe"]);
    command.arg("--config").arg(file.path()).args(settings.iter().flat_map(|setting| ["--set", setting]));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(71), "no session: nobody serves there");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains(" addresses ")).unwrap_or_else(|| panic!("{text}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_lists_of_interfaces_decide_whose_addresses_are_offered() {
    let _alone = lab::ONE_AT_A_TIME.blocking_lock();
    let net = lab::net::Net::new();
    net.add_interface("docker0", "172.17.0.1/16");
    net.add_interface("usb0", "192.168.42.7/24");
    net.add_interface("usb1", "2001:db8:7::7/64");
    let cases: [(&[&str], &str); 5] = [
        (&[], "ok addresses 10.77.1.2, 192.168.42.7, 2001:db8:7::7"),
        (&["ice.exclude_interfaces=[]"], "ok addresses 10.77.1.2, 172.17.0.1, 192.168.42.7, 2001:db8:7::7"),
        (&["ice.include_interfaces=[\"usb*\"]"], "ok addresses 192.168.42.7, 2001:db8:7::7"),
        (&["ice.include_interfaces=[\"usb*\"]", "ice.exclude_interfaces=[\"usb1\"]"], "ok addresses 192.168.42.7"),
        (&["ice.include_interfaces=[\"wlan0\"]"], "FAIL addresses no interface that may be used has an address;"),
    ];
    for (settings, expected) in cases {
        let line = addresses(&net, settings);
        let sorted = |line: &str| {
            let (head, listed) = line.split_once(" addresses ").unwrap_or_default();
            let mut listed: Vec<_> = listed.split(", ").map(str::to_owned).collect();
            listed.sort();
            (head.to_owned(), listed)
        };
        match expected.starts_with("ok") {
            true => assert_eq!(sorted(&line), sorted(expected), "{settings:?}"),
            false => assert!(line.starts_with(expected), "{settings:?}: {line}"),
        }
    }
}
