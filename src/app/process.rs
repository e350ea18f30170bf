//! What a long-running command needs of the process: a runtime, the signals that end it, and the guard against panics.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::{Context, Result};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::provoke::Provocation;
use crate::drive::DriveHandle;
use crate::drive::gate::StopCause;
use crate::exit::{Exit, Failure};
use crate::logging;
use crate::realtime::schedule_first;

/// One: what a task hands to another is taken up without another thread's being woken for it.
const WORKERS: usize = 1;
/// Name of the runtime's threads, so that a measurement by thread can tell them from the encoder's.
pub(crate) const WORKER_NAME: &str = "rtcpub-io";
/// Name of the thread that runs the command; the process's first thread has its own name, `rtcpub`.
const MAIN_NAME: &str = "rtcpub-main";
/// Why nothing can run.
const NO_THREADS: &str = "the process's threads cannot be started";
/// How long a panic waits for neutral before the process ends.
const PANIC_DEADLINE: std::time::Duration = std::time::Duration::from_millis(50);

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hangup {
    /// To a command that a person runs: the terminal is gone.
    Ends,
    /// To a daemon: read the configuration again.
    Reloads,
}

/// What signals ask for.
#[derive(Clone, Debug, Default)]
pub(super) struct Signals {
    /// The end: SIGTERM, SIGINT, and SIGHUP where it means that.
    pub(super) shutdown: CancellationToken,
    /// To read the configuration again. Several before it is done are one.
    pub(super) reload: Arc<Notify>,
    car: Arc<OnceLock<DriveHandle>>,
    has_car: Arc<Notify>,
    /// Something has panicked since there is a car.
    panicked: Arc<AtomicBool>,
}

impl Signals {
    fn stop_first(&self, car: DriveHandle) {
        // A process has one car.
        let _ = self.car.set(car);
        self.has_car.notify_one();
    }

    /// How the command ended. A panic is what it ended of, whatever else ended it while that was still being told: with a
    /// backtrace that takes seconds, in which what panicked is missed. The wrong exit code would tell systemd not to
    /// start it again.
    fn judge<T>(&self, ended: Result<T>) -> Result<T> {
        if !self.panicked.load(Relaxed) {
            return ended;
        }
        let then = match &ended {
            Err(error) if error.downcast_ref::<Failure>().is_some_and(|failure| failure.exit == Exit::Panic) => {
                return ended;
            }
            Err(error) => format!("; then: {error:#}"),
            Ok(_) => String::new(),
        };
        let message = format!("a part of it panicked, which is a bug, told above{then}");
        Err(Failure { exit: Exit::Panic, message }.into())
    }

    fn end(&self, signal: &str) {
        self.car.get().into_iter().for_each(|car| car.stop(StopCause::Shutdown));
        self.shutdown.cancel();
        tracing::info!(signal, "stopping");
    }
}

/// Runs `main` on a thread of its own until it returns, and tells it what the process is asked for.
///
/// The process's first thread is left to the signals: the kernel gives them to it before all others, and with a car it runs
/// before all others. So SIGTERM stops the car on a machine whose processors are full, too.
///
/// # Errors
/// Those of `main`, and threads that cannot be started.
pub(super) fn run<F, T>(on_hangup: Hangup, main: impl FnOnce(Signals) -> F + Send) -> Result<T>
where
    F: Future<Output = Result<T>>,
    T: Send,
{
    let signals = Signals::default();
    let watch = Builder::new_current_thread().enable_io().build().context(NO_THREADS)?;
    // Before anything else: a signal that nobody awaits would kill.
    let mut awaited = watch.block_on(async { Awaited::new() })?;
    let ended = CancellationToken::new();
    thread::scope(|scope| {
        let (for_main, end) = (signals.clone(), ended.clone().drop_guard());
        let main = thread::Builder::new().name(MAIN_NAME.into()).spawn_scoped(scope, move || {
            let _end = end;
            run_main(for_main, main)
        });
        let main = main.context(NO_THREADS)?;
        watch.block_on(async {
            tokio::select! {
                () = awaited.watch(on_hangup, &signals) => {}
                () = ended.cancelled() => {}
            }
        });
        signals.judge(main.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn run_main<F, T>(signals: Signals, main: impl FnOnce(Signals) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(4)
        .thread_name(WORKER_NAME)
        .enable_all()
        .build()
        .context(NO_THREADS)?;
    let result = runtime.block_on(main(signals));
    // Everything that can end has ended. What is left is a thread inside a driver that hangs.
    runtime.shutdown_background();
    result
}

/// The signals that are awaited.
struct Awaited {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    quit: Signal,
    suspend: Signal,
}

impl Awaited {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            // Ctrl-Z is not obeyed: a process that does not run stops no car.
            suspend: signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?,
        })
    }

    /// For ever.
    async fn watch(&mut self, on_hangup: Hangup, signals: &Signals) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => signals.end("SIGTERM"),
                _ = self.interrupt.recv() => signals.end("SIGINT"),
                _ = self.quit.recv() => signals.end("SIGQUIT"),
                _ = self.hangup.recv() => match on_hangup {
                    Hangup::Ends => signals.end("SIGHUP"),
                    Hangup::Reloads => signals.reload.notify_one(),
                },
                // This thread starts no other, which would get its priority.
                () = signals.has_car.notified() => schedule_first(),
                _ = self.suspend.recv() => tracing::warn!("not suspended, for that would stop no car; Ctrl-C ends it"),
            }
        }
    }
}

/// Gives up huge pages: the encoder asks for them, and what it leaves empty of each is memory a small board lacks
/// (measured: 5 … 9 MB at 1280x720).
pub(super) fn save_memory() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay on");
    }
}

/// From now on whatever asks for the end stops this car before anything else hears of it, and a panic anywhere stops it,
/// waits for neutral, and ends the process: nothing limps on.
///
/// On the drive thread itself a panic is only logged, and no backtrace: there, neutral comes with the unwinding, which
/// must not wait for one, and the thread tells its end.
pub(super) fn guard(signals: &Signals, drive: DriveHandle, provocation: Provocation) {
    signals.stop_first(drive.clone());
    let (previous, panicked) = (std::panic::take_hook(), signals.panicked.clone());
    std::panic::set_hook(Box::new(move |panic| {
        // The car first: writing a backtrace can take longer than the car may roll.
        drive.stop(StopCause::Panic);
        panicked.store(true, Relaxed);
        if thread::current().name() == Some(crate::drive::THREAD_NAME) {
            logging::log_panic(panic);
            return;
        }
        previous(panic);
        provocation.told();
        if !drive.stop_and_confirm(StopCause::Panic, PANIC_DEADLINE) {
            tracing::error!("neutral was not confirmed: run `rtcpub park`, or cut the power");
        }
        std::process::exit(i32::from(Exit::Panic.code()));
    }));
}
