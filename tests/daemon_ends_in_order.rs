//! How the daemon ends: the car first, then whom it talks to, then the camera, and all of it soon, whatever hangs. The car
//! is driven by a program on the bridge, so that these tests run on any machine.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "the test measures, and tells")]

mod common;
mod spider;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::daemon::{ChannelFile, Daemon, Hub, Process, fifo};
use common::driver::{Driver, motion};
use common::outputs::{NEUTRAL, Outputs, Pulses};
use common::within;
use futures_util::StreamExt;
use rtcpub::rtc::relay::{Channel, Event, PublisherPeer, SendError, State};
use rtcpub::signal::spider::Message;
use rustix::process::Signal;
use spider::{Server, ServerSocket, text};
use tokio_tungstenite::tungstenite;

/// What is promised for the whole of the end, and what a busy machine may add to it.
const PROMISED: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_millis(500);

const FORWARD: Pulses = [Some(440), Some(399)];

/// A daemon whose car is driven forward through a hub.
struct Scene {
    hub: Hub,
    daemon: Process,
    outputs: Outputs,
    _driver: Driver,
    _file: ChannelFile,
}

async fn driving(settings: &[String]) -> Scene {
    let hub = Hub::start().await;
    let file = ChannelFile::for_hub(&hub);
    let settings: Vec<_> = file.bridge().into_iter().chain(settings.iter().cloned()).collect();
    let daemon = Daemon::start(&file, &settings.iter().map(String::as_str).collect::<Vec<_>>()).process;
    let mut outputs = Outputs::of_bridge(&file.bridge_socket()).await;
    let driver = Driver::sit_down(hub.plain).await;
    outputs.are_driven_to(FORWARD, &driver, &[motion("forward", 20)]).await;
    Scene { hub, daemon, outputs, _driver: driver, _file: file }
}

/// Ends the daemon, which must have its car at neutral, and end, in time.
async fn ends_in_time(scene: &mut Scene, code: i32) {
    scene.daemon.signal(Signal::TERM);
    let asked = Instant::now();
    let neutral = scene.outputs.reach(NEUTRAL).await;
    let exited = scene.daemon.exited().await;
    println!("neutral after {:?}, the end after {:?}", neutral - asked, asked.elapsed());
    assert!(asked.elapsed() < PROMISED + SLACK, "{:?}\n{}", asked.elapsed(), exited.text());
    assert_eq!(exited.code, Some(code), "{}", exited.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_hangs_does_not_hold_up_the_end() {
    let mut scene = driving(&[]).await;
    scene.hub.process.signal(Signal::STOP);
    ends_in_time(&mut scene, 0).await;
    scene.hub.process.signal(Signal::CONT);
}

#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_ends_the_daemon_of_a_car_that_is_moved_by_a_program() {
    for place in ["stream", "bridge", "bridge", "bridge"] {
        let hub = Hub::start().await;
        let file = ChannelFile::for_hub(&hub);
        let settings = file.bridge();
        let settings = settings.each_ref().map(String::as_str);
        let mut daemon = Daemon::start_with(&file, &settings, |command| {
            command.env("RTCPUB_TEST_PANIC", "1");
        })
        .process;
        let mut outputs = Outputs::of_bridge(&file.bridge_socket()).await;
        let driver = Driver::sit_down(hub.plain).await;
        outputs.are_driven_to(FORWARD, &driver, &[motion("forward", 20)]).await;
        driver.says(&format!(r#"{{"panic":{{"key":"{place}","value":1}}}}"#)).await;
        if place == "bridge" {
            // Whatever the log says has happened: the place is passed once.
            daemon.says("a panic is asked for").await;
            outputs.say(r#"{"metric":{"a":{}}}"#).await;
        }
        outputs.end().await;
        let exited = daemon.exited().await;
        assert_eq!(exited.code, Some(70), "{place}: {}", exited.text());
    }
}

/// A camera that gives a picture, and then the next only after a minute.
const HANGING_CAMERA: &str = "camera.kind=pipeline";
fn hanging_camera() -> [String; 2] {
    let source = "videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate=10/1 \
                  ! identity sleep-time=60000000";
    [HANGING_CAMERA.to_owned(), format!("camera.pipeline={source}")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_hangs_does_not_hold_up_the_end() {
    let mut scene = driving(&hanging_camera()).await;
    ends_in_time(&mut scene, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_and_a_camera_that_both_hang_do_not_hold_up_the_end() {
    let mut scene = driving(&hanging_camera()).await;
    scene.hub.process.signal(Signal::STOP);
    ends_in_time(&mut scene, 0).await;
    scene.hub.process.signal(Signal::CONT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_hangs_while_it_is_opened_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let camera = folder.path().join("camera");
    fifo(&camera);
    // Nobody ever opens the other end of it.
    let source = format!("camera.pipeline=filesrc location={} ! decodebin", camera.display());
    let mut scene = driving(&["camera.kind=pipeline".to_owned(), source]).await;
    ends_in_time(&mut scene, 0).await;
}

/// The camera's pictures also go into this FIFO, whose reader sees when the pipeline has let go of it.
struct CameraTap {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl CameraTap {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tap");
        fifo(&path);
        Self { path, _folder: folder }
    }

    fn settings(&self) -> [String; 2] {
        let source = format!(
            "videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate=10/1 ! tee name=t \
             ! queue ! filesink location={} async=false sync=false t. ! queue ! identity",
            self.path.display()
        );
        ["camera.kind=pipeline".to_owned(), format!("camera.pipeline={source}")]
    }

    /// Ends when the pipeline has let go of it.
    fn watch(&self) -> tokio::task::JoinHandle<()> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || {
            let mut tap = File::open(path).expect("it is a FIFO");
            let mut picture = vec![0; 1 << 16];
            while tap.read(&mut picture).expect("it is read") > 0 {}
        })
    }
}

/// The server's end of a session, over which the daemon is driven.
struct Session {
    socket: ServerSocket,
    peer: PublisherPeer,
    stream: Channel,
}

async fn session(server: &Server) -> Session {
    let (mut socket, _, _) = server.accept().await;
    let offer: serde_json::Value = serde_json::from_str(&text(&mut socket).await).expect("JSON");
    let mut peer = PublisherPeer::new(&["127.0.0.1:0".parse().expect("an address")]).await.expect("a peer");
    let answer = peer.peer.answer(offer["data"].as_str().expect("an SDP").to_owned()).await.expect("an answer");
    let answer = tungstenite::Message::text(Message::Answer(answer).to_text());
    futures_util::SinkExt::send(&mut socket, answer).await.expect("it is sent");
    loop {
        match within("the stream channel", peer.inbox.next()).await {
            Event::ChannelOpen(stream) if stream.label() == "stream" => return Session { socket, peer, stream },
            Event::State(State::Gone) => panic!("the daemon went away"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_car_comes_first_then_peer_and_socket_then_the_camera() {
    let (server, tap) = (Server::start().await, CameraTap::new());
    let file = ChannelFile::for_server(server.address(), &rtcpub::signal::tls::hex(&server.pin));
    let settings = file.bridge().into_iter().chain(tap.settings()).chain(["drive.neutral_first=false".to_owned()]);
    let settings: Vec<_> = settings.collect();
    let camera = tap.watch();
    let mut daemon = Daemon::start(&file, &settings.iter().map(String::as_str).collect::<Vec<_>>()).process;
    let mut outputs = Outputs::of_bridge(&file.bridge_socket()).await;
    let Session { mut socket, peer, stream } = session(&server).await;
    let drive = async {
        loop {
            stream.send(&motion("forward", 20)).await.expect("it is open");
            if outputs.try_reach(FORWARD, Duration::from_millis(100)).await.is_some() {
                return;
            }
        }
    };
    within("motion", drive).await;
    // Once pictures come, the camera is open for certain.
    daemon.says("encoding").await;

    daemon.signal(Signal::TERM);
    // Each end is seen from outside …
    outputs.reach(NEUTRAL).await;
    let closing = async {
        while let Some(Ok(frame)) = socket.next().await {
            if frame.is_close() {
                return;
            }
        }
        panic!("the socket ended without a word");
    };
    within("the close frame", closing).await;
    // The channel of a peer that has closed is closed at this end too.
    within("the end of the channel", async { while stream.try_send("{}").await != Err(SendError::Closed) {} }).await;
    within("the end of the camera", camera).await.expect("no panic");
    let exited = daemon.exited().await;
    assert_eq!(exited.code, Some(0));
    // … and their order by the daemon's own account.
    let told = ["drive thread ended ended=Neutral", "peers and socket are closed ended=Asked", "the camera is closed"];
    let places = told.map(|part| exited.log.iter().position(|line| line.text.contains(part)));
    assert!(places[0].is_some() && places.is_sorted(), "{places:?}\n{}", exited.text());
    drop(peer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_holds_up_neither_the_deadline_nor_the_end() {
    let hub = Hub::start().await;
    let file = ChannelFile::for_hub(&hub);
    let (unread, full) = full_pipe();
    let settings = file.bridge();
    let mut command = file.command("run", &[&settings[0], &settings[1]]);
    let mut daemon = command.args(["--log-level", "debug"]).stderr(Stdio::from(full)).spawn().expect("it starts");
    let mut outputs = Outputs::of_bridge(&file.bridge_socket()).await;
    let driver = Driver::sit_down(hub.plain).await;
    for _ in 0..2 {
        outputs.are_driven_to(FORWARD, &driver, &[motion("forward", 20)]).await;
        driver.falls_silent();
        outputs.reach(NEUTRAL).await;
    }
    let id = rustix::process::Pid::from_raw(daemon.id().expect("it runs") as i32).expect("a number");
    rustix::process::kill_process(id, Signal::TERM).expect("it runs");
    let status = tokio::time::timeout(PROMISED + SLACK, daemon.wait()).await.expect("in time").expect("it is ours");
    assert_eq!(status.code(), Some(0));
    drop(unread);
}

/// A pipe that takes no more, and its other end.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // Opened anew, so that only this handle does not block.
    let path = Path::new("/proc/self/fd").join(writer.as_raw_fd().to_string());
    let mut filler = File::options()
        .write(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .expect("a pipe of ours");
    while filler.write(&[b'.'; 4096]).is_ok() {}
    while filler.write(b".").is_ok() {}
    (reader, writer)
}
