//! How soon the drive thread obeys, and how late its failsafe is.
//!
//! `cargo bench --bench failsafe -- [TRIALS [DEADLINE_MS]]`, 1000 trials at a deadline of 100 ms unless told otherwise.
//! Each trial sends one command and waits for the deadline to stop the car. Measured up to the moment the actuator's
//! write starts, in this process, on whatever else the machine is doing. The floor is a real-time thread of the same run
//! that does nothing but sleep: what it is late by is the machine's, not the program's.

use std::error::Error;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use rtcpub::drive::Drive;
use rtcpub::drive::actuator::{Actuator, ActuatorError, Output};
use rtcpub::drive::gate::StopCause;
use rtcpub::drive::link::{LinkEvent, PeerId};
use rtcpub::drive::settings::{
    ActuatorConfig, AxisConfig, Calibration, DriveConfig, GateConfig, LimitsConfig, MaxSpeedConfig, Pulse,
    RawCalibration, ReverseConfig, StopBehaviour, VehicleConfig,
};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

const COMMAND: &[u8] = br#"{"motion":{"key":"forward","value":10}}"#;

/// A trial that hears nothing for this long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    // cargo itself adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let trials: usize = arguments.next().map_or(Ok(1000), |text| text.parse())?;
    let deadline = Duration::from_millis(arguments.next().map_or(Ok(100), |text| text.parse())?);

    let (sender, writes) = mpsc::channel();
    let drive = Drive::spawn(&config(deadline)?, Box::new(Stopwatch(sender)), Box::new(|_| {}))?;
    let handle = drive.handle();
    handle.link(PeerId(1), LinkEvent::PeerConnected);
    handle.link(PeerId(1), LinkEvent::ChannelOpen);
    next(&writes, false)?;

    let floor = std::thread::spawn(move || sleep_late(trials, deadline));
    let (mut obeyed, mut stopped, mut confirmed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..trials {
        let arrived = now();
        handle.message(COMMAND, arrived);
        obeyed.push(next(&writes, true)? - arrived);
        let neutral = next(&writes, false)?;
        let due = arrived + deadline;
        stopped.push(neutral.checked_duration_since(due).ok_or("stopped before the deadline")?);
    }
    for _ in 0..trials {
        handle.message(COMMAND, now());
        next(&writes, true)?;
        let asked = now();
        if !handle.stop_and_confirm(StopCause::Reload, PATIENCE) {
            return Err("a stop was not confirmed".into());
        }
        confirmed.push(now() - asked);
    }
    drive.shutdown(PATIENCE)?;

    let mut floor = floor.join().map_err(|_| "the floor's thread panicked")?;
    print("floor: a sleep of the same length", &mut floor);
    print("command arrived → write of motion started", &mut obeyed);
    print("deadline → write of neutral started", &mut stopped);
    print("stop asked for → neutral confirmed", &mut confirmed);
    Ok(())
}

/// How late a real-time thread wakes from each sleep.
fn sleep_late(times: usize, sleep: Duration) -> Vec<Duration> {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    // Denied, it is the floor of a drive thread that is denied it as well.
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
    let late = |_| {
        let due = now() + sleep;
        std::thread::sleep(sleep);
        now().saturating_duration_since(due)
    };
    (0..times).map(late).collect()
}

/// Tells when each write started, and whether it was of motion.
struct Stopwatch(Sender<(Instant, bool)>);

impl Actuator for Stopwatch {
    fn name(&self) -> &'static str {
        "stopwatch"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn start(&mut self, neutral: &Output) -> Result<Duration, ActuatorError> {
        self.apply(neutral).map(|()| Duration::ZERO)
    }

    fn apply(&mut self, output: &Output) -> Result<(), ActuatorError> {
        // The receiver is gone only when the measurement has failed.
        let _ = self.0.send((now(), output.safe().is_motion()));
        Ok(())
    }
}

/// The next write of this kind.
fn next(writes: &Receiver<(Instant, bool)>, motion: bool) -> Result<Instant, Box<dyn Error>> {
    loop {
        let (at, moves) = writes.recv_timeout(PATIENCE)?;
        if moves == motion {
            return Ok(at);
        }
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn print(what: &str, figures: &mut [Duration]) {
    figures.sort();
    let at = |part: f64| figures[((figures.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "{what:<44} p50 {:8.3} ms  p99 {:8.3} ms  max {:8.3} ms  ({} trials)",
        at(0.5),
        at(0.99),
        at(1.0),
        figures.len()
    );
}

/// The car of the reference, without anything that delays motion.
fn config(deadline: Duration) -> Result<DriveConfig, Box<dyn Error>> {
    let pulse = |ticks| Pulse::new(ticks).ok_or("beyond 12 bits");
    let calibration = Calibration::new(RawCalibration {
        throttle_zero: pulse(375)?,
        forward_zero: pulse(399)?,
        throttle_min: pulse(300)?,
        throttle_max: pulse(440)?,
        steering_zero: pulse(399)?,
        steering_min: pulse(319)?,
        steering_max: pulse(479)?,
        throttle_steps: 20,
        steering_steps: 20,
    })
    .map_err(|problems| format!("{problems:?}"))?;
    let moment = Duration::from_millis(100);
    Ok(DriveConfig {
        vehicle: VehicleConfig {
            calibration,
            throttle: AxisConfig::default(),
            steering: AxisConfig::default(),
            reverse: ReverseConfig { brake_ticks: 50, brake: moment, neutral: moment },
        },
        gate: GateConfig {
            deadline,
            neutral_first: false,
            stop: StopBehaviour::Coast,
            limits: LimitsConfig { throttle_cap: 1.0, throttle_slew: None, steering_slew: None },
        },
        max_speed: MaxSpeedConfig {
            initial: None,
            ceiling: pulse(440)?,
            state_file: std::env::temp_dir().join("rtcpub-failsafe-max-speed"),
        },
        actuator: ActuatorConfig::Simulated,
        lap_sensor: None,
        bridge: None,
    })
}

#[expect(clippy::disallowed_methods, reason = "a stopwatch reads the clock")]
fn now() -> Instant {
    Instant::now()
}
