//! The bridge: a Unix socket for the owner's own programs (Python, ROS), one JSON object a line, in UTF-8.
//!
//! # From the daemon
//! | line | when |
//! |---|---|
//! | `{"hello":{"protocol":1,"actuator":true,"neutral":{"throttle":375,"steering":399}}}` | first; `neutral` only where `actuator` is true |
//! | `{"gate":{"state":"parked","cause":"deadline"}}` | after `hello`, and at each transition of the gate; by the names on `metric`, `cause` null when armed |
//! | `{"stream":<message>}` | each JSON message of a viewer, as it came, whether or not the gate lets it through |
//! | `{"output":{"throttle":0.5,"steering":-0.25,"brake":false,"pulses":{"throttle":420,"steering":379},"at":8123.25}}` | 50 times a second, with `actuator = "bridge"` only |
//! | `{"error":"not JSON: …"}` | in answer to a line that was not taken |
//!
//! `throttle` is −1 (full reverse) … 1 (full forward), `steering` −1 (full right) … 1 (full left); `brake` is the moment
//! of counter-thrust of a stop. `pulses` are the same as PCA9685 ticks, with the ESC's way into reverse played out.
//! `at` is in seconds of `CLOCK_MONOTONIC` (Python: `time.monotonic()`).
//!
//! Without a program nothing moves the car, so the gate counts that as a failed actuator: when the last one leaves while the
//! car is driven, the car is stopped, and one that comes (back) finds it at neutral, whatever the driver holds. Any program
//! that listens counts, until one has said `{"moves":true}`: from then on only those count that have said it.
//!
//! A program that moves something **must** stop it when 100 ms pass without an `output`, or when the socket ends: a
//! daemon that was killed or hangs sends nothing. It must not act on an `output` whose `at` is older than that.
//!
//! # To the daemon
//! | line | what it does |
//! |---|---|
//! | `{"metric":{"battery":{"key":"volts","value":11.8}}}` | the object goes out on `metric`, if the link has room. The topic `drive` is refused: it is the gate's |
//! | `{"camera":{"key":"select","value":1}}` | the rear camera is shown, with 0 the front one; where there is only one, nothing happens |
//! | `{"moves":true}` | this program moves the car: when the last such program leaves, the car is stopped, whoever else listens. `false`: it does not |
//!
//! # Limits
//! [`MAX_PROGRAMS`] programs, lines of at most 4096 bytes (a longer one ends the connection). Nothing waits for a
//! program: 64 lines are kept for one that does not read, the next one disconnects it, since what it would read then is
//! past. Outputs are not queued at all: the newest takes the place of one that is still waiting, and a program that moves
//! the car, and has said so, but does not take them for a second hangs and is disconnected. A program that only speaks
//! reads and throws away, or shuts its receiving side down (`SHUT_RD`): then it is told nothing and is none that moves the car.
//!
//! `config/bridge-client.py` is an example.

mod actuator;
mod lines;
mod server;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{ClockId, clock_gettime};

use self::lines::Line;
use self::server::Server;
use super::actuator::Output;
use super::gate::State;
use super::settings::BridgeConfig;
use crate::unix_socket::{self, Listening};

pub use self::actuator::BridgeActuatorConfig;
pub(super) use self::actuator::KIND;
pub use self::lines::BridgeRequest;
pub use crate::unix_socket::ListenError as BridgeError;

/// Programs connected at the same time; another one is told so and disconnected.
pub const MAX_PROGRAMS: usize = 8;

/// Lines on their way to the bridge's thread. More than it can be behind by; when full, the oldest is dropped and counted.
const INBOX_LINES: usize = 64;

/// The bridge. Dropping it disconnects all programs, removes the socket and waits for the thread.
#[derive(Debug)]
pub struct Bridge {
    handle: BridgeHandle,
    thread: Option<JoinHandle<()>>,
}

impl Bridge {
    /// Listens. `neutral` is what `hello` says of the actuator, with `actuator = "bridge"`. `on_request` is called on
    /// the bridge's thread for each request of a program and must not block.
    ///
    /// # Errors
    /// The socket cannot be made, or another daemon has it.
    pub fn start(
        config: &BridgeConfig,
        neutral: Option<Output>,
        on_request: impl FnMut(BridgeRequest) + Send + 'static,
    ) -> Result<Self, BridgeError> {
        let failed = |step| {
            let path = config.socket.clone();
            move |source: io::Error| BridgeError::Io { path, step, source }
        };
        let listening = Listening::open(&config.socket)?;
        let shared = Arc::new(Shared::new(neutral).map_err(failed("make its wake-up"))?);
        let server = Server::new(listening, Arc::clone(&shared), on_request);
        let ended = Ended(Arc::clone(&shared));
        let serve = move || {
            let _ended = ended;
            server.run();
        };
        let thread = thread::Builder::new().name("bridge".into()).spawn(serve).map_err(failed("start its thread"))?;
        Ok(Self { handle: BridgeHandle(shared), thread: Some(thread) })
    }

    /// For those who have something to tell the programs.
    pub fn handle(&self) -> BridgeHandle {
        self.handle.clone()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.handle.0.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the bridge's thread panicked");
        }
    }
}

/// Whether a daemon serves the bridge at this path, even one that hangs.
///
/// # Errors
/// It cannot be found out, e.g. for want of rights.
pub(super) fn is_served(path: &Path) -> io::Result<bool> {
    unix_socket::is_served(path)
}

/// Tells the programs something. No call waits for a program, and while none is connected a call costs next to nothing.
#[derive(Clone, Debug)]
pub struct BridgeHandle(Arc<Shared>);

impl BridgeHandle {
    /// A message of a viewer on `stream`. What is not JSON is not passed on.
    pub fn stream(&self, message: &[u8]) {
        if self.0.has_programs()
            && let Some(line) = lines::stream(message)
        {
            self.0.tell(|inbox| inbox.push(line));
        }
    }

    /// A transition of the gate. Kept for programs to come.
    pub fn gate(&self, state: State) {
        let line = lines::gate(state);
        self.0.tell(|inbox| {
            inbox.gate = Some(Arc::clone(&line));
            inbox.push(line);
        });
    }

    fn output(&self, output: &Output) {
        if self.0.has_programs() {
            let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
            let line = lines::output(output, now.as_secs_f64());
            self.0.tell(|inbox| inbox.output = Some(line));
        }
    }
}

/// Between the daemon's threads and the bridge's.
#[derive(Debug)]
struct Shared {
    wake: OwnedFd,
    inbox: Mutex<Inbox>,
    hello: Line,
    /// Those that hear what they are told.
    programs: AtomicUsize,
    /// Those of them that move the car.
    movers: AtomicUsize,
    /// There was a moment without any that moves the car since it was last at neutral.
    deserted: AtomicBool,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Inbox {
    lines: VecDeque<Line>,
    dropped: u64,
    output: Option<Line>,
    /// The gate's last transition.
    gate: Option<Line>,
    closing: bool,
}

/// What the thread takes out of the inbox.
struct News {
    lines: Vec<Line>,
    dropped: u64,
    output: Option<Line>,
    /// These are the last.
    closing: bool,
}

impl Shared {
    fn new(neutral: Option<Output>) -> io::Result<Self> {
        Ok(Self {
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            inbox: Mutex::default(),
            hello: lines::hello(neutral),
            programs: AtomicUsize::new(0),
            movers: AtomicUsize::new(0),
            deserted: AtomicBool::new(true),
            ended: AtomicBool::new(false),
        })
    }

    fn has_programs(&self) -> bool {
        self.programs.load(Ordering::Relaxed) > 0
    }

    fn set_programs(&self, hearing: usize, movers: usize) {
        self.movers.store(movers, Ordering::SeqCst);
        if movers == 0 {
            self.deserted.store(true, Ordering::SeqCst);
        }
        self.programs.store(hearing, Ordering::Relaxed);
    }

    /// The car is at neutral: from now on it matters whether programs leave.
    fn begin_anew(&self) {
        // In this order: one that leaves in between leaves its mark.
        self.deserted.store(false, Ordering::SeqCst);
        if self.movers.load(Ordering::SeqCst) == 0 {
            self.deserted.store(true, Ordering::SeqCst);
        }
    }

    fn was_deserted(&self) -> bool {
        self.deserted.load(Ordering::SeqCst)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn tell(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.inbox());
        // Full is as good as told: the thread has not looked yet.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn close(&self) {
        self.tell(|inbox| inbox.closing = true);
    }

    /// All news since the last time.
    fn take(&self) -> News {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        let mut inbox = self.inbox();
        News {
            lines: inbox.lines.drain(..).collect(),
            dropped: std::mem::take(&mut inbox.dropped),
            output: inbox.output.take(),
            closing: inbox.closing,
        }
    }

    /// What a program that connects is told first.
    fn greeting(&self) -> Vec<Line> {
        let gate = self.inbox().gate.clone();
        std::iter::once(Arc::clone(&self.hello)).chain(gate).collect()
    }

    /// Nothing panics while it is held; if it did, the inbox would still be whole.
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    fn push(&mut self, line: Line) {
        if self.lines.len() == INBOX_LINES {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(line);
    }
}

/// Tells the actuator that the thread is gone, even when it panicked.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.set_programs(0, 0);
        self.0.ended.store(true, Ordering::Relaxed);
    }
}
