//! A daemon that streams 1280x720@30 and drives a program on its bridge, and the peer that drives it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use rtcpub::rtc::relay::{Channel, Event, PublisherPeer, State};
use rtcpub::signal::settings::ChannelId;
use rtcpub::status::ask::ask;
use rtcpub::status::document::Document;
use rtcpub::status::settings::socket_path;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::link::{Link, connect};
use super::server::Server;

/// What does not come within this time is lost.
pub const PATIENCE: Duration = Duration::from_secs(10);

const CHANNEL: &str = "c40hipepjh65aeq6ndj0";
const FORWARD: &str = r#"{"motion":{"key":"forward","value":10}}"#;

/// What the gate let through.
#[derive(Clone, Copy)]
pub struct Output {
    /// When the drive thread decided it; it then hands it to the actuator at once.
    pub decided: Instant,
    /// When the program had read it.
    pub read: Instant,
    pub moves: bool,
}

pub struct Scene {
    daemon: Child,
    pub stream: Channel,
    outputs: Receiver<Output>,
    /// The peer and the socket's server: both live as long as the scene.
    others: [JoinHandle<()>; 3],
    folder: tempfile::TempDir,
}

impl Scene {
    /// Starts this binary; its picture streams, and its car stands.
    pub async fn start(binary: &Path, deadline: Duration) -> Self {
        let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
        let socket = folder.path().join("car.sock");
        let daemon = run(binary, folder.path(), &socket, &server, deadline);
        let offer = server.offer().await;
        let mut peer = PublisherPeer::new(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
        let (Link { track, stream, .. }, signalling) = connect(offer, &mut peer).await;
        let video = tokio::spawn(async move { while track.receive().await.is_some() {} });
        let inbox = tokio::spawn(async move { while !matches!(peer.inbox.next().await, Event::State(State::Gone)) {} });

        let program = UnixStream::connect(&socket).unwrap();
        let (sender, outputs) = mpsc::channel();
        let reader = BufReader::new(program);
        // It ends with the daemon.
        std::thread::spawn(move || read(reader, &sender));
        let scene = Self { daemon, stream, outputs, others: [signalling, video, inbox], folder };
        scene.next(false).expect("neutral to begin with");
        scene
    }

    /// Says a message, and tells when.
    pub async fn say(&self, message: &str) -> Instant {
        let said = Instant::now();
        self.stream.send(message).await.unwrap();
        said
    }

    /// Commands motion once, and tells when it did and what came of it; again where the car was not to be moved, as after
    /// a stall of the machine.
    pub async fn drive(&self) -> (Instant, Output) {
        const TRY: Duration = Duration::from_secs(1);
        for _ in 0..10 {
            let said = self.say(FORWARD).await;
            if let Some(output) = self.within(TRY, true) {
                return (said, output);
            }
            println!("(a command that did not move the car was said again)");
        }
        panic!("the car does not move");
    }

    /// The next output of this kind; `None` when the daemon has gone.
    pub fn next(&self, moves: bool) -> Option<Output> {
        self.within(PATIENCE, moves)
    }

    fn within(&self, time: Duration, moves: bool) -> Option<Output> {
        let end = Instant::now() + time;
        loop {
            let output = self.outputs.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
            if output.moves == moves {
                return Some(output);
            }
        }
    }

    /// What the daemon says of itself.
    pub fn status(&self) -> Document {
        let socket = socket_path(Some(self.folder.path().to_owned()), &ChannelId::new(CHANNEL).unwrap());
        ask(&socket).unwrap().1
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.daemon), signal).unwrap();
    }

    /// Waits until the daemon has ended by itself.
    pub fn exit_code(mut self) -> Option<i32> {
        self.daemon.wait().unwrap().code()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        self.others.iter().for_each(JoinHandle::abort);
    }
}

fn run(binary: &Path, folder: &Path, socket: &Path, server: &Server, deadline: Duration) -> Child {
    let file = folder.join(format!("{CHANNEL}.toml"));
    let text = format!(
        "[server]\nurl = \"ws://{}\"\n[camera]\nkind = \"test\"\nwidth = 1280\nheight = 720\nframerate = 30\n\
         [encoder]\nbitrate_kbps = 1500\n[log]\nlevel = \"error\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n\
         [bridge]\nsocket = \"{}\"\n[drive]\nactuator = \"bridge\"\nneutral_first = false\ndeadline_ms = {}\n",
        server.address(),
        socket.display(),
        deadline.as_millis(),
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(binary);
    command.args(["run", "--config"]).arg(&file);
    command.env("RUNTIME_DIRECTORY", folder).env("STATE_DIRECTORY", folder);
    // Of its log only panics are left, which are asked for.
    command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn read(mut program: BufReader<UnixStream>, outputs: &Sender<Output>) {
    let epoch = epoch();
    let (mut line, mut neutral) = (String::new(), Value::Null);
    while matches!(program.read_line(&mut line), Ok(1..)) {
        let read = Instant::now();
        let value: Value = serde_json::from_str(&line).unwrap();
        line.clear();
        if let Some(hello) = value.get("hello") {
            neutral = hello["neutral"].clone();
        }
        if let Some(output) = value.get("output") {
            let decided = epoch + Duration::from_secs_f64(output["at"].as_f64().unwrap());
            if outputs.send(Output { decided, read, moves: output["pulses"] != neutral }).is_err() {
                return;
            }
        }
    }
}

/// Zero of `CLOCK_MONOTONIC`, in which the bridge tells times and which an [`Instant`] is of.
fn epoch() -> Instant {
    let since = clock_gettime(ClockId::Monotonic);
    Instant::now() - Duration::try_from(since).unwrap()
}
