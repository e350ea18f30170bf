//! The publisher straight to a real browser, Debian's Chromium: over a long wire that loses packets, to one that hides its
//! address, to one that numbers the payload types anew, and to one that renegotiates.

#![allow(clippy::disallowed_methods, reason = "the tests measure")]

mod common;
#[path = "link/lab/mod.rs"]
mod lab;
mod spider;

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use common::chromium::{Chromium, Page};
use common::daemon::{ChannelFile, Daemon};
use futures_util::{SinkExt, StreamExt};
use lab::wire::{self, Loss, Towards, Wire};
use lab::{Agrees, ONE_AT_A_TIME, Scenario, near};
use rtcpub::signal::settings::{SignalConfig, Trickle};
use rtcpub::signal::spider::{self as wire_format, Incoming, Message};
use rtcpub::signal::tls::hex;
use serde_json::{Value, json};
use spider::{Server, ServerSocket, text};
use tokio_tungstenite::tungstenite;
use tokio_util::sync::CancellationToken;

const DELAY: Duration = Duration::from_millis(60);
/// One of so many datagrams is lost: 5 %.
const LOSE_EVERY: u64 = 20;
/// By then the loss is known.
const KNOWN_AFTER: Duration = Duration::from_secs(6);
const WATCHED: Duration = Duration::from_secs(8);

/// Answers an offer, keeps the data channels and shows the picture; gives the answer with all candidates.
const ANSWER: &str = "(async (sdp) => { const peer = window.peer = new RTCPeerConnection(); \
     window.channels = {}; peer.ondatachannel = ({channel}) => { window.channels[channel.label] = channel; }; \
     peer.ontrack = ({track}) => { const video = document.createElement('video'); video.muted = video.autoplay = true; \
       video.srcObject = new MediaStream([track]); document.body.append(video); }; \
     await peer.setRemoteDescription({type: 'offer', sdp}); await peer.setLocalDescription(); \
     await new Promise((done) => { const look = () => peer.iceGatheringState === 'complete' ? done() : setTimeout(look, 20); \
       look(); }); return peer.localDescription.sdp; })";

/// What the browser counts of the picture.
const STATISTICS: &str = "(async () => [...(await window.peer.getStats()).values()]\
     .find((report) => report.type === 'inbound-rtp' && report.kind === 'video'))()";

/// The offer without candidates, which the wire stands for, and without repetitions.
fn as_given_to_the_browser(offer: &str, keep_fec: bool) -> String {
    let gone = |payload_type: &str| payload_type == "97" || (!keep_fec && payload_type == "98");
    let kept = |line: &&str| {
        let about = line.split_once(':').map(|(_, about)| about.split([' ', ':']).next().unwrap_or_default());
        let of_gone =
            ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].iter().any(|kind| line.starts_with(kind)) && about.is_some_and(gone);
        let groups = line.starts_with("a=ssrc-group:FID") || (!keep_fec && line.starts_with("a=ssrc-group:FEC-FR"));
        !(of_gone || groups || line.starts_with("a=candidate:") || line.ends_with(" nack"))
    };
    let without = |line: &str| match line.starts_with("m=video ") {
        true => line.split(' ').filter(|word| !gone(word)).collect::<Vec<_>>().join(" "),
        false => line.to_owned(),
    };
    offer.lines().map(str::trim_end).filter(kept).map(|line| without(line) + "\r\n").collect()
}

/// Eight seconds of a session with the browser. No packet is sent twice: what was lost is rebuilt, or stays lost.
struct Watched {
    /// Pictures a second.
    decoded: f64,
    key_frames_asked: f64,
    repairs_received: f64,
    repairs_sent: u64,
}

async fn watch_over_a_lossy_wire(browser_takes_it: bool) -> Watched {
    let server = Server::start().await;
    let (did, shutdown) = (near::Shared::default(), CancellationToken::new());
    let signal = SignalConfig { trickle: Trickle::None, ..server.signal_config() };
    let scenario = Scenario::new("browser", Agrees::ToTransportCc, 1500, 0, &[]).protected();
    let publisher = tokio::spawn(near::run(signal, scenario, did.clone(), shutdown.clone()));
    let (mut socket, _, _) = server.accept().await;
    let mut browser = Chromium::start().await;
    let page = browser.open("about:blank", 640, 480).await;
    let _wire = connect(&mut socket, &mut browser, &page, browser_takes_it, Loss::Each(LOSE_EVERY)).await;
    browser.wait_for(&page, "document.querySelector('video')?.videoWidth === 640").await;
    tokio::time::sleep(KNOWN_AFTER).await;
    let before = browser.evaluate(&page, STATISTICS).await;
    tokio::time::sleep(WATCHED).await;
    let after = browser.evaluate(&page, STATISTICS).await;
    let since = |key: &str| {
        let count = |statistics: &Value| statistics[key].as_f64().unwrap_or(0.0);
        count(&after) - count(&before)
    };
    shutdown.cancel();
    common::within("the publisher's end", publisher).await.expect("no panic");
    let link = did.lock().expect("not poisoned").link.last().map(|(_, status)| status.counters);
    Watched {
        decoded: since("framesDecoded") / WATCHED.as_secs_f64(),
        key_frames_asked: since("pliCount"),
        repairs_received: since("fecPacketsReceived"),
        repairs_sent: link.expect("a second of it").protection_packets,
    }
}

async fn connect(socket: &mut ServerSocket, browser: &mut Chromium, page: &Page, keep_fec: bool, loss: Loss) -> Wire {
    let answer = answer(socket, browser, page, keep_fec).await;
    let far = format!("127.0.0.1:{}", wire::port_of(&answer)).parse().expect("an address");
    let wire = Wire::lay(far, DELAY, loss).await;
    send(socket, wire::at_the_wire(&answer, wire.address)).await;
    wire
}

/// What the browser answers to the next offer.
async fn answer(socket: &mut ServerSocket, browser: &mut Chromium, page: &Page, keep_fec: bool) -> String {
    let offer: Value = serde_json::from_str(&text(socket).await).expect("JSON");
    let offer = as_given_to_the_browser(offer["data"].as_str().expect("an SDP"), keep_fec);
    let script = format!("{ANSWER}({})", serde_json::to_string(&offer).expect("JSON"));
    browser.evaluate(page, &script).await.as_str().expect("an SDP").to_owned()
}

async fn send(socket: &mut ServerSocket, answer: String) {
    let answer = tungstenite::Message::text(Message::Answer(answer).to_text());
    socket.send(answer).await.expect("the publisher waits for it");
}

/// This machine's address on a network, where it is on one.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Of a datagram socket this only looks up the route.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_hides_its_address_behind_a_name_is_found() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let Some(address) = own_address() else {
        eprintln!("skipped: this machine is on no network, where names could be asked for");
        return;
    };
    let server = Server::start_at(&format!("{address}:0")).await;
    let (did, shutdown) = (near::Shared::default(), CancellationToken::new());
    let signal = SignalConfig { trickle: Trickle::None, ..server.signal_config() };
    let scenario = Scenario::new("hidden", Agrees::ToTransportCc, 1500, 0, &[]);
    let publisher = tokio::spawn(near::run(signal, scenario, did, shutdown.clone()));
    let (mut socket, _, _) = server.accept().await;
    let mut browser = Chromium::start().await;
    let page = browser.open("about:blank", 640, 480).await;
    let answer = answer(&mut socket, &mut browser, &page, true).await;
    let candidates: Vec<_> = answer.lines().filter(|line| line.starts_with("a=candidate:")).collect();
    let hidden = |line: &&str| line.split(' ').nth(4).is_some_and(|name| name.ends_with(".local"));
    assert!(!candidates.is_empty() && candidates.iter().all(hidden), "{candidates:?}");
    // The browser knows no address of the publisher's, so only the publisher can begin.
    send(&mut socket, answer).await;
    browser.wait_for(&page, "document.querySelector('video')?.videoWidth === 640").await;
    shutdown.cancel();
    common::within("the publisher's end", publisher).await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_browser_misses_of_the_handshake_is_sent_again() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut browser = Chromium::start().await;
    // The browser repeats its own part soon. The library by itself, once it has heard that, would repeat nothing.
    for number in 0..4 {
        let server = Server::start().await;
        let (did, shutdown) = (near::Shared::default(), CancellationToken::new());
        let signal = SignalConfig { trickle: Trickle::None, ..server.signal_config() };
        let scenario = Scenario::new("handshake", Agrees::ToTransportCc, 1500, 0, &[]);
        let publisher = tokio::spawn(near::run(signal, scenario, did, shutdown.clone()));
        let (mut socket, _, _) = server.accept().await;
        let page = browser.open("about:blank", 640, 480).await;
        let loss = Loss::OfHandshake(Towards::Far, number);
        let _wire = connect(&mut socket, &mut browser, &page, true, loss).await;
        tokio::select! {
            () = browser.wait_for(&page, "document.querySelector('video')?.videoWidth === 640") => {}
            _ = server.accept() => panic!("without datagram {number} the session failed"),
        }
        shutdown.cancel();
        common::within("the publisher's end", publisher).await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_rebuilds_lost_packets_and_one_that_does_not_take_repairs_gets_none() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let with = watch_over_a_lossy_wire(true).await;
    let without = watch_over_a_lossy_wire(false).await;
    println!("{:.1} pictures a second, {} key frames asked", with.decoded, with.key_frames_asked);
    println!("{:.1} pictures a second, {} key frames asked, without", without.decoded, without.key_frames_asked);
    assert!(with.repairs_received > 100.0, "{}", with.repairs_received);
    assert!(with.decoded >= 25.0, "{}", with.decoded);
    assert!(without.decoded < with.decoded * 0.7, "{} of {}", without.decoded, with.decoded);
    assert_eq!((without.repairs_sent, without.repairs_received), (0, 0.0), "it did not agree to them");
}

/// A page in a session with the whole daemon, for as long as this lives.
struct Met {
    page: Page,
    _daemon: Daemon,
    _socket: ServerSocket,
}

impl Met {
    /// With these settings above the daemon's file, and its offer adjusted before the browser has it.
    async fn by_the_daemon(browser: &mut Chromium, settings: &[&str], adjust: impl Fn(&str) -> String) -> Self {
        let server = Server::start().await;
        let file = ChannelFile::for_server(server.address(), &hex(&server.pin));
        let daemon = Daemon::start(&file, &[&["server.trickle=none"], settings].concat());
        let (mut socket, _, _) = server.accept().await;
        let page = browser.open("about:blank", 640, 480).await;
        let offer: Value = serde_json::from_str(&text(&mut socket).await).expect("JSON");
        let offer = adjust(offer["data"].as_str().expect("an SDP"));
        let answer = browser.evaluate(&page, &call(ANSWER, offer)).await;
        send(&mut socket, answer.as_str().expect("an SDP").to_owned()).await;
        Self { page, _daemon: daemon, _socket: socket }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_sees_how_each_data_channel_is_to_deliver() {
    const SEEN: &str = "Object.values(window.channels).map(({label, ordered, maxRetransmits, maxPacketLifeTime}) => \
         [label, ordered, maxRetransmits, maxPacketLifeTime]).sort()";
    let table = [
        (vec![], json!([["metric", true, null, null], ["stream", true, null, null]])),
        (
            vec!["channels.metric.ordered=false", "channels.stream.max_packet_life_time_ms=150"],
            json!([["metric", false, null, null], ["stream", true, null, 150]]),
        ),
        (
            vec![
                "channels.metric.max_retransmits=0",
                "channels.stream.ordered=false",
                "channels.stream.max_retransmits=3",
            ],
            json!([["metric", true, 0, null], ["stream", false, 3, null]]),
        ),
    ];
    let mut browser = Chromium::start().await;
    for (settings, expected) in table {
        let met = Met::by_the_daemon(&mut browser, &settings, str::to_owned).await;
        browser.wait_for(&met.page, "Object.keys(window.channels).length === 2").await;
        assert_eq!(browser.evaluate(&met.page, SEEN).await, expected, "{settings:?}");
    }
}

/// The offer with its payload types, of which the first is 96, fourteen higher.
fn renumbered(offer: &str) -> String {
    let higher = |word: &str| match word.parse::<u8>() {
        Ok(payload_type @ 96..=112) => (payload_type + 14).to_string(),
        _ => word.to_owned(),
    };
    let about = |kind: &str, rest: &str| {
        let (payload_type, rest) = rest.split_once(' ').expect("what it says of it");
        let rest =
            rest.split_once("apt=").map_or(rest.to_owned(), |(before, of)| format!("{before}apt={}", higher(of)));
        format!("{kind}{} {rest}", higher(payload_type))
    };
    let line = |line: &str| {
        if line.starts_with("m=video ") {
            return line.split(' ').map(higher).collect::<Vec<_>>().join(" ");
        }
        let kind = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].into_iter().find(|kind| line.starts_with(kind));
        kind.map_or(line.to_owned(), |kind| about(kind, &line[kind.len()..]))
    };
    offer.lines().map(|text| line(text.trim_end()) + "\r\n").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_numbers_the_payload_types_anew_gets_its_picture_by_its_own() {
    const PAYLOAD_TYPE: &str = "(async () => { const all = await window.peer.getStats(); \
         return [...all.values()].filter(({type}) => type === 'inbound-rtp').map(({codecId}) => all.get(codecId)?.payloadType); })()";
    let mut browser = Chromium::start().await;
    let met = Met::by_the_daemon(&mut browser, &[], renumbered).await;
    browser.wait_for(&met.page, "document.querySelector('video')?.videoWidth > 0").await;
    assert_eq!(browser.evaluate(&met.page, PAYLOAD_TYPE).await, json!([110]));
}

/// The browser's next offer; its candidates come later, and here they never do.
const OFFER: &str = "(async (iceRestart) => { const offer = await window.peer.createOffer({iceRestart}); \
     await window.peer.setLocalDescription(offer); return offer.sdp; })";

const TAKE_ANSWER: &str = "(async (sdp) => { await window.peer.setRemoteDescription({type: 'answer', sdp}); })";

/// A candidate of a description that the browser does not have (yet) is an error.
const TAKE_CANDIDATE: &str = "(async (candidate) => { await window.peer.addIceCandidate(candidate); })";

fn call(function: &str, argument: impl Into<Value>) -> String {
    format!("{function}({})", argument.into())
}

/// A browser in a session with the publisher. Only the publisher's candidates are ever told, so only the browser can begin.
struct Renegotiating {
    socket: ServerSocket,
    browser: Chromium,
    page: Page,
}

impl Renegotiating {
    /// Hands all that the publisher says to the browser for this long, or until it has said a description, which is
    /// returned.
    async fn listen(&mut self, time: Duration) -> Option<String> {
        let until = tokio::time::Instant::now() + time;
        while let Ok(frame) = tokio::time::timeout_at(until, self.socket.next()).await {
            let frame = frame.expect("the session goes on").expect("a frame");
            let Ok(text) = frame.to_text() else { continue };
            match wire_format::parse(text) {
                Incoming::Message(Message::Offer(sdp) | Message::Answer(sdp)) => return Some(sdp),
                Incoming::Message(Message::Candidate2(init)) => {
                    let init = json!({"candidate": init.candidate, "sdpMid": init.sdp_mid,
                        "sdpMLineIndex": init.sdp_m_line_index, "usernameFragment": init.username_fragment});
                    self.browser.evaluate(&self.page, &call(TAKE_CANDIDATE, init)).await;
                }
                _ => {}
            }
        }
        None
    }

    async fn decoded(&mut self) -> f64 {
        self.browser.evaluate(&self.page, STATISTICS).await["framesDecoded"].as_f64().unwrap_or(0.0)
    }

    /// Waits until so many more pictures are decoded.
    async fn shows_more(&mut self, pictures: f64) {
        let before = self.decoded().await;
        for _ in 0..100 {
            if self.decoded().await >= before + pictures {
                return;
            }
            self.listen(Duration::from_millis(200)).await;
        }
        panic!("no picture after {before}");
    }

    async fn negotiate(&mut self, restart: bool) {
        let offer = self.browser.evaluate(&self.page, &call(OFFER, restart)).await;
        let offer = Message::Offer(offer.as_str().expect("an SDP").to_owned());
        self.socket.send(tungstenite::Message::text(offer.to_text())).await.expect("the publisher listens");
        let answer = self.listen(Duration::from_secs(10)).await.expect("an answer");
        self.browser.evaluate(&self.page, &call(TAKE_ANSWER, answer)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_may_offer_anew_and_restart_ice_and_keeps_its_picture() {
    let _alone = ONE_AT_A_TIME.lock().await;
    for trickle in [Trickle::None, Trickle::Candidate2] {
        let server = Server::start().await;
        let (did, shutdown) = (near::Shared::default(), CancellationToken::new());
        let signal = SignalConfig { trickle, ..server.signal_config() };
        let scenario = Scenario::new("renegotiates", Agrees::ToTransportCc, 1500, 0, &[]);
        let publisher = tokio::spawn(near::run(signal, scenario, did.clone(), shutdown.clone()));
        let (socket, _, _) = server.accept().await;
        let mut browser = Chromium::start().await;
        let page = browser.open("about:blank", 640, 480).await;
        let mut session = Renegotiating { socket, browser, page };
        let offer = session.listen(Duration::from_secs(10)).await.expect("an offer");
        let answer = session.browser.evaluate(&session.page, &call(ANSWER, offer)).await;
        let answer = answer.as_str().expect("an SDP").split_inclusive('\n');
        send(&mut session.socket, answer.filter(|line| !line.starts_with("a=candidate:")).collect()).await;
        session.shows_more(30.0).await;
        for restart in [false, true, true] {
            session.negotiate(restart).await;
            session.shows_more(30.0).await;
        }
        shutdown.cancel();
        common::within("the publisher's end", publisher).await.expect("no panic");
        let publish = did.lock().expect("not poisoned").publish.clone();
        assert_eq!((publish.sessions, publish.restarts), (1, 0), "{trickle:?}: {publish:?}");
    }
}
