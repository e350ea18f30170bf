//! What reaches the motors, seen from outside the daemon: in the board's registers, or as a program on the bridge.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::driver::Driver;
use super::lab::Registers;
use super::{PATIENCE, within};

/// Throttle and steering in ticks; `None` for a channel that puts no pulse out.
pub type Pulses = [Option<u16>; 2];

/// The reference's car at rest.
pub const NEUTRAL: Pulses = [Some(375), Some(399)];

/// The registers are read this often.
const LOOK: Duration = Duration::from_millis(2);

/// The pulses from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub at: Instant,
    pub pulses: Pulses,
}

/// Every change of the pulses since the watch began.
pub struct Outputs {
    changes: watch::Receiver<Vec<Change>>,
    seen: usize,
    watcher: Watcher,
}

enum Watcher {
    Board { end: Arc<AtomicBool>, thread: Option<JoinHandle<()>> },
    Bridge { to_daemon: OwnedWriteHalf },
}

impl Outputs {
    /// Watches the lab's board. While it does the bus is in use.
    pub fn of_board() -> Self {
        let mut registers = Registers::open();
        let (sender, changes) = watch::channel(vec![Change { at: Instant::now(), pulses: registers.pulses() }]);
        let end = Arc::new(AtomicBool::new(false));
        let until = end.clone();
        let look = move || {
            while !until.load(Ordering::Relaxed) {
                note(&sender, registers.pulses());
                thread::sleep(LOOK);
            }
        };
        let thread = thread::Builder::new().name("board".into()).spawn(look).expect("a thread");
        Self { changes, seen: 0, watcher: Watcher::Board { end, thread: Some(thread) } }
    }

    /// Watches what a daemon whose actuator is the bridge gives its programs; waits until it listens.
    pub async fn of_bridge(socket: &Path) -> Self {
        let connected = async {
            loop {
                match UnixStream::connect(socket).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(LOOK).await,
                }
            }
        };
        let (from_daemon, to_daemon) = within("the bridge", connected).await.into_split();
        let (sender, changes) = watch::channel(Vec::new());
        tokio::spawn(read(from_daemon, sender));
        Self { changes, seen: 0, watcher: Watcher::Bridge { to_daemon } }
    }

    /// Sends a line to the daemon, as a program does.
    pub async fn say(&mut self, line: &str) {
        let Watcher::Bridge { to_daemon } = &mut self.watcher else { panic!("a board does not speak") };
        to_daemon.write_all(format!("{line}\n").as_bytes()).await.expect("the bridge listens");
    }

    /// The pulses now.
    pub fn now(&self) -> Option<Pulses> {
        self.changes.borrow().last().map(|change| change.pulses)
    }

    /// What came since the last look, oldest first.
    pub fn news(&mut self) -> Vec<Change> {
        let changes = self.changes.borrow_and_update();
        let news = changes[self.seen..].to_vec();
        self.seen = changes.len();
        news
    }

    /// Waits until the pulses are these, and tells since when.
    pub async fn reach(&mut self, pulses: Pulses) -> Instant {
        let reached = self.try_reach(pulses, PATIENCE).await;
        reached.unwrap_or_else(|| panic!("{pulses:?} expected, but: {:?}", self.changes.borrow()))
    }

    /// The same, if it happens in time.
    pub async fn try_reach(&mut self, pulses: Pulses, patience: Duration) -> Option<Instant> {
        let last_is = |changes: &Vec<Change>| changes.last().is_some_and(|change| change.pulses == pulses);
        let reached = tokio::time::timeout(patience, self.changes.wait_for(last_is)).await.ok()?;
        let changes = reached.expect("the watch goes on");
        changes.last().map(|change| change.at)
    }

    /// Waits until the driver has brought the pulses there. Does what a person does whose car has stopped by itself (a
    /// busy machine may stall the daemon): lets go, and takes the sticks again.
    pub async fn are_driven_to(&mut self, pulses: Pulses, driver: &Driver, held: &[String]) -> Instant {
        const TRY: Duration = Duration::from_millis(1500);
        let driven = async {
            loop {
                driver.holds(held.to_vec());
                if let Some(at) = self.try_reach(pulses, TRY).await {
                    return at;
                }
                driver.lets_go();
                tokio::time::sleep(TRY / 2).await;
            }
        };
        match tokio::time::timeout(2 * PATIENCE, driven).await {
            Ok(at) => at,
            Err(_) => {
                panic!("{held:?} should lead to {pulses:?}: {:?}; told: {:#?}", self.changes.borrow(), driver.told())
            }
        }
    }

    /// Waits until a bridge is gone, and tells when that was.
    pub async fn end(mut self) -> Instant {
        assert!(matches!(self.watcher, Watcher::Bridge { .. }), "a board does not end");
        within("the end of the bridge", async { while self.changes.changed().await.is_ok() {} }).await;
        Instant::now()
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        if let Watcher::Board { end, thread } = &mut self.watcher {
            end.store(true, Ordering::Relaxed);
            let ended = thread.take().map(JoinHandle::join);
            assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the board was lost");
        }
    }
}

/// Notes the pulses when they are others than before.
fn note(changes: &watch::Sender<Vec<Change>>, pulses: Pulses) {
    changes.send_if_modified(|changes| {
        let changed = changes.last().is_none_or(|last| last.pulses != pulses);
        if changed {
            changes.push(Change { at: Instant::now(), pulses });
        }
        changed
    });
}

async fn read(from_daemon: OwnedReadHalf, changes: watch::Sender<Vec<Change>>) {
    let mut lines = BufReader::new(from_daemon).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line: Value = serde_json::from_str(&line).expect("the bridge speaks JSON");
        let pulse = |axis: &str| line["output"]["pulses"][axis].as_u64().and_then(|ticks| u16::try_from(ticks).ok());
        if line.get("output").is_some() {
            note(&changes, [pulse("throttle"), pulse("steering")]);
        }
    }
}
