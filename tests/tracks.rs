//! Several cameras as several tracks of one session: the whole daemon to a real peer, which decodes each picture, asks for
//! key frames of one, takes one alone, and sees one go and come.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod spider;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::daemon::{ChannelFile, Daemon};
use common::lab;
use common::peer::{Event, Peer, media_engine};
use common::within;
use futures_util::SinkExt;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use rtc::interceptor::{NackGeneratorBuilder, Registry, Slot};
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp;
use rtc::shared::marshal::Marshal;
use rtcpub::signal::spider::Message;
use rtcpub::signal::tls::hex;
use rtcpub::status::document::Document;
use spider::{Server, ServerSocket, text};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{PeerConnection, RTCSessionDescription};

/// The payload type of the publisher's H.264.
const PAYLOAD_TYPE: u8 = 96;
/// Longer than the quiet window of forced key frames (300 ms) and a frame: one that was asked for has come by now.
const SETTLED: Duration = Duration::from_millis(800);

/// A camera beside the first, which is 320x240.
const LEFT: &str = "[[cameras]]\nname = \"left\"\nwidth = 160\nheight = 120\nframerate = 15\nbitrate_kbps = 100\n";
/// One that ends after two seconds, again and again.
const BROKEN: &str = "[[cameras]]\nname = \"left\"\nkind = \"pipeline\"\n\
    pipeline = \"videotestsrc is-live=true num-buffers=20 ! video/x-raw,framerate=10/1\"\n\
    width = 160\nheight = 120\nframerate = 10\nbitrate_kbps = 100\n";

/// A picture as it is received.
struct Received {
    track: Arc<dyn TrackRemote>,
    ssrc: u32,
    packets: watch::Receiver<Vec<rtp::Packet>>,
}

impl Received {
    async fn new(track: Arc<dyn TrackRemote>) -> Self {
        let (sender, packets) = watch::channel(Vec::new());
        let (reading, ssrc) = (track.clone(), track.ssrcs().await[0]);
        tokio::spawn(async move {
            while let Some(event) = reading.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    sender.send_modify(|packets| packets.push(packet));
                }
            }
        });
        Self { track, ssrc, packets }
    }

    fn packets(&self) -> Vec<rtp::Packet> {
        self.packets.borrow().clone()
    }

    /// Key frames so far: a STAP-A (24) carries SPS and PPS in front of each.
    fn key_frames(&self) -> usize {
        self.packets.borrow().iter().filter(|packet| packet.payload[0] & 0x1f == 24).count()
    }

    fn pictures(&self) -> usize {
        self.packets.borrow().iter().filter(|packet| packet.header.marker).count()
    }

    async fn until(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        let mut packets = self.packets.clone();
        within(what, async {
            while !is(self) {
                packets.changed().await.unwrap();
            }
        })
        .await;
    }

    async fn say(&self, report: impl rtcp::Packet + 'static) {
        self.track.write_rtcp(vec![Box::new(report)]).await.unwrap();
    }

    async fn loses_the_picture(&self) {
        self.say(PictureLossIndication { sender_ssrc: 1, media_ssrc: self.ssrc }).await;
    }

    /// Waits for so many pictures after a key frame. This receiver drops what comes in one batch with the end of the DTLS
    /// handshake; like any, it asks then.
    async fn comes(&self, pictures: usize) {
        self.loses_the_picture().await;
        self.until("a key frame", |received| received.key_frames() > 0).await;
        let before = self.pictures();
        self.until("pictures", |received| received.pictures() >= before + pictures).await;
    }

    /// The sizes of all pictures from the first key frame on, each once.
    fn decoded_sizes(&self) -> Vec<(i32, i32)> {
        let packets = self.packets();
        let start = packets.iter().position(|packet| packet.payload[0] & 0x1f == 24).unwrap();
        let mut sizes = decode(&packets[start..]);
        sizes.dedup();
        sizes
    }
}

/// Width and height of each picture.
fn decode(packets: &[rtp::Packet]) -> Vec<(i32, i32)> {
    let text = format!(
        "appsrc name=in format=time max-bytes=0 caps=application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload={PAYLOAD_TYPE} \
         ! rtph264depay ! h264parse ! openh264dec ! appsink name=out sync=false"
    );
    gstreamer::init().unwrap();
    let pipeline = gstreamer::parse::launch(&text).unwrap().downcast::<gstreamer::Pipeline>().unwrap();
    let input = pipeline.by_name("in").and_downcast::<AppSrc>().unwrap();
    let output = pipeline.by_name("out").and_downcast::<AppSink>().unwrap();
    pipeline.set_state(gstreamer::State::Playing).unwrap();
    for packet in packets {
        input.push_buffer(gstreamer::Buffer::from_slice(packet.marshal().unwrap())).unwrap();
    }
    input.end_of_stream().unwrap();
    let pictures = std::iter::from_fn(|| output.pull_sample().ok());
    let sizes = pictures.map(|sample| {
        let caps = sample.caps().and_then(|caps| caps.structure(0)).unwrap();
        (caps.get("width").unwrap(), caps.get("height").unwrap())
    });
    let sizes = sizes.collect();
    pipeline.set_state(gstreamer::State::Null).unwrap();
    sizes
}

/// The daemon with this in its file besides, and the server's end of its session.
struct Session {
    file: ChannelFile,
    daemon: Daemon,
    connection: Arc<dyn PeerConnection>,
    tracks: BTreeMap<String, Received>,
    /// Those of which nothing was sent at first.
    late: mpsc::Receiver<Received>,
    metric: Arc<Mutex<Vec<String>>>,
    offer: String,
    socket: ServerSocket,
}

impl Session {
    /// Answers the daemon's offer as `adjust` leaves the answer, and waits for these tracks.
    async fn start(cameras: &str, adjust: impl FnOnce(String) -> String, tracks: &[&str]) -> Self {
        Self::start_with(cameras, &[], adjust, tracks).await
    }

    /// As [`Session::start`], with these settings above the daemon's file.
    async fn start_with(
        cameras: &str,
        settings: &[&str],
        adjust: impl FnOnce(String) -> String,
        tracks: &[&str],
    ) -> Self {
        let server = Server::start().await;
        let file = ChannelFile::for_server(server.address(), &hex(&server.pin));
        file.append(cameras);
        let daemon = Daemon::start(&file, settings);
        let (mut socket, _, _) = server.accept().await;
        let offer: serde_json::Value = serde_json::from_str(&text(&mut socket).await).unwrap();
        let offer = offer["data"].as_str().unwrap().to_owned();
        let nacks = NackGeneratorBuilder::new().with_interval(Duration::from_millis(20));
        let registry = Registry::new().with(Slot::NackGenerator, nacks.build());
        let mut peer = Peer::new(media_engine(PAYLOAD_TYPE), registry).await;
        let answer = adjust(peer.answer(offer.clone()).await);
        let answer = tungstenite::Message::text(Message::Answer(answer).to_text());
        within("the socket", socket.send(answer)).await.unwrap();
        peer.connected().await;
        let mut found: BTreeMap<String, Received> = BTreeMap::new();
        let metric: Arc<Mutex<Vec<String>>> = Arc::default();
        while !tracks.iter().all(|name| found.contains_key(*name)) {
            match within("the tracks", peer.event()).await.unwrap() {
                Event::Track(track) => {
                    assert_eq!(track.stream_id().await, "rtcpub");
                    found.insert(track.track_id().await, Received::new(track).await);
                }
                Event::Message { text, .. } => metric.lock().unwrap().push(text),
                Event::ChannelOpen(..) => {}
            }
        }
        let (connection, messages) = (peer.connection.clone(), metric.clone());
        let (late_sender, late) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Some(event) = peer.event().await {
                match event {
                    Event::Message { text, .. } => messages.lock().unwrap().push(text),
                    Event::Track(track) => late_sender.send(Received::new(track).await).await.unwrap(),
                    Event::ChannelOpen(..) => {}
                }
            }
        });
        Self { file, daemon, connection, tracks: found, late, metric, offer, socket }
    }

    /// The server describes anew what it takes.
    async fn offer_anew(&mut self) {
        self.offer_as(|offer| offer).await;
        self.takes_the_answer().await;
    }

    /// Sends another offer, as `adjust` leaves it.
    async fn offer_as(&mut self, adjust: impl FnOnce(String) -> String) {
        let offer = self.connection.create_offer(None).await.unwrap();
        let sdp = tungstenite::Message::text(Message::Offer(adjust(offer.sdp.clone())).to_text());
        self.connection.set_local_description(offer).await.unwrap();
        within("the socket", self.socket.send(sdp)).await.unwrap();
    }

    async fn takes_the_answer(&mut self) {
        let answer: serde_json::Value = serde_json::from_str(&text(&mut self.socket).await).unwrap();
        let answer = RTCSessionDescription::answer(answer["data"].as_str().unwrap().to_owned()).unwrap();
        self.connection.set_remote_description(answer).await.unwrap();
    }

    async fn tells(&self, message: &str) {
        let told = || self.metric.lock().unwrap().iter().any(|text| text == message);
        within(message, async {
            while !told() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    async fn status(&self) -> Document {
        let output = self.file.command("status", &[]).arg("--json").output().await.unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn ends(mut self) {
        self.daemon.process.signal(rustix::process::Signal::TERM);
        assert_eq!(self.daemon.process.exited().await.code, Some(0));
        self.connection.close().await.unwrap();
    }
}

/// An answer that rejects its section at this place as bare as it can be: port 0, no attributes, not in the bundle.
fn rejecting(place: usize) -> impl FnOnce(String) -> String {
    move |answer| {
        let mut sections: Vec<_> = answer.split("m=").map(str::to_owned).collect();
        // The first section that is taken carries the candidates.
        let candidates: Vec<_> = sections[1 + place].lines().filter(|line| line.starts_with("a=candidate")).collect();
        let candidates = candidates.iter().map(|line| format!("{line}\r\n")).collect::<String>();
        sections[2 + place].push_str(&candidates);
        sections[1 + place] = "video 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\n".to_owned();
        let bundle = sections[0].lines().find(|line| line.starts_with("a=group:BUNDLE")).unwrap();
        let rest = bundle.split(' ').filter(|mid| *mid != place.to_string()).collect::<Vec<_>>().join(" ");
        sections[0] = sections[0].replace(bundle, &rest);
        sections.join("m=")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_camera_is_a_track_of_its_own_and_a_request_for_a_key_frame_reaches_its_encoder_alone() {
    let session = Session::start(LEFT, |answer| answer, &["camera", "left"]).await;
    let msids: Vec<_> = session.offer.lines().filter(|line| line.starts_with("a=msid:")).collect();
    assert_eq!(msids, ["a=msid:rtcpub camera", "a=msid:rtcpub left"]);
    let media: Vec<_> = session.offer.lines().filter_map(|line| line.strip_prefix("m=")?.split(' ').next()).collect();
    assert_eq!(media, ["video", "video", "application"]);
    assert!(session.offer.contains("a=group:BUNDLE 0 1 2"), "{}", session.offer);

    let (first, left) = (&session.tracks["camera"], &session.tracks["left"]);
    first.comes(10).await;
    left.comes(10).await;
    assert_eq!(first.decoded_sizes(), [(320, 240)]);
    assert_eq!(left.decoded_sizes(), [(160, 120)]);

    tokio::time::sleep(SETTLED).await;
    let fir =
        |ssrc| FullIntraRequest { sender_ssrc: 1, media_ssrc: 0, fir: vec![FirEntry { ssrc, sequence_number: 1 }] };
    for (asked, quiet) in [(left, first), (first, left)] {
        for by_fir in [false, true] {
            let (before, others) = (asked.key_frames(), quiet.key_frames());
            if by_fir {
                asked.say(fir(asked.ssrc)).await
            } else {
                asked.loses_the_picture().await
            }
            asked.until("the key frame", |asked| asked.key_frames() > before).await;
            tokio::time::sleep(SETTLED).await;
            assert_eq!(asked.key_frames(), before + 1, "one is enough");
            assert_eq!(quiet.key_frames(), others, "the other picture goes on as it was");
        }
    }

    session.tells(r#"{"video":{"key":"state","value":"playing"}}"#).await;
    session.tells(r#"{"video":{"key":"state","value":"playing","camera":"left"}}"#).await;
    let status = session.status().await;
    assert_eq!((status.camera.state.as_str(), status.cameras.len()), ("playing", 1));
    assert_eq!((status.cameras[0].name.as_str(), status.cameras[0].camera.state.as_str()), ("left", "playing"));
    assert!(status.cameras[0].video.as_ref().is_some_and(|video| video.key_frames >= 3));
    session.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_rejects_one_picture_gets_the_others() {
    for (place, name, rejected, size) in [(1, "camera", "left", (320, 240)), (0, "left", "camera", (160, 120))] {
        let session = Session::start(LEFT, rejecting(place), &[name]).await;
        let taken = &session.tracks[name];
        taken.comes(10).await;
        assert_eq!(taken.decoded_sizes(), [size], "{name}");
        let rejected = session.tracks.get(rejected);
        assert!(rejected.is_none_or(|rejected| rejected.pictures() == 0), "what is rejected is not sent");
        assert_eq!(session.status().await.session.sessions, 1);
        session.ends().await;
    }
}

/// An answer that takes nothing of its section at this place for now.
fn declining(place: usize) -> impl FnOnce(String) -> String {
    move |answer| {
        let mut sections: Vec<_> = answer.split("m=").map(str::to_owned).collect();
        sections[1 + place] = sections[1 + place].replace("a=recvonly", "a=inactive");
        sections.join("m=")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_the_server_takes_only_later_flows_from_then_on_and_leaves_the_other_alone() {
    let mut session = Session::start(LEFT, declining(1), &["camera"]).await;
    session.tracks["camera"].comes(10).await;
    tokio::time::sleep(SETTLED).await;
    assert!(session.late.try_recv().is_err(), "what is not taken is not sent");
    let key_frames = session.tracks["camera"].key_frames();
    session.offer_anew().await;
    let left = within("the other picture", session.late.recv()).await.unwrap();
    left.comes(10).await;
    assert_eq!(left.decoded_sizes(), [(160, 120)]);
    tokio::time::sleep(SETTLED).await;
    assert_eq!(session.tracks["camera"].key_frames(), key_frames, "the other picture goes on as it was");
    session.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_the_server_ends_and_wants_again_is_worth_a_new_session() {
    let mut session = Session::start(LEFT, |answer| answer, &["camera", "left"]).await;
    session.tracks["left"].comes(1).await;
    // The crate ends for good what is offered inactive.
    session.offer_as(declining(1)).await;
    session.takes_the_answer().await;
    session.tracks["camera"].comes(10).await;
    session.offer_as(|offer| offer).await;
    session.daemon.process.says("the server wants a picture again that it had ended").await;
    session.tracks["camera"].comes(10).await;
    session.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_ends_and_comes_back_disturbs_neither_the_first_picture_nor_the_session() {
    let session = Session::start(BROKEN, |answer| answer, &["camera", "left"]).await;
    let (first, left) = (&session.tracks["camera"], &session.tracks["left"]);
    first.comes(1).await;
    left.comes(1).await;
    tokio::time::sleep(SETTLED).await;
    let (seen, key_frames) = (first.packets().len(), first.key_frames());
    session.tells(r#"{"video":{"key":"state","value":"lost","cause":"ended","camera":"left"}}"#).await;
    // Its pipeline is built anew: its first picture is a key frame, on the same stream.
    let before = left.key_frames();
    left.until("another pipeline", |left| left.key_frames() >= before + 2).await;
    assert_eq!(left.decoded_sizes(), [(160, 120)]);

    let packets = first.packets();
    let whole = packets[seen..]
        .windows(2)
        .all(|pair| pair[1].header.sequence_number == pair[0].header.sequence_number.wrapping_add(1));
    assert!(whole, "no packet of the first picture is lost or late");
    assert_eq!(first.key_frames(), key_frames, "nor did it begin anew");
    let status = session.status().await;
    assert_eq!((status.session.sessions, status.session.restarts, status.camera.state.as_str()), (1, 0, "playing"));
    session.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_can_never_come_is_told_and_the_others_go_on() {
    let impossible = "[[cameras]]\nname = \"left\"\nkind = \"pipeline\"\npipeline = \"nosuchelement\"\n";
    let session = Session::start(impossible, |answer| answer, &["camera"]).await;
    session.tracks["camera"].comes(10).await;
    session.tells(r#"{"video":{"key":"state","value":"lost","cause":"configuration","camera":"left"}}"#).await;
    let status = session.status().await;
    let left = &status.cameras[0];
    let message = left.camera.message.as_deref().unwrap_or_default();
    assert!(message.starts_with("cameras[].pipeline: no element \"nosuchelement\""), "{message}");
    assert_eq!(status.session.sessions, 1);
    session.ends().await;
}

#[test]
fn a_kernel_camera_and_a_test_picture_are_two_tracks() {
    if !lab::entered_lab("a_kernel_camera_and_a_test_picture_are_two_tracks", &[("UML_MEM", "512M")]) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.unwrap().block_on(async {
        let camera = ["camera.kind=usb", "camera.width=320", "camera.height=180", "drive.actuator=simulated"];
        let session = Session::start_with(LEFT, &camera, |answer| answer, &["camera", "left"]).await;
        let (first, left) = (&session.tracks["camera"], &session.tracks["left"]);
        first.comes(5).await;
        left.comes(5).await;
        assert_eq!((first.decoded_sizes(), left.decoded_sizes()), (vec![(320, 180)], vec![(160, 120)]));
        session.ends().await;
    });
}
