//! What a long-running command needs of the process: a runtime, the signals that end it, and the guard against panics.

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::drive::DriveHandle;
use crate::drive::gate::StopCause;
use crate::exit::Exit;

/// One thread for the sockets and one for the rest: more only costs memory. Named, so that a measurement by thread can
/// tell them from the encoder's.
const WORKERS: usize = 2;
/// Name of the runtime's threads.
pub(crate) const WORKER_NAME: &str = "rtcpub-io";
/// How long a panic waits for neutral before the process ends.
const PANIC_DEADLINE: std::time::Duration = std::time::Duration::from_millis(50);

/// Runs `main` until it returns; SIGTERM, SIGINT, SIGQUIT and the end of the terminal (SIGHUP) cancel the token it is
/// given. Ctrl-Z is not obeyed: a process that does not run stops no car.
pub(super) fn run<F, T>(main: impl FnOnce(CancellationToken) -> F) -> Result<T>
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
        let shutdown = CancellationToken::new();
        let ended = main(shutdown.clone());
        tokio::pin!(ended);
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (mut hangup, mut quit) = (signal(SignalKind::hangup())?, signal(SignalKind::quit())?);
        let mut suspend = signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?;
        loop {
            tokio::select! {
                result = &mut ended => return result,
                _ = terminate.recv() => stop("SIGTERM", &shutdown),
                _ = interrupt.recv() => stop("SIGINT", &shutdown),
                _ = hangup.recv() => stop("SIGHUP", &shutdown),
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

/// From now on a panic anywhere stops the car, waits for neutral, and ends the process: nothing limps on.
///
/// On the drive thread itself it only logs: there, neutral comes with the unwinding, and the thread tells its end.
pub(super) fn guard(drive: DriveHandle) {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // The car first: writing a backtrace can take longer than the car may roll.
        drive.stop(StopCause::Panic);
        previous(panic);
        if std::thread::current().name() == Some(crate::drive::THREAD_NAME) {
            return;
        }
        if !drive.stop_and_confirm(StopCause::Panic, PANIC_DEADLINE) {
            tracing::error!("neutral was not confirmed: run `rtcpub park`, or cut the power");
        }
        std::process::exit(i32::from(Exit::Panic.code()));
    }));
}
