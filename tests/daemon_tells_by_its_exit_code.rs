//! What the end of the daemon and of `park` tells the service manager and a person: an exit code, and a line that names
//! what is wrong. On any machine: there is no board here.

mod common;

use common::daemon::{CHANNEL, ChannelFile, Daemon, Hub};
use common::driver::{Driver, motion};
use common::outputs::Outputs;
use common::within;
use rustix::process::Signal;

const NO_BUS: [&str; 2] = ["drive.actuator=pca9685", "drive.pca9685.bus=/dev/i2c-99"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_on_the_same_bridge_ends_in_71_and_leaves_the_first_alone() {
    let hub = Hub::start().await;
    let file = ChannelFile::for_hub(&hub);
    let [actuator, socket] = file.bridge();
    let mut first = Daemon::start(&file, &[&actuator, &socket]);
    let outputs = Outputs::of_bridge(&file.bridge_socket()).await;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let mut second = Daemon::start_with(&file, &[&actuator, &socket], |command| {
        command.env("RUNTIME_DIRECTORY", elsewhere.path());
    });
    let second = second.process.exited().await;
    assert_eq!(second.code, Some(71), "{}", second.text());
    let said = second.said("another program listens there");
    assert!(said.text.contains(&file.bridge_socket().display().to_string()), "{}", said.text);
    first.process.signal(Signal::TERM);
    outputs.end().await;
    assert_eq!(first.process.exited().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_of_a_channel_ends_in_75_and_park_leaves_the_first_alone_and_goes_by_it() {
    let hub = Hub::start().await;
    let file = ChannelFile::for_hub(&hub);
    let [actuator, socket] = file.bridge();
    let mut first = Daemon::start(&file, &[&actuator, &socket]);
    let outputs = Outputs::of_bridge(&file.bridge_socket()).await;
    let in_force = file.beside(&format!("{CHANNEL}.in-force.toml"));
    let mut second = Daemon::start(&file, &["drive.actuator=simulated"]);
    let second = second.process.exited().await;
    assert_eq!(second.code, Some(75), "{}", second.text());
    let said = second.said("another rtcpub publishes it");
    let lock = file.beside(&format!("{CHANNEL}.lock")).display().to_string();
    assert!(said.text.contains(CHANNEL) && said.text.contains(&lock), "{}", said.text);
    // As its service manager would run it now.
    let mut park = file.command("park", &[]);
    park.envs([("EXIT_CODE", "exited"), ("EXIT_STATUS", "75")]);
    let park = within("park", park.output()).await.expect("the program");
    assert_eq!(park.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&park.stdout).contains("nothing is parked"), "{park:?}");
    assert!(in_force.exists(), "the first still drives by it");
    first.process.signal(Signal::KILL);
    outputs.end().await;
    assert_eq!(first.process.exited().await.code, None);
    says(&file, &[], 0, "its programs have stopped by themselves (by /").await;
    assert!(!in_force.exists(), "it is parked, and nobody drives it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_board_the_car_is_latched_and_the_picture_goes_out() {
    let hub = Hub::start().await;
    let file = ChannelFile::for_hub(&hub);
    let mut daemon = Daemon::start(&file, &NO_BUS);
    daemon.process.says("there is no /dev/i2c-99").await;
    daemon.publishes().await;
    let mut driver = Driver::sit_down(hub.plain).await;
    driver.holds([motion("forward", 20)]);
    // Told each second.
    for _ in 0..2 {
        driver.forgets();
        driver.is_told(&["state", "latched", "actuator_fault"]).await;
    }
    driver.sees_the_picture().await;
    driver.forgets();
    driver.is_told(&["pulse_throttle", "375"]).await;

    daemon.process.signal(Signal::TERM);
    let exited = daemon.process.exited().await;
    // Whoever ends it must know that nobody vouches for the car.
    assert_eq!(exited.code, Some(1), "{}", exited.text());
    exited.said("the actuator did not confirm neutral");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn park_tells_what_it_did_in_one_line_and_by_its_code() {
    let hub = Hub::start().await;
    let file = ChannelFile::for_hub(&hub);
    let [actuator, socket] = file.bridge();
    let bridge = [actuator.as_str(), socket.as_str()];
    let mut daemon = Daemon::start(&file, &bridge);
    let outputs = Outputs::of_bridge(&file.bridge_socket()).await;
    says(&file, &bridge, 71, "a daemon still serves").await;
    daemon.process.signal(Signal::KILL);
    outputs.end().await;
    assert_eq!(daemon.process.exited().await.code, None);
    says(&file, &bridge, 0, "its programs have stopped by themselves").await;
    says(&file, &["drive.actuator=simulated"], 0, "there is nothing to do").await;
    says(&file, &NO_BUS, 71, "there is no /dev/i2c-99").await;
    says(&file, &["drive.deadline_ms=1"], 78, "drive.deadline_ms").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn park_goes_by_what_the_daemon_had_in_force_although_its_file_is_another_or_broken_by_now() {
    let hub = Hub::start().await;
    let file = ChannelFile::for_hub(&hub);
    let socket = file.bridge_socket();
    file.append(&format!("[bridge]\nsocket = \"{}\"\n[drive]\nactuator = \"bridge\"\n", socket.display()));
    let mut daemon = Daemon::start(&file, &[]);
    let outputs = Outputs::of_bridge(&socket).await;
    file.write("[drive\n");
    says(&file, &[], 71, "a daemon still serves").await;
    daemon.process.signal(Signal::KILL);
    outputs.end().await;
    daemon.process.exited().await;
    says(&file, &["drive.deadline_ms=200"], 0, "what its daemon drove by").await;
    says(&file, &[], 0, "its programs have stopped by themselves").await;
    file.write("[server]\nurl = \"ws://127.0.0.1\"\n");
    says(&file, &[], 0, "there is nothing to do").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_has_parked_its_car_leaves_nothing_to_park_by() {
    let hub = Hub::start().await;
    let file = ChannelFile::for_hub(&hub);
    let mut daemon = Daemon::start(&file, &["drive.actuator=simulated"]);
    daemon.publishes().await;
    let in_force = file.beside(&format!("{CHANNEL}.in-force.toml"));
    assert!(in_force.exists());
    daemon.process.signal(Signal::TERM);
    assert_eq!(daemon.process.exited().await.code, Some(0));
    assert!(!in_force.exists() && !file.beside(&format!("{CHANNEL}.lock")).exists());
}

/// Holds what `rtcpub park` says: of success on standard output, of failure on standard error.
async fn says(file: &ChannelFile, settings: &[&str], code: i32, part: &str) {
    let output = file.park(settings).await;
    let text = if code == 0 { output.stdout } else { output.stderr };
    let text = String::from_utf8(text).expect("text");
    assert_eq!(output.status.code(), Some(code), "{settings:?}: {text}");
    assert!(text.contains(part) && text.lines().count() == 1, "{settings:?}: {text}");
}
