//! Panics on purpose, for the tests that hold that one anywhere stops the car.
//!
//! Only a build with debug assertions can do it, which a release is not, and only when [`VARIABLE`] is set in its
//! environment: then the `stream` message `{"panic":{"key":PLACE,"value":MS}}` makes that place panic when it is next
//! passed, and tell it for that many milliseconds, as a backtrace may take. In a release everything here is empty.

use crate::supervise::Supervisor;

/// Starts the daemon's tasks, each of which can be made to panic by its name.
pub(super) struct Spawner<'a> {
    supervisor: &'a mut Supervisor,
    provocation: &'a Provocation,
}

impl<'a> Spawner<'a> {
    pub(super) fn new(supervisor: &'a mut Supervisor, provocation: &'a Provocation) -> Self {
        Self { supervisor, provocation }
    }

    /// Starts a task that must not end before the shutdown signal.
    pub(super) fn task(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.supervisor.spawn(name, self.provocation.clone().throughout(name, task));
    }
}

/// The environment variable without which nothing panics.
#[cfg(debug_assertions)]
const VARIABLE: &str = "RTCPUB_TEST_PANIC";

/// Handed to every place that can be made to panic.
#[derive(Clone, Debug, Default)]
pub(super) struct Provocation(#[cfg(debug_assertions)] Option<tokio::sync::watch::Sender<Wanted>>);

/// The place that is to panic, and how long that takes to tell.
#[cfg(debug_assertions)]
#[derive(Debug, Default)]
struct Wanted {
    place: String,
    told_within: std::time::Duration,
}

#[cfg(debug_assertions)]
impl Provocation {
    pub(super) fn by_environment() -> Self {
        Self(std::env::var_os(VARIABLE).map(|_| tokio::sync::watch::Sender::default()))
    }

    /// Takes notice of a `stream` message.
    pub(super) fn heard(&self, message: &[u8]) {
        let Some(wanted) = &self.0 else { return };
        let message = serde_json::from_slice(message).unwrap_or(serde_json::Value::Null);
        if let Some(named) = message["panic"]["key"].as_str() {
            let told_within = std::time::Duration::from_millis(message["panic"]["value"].as_u64().unwrap_or_default());
            wanted.send_replace(Wanted { place: named.to_owned(), told_within });
            // Not before: who reads this passes the place.
            tracing::debug!(named, "a panic is asked for");
        }
    }

    /// This place is passed.
    pub(super) fn at(&self, place: &str) {
        let wanted = self.0.as_ref().is_some_and(|wanted| wanted.borrow().place == place);
        assert!(!wanted, "provoked in {place}");
    }

    /// A panic is told.
    pub(super) fn told(&self) {
        let within = self.0.as_ref().map(|wanted| wanted.borrow().told_within);
        within.into_iter().for_each(std::thread::sleep);
    }

    /// This task is a place which is passed all the time.
    pub(super) async fn throughout<T>(self, place: &str, task: impl Future<Output = T>) -> T {
        let provoked = async {
            match &self.0 {
                Some(wanted) => drop(wanted.subscribe().wait_for(|wanted| wanted.place == place).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = provoked => panic!("provoked in {place}"),
            done = task => done,
        }
    }
}

#[cfg(not(debug_assertions))]
impl Provocation {
    pub(super) fn by_environment() -> Self {
        Self()
    }

    pub(super) fn heard(&self, _message: &[u8]) {}

    pub(super) fn at(&self, _place: &str) {}

    pub(super) fn told(&self) {}

    pub(super) fn throughout<T>(self, _place: &str, task: impl Future<Output = T>) -> impl Future<Output = T> {
        task
    }
}
