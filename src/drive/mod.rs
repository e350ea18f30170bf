//! Control to motion: `command → gate → mixer → actuator`. Imports neither `rtc`, `video`, `signal`, tokio nor gstreamer.
//!
//! | file | kind | what |
//! |---|---|---|
//! | `command` | pure | bytes → typed commands |
//! | `gate` | pure | what may move, and when everything must stop; the only maker of `SafeDrive` |
//! | `mixer`, `vehicle` | pure | fractions → pulses; the ESC's way into reverse |
//! | `max_speed` | pure, disk | the driver's top speed, kept across restarts |
//! | `estop_file` | disk | the emergency stop, kept likewise |
//! | `control` | pure | the four above as one |
//! | `link` | pure | which peers can drive |
//! | `inbox` | edge | what others hand to the drive thread |
//! | `thread`, `actuation`, `report` | thread | the loop, its hold on the actuator, what it tells |
//! | `latency` | counters | arrival of a command → write to the actuator |
//! | `actuator` | trait | what moves a car; its homes: `pca9685`, `bridge`, `simulated` |
//! | `bridge` | thread | the owner's own programs, over a Unix socket |
//! | `lap_sensor` | thread | two GPIO lines → passes |
//! | `park`, `calibrate`, `import` | command | `rtcpub park`, `calibrate`, `import-calibration` |
//! | `calibration_file` | disk | `[drive.calibration]` of a channel file |
//!
//! [`Drive`] owns the thread, [`DriveHandle`] talks to it from anywhere without ever waiting for it.

mod actuation;
pub mod actuator;
pub mod bridge;
pub mod calibrate;
mod calibration_file;
pub mod command;
mod control;
mod estop_file;
pub mod event;
pub mod gate;
pub mod import;
mod inbox;
pub mod lap_sensor;
pub mod latency;
pub mod link;
pub mod max_speed;
mod mixer;
pub mod park;
pub mod pca9685;
mod report;
pub mod settings;
pub mod simulated;
mod thread;
pub mod vehicle;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actuation::Actuation;
use actuator::Actuator;
use actuator::kind::ActuatorKind;
use command::{Parsed, Rejection, Topic};
use control::Control;
use event::{Counters, DriveEvent, DriveSnapshot, Ended};
use gate::StopCause;
use inbox::Inbox;
use latency::ControlLatency;
use link::{LinkEvent, PeerId};
use max_speed::Keeper;
use report::Reports;
use settings::DriveConfig;
use thread::DriveThread;

/// Every kind of actuator; the first is the one that is taken when the channel file names none.
pub static KINDS: [&ActuatorKind; 3] = [&simulated::KIND, &pca9685::KIND, &bridge::KIND];

/// Name of the drive's own thread.
pub const THREAD_NAME: &str = "drive";
/// How long a [`Drive`] that is dropped, rather than shut down, is waited for.
const DROP_DEADLINE: Duration = Duration::from_secs(1);

/// The drive thread's owner. Dropping it stops the car as well, but cannot tell whether that went well.
#[derive(Debug)]
pub struct Drive {
    handle: DriveHandle,
    threads: Option<Threads>,
}

#[derive(Debug)]
struct Threads {
    drive: JoinHandle<()>,
    keeper: Keeper,
}

/// Talks to the drive thread, from any thread and from async code: no call waits for the actuator, but those whose name
/// says so.
#[derive(Clone, Debug)]
pub struct DriveHandle {
    inbox: Arc<Inbox>,
}

/// Why the drive could not be started, or not be ended well.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// No thread could be started.
    #[error("cannot start the drive's threads: {0}")]
    Spawn(#[from] io::Error),
    /// The actuator did not confirm neutral: run `rtcpub park`, or cut the power.
    #[error("the actuator did not confirm neutral; the car may still move")]
    Unconfirmed,
    /// The thread panicked earlier.
    #[error("the drive thread panicked; neutral was {}", if *.neutral { "confirmed" } else { "not confirmed" })]
    Panicked {
        /// Whether the actuator confirmed neutral.
        neutral: bool,
    },
    /// The thread is stuck in a write.
    #[error("the drive thread did not end within {0:?}; the car may still move")]
    TimedOut(Duration),
}

impl Drive {
    /// Starts the drive: the actuator is brought up at neutral, and driven from then on by what the handle is told.
    ///
    /// An actuator that does not answer is no error here: the gate stays latched, the actuator is tried ten times a second
    /// and `events` tells of it. So does a `maxSpeed` that cannot be restored; the configured one is used. An emergency stop
    /// that was latched when the last one ended is latched.
    ///
    /// `events` is called on the drive thread: it must not wait.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn spawn(
        config: &DriveConfig,
        actuator: Box<dyn Actuator>,
        events: Box<dyn FnMut(DriveEvent) + Send>,
    ) -> Result<Self, DriveError> {
        let now = clock();
        let (control, problem) = restore(config, now);
        let inbox = Arc::new(Inbox::new(first_snapshot(&control, now)));
        if let Some(problem) = problem {
            inbox.file_problem(problem);
        }
        let for_keeper = Arc::clone(&inbox);
        let keeper =
            Keeper::spawn(config.max_speed.state_file.clone(), move |problem| for_keeper.file_problem(problem))?;
        let (actuation, reports) = (Actuation::new(actuator, now), Reports::new(events, now));
        let thread = DriveThread::new(Arc::clone(&inbox), control, actuation, keeper.handle(), reports);
        match std::thread::Builder::new().name(THREAD_NAME.into()).spawn(|| thread.main()) {
            Ok(drive) => Ok(Self { handle: DriveHandle { inbox }, threads: Some(Threads { drive, keeper }) }),
            Err(error) => {
                keeper.shutdown(DROP_DEADLINE);
                Err(error.into())
            }
        }
    }

    /// A handle to it.
    pub fn handle(&self) -> DriveHandle {
        self.handle.clone()
    }

    /// Stops the car at once, has the actuator confirm neutral, and ends the threads, all `within` this time.
    ///
    /// # Errors
    /// When neutral is not confirmed, or was needed because of a panic.
    pub fn shutdown(mut self, within: Duration) -> Result<(), DriveError> {
        self.end(within)
    }

    fn end(&mut self, within: Duration) -> Result<(), DriveError> {
        let Some(threads) = self.threads.take() else { return Ok(()) };
        let deadline = clock() + within;
        self.handle.inbox.end();
        let ended = self.handle.inbox.wait_for_end(within);
        threads.keeper.shutdown(deadline.saturating_duration_since(clock()));
        let ended = ended.ok_or(DriveError::TimedOut(within))?;
        // It has told its end, so there is nothing left to wait for; a panic was caught and told as well.
        let _ = threads.drive.join();
        match ended {
            Ended::Neutral => Ok(()),
            Ended::Unconfirmed => Err(DriveError::Unconfirmed),
            Ended::Panicked { neutral } => Err(DriveError::Panicked { neutral }),
        }
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        if let Err(error) = self.end(DROP_DEADLINE) {
            tracing::error!("{error}");
        }
    }
}

impl DriveHandle {
    /// Hands over a message of the `stream` channel that arrived at this moment. Returns its topic when it is none of the
    /// drive's: offer it to others, and call [`DriveHandle::unclaimed`] when nobody wants it.
    pub fn message(&self, bytes: &[u8], arrived: Instant) -> Option<Topic> {
        match command::parse(bytes) {
            Ok(Parsed::Drive(message)) => self.inbox.message(message, arrived),
            Ok(Parsed::NotForDrive(topic)) => return Some(topic),
            Err(rejection) => self.inbox.reject(rejection),
        }
        None
    }

    /// Counts a message whose topic nobody knows.
    pub fn unclaimed(&self) {
        self.inbox.reject(Rejection::UnknownTopic);
    }

    /// Tells of a change of a peer connection. Nothing moves before one is connected and its `stream` channel open.
    pub fn link(&self, peer: PeerId, event: LinkEvent) {
        self.inbox.link(peer, event);
    }

    /// Stops the car. Never lost, takes no lock, may be called from a panic hook.
    pub fn stop(&self, cause: StopCause) {
        self.inbox.stop(cause);
    }

    /// Stops the car and waits until the actuator has confirmed neutral, at most `within`. On the drive thread itself it
    /// does not wait and returns `false`: there, neutral comes with the unwinding.
    pub fn stop_and_confirm(&self, cause: StopCause, within: Duration) -> bool {
        let ticket = self.inbox.stop(cause);
        self.inbox.wait_for_neutral(ticket, within)
    }

    /// Stops the car and takes a new vehicle, gate and range of `maxSpeed`. The actuator and the state file stay: changing
    /// them needs a restart.
    pub fn reload(&self, config: DriveConfig) {
        self.inbox.reload(config);
    }

    /// How long commands took from their arrival to the write they led to; `None` before the first.
    pub fn control_latency(&self) -> Option<ControlLatency> {
        self.inbox.latency().summary()
    }

    /// The drive as it was when its thread last went around.
    pub fn snapshot(&self) -> DriveSnapshot {
        self.inbox.snapshot()
    }
}

/// The control flow with the top speed and the emergency stop kept from an earlier run, and what was wrong with that.
fn restore(config: &DriveConfig, now: Instant) -> (Control, Option<String>) {
    let path = &config.max_speed.state_file;
    let (kept, unreadable) = match max_speed::load(path) {
        Ok(kept) => (kept, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let (mut control, refusal) = Control::new(config, kept, now);
    let refused = refusal.map(|refusal| {
        let now = control.max_speed().ticks();
        format!("maxSpeed kept in {} counts as {now}: {refusal}", path.display())
    });
    let estop = estop_file::load(&estop_file::path_beside(path));
    if *estop.as_ref().unwrap_or(&true) {
        control.gate.handle(gate::Input::Stop(StopCause::EStop), now);
    }
    (control, estop.err().map(|error| error.to_string()).or(unreadable).or(refused))
}

fn first_snapshot(control: &Control, now: Instant) -> DriveSnapshot {
    let neutral = control.neutral(now);
    DriveSnapshot {
        state: control.gate.state(),
        awaits_neutral: false,
        throttle: 0.0,
        steering: 0.0,
        pulses: neutral.pulses(),
        max_speed: control.max_speed(),
        counters: Counters::default(),
        ticked: now,
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell around the pure files")]
fn clock() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
