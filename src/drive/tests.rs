//! The thread with a recording actuator: real time, but nothing waits for a time to pass, only for things to happen.

mod timing;
mod trouble;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, OnceLock};

use super::actuator::kind::ActuatorConfig;
use super::actuator::{ActuatorError, ActuatorFailure, Output};
use super::gate::State;
use super::settings::{
    AxisConfig, Calibration, GateConfig, LimitsConfig, MaxSpeedConfig, Pulse, RawCalibration, ReverseConfig,
    StopBehaviour, VehicleConfig,
};
use super::*;

/// Longer than anything takes here; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const DEADLINE: Duration = Duration::from_millis(200);
const PEER: PeerId = PeerId(1);

const FORWARD: &[u8] = br#"{"motion":{"key":"forward","value":10}}"#;
const LEFT: &[u8] = br#"{"motion":{"key":"left","value":10}}"#;

fn pulse(ticks: u16) -> Pulse {
    Pulse::new(ticks).unwrap()
}

pub(super) fn config(folder: &Path) -> DriveConfig {
    let calibration = Calibration::new(RawCalibration::example()).unwrap();
    let moment = Duration::from_millis(20);
    DriveConfig {
        vehicle: VehicleConfig {
            calibration,
            throttle: AxisConfig::default(),
            steering: AxisConfig::default(),
            reverse: ReverseConfig { brake_ticks: 50, brake: moment, neutral: moment },
        },
        gate: GateConfig {
            deadline: DEADLINE,
            neutral_first: false,
            stop: StopBehaviour::Coast,
            limits: LimitsConfig { throttle_cap: 1.0, throttle_slew: None, steering_slew: None },
        },
        max_speed: MaxSpeedConfig { initial: None, ceiling: pulse(440), state_file: folder.join("max-speed") },
        actuator: ActuatorConfig::new(simulated::SimulatedConfig),
        lap_sensor: None,
        bridge: None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Start(Output),
    Apply(Output),
}

impl Call {
    fn output(self) -> Output {
        match self {
            Self::Start(output) | Self::Apply(output) => output,
        }
    }

    fn throttle(self) -> u16 {
        self.output().pulses().throttle.ticks()
    }
}

/// What the recording actuator is to do.
#[derive(Debug, Default)]
struct Script {
    /// The bus does not answer.
    dead: AtomicBool,
    /// So many writes of motion fail.
    failures: AtomicU32,
    /// They fail by a timeout.
    hangs: AtomicBool,
    panic_on_motion: AtomicBool,
    /// Writes of motion begun.
    attempts: AtomicU32,
    /// Motion is held up as long as somebody else holds this.
    motion: Mutex<()>,
}

struct Recorder {
    calls: Sender<Call>,
    script: Arc<Script>,
    period: Duration,
}

impl Recorder {
    fn answer(&self) -> Result<(), ActuatorError> {
        let failure = || ActuatorFailure::new("write the throttle channel", "no acknowledge");
        let dead = self.script.dead.load(Ordering::SeqCst);
        ActuatorError::collect("the recorder", if dead { vec![failure()] } else { vec![] })
    }
}

impl Actuator for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn period(&self) -> Duration {
        self.period
    }

    fn start(&mut self, neutral: &Output) -> Result<Duration, ActuatorError> {
        assert!(!neutral.safe().is_motion());
        self.answer()?;
        let _ = self.calls.send(Call::Start(*neutral));
        Ok(Duration::ZERO)
    }

    fn apply(&mut self, output: &Output) -> Result<(), ActuatorError> {
        if output.safe().is_motion() {
            self.script.attempts.fetch_add(1, Ordering::SeqCst);
            assert!(!self.script.panic_on_motion.load(Ordering::SeqCst), "as the test wants it");
            drop(self.script.motion.lock());
            let left = self.script.failures.load(Ordering::SeqCst);
            if left > 0 {
                self.script.failures.store(left - 1, Ordering::SeqCst);
                let hangs = self.script.hangs.load(Ordering::SeqCst);
                let kind = if hangs { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
                let blink = ActuatorFailure::new("write", io::Error::from(kind));
                return Err(ActuatorError::new("the recorder", vec![blink]));
            }
        }
        self.answer()?;
        let _ = self.calls.send(Call::Apply(*output));
        Ok(())
    }
}

/// A drive with a recorder, and the recordings.
struct Bench {
    drive: Drive,
    handle: DriveHandle,
    calls: Receiver<Call>,
    events: Receiver<DriveEvent>,
    script: Arc<Script>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut DriveConfig)) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), change)
    }

    fn in_folder(folder: tempfile::TempDir, change: impl FnOnce(&mut DriveConfig)) -> Self {
        let (sender, events) = mpsc::channel();
        Self::build(folder, change, events, Box::new(move |event| drop(sender.send(event))))
    }

    fn build(
        folder: tempfile::TempDir,
        change: impl FnOnce(&mut DriveConfig),
        events: Receiver<DriveEvent>,
        tell: Box<dyn FnMut(DriveEvent) + Send>,
    ) -> Self {
        let mut config = config(folder.path());
        change(&mut config);
        let (sender, calls) = mpsc::channel();
        let script = Arc::new(Script::default());
        let recorder = Recorder { calls: sender, script: Arc::clone(&script), period: Duration::from_secs(1) };
        let drive = Drive::spawn(&config, Box::new(recorder), tell).unwrap();
        let handle = drive.handle();
        Self { drive, handle, calls, events, script, folder }
    }

    /// With a peer connected, its channel open, and the actuator started.
    fn connected(self) -> Self {
        self.handle.link(PEER, LinkEvent::PeerConnected);
        self.handle.link(PEER, LinkEvent::ChannelOpen);
        self.call(|call| matches!(call, Call::Start(_)));
        self.event(|event| matches!(event, DriveEvent::State(State::Parked { .. })));
        self
    }

    fn driving(self) -> Self {
        let bench = self.connected();
        bench.say(FORWARD);
        bench.call(|call| call.throttle() == 419);
        bench
    }

    fn say(&self, message: &[u8]) {
        assert_eq!(self.handle.message(message, clock()), None);
    }

    /// The next call of the kind; others are passed over.
    fn call(&self, wanted: impl Fn(Call) -> bool) -> Call {
        let deadline = clock() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(clock());
            let call = self.calls.recv_timeout(left).expect("the actuator is called as wanted");
            if wanted(call) {
                return call;
            }
        }
    }

    fn event(&self, wanted: impl Fn(&DriveEvent) -> bool) -> DriveEvent {
        let deadline = clock() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(clock());
            let event = self.events.recv_timeout(left).expect("the event wanted is told");
            if wanted(&event) {
                return event;
            }
        }
    }

    fn until(&self, holds: impl Fn() -> bool) {
        let deadline = clock() + PATIENCE;
        while !holds() {
            assert!(clock() < deadline, "it comes to hold");
            std::thread::yield_now();
        }
    }

    fn last_call(&self) -> Call {
        self.calls.try_iter().last().expect("the actuator was called")
    }
}

#[test]
fn a_message_moves_the_actuator_and_silence_stops_it_at_the_deadline() {
    let bench = Bench::new().connected();
    let before = clock();
    bench.say(FORWARD);
    bench.say(LEFT);
    let moving = bench.call(|call| call.output().pulses().steering.ticks() == 439);
    assert_eq!(moving.throttle(), 419);
    let stopped = bench.call(|call| call.throttle() == 375);
    assert!(stopped.output().at() >= before + DEADLINE);
    assert_eq!(stopped.output().pulses().steering.ticks(), 399);
    let parked = State::Parked { cause: StopCause::Deadline };
    bench.event(|event| *event == DriveEvent::State(State::Armed));
    bench.event(|event| *event == DriveEvent::State(parked));
    assert_eq!(bench.handle.snapshot().state, parked);
}

#[test]
fn the_snapshot_shows_what_the_actuator_has() {
    let bench = Bench::with(|config| config.gate.deadline = Duration::from_secs(600)).connected();
    bench.say(br#"{"motion":{"key":"back","value":20}}"#);
    bench.call(|call| call.throttle() == 300);
    bench.event(|event| *event == DriveEvent::State(State::Armed));
    bench.say(br#"{"speed":{"key":"maxSpeed","value":420}}"#);
    bench.event(|event| *event == DriveEvent::MaxSpeed(pulse(420)));
    bench.handle.stop_and_confirm(StopCause::Reload, PATIENCE);
    let snapshot = bench.handle.snapshot();
    assert_eq!(snapshot.max_speed, pulse(420));
    assert_eq!(snapshot.counters.obeyed, 2);
}

#[test]
fn nothing_moves_without_a_link() {
    let bench = Bench::new();
    bench.handle.link(PEER, LinkEvent::PeerConnected);
    for _ in 0..20 {
        bench.say(FORWARD);
    }
    assert!(bench.handle.stop_and_confirm(StopCause::Reload, PATIENCE));
    assert!(bench.calls.try_iter().all(|call| !call.output().safe().is_motion()));
}

#[test]
fn a_link_that_falls_stops_the_car_at_once() {
    let bench = Bench::with(|config| config.gate.deadline = Duration::from_secs(600)).driving();
    bench.handle.link(PEER, LinkEvent::ChannelClosed);
    assert_eq!(bench.call(|_| true).throttle(), 375);
    bench.event(|event| *event == DriveEvent::State(State::Parked { cause: StopCause::ChannelClosed }));
}

#[test]
fn an_unchanged_output_is_written_again_only_when_due() {
    let bench = Bench::with(|config| config.gate.deadline = Duration::from_secs(600)).driving();
    for _ in 0..100 {
        bench.say(FORWARD);
    }
    let refresh = bench.call(|_| true);
    let first = bench.call(|_| true);
    assert!(first.output().at() - refresh.output().at() >= Duration::from_secs(1), "the recorder's period");
}

#[test]
fn a_reload_stops_the_car_and_takes_the_new_calibration() {
    let bench = Bench::with(|config| config.gate.deadline = Duration::from_secs(600)).driving();
    let mut changed = config(bench.folder.path());
    changed.vehicle.throttle.trim = 2;
    changed.max_speed.ceiling = pulse(420);
    bench.handle.reload(changed);
    bench.event(|event| *event == DriveEvent::MaxSpeed(pulse(420)));
    bench.event(|event| *event == DriveEvent::State(State::Parked { cause: StopCause::Reload }));
    assert_eq!(bench.call(|call| call.throttle() < 400).throttle(), 377);
    bench.say(br#"{"motion":{"key":"forward","value":20}}"#);
    bench.call(|call| call.throttle() == 422);
}

#[test]
fn max_speed_is_echoed_applied_and_kept_across_a_restart() {
    let bench = Bench::with(|config| config.gate.deadline = Duration::from_secs(600)).driving();
    bench.say(br#"{"speed":{"key":"maxSpeed","value":420}}"#);
    bench.event(|event| *event == DriveEvent::MaxSpeed(pulse(420)));
    bench.call(|call| call.throttle() == 409);
    bench.say(br#"{"speed":{"key":"maxSpeed","value":441}}"#);
    bench.event(|event| matches!(event, DriveEvent::MaxSpeedRefused(_)));
    bench.drive.shutdown(PATIENCE).unwrap();

    let again = Bench::in_folder(bench.folder, |_| {});
    assert_eq!(again.handle.snapshot().max_speed, pulse(420));
    again.drive.shutdown(PATIENCE).unwrap();

    let lower = Bench::in_folder(again.folder, |config| config.max_speed.ceiling = pulse(410));
    assert_eq!(lower.handle.snapshot().max_speed, pulse(410));
    let event = lower.event(|event| matches!(event, DriveEvent::MaxSpeedFile(_)));
    assert!(format!("{event:?}").contains("420 is above the ceiling of 410 ticks"), "{event:?}");
}

#[test]
fn a_corrupt_or_unwritable_state_file_is_reported_and_the_configured_value_used() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("max-speed"), "garbage").unwrap();
    let bench = Bench::in_folder(folder, |config| config.max_speed.initial = Some(pulse(430)));
    bench.event(|event| matches!(event, DriveEvent::MaxSpeedFile(problem) if problem.contains("max-speed")));
    assert_eq!(bench.handle.snapshot().max_speed, pulse(430));

    let bench = Bench::with(|config| config.max_speed.state_file = "/proc/nowhere/max-speed".into()).connected();
    bench.say(br#"{"speed":{"key":"maxSpeed","value":420}}"#);
    bench.event(|event| *event == DriveEvent::MaxSpeed(pulse(420)));
    bench.event(|event| matches!(event, DriveEvent::MaxSpeedFile(problem) if problem.contains("/proc/nowhere")));
}

#[test]
fn junk_is_counted_and_told_and_other_topics_are_left_to_others() {
    let bench = Bench::new().driving();
    let junk: [&[u8]; 4] = [b"junk", b"\xff", br#"{"motion":{"key":"forward","value":1e300}}"#, &[b' '; 5000]];
    for message in junk {
        bench.say(message);
    }
    let topic = bench.handle.message(br#"{"camera":{"key":"select","value":1}}"#, clock()).unwrap();
    assert_eq!(topic.as_str(), "camera");
    bench.handle.unclaimed();
    assert!(bench.handle.stop_and_confirm(StopCause::Reload, PATIENCE));
    let told = bench.event(|event| matches!(event, DriveEvent::MessagesRejected { .. }));
    assert!(matches!(told, DriveEvent::MessagesRejected { count: 1..=5, .. }), "{told:?}");
    bench.until(|| {
        bench.handle.stop(StopCause::Reload);
        bench.handle.snapshot().counters.rejected == 5
    });
}

#[test]
fn a_simulated_car_drives() {
    let folder = tempfile::tempdir().unwrap();
    let (actuator, car) = simulated::Simulated::new();
    let drive = Drive::spawn(&config(folder.path()), Box::new(actuator), Box::new(|_| {})).unwrap();
    let handle = drive.handle();
    handle.link(PEER, LinkEvent::PeerConnected);
    handle.link(PEER, LinkEvent::ChannelOpen);
    let deadline = clock() + PATIENCE;
    while car.state().x < 0.05 {
        assert!(clock() < deadline);
        handle.message(FORWARD, clock());
        std::thread::yield_now();
    }
    drive.shutdown(PATIENCE).unwrap();
}

#[test]
fn a_handle_may_be_used_from_any_thread() {
    fn usable<T: Clone + Send + Sync + 'static>() {}
    usable::<DriveHandle>();
}

/// Architecture invariant: the safety logic knows no network, no media and no async.
#[test]
fn the_drive_imports_neither_transport_nor_media_nor_async() {
    fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
    }
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/drive"));
    assert!(sources.len() > 20);
    let banned =
        ["crate::rtc", "crate::video", "crate::signal", "crate::hub", "tokio", "gstreamer", "webrtc", "tungstenite"];
    for path in sources {
        let text = std::fs::read_to_string(&path).unwrap();
        for line in
            text.lines().map(str::trim_start).filter(|line| line.starts_with("use ") || line.starts_with("pub use "))
        {
            assert!(!banned.iter().any(|name| line.contains(name)), "{}: {line}", path.display());
        }
    }
}
