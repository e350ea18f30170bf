//! What a long-running command needs of the process: a runtime, the signals that end it, and the guard against panics.

use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::drive::DriveHandle;
use crate::drive::gate::StopCause;
use crate::exit::Exit;
use crate::logging;

/// One: the packets of a picture are then all queued before the peer connection takes the first, which saves a wake-up a
/// packet.
const WORKERS: usize = 1;
/// Name of the runtime's threads, so that a measurement by thread can tell them from the encoder's.
pub(crate) const WORKER_NAME: &str = "rtcpub-io";
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
}

/// Runs `main` until it returns, and tells it what the process is asked for.
pub(super) fn run<F, T>(on_hangup: Hangup, main: impl FnOnce(Signals) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(4)
        .thread_name(WORKER_NAME)
        .enable_all()
        .build()
        .context("the runtime's threads cannot be started")?;
    let result = runtime.block_on(async {
        let signals = Signals::default();
        let shutdown = signals.shutdown.clone();
        // Before anything else: a signal that nobody awaits would kill.
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (mut hangup, mut quit) = (signal(SignalKind::hangup())?, signal(SignalKind::quit())?);
        // Ctrl-Z is not obeyed: a process that does not run stops no car.
        let mut suspend = signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?;
        let ended = main(signals.clone());
        tokio::pin!(ended);
        loop {
            tokio::select! {
                result = &mut ended => return result,
                _ = terminate.recv() => stop("SIGTERM", &shutdown),
                _ = interrupt.recv() => stop("SIGINT", &shutdown),
                _ = hangup.recv() => match on_hangup {
                    Hangup::Ends => stop("SIGHUP", &shutdown),
                    Hangup::Reloads => signals.reload.notify_one(),
                },
                _ = quit.recv() => stop("SIGQUIT", &shutdown),
                _ = suspend.recv() => tracing::warn!("not suspended, for that would stop no car; Ctrl-C ends it"),
            }
        }
    });
    // Everything that can end has ended. What is left is a thread inside a driver that hangs.
    runtime.shutdown_background();
    result
}

fn stop(signal: &str, shutdown: &CancellationToken) {
    tracing::info!(signal, "stopping");
    shutdown.cancel();
}

/// Gives up huge pages: the encoder asks for them, and what it leaves empty of each is memory a small board lacks
/// (measured: 5 … 9 MB at 1280x720).
pub(super) fn save_memory() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay on");
    }
}

/// From now on a panic anywhere stops the car, waits for neutral, and ends the process: nothing limps on.
///
/// On the drive thread itself it only logs, and no backtrace: there, neutral comes with the unwinding, which must not wait
/// for one, and the thread tells its end.
pub(super) fn guard(drive: DriveHandle) {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // The car first: writing a backtrace can take longer than the car may roll.
        drive.stop(StopCause::Panic);
        if std::thread::current().name() == Some(crate::drive::THREAD_NAME) {
            logging::log_panic(panic);
            return;
        }
        previous(panic);
        if !drive.stop_and_confirm(StopCause::Panic, PANIC_DEADLINE) {
            tracing::error!("neutral was not confirmed: run `rtcpub park`, or cut the power");
        }
        std::process::exit(i32::from(Exit::Panic.code()));
    }));
}
