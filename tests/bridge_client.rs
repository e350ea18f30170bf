//! The example client, as shipped, on a real bridge.

mod common;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use common::car::{self, Car};
use common::daemon::{ChannelFile, Daemon, Hub};
use common::driver::{Driver, motion};
use common::within;
use rtcpub::drive::actuator::kind::ActuatorSettings;
use rtcpub::drive::bridge::{Bridge, BridgeActuatorConfig, BridgeRequest};
use rtcpub::drive::gate::State;
use rtcpub::drive::settings::BridgeConfig;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::AsyncBufReadExt;

struct Scene {
    bridge: Option<Bridge>,
    requests: Receiver<BridgeRequest>,
    client: Child,
    said: Lines<BufReader<ChildStdout>>,
    _folder: TempDir,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().expect("a folder");
    let config = BridgeConfig { socket: folder.path().join("car.sock") };
    let (sender, requests) = mpsc::channel();
    let on_request = move |request| sender.send(request).expect("the test lasts longer");
    let bridge = Bridge::start(&config, Some(car::neutral()), on_request).expect("a bridge");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/config/bridge-client.py");
    let mut client = Command::new("python3");
    client.arg(script).arg(&config.socket).stdout(Stdio::piped());
    let mut client = client.spawn().expect("python3 is installed");
    let said = BufReader::new(client.stdout.take().expect("it is piped")).lines();
    Scene { bridge: Some(bridge), requests, client, said, _folder: folder }
}

impl Scene {
    fn next(&mut self) -> String {
        self.said.next().expect("the client goes on").expect("it says text")
    }
}

#[test]
fn the_example_client_follows_the_gate_and_stops_when_the_daemon_is_silent() {
    let mut scene = scene();
    assert!(scene.next().contains("hello"));
    let request = scene.requests.recv_timeout(Duration::from_secs(10)).expect("it publishes");
    assert_eq!(request, BridgeRequest::Metric(r#"{"client":{"key":"started","value":1}}"#.into()));

    let handle = scene.bridge.as_ref().expect("it runs").handle();
    handle.gate(State::Armed);
    assert_eq!(scene.next(), "{'gate': {'cause': None, 'state': 'armed'}}");
    handle.stream(br#"{"motion":{"key":"forward","value":10}}"#);
    assert_eq!(scene.next(), "{'stream': {'motion': {'key': 'forward', 'value': 10}}}");

    let mut actuator = BridgeActuatorConfig.make(scene.bridge.as_ref()).expect("it runs");
    car::start(&mut *actuator);
    assert_eq!(scene.next(), "move +0.00 +0.00");
    assert_eq!(scene.next(), "move +0.00 +0.00", "silence after an output is a stop");
    actuator.apply(&Car::ready().motion("forward", 10)).expect("the bridge runs");
    assert_eq!(scene.next(), "move +0.50 +0.00");
    // No further output: the drive thread hangs.
    assert_eq!(scene.next(), "move +0.00 +0.00");
}

#[test]
fn the_example_client_stops_when_the_daemon_is_gone() {
    let mut scene = scene();
    assert!(scene.next().contains("hello"));
    scene.bridge = None;
    assert_eq!(scene.next(), "move +0.00 +0.00");
    assert!(scene.client.wait().expect("it ends").success());
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_the_whole_daemon_the_example_client_is_driven_and_is_heard() {
    let hub = Hub::start().await;
    let file = ChannelFile::for_hub(&hub);
    let [actuator, socket] = file.bridge();
    let mut daemon = Daemon::start(&file, &[&actuator, &socket, "drive.neutral_first=false"]);
    daemon.publishes().await;
    let mut driver = Driver::sit_down(hub.plain).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/config/bridge-client.py");
    let mut client = tokio::process::Command::new("python3");
    let client = client.arg(script).arg(file.bridge_socket()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut client = client.spawn().expect("python3 is installed");
    let mut said = tokio::io::BufReader::new(client.stdout.take().expect("it is piped")).lines();
    driver.is_told(&["client", "started"]).await;

    let mut waiting = vec!["{'stream': {'motion': {'key': 'forward', 'value': 10}}}", "'state': 'armed'", "move +0.50"];
    driver.holds([motion("forward", 10)]);
    let obeys = async {
        while !waiting.is_empty() {
            let line = said.next_line().await.expect("text").expect("the client goes on");
            waiting.retain(|part| !line.contains(part));
        }
    };
    within("obedience", obeys).await;
    driver.falls_silent();
    let stops = async {
        while !said.next_line().await.expect("text").expect("the client goes on").contains("'state': 'parked'") {}
    };
    within("the stop", stops).await;
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.process.exited().await.code, Some(0));
    assert!(within("the client's end", client.wait()).await.expect("it is ours").success());
}

#[test]
fn the_example_client_is_short() {
    let script = include_str!("../config/bridge-client.py");
    assert!(script.lines().count() <= 30);
}
