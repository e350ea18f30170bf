//! What a long-running command needs of the process: a runtime, the signals that end it, and the guard against panics.

use anyhow::{Context, Result};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::drive::DriveHandle;
use crate::drive::gate::StopCause;
use crate::exit::Exit;

/// One: the packets of a picture are then all queued before the peer connection takes the first, which saves a wake-up a
/// packet.
const WORKERS: usize = 1;
/// Name of the runtime's threads, so that a measurement by thread can tell them from the encoder's.
pub(crate) const WORKER_NAME: &str = "rtcpub-io";
/// How long a panic waits for neutral before the process ends.
const PANIC_DEADLINE: std::time::Duration = std::time::Duration::from_millis(50);

/// Runs `main` until it returns; SIGTERM, SIGINT and the end of the terminal (SIGHUP) cancel the token it is given.
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
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let ended = main(shutdown.clone());
        tokio::pin!(ended);
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                result = &mut ended => return result,
                _ = terminate.recv() => stop("SIGTERM", &shutdown),
                _ = interrupt.recv() => stop("SIGINT", &shutdown),
                _ = hangup.recv() => stop("SIGHUP", &shutdown),
            }
        }
    })
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
