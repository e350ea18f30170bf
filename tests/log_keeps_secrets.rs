//! No line of a whole run tells a secret, and none at `info` or above where anybody is: the car, its server, its
//! relays, its viewers. On networks of its own, because loopback addresses may be told.
//!
//! ```text
//! near  daemon, signalling relay, viewer   198.51.100.2, 2001:db8::2
//! far   hub, coturn                        198.51.100.80, .81 (its relays), 2001:db8::80
//! ```
//!
//! The daemon's file names its servers by name, so no address at all is the operator's own choice.

mod common;
mod coturn;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use common::daemon::{CHANNEL, Hub, PROGRAM, Process};
use common::running::{Daemon, SMALL};
use common::viewer::{Setup, Viewer};
use common::wiretap::Wiretap;
use common::within;
use coturn::{Coturn, PASSWORD, Settings, USER};
use rtcpub::signal::tls::hex;
use rtcpub::status::document::Document;
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::process::Command;

const NEAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const NEAR_MEDIA: &str = "198.51.100.2:0";
const HUB: &str = "198.51.100.80";
const RELAYS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 81);
/// Of nobody: in what a hostile server says.
const STRANGERS: [&str; 3] = ["203.0.113.97", "203.0.113.98", "2001:db8:bad::1"];
/// Where anybody is, as it would be written.
const ADDRESSES: [&str; 5] = ["198.51.100.2", HUB, "198.51.100.81", "2001:db8::2", "2001:db8::80"];

const TOKEN: &str = "t0ken-of-the-hub";
const OTHER_TOKEN: &str = "an0ther-token";
const MISPLACED: &str = "misplac3d";

/// Everything that rtcpub and the libraries below it have to say for debugging.
const DEBUG: &str = "debug,webrtc=debug,rtc=debug,rtc_ice=debug,rtc_stun=debug,rtc_turn=debug,rtc_dtls=debug,\
                     rtc_sdp=debug,rtc_sctp=debug,rtc_mdns=debug,tungstenite=debug,rustls=debug,hyper=debug,mio=debug,tokio=debug";

const INSIDE: &str = "RTCPUB_TEST_INSIDE_NETWORKS";
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Whether the test has networks, a `/run` and an `/etc/hosts` of its own. If not, it has been run again by a process
/// that has, and has passed.
fn entered(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let this = std::env::current_exe().expect("this program has a path");
    let status = std::process::Command::new("unshare")
        .args(["--net", "--mount"])
        .arg(this)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(status.expect("util-linux is installed").success(), "{name} failed on its networks (as root?)");
    false
}

fn make_networks() {
    let hosts = Path::new("/run/hosts");
    run("mount -t tmpfs tmpfs /run");
    std::fs::write(hosts, format!("127.0.0.1 localhost\n{NEAR} pub.example\n{HUB} turn.example\n")).expect("ours");
    run("mount --bind /run/hosts /etc/hosts");
    run("ip netns add far");
    run("ip link add wlan0 type veth peer name eth0 netns far");
    for (side, end, addresses) in [
        ("ip", "wlan0", &["198.51.100.2/24", "2001:db8::2/64"][..]),
        ("ip -n far", "eth0", &["198.51.100.80/24", "198.51.100.81/24", "2001:db8::80/64"]),
    ] {
        for address in addresses {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            run(&format!("{side} address add {address} dev {end}{nodad}"));
        }
        run(&format!("{side} link set lo up"));
        run(&format!("{side} link set {end} up"));
    }
}

fn run(command: &str) {
    let words: Vec<_> = command.split_whitespace().collect();
    let output = std::process::Command::new(words[0]).args(&words[1..]).output().expect("iproute2 is installed");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes something whose processes are at the far end.
async fn at_the_far_end<T: Send + 'static>(make: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = tokio::runtime::Handle::current();
    let made = std::thread::spawn(move || {
        let far = File::open("/run/netns/far").expect("it is there");
        move_into_link_name_space(far.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
        runtime.block_on(make)
    });
    tokio::task::spawn_blocking(move || made.join().expect("no panic")).await.expect("no panic")
}

/// Who reads the daemon's log.
#[derive(Clone, Copy, PartialEq)]
enum Reader {
    File,
    Journald,
}

/// Something that was logged: a line, or a field of an entry in the journal.
#[derive(Debug)]
struct Told {
    /// At `info` or above.
    to_all: bool,
    text: String,
}

impl Told {
    fn in_line(text: String) -> Self {
        // Without its level a line is no event of the log: everybody sees it.
        let debug =
            [" DEBUG ", " TRACE ", "<7>"].iter().any(|level| text.chars().take(60).collect::<String>().contains(level));
        Self { to_all: !debug, text }
    }

    fn in_entry(mut entry: BTreeMap<String, String>) -> Vec<Self> {
        let to_all = entry.remove("PRIORITY").expect("each has one") != "7";
        entry.into_iter().map(|(name, value)| Self { to_all, text: format!("{name}={value}") }).collect()
    }
}

/// journald, as far as a program sees it.
struct Journald(std::thread::JoinHandle<Vec<Told>>);

/// Ends the reading.
const LAST: &[u8] = b"that is all";

impl Journald {
    fn start() -> Self {
        std::fs::create_dir_all("/run/systemd/journal").expect("/run is ours");
        let socket = UnixDatagram::bind(JOURNAL).expect("/run is ours");
        Self(std::thread::spawn(move || {
            let (mut told, mut datagram) = (Vec::new(), vec![0; 1 << 18]);
            loop {
                let length = socket.recv(&mut datagram).expect("it is open");
                if &datagram[..length] == LAST {
                    return told;
                }
                told.extend(Told::in_entry(fields(&datagram[..length])));
            }
        }))
    }

    fn stop(self) -> Vec<Told> {
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.send_to(LAST, JOURNAL).expect("it listens");
        self.0.join().expect("no panic")
    }
}

/// Of a datagram (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>) of binary fields.
fn fields(mut datagram: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while let Some(end) = datagram.iter().position(|byte| *byte == b'\n') {
        let (length, rest) = datagram[end + 1..].split_at(8);
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        fields.insert(text(&datagram[..end]), text(&rest[..length]));
        datagram = &rest[length + 1..];
    }
    fields
}

/// How the daemon is started, so that it finds its reader.
fn program(reader: Reader) -> Command {
    if reader == Reader::File {
        return Command::new(PROGRAM);
    }
    // The variable names the stream that is standard error (systemd.exec(5)).
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$0" "$@""#, PROGRAM]);
    shell
}

async fn until(what: &str, daemon: &Daemon, holds: impl Fn(&Document) -> bool) {
    let waiting = async {
        while !holds(&daemon.status().await) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(what, waiting).await;
}

/// Waits for a warning or an error.
async fn complains(daemon: &Daemon, of: &str) {
    until(of, daemon, |status| status.log.recent.iter().any(|noted| noted.text.contains(of))).await;
}

/// All that a run has told, and the secrets of it.
struct Run {
    told: Vec<Told>,
    secrets: Vec<String>,
}

/// What a daemon has to do with.
struct World {
    coturn: Coturn,
    hub: Hub,
    tap: Wiretap,
    /// The daemon's.
    file: String,
}

impl World {
    async fn make(level: &str) -> Self {
        make_networks();
        let at = Settings { listens_at: HUB.parse().expect("an address"), relays_at: RELAYS, ..Settings::default() };
        let coturn = at_the_far_end(async move { Coturn::start_with(&at) }).await;
        let hub = Self::hub(level).await;
        let pin = std::array::from_fn(|at| u8::from_str_radix(&hub.pin[2 * at..2 * at + 2], 16).expect("hexadecimal"));
        let tap = Wiretap::new(NEAR.into(), hub.secure, pin, TOKEN).await;
        // Its camera ends each time it has been well for some seconds.
        let file = format!(
            "[server]\nurl = \"ws://pub.example:{}\"\ntoken = \"{TOKEN}\"\nretry_min_ms = 10\nretry_max_ms = 50\n\
             [log]\nlevel = \"{level}\"\n{SMALL}kind = \"pipeline\"\npipeline = \"videotestsrc is-live=true \
             num-buffers=60 ! video/x-raw,width=160,height=120,framerate=15/1\"\n{}",
            tap.address.port(),
            ice_servers(&coturn)
        );
        Self { coturn, hub, tap, file }
    }

    async fn hub(level: &str) -> Hub {
        let mut token = tempfile::NamedTempFile::new().expect("a file");
        token.write_all(TOKEN.as_bytes()).expect("ours");
        let level = level.to_owned();
        at_the_far_end(async move {
            let token = token.path().display().to_string();
            Hub::start_at(HUB, &["--pub-token-file", &token, "--log-level", &level]).await
        })
        .await
    }
}

fn ice_servers(coturn: &Coturn) -> String {
    let (plain, tls) = (coturn.address().port(), coturn.tls_address().port());
    let turn =
        |url: &str| format!("[[ice.servers]]\nurl = \"{url}\"\nusername = \"{USER}\"\ncredential = \"{PASSWORD}\"\n");
    [
        format!("[[ice.servers]]\nurl = \"stun:turn.example:{plain}\"\n"),
        turn(&format!("turn:turn.example:{plain}?transport=udp")),
        turn(&format!("turn:turn.example:{plain}?transport=tcp")),
        turn(&format!("turns:turn.example:{tls}")) + &format!("tls_pin_sha256 = \"{}\"\n", hex(&coturn.pin)),
    ]
    .concat()
}

/// What a hub would not say.
fn hostile_messages() -> [String; 5] {
    let [who, other, third] = STRANGERS;
    [
        format!("no JSON, from {who}"),
        format!(r#"{{"type":"candidate","data":"candidate:1 1 udp 5 {other} 9 typ relay raddr {third} rport 9"}}"#),
        format!(r#"{{"type":"candidate2","data":"{{\"candidate\":\"{third}\"}}"}}"#),
        format!(r#"{{"type":"error","data":"nobody wants you at {other}"}}"#),
        // Told at a warning, with what is wrong in it.
        format!(r#"{{"type":"offer","data":"v=0\r\no=- 1 1 {who} IP4 x\r\n"}}"#),
    ]
}

/// A run with whatever makes a daemon talk: sessions lost and made again, a camera that ends, messages that are no
/// messages, relays and a hub that die, files that are right and wrong.
async fn eventful_run(level: &str, reader: Reader) -> Run {
    let World { mut coturn, hub, tap, file } = World::make(level).await;
    let journald = (reader == Reader::Journald).then(Journald::start);
    let daemon = Daemon::start_by(program(reader), &file, &[]);
    within("the daemon", async {
        while !daemon.socket().exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    until("a session", &daemon, |status| status.session.publishing).await;

    let setup = Setup { address: NEAR_MEDIA, ..Setup::default() };
    let viewer = Viewer::join_at(hub.plain, CHANNEL, setup).await;
    viewer.drive(r#"{"motion":{"key":"forward","value":0}}"#).await;
    viewer.drive(&format!(r#"{{"motion":{{"key":"{}","value":1}}}}"#, STRANGERS[0])).await;
    until("a message that is none", &daemon, |status| status.drive.rejected > 0).await;
    hostile_messages().iter().for_each(|message| tap.says(message));
    complains(&daemon, "offer cannot be used").await;
    complains(&daemon, "camera lost").await;
    coturn.kill();
    complains(&daemon, "an ICE server cannot be used").await;
    for session in 2..4 {
        tap.cut();
        until("another session", &daemon, |status| status.session.publishing && status.session.sessions >= session)
            .await;
    }
    daemon.write_file(&file.replace("[log]", &format!("[log]\ntoken = \"{MISPLACED}\"")));
    daemon.signal(Signal::HUP);
    complains(&daemon, "not reloaded").await;
    daemon.write_file(&file.replace(TOKEN, OTHER_TOKEN));
    daemon.signal(Signal::HUP);
    complains(&daemon, "need a restart").await;
    let hub_told = end(hub).await;
    until("the end of the session", &daemon, |status| !status.session.publishing).await;
    let (code, lines) = daemon.stop().await;
    assert_eq!(code, Some(0), "{lines:#?}");
    drop(viewer);

    let mut told: Vec<_> = lines.into_iter().map(Told::in_line).collect();
    if let Some(journald) = journald {
        let entries = journald.stop();
        assert!(entries.len() > 100, "it goes to the journal: {told:?}");
        told.extend(entries);
    }
    // The hub's own address was chosen by who started it.
    told.extend(hub_told.into_iter().map(|line| Told::in_line(line.replace(HUB, "the hub"))));
    let mut secrets = tap.secrets();
    assert!(secrets.len() >= 4 && secrets.iter().all(|secret| secret.len() >= 16), "both sides': {secrets:?}");
    secrets.extend([TOKEN, OTHER_TOKEN, MISPLACED, PASSWORD].map(str::to_owned));
    Run { told, secrets }
}

/// Ends a hub; returns what it has logged.
async fn end(hub: Hub) -> Vec<String> {
    let mut process: Process = hub.process;
    process.signal(Signal::TERM);
    process.exited().await.log.into_iter().map(|line| line.text).collect()
}

impl Run {
    fn keeps_its_secrets(&self) {
        for secret in &self.secrets {
            let bytes = secret.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
            let forms = [secret.clone(), hex(secret.as_bytes()), bytes];
            for told in &self.told {
                let found = forms.iter().find(|form| told.text.contains(form.as_str()));
                assert!(found.is_none(), "{found:?} in {told:?}");
            }
        }
    }

    fn tells_nobody_where_anybody_is(&self) {
        for told in self.told.iter().filter(|told| told.to_all) {
            let found = ADDRESSES.iter().chain(&STRANGERS).find(|address| told.text.contains(*address));
            assert!(found.is_none(), "{found:?} in {told:?}");
        }
    }

    fn tells_for_debugging(&self) -> bool {
        self.told.iter().any(|told| !told.to_all && ADDRESSES.iter().any(|address| told.text.contains(address)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_at_info_tells_neither_secrets_nor_addresses() {
    if !entered("a_run_at_info_tells_neither_secrets_nor_addresses") {
        return;
    }
    let run = eventful_run("info", Reader::File).await;
    run.keeps_its_secrets();
    run.tells_nobody_where_anybody_is();
    assert!(run.told.iter().any(|told| told.text.contains("[address]")), "there was something to leave out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_at_debug_tells_addresses_for_debugging_only_and_no_secrets() {
    if !entered("a_run_at_debug_tells_addresses_for_debugging_only_and_no_secrets") {
        return;
    }
    let run = eventful_run(DEBUG, Reader::File).await;
    run.keeps_its_secrets();
    run.tells_nobody_where_anybody_is();
    assert!(run.tells_for_debugging(), "so the search finds what there is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journals_fields_are_as_discreet_as_the_lines() {
    if !entered("the_journals_fields_are_as_discreet_as_the_lines") {
        return;
    }
    let run = eventful_run(DEBUG, Reader::Journald).await;
    run.keeps_its_secrets();
    run.tells_nobody_where_anybody_is();
    assert!(run.tells_for_debugging(), "so the search finds what there is");
}
