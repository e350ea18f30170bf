//! `calibrate` at a real terminal, on a real I2C bus.

mod common;

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::car;
use common::lab::{self, Registers, eventually};
use rtcpub::config;
use rtcpub::drive::actuator::kind::ActuatorConfig;
use rtcpub::drive::calibrate::calibrate;
use rtcpub::drive::settings::{DriveConfig, GateConfig, LimitsConfig, MaxSpeedConfig, Pulse, StopBehaviour};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Set, to its deadline in milliseconds, for the process that runs the dialogue.
const DEADLINE: &str = "RTCPUB_TEST_CALIBRATE_DEADLINE_MS";
const FILE: &str = "RTCPUB_TEST_CALIBRATE_FILE";

/// How a dialogue comes to its end.
type Way = fn(&mut Terminal);

const UNCHANGED: &str = "# My car.\n[drive.calibration] # of May\nthrottle_zero = 375 # found by ear\n";

/// The process under test, if this is it.
#[expect(clippy::print_stdout, reason = "its last words, on the terminal under test")]
fn calibrate_if_asked() {
    let (Ok(deadline), Ok(file)) = (env::var(DEADLINE), env::var(FILE)) else { return };
    let deadline = Duration::from_millis(deadline.parse().expect("a number"));
    let limits = LimitsConfig { throttle_cap: 0.1, throttle_slew: Some(0.1), steering_slew: Some(0.1) };
    let raw = *car::vehicle().calibration.raw();
    let config = DriveConfig {
        vehicle: car::vehicle(),
        gate: GateConfig { deadline, neutral_first: true, stop: StopBehaviour::Coast, limits },
        max_speed: MaxSpeedConfig { initial: None, ceiling: raw.throttle_max, state_file: "/nowhere/state".into() },
        actuator: ActuatorConfig::new(car::board()),
        lap_sensor: None,
        bridge: None,
    };
    let ended = asked_to_end();
    fs::write(Path::new(&file).with_extension("pid"), std::process::id().to_string()).expect("a file");
    match calibrate(&config, Path::new(&file), ended) {
        Ok(done) => println!("DONE: {done}"),
        Err(error) => println!("ERROR: {error}"),
    }
    std::process::exit(0);
}

/// Is closed on a signal. As the program does it: they are awaited before anything else, for one that nobody awaits kills.
fn asked_to_end() -> UnixStream {
    use tokio::signal::unix::{SignalKind, signal};
    let (asked, ended) = UnixStream::pair().expect("a socket pair");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let signals = runtime.block_on(async { [SignalKind::terminate(), SignalKind::hangup()].map(signal) });
    let [mut terminate, mut hangup] = signals.map(|signal| signal.expect("a handler"));
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = terminate.recv() => {} _ = hangup.recv() => {} }
        });
        drop(asked);
    });
    ended
}

/// A terminal with the dialogue in it. Made by `script`, whose standard input is the keyboard.
struct Terminal {
    script: Child,
    screen: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    folder: TempDir,
}

impl Terminal {
    fn new(test: &str, deadline_ms: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("car.toml");
        fs::write(&file, UNCHANGED).expect("a file");
        let this = env::current_exe().expect("the running test binary has a path");
        let command = format!("exec '{}' --exact {test} --nocapture", this.display());
        let mut script = Command::new("script")
            .args(["-qefc", &command, "/dev/null"])
            .env(DEADLINE, deadline_ms.to_string())
            .env(FILE, file)
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script is installed");
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut output, seen) = (script.stdout.take().expect("it is piped"), Arc::clone(&screen));
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                seen.lock().expect("nobody panics").push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        let terminal = Self { script, screen, reader: Some(reader), folder };
        terminal.shows("THE WHEELS WILL TURN");
        terminal
    }

    fn shows(&self, text: &str) {
        eventually(&format!("the screen shows {text:?}"), || self.screen.lock().expect("nobody panics").contains(text));
    }

    fn types(&mut self, keys: &str) {
        let keyboard = self.script.stdin.as_mut().expect("it is piped");
        keyboard.write_all(keys.as_bytes()).and_then(|()| keyboard.flush()).expect("the terminal takes keys");
    }

    /// The warning confirmed, the gate ready.
    fn confirmed(test: &str, deadline_ms: u64) -> Self {
        let mut terminal = Self::new(test, deadline_ms);
        terminal.types("yes\r");
        terminal.shows("1 of 7: throttle_zero");
        terminal.shows("The gate is parked");
        terminal
    }

    fn file(&self) -> String {
        fs::read_to_string(self.folder.path().join("car.toml")).expect("the channel file is there")
    }

    /// The process with the dialogue.
    fn dialogue(&self) -> Pid {
        let pid = fs::read_to_string(self.folder.path().join("car.pid")).expect("it has written it");
        pid.parse().ok().and_then(Pid::from_raw).expect("a process id")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn pulses_become(registers: &mut Registers, expected: [u16; 2]) {
    eventually(&format!("the pulses are {expected:?}"), || registers.pulses() == expected.map(Some));
}

#[test]
fn pulses_follow_the_keys_rest_without_them_and_end_in_the_file() {
    calibrate_if_asked();
    const NAME: &str = "pulses_follow_the_keys_rest_without_them_and_end_in_the_file";
    if !lab::entered(NAME) {
        return;
    }
    let mut registers = Registers::open();
    let mut terminal = Terminal::new(NAME, 300);
    terminal.types("\x1b[C.x");
    terminal.shows("leaves: .x");
    assert_eq!(registers.prescale(), 0, "the board is not touched before the warning is confirmed");
    drop(terminal);

    let mut terminal = Terminal::confirmed(NAME, 300);
    pulses_become(&mut registers, [375, 399]);
    // Up, twice right: 375 + 5 + 1 + 1.
    terminal.types("\x1b[A\x1b[C\x1b[C");
    pulses_become(&mut registers, [382, 399]);
    // No key for the deadline. The zero is not accepted yet, so neutral is the old one.
    pulses_become(&mut registers, [375, 399]);
    terminal.types("\r");
    pulses_become(&mut registers, [382, 399]);
    terminal.types("\r\r\r\r");
    terminal.shows("6 of 7: steering_max");
    terminal.types("\x1b[D");
    pulses_become(&mut registers, [382, 478]);
    terminal.types("\r\r");
    terminal.shows("write this to");
    assert_eq!(terminal.file(), UNCHANGED);
    terminal.types("y");
    terminal.shows("DONE: calibration written");
    let expected = "# My car.\n[drive.calibration] # of May\nthrottle_zero = 382 # found by ear\nforward_zero = 399\n";
    assert!(terminal.file().starts_with(expected), "{}", terminal.file());
    let written = config::load_drive(Some(&terminal.folder.path().join("car.toml")), Vec::new());
    let written = *written.expect("the daemon reads it").vehicle.calibration.raw();
    assert_eq!([written.throttle_zero, written.steering_max].map(Pulse::ticks), [382, 478]);
    assert_eq!(registers.pulses(), [Some(382), Some(399)]);
}

#[test]
fn whatever_ends_the_dialogue_the_car_is_at_neutral() {
    calibrate_if_asked();
    const NAME: &str = "whatever_ends_the_dialogue_the_car_is_at_neutral";
    if !lab::entered(NAME) {
        return;
    }
    let ways: [(&str, Way); 6] = [
        ("Ctrl-C", |terminal| terminal.types("\x03")),
        ("q", |terminal| terminal.types("q")),
        ("the terminal is closed", |terminal| terminal.script.kill().expect("it runs")),
        ("SIGTERM", |terminal| kill_process(terminal.dialogue(), Signal::TERM).expect("it runs")),
        ("SIGHUP", |terminal| kill_process(terminal.dialogue(), Signal::HUP).expect("it runs")),
        ("a burst of keys that waited somewhere", |terminal| terminal.types(&"\x1b[C".repeat(20))),
    ];
    for (way, end) in ways {
        let mut registers = Registers::open();
        // So long that it is not the deadline which stops the car.
        let mut terminal = Terminal::confirmed(NAME, 60_000);
        terminal.types("\r\r.");
        terminal.shows("3 of 7: throttle_max");
        pulses_become(&mut registers, [440, 399]);
        println!("{way}");
        end(&mut terminal);
        pulses_become(&mut registers, [375, 399]);
        assert_eq!(terminal.file(), UNCHANGED);
    }
}

#[test]
fn a_terminal_that_hangs_is_silence() {
    calibrate_if_asked();
    const NAME: &str = "a_terminal_that_hangs_is_silence";
    if !lab::entered(NAME) {
        return;
    }
    let mut registers = Registers::open();
    let mut terminal = Terminal::confirmed(NAME, 500);
    terminal.types("\r\r.");
    pulses_become(&mut registers, [440, 399]);
    kill_process(Pid::from_child(&terminal.script), Signal::STOP).expect("it runs");
    pulses_become(&mut registers, [375, 399]);
}

#[test]
fn without_a_terminal_nothing_is_touched() {
    calibrate_if_asked();
    const NAME: &str = "without_a_terminal_nothing_is_touched";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("car.toml");
    fs::write(&file, UNCHANGED).expect("a file");
    let mut this = Command::new(env::current_exe().expect("the running test binary has a path"));
    this.args(["--exact", NAME, "--nocapture"]).env(DEADLINE, "500").env(FILE, &file).stdin(Stdio::null());
    let said = this.output().expect("it runs");
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(said.contains("ERROR: calibrate needs a terminal"), "{said}");
}
