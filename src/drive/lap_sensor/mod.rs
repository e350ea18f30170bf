//! The lap sensor: two lines that read "detected" while a magnet is over them.
//!
//! A thread of its own waits for edges, which the kernel stamps when they happen, and reports each pass.

mod detector;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gpiocdev::Request;
use gpiocdev::line::{Bias, EdgeDetection, EdgeEvent, EdgeKind, Values};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

use self::detector::{LapDetector, Line};
use super::settings::{LapSensorConfig, Pull};

/// Between two tries to get the lines back, after their chip was lost (a USB one, unplugged).
const RETRY: Duration = Duration::from_secs(5);

/// Edges taken from the kernel at once: all that it keeps for two lines (16 each; when full, it drops the oldest).
const EDGES_AT_ONCE: usize = 32;

/// The car has passed the sensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LapPass {
    /// When both lines had left the detected state: seconds since 1970, with fractions.
    pub unix_seconds: f64,
}

/// The lines cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "lap sensor, lines {lines:?} of {chip}: {source}; `gpioinfo` lists chips and lines, and who uses them", chip = .chip.display()
)]
pub struct LapSensorError {
    chip: PathBuf,
    lines: [u32; 2],
    source: io::Error,
}

/// The running sensor. Dropping it ends its thread and waits for it.
#[derive(Debug)]
pub struct LapSensor {
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl LapSensor {
    /// Takes the lines and begins to watch them. `on_pass` is called on the sensor's thread and must not block.
    ///
    /// # Errors
    /// The lines cannot be had: no such chip or line, used by another program, no right to.
    pub fn start(
        config: LapSensorConfig,
        on_pass: impl FnMut(LapPass) + Send + 'static,
    ) -> Result<Self, LapSensorError> {
        let failed = |source| LapSensorError { chip: config.chip.clone(), lines: config.lines, source };
        let (wake, woken) = UnixStream::pair().map_err(failed)?;
        let lines = Lines::open(&config).map_err(failed)?;
        let watcher = Watcher { config: config.clone(), woken, on_pass };
        let thread =
            thread::Builder::new().name("lap sensor".into()).spawn(move || watcher.run(lines)).map_err(failed)?;
        Ok(Self { wake, thread: Some(thread) })
    }
}

impl Drop for LapSensor {
    fn drop(&mut self) {
        // Shutting its end down makes the thread's end readable.
        let _ = self.wake.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the lap sensor's thread panicked");
        }
    }
}

/// The two lines, and what is known of them.
struct Lines {
    request: Request,
    detector: LapDetector,
}

/// The thread.
struct Watcher<F> {
    config: LapSensorConfig,
    woken: UnixStream,
    on_pass: F,
}

impl<F: FnMut(LapPass)> Watcher<F> {
    fn run(mut self, lines: Lines) {
        let mut lines = Some(lines);
        loop {
            let watched = match lines.take() {
                Some(lines) => self.watch(lines),
                None => Lines::open(&self.config).and_then(|lines| self.watch(lines)),
            };
            let Err(error) = watched else { return };
            tracing::warn!(chip = %self.config.chip.display(), %error, "lap sensor lost; trying again every {RETRY:?}");
            match wait(&mut [PollFd::new(&self.woken, PollFlags::IN)], Some(RETRY)) {
                Ok(0) => {}
                _ => return,
            }
        }
    }

    /// Until it is told to stop.
    fn watch(&mut self, lines: Lines) -> io::Result<()> {
        let Lines { request, mut detector } = lines;
        // Not `Request::read_edge_event`: in gpiocdev 0.8.0 it takes up to eight events from the kernel and returns one.
        let mut edges = request.new_edge_event_buffer(EDGES_AT_ONCE);
        loop {
            let timeout = detector.poll_timeout().map(|due| due.saturating_sub(monotonic()));
            let mut polled = [PollFd::new(&self.woken, PollFlags::IN), PollFd::new(&request, PollFlags::IN)];
            wait(&mut polled, timeout)?;
            let [woken, changed] = polled.map(|polled| polled.revents());
            if !woken.is_empty() {
                return Ok(());
            }
            if changed.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
                return Err(io::ErrorKind::NotConnected.into());
            }
            // Edges that are in the queue happened before now: they come first.
            let now = monotonic();
            while !changed.is_empty() {
                let edge = edges.read_event().map_err(io::Error::other)?;
                self.report(take(&mut detector, &edge, &self.config));
                if edges.is_empty() {
                    break;
                }
            }
            self.report(detector.poll(now));
        }
    }

    fn report(&mut self, pass: Option<Duration>) {
        if let Some(at) = pass {
            (self.on_pass)(LapPass { unix_seconds: unix_seconds(at) });
        }
    }
}

impl Lines {
    fn open(config: &LapSensorConfig) -> io::Result<Self> {
        let mut builder = Request::builder();
        builder
            .on_chip(&config.chip)
            .with_consumer("rtcpub lap sensor")
            .with_lines(&config.lines)
            .as_input()
            .with_edge_detection(EdgeDetection::BothEdges);
        if let Some(bias) = bias(config.pull) {
            builder.with_bias(bias);
        }
        if config.active_low {
            builder.as_active_low();
        }
        let request = builder.request().map_err(io::Error::other)?;
        let mut values = Values::from_offsets(&config.lines);
        request.values(&mut values).map_err(io::Error::other)?;
        let detected = config.lines.map(|line| values.get(line).is_some_and(bool::from));
        Ok(Self { request, detector: LapDetector::new(config.debounce, detected) })
    }
}

fn take(detector: &mut LapDetector, edge: &EdgeEvent, config: &LapSensorConfig) -> Option<Duration> {
    let line = if edge.offset == config.lines[0] { Line::First } else { Line::Second };
    // The lines are requested active-low where they are: rising is "detected" either way.
    detector.edge(line, edge.kind == EdgeKind::Rising, Duration::from_nanos(edge.timestamp_ns))
}

fn bias(pull: Pull) -> Option<Bias> {
    match pull {
        Pull::Up => Some(Bias::PullUp),
        Pull::Down => Some(Bias::PullDown),
        Pull::None => None,
    }
}

fn wait(events: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.map(|timeout| Timespec::try_from(timeout).expect("seconds, not ages"));
    match poll(events, timeout.as_ref()) {
        Err(rustix::io::Errno::INTR) => Ok(0),
        polled => Ok(polled?),
    }
}

/// `CLOCK_MONOTONIC`, by which the kernel stamps edges.
fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).expect("the monotonic clock counts up from 0")
}

/// The Unix time of an edge. From its age rather than by the kernel's real-time stamps: those need Linux 5.11, which
/// JetPack 5 has not, and would make the debouncing depend on a clock that may jump.
#[expect(clippy::disallowed_methods, reason = "a shell: a lap's time is asked for in Unix time")]
fn unix_seconds(at: Duration) -> f64 {
    let age = monotonic().saturating_sub(at);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(age).as_secs_f64()
}
