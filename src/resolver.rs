//! Names to addresses, for signalling, STUN and TURN alike: asked for anew each time, and never waited for for long.
//!
//! The system's resolver waits five seconds and more for a name server that does not answer, and cannot be hurried: what
//! it was asked while the path was dead it answers long after the path is back. So a question that hangs is left hanging
//! and asked again beside it, and who has the addresses of an earlier answer goes on with those.
//!
//! Each question is a thread of its own, for it can hang longer than anything else may wait: on the runtime's blocking
//! threads, of which there are few, the end of the car would wait for them.

mod memory;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use memory::{Memory, Step};

/// Name of each thread that asks.
const THREAD_NAME: &str = "resolver";

/// How long an answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// When there are addresses of an earlier answer.
    pub known: Duration,
    /// When there are none.
    pub unknown: Duration,
}

/// Addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// At least one, in the resolver's order.
    pub addresses: Vec<IpAddr>,
    /// Why they are those of an earlier answer, when they are.
    pub stale: Option<ResolveError>,
}

/// Why a name has no addresses now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// What the system's resolver says.
    #[error("{0}")]
    Refused(String),
    /// The name is known, and has none.
    #[error("the name has no address")]
    NoAddress,
    /// No answer came in time.
    #[error("no answer in time; is the DNS server reachable?")]
    Silent,
}

/// Asks the system's resolver, and remembers what it answered. One for all who ask for the same names, of which there are
/// as many as a channel file has.
#[derive(Debug)]
pub struct Resolver {
    names: Arc<Mutex<HashMap<String, Memory>>>,
    /// Changes with every answer.
    answers: watch::Sender<()>,
    /// Asks the system, and may hang.
    look_up: fn(&str) -> io::Result<Vec<IpAddr>>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { names: Arc::default(), answers: watch::Sender::default(), look_up }
    }
}

impl Resolver {
    /// The addresses of a name, or the address that it is.
    ///
    /// # Errors
    /// [`ResolveError`], when there are no addresses of an earlier answer either.
    pub async fn addresses(&self, name: &str, patience: Patience) -> Result<Resolved, ResolveError> {
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            return Ok(Resolved { addresses: vec![address], stale: None });
        }
        let mut answers = self.answers.subscribe();
        let waiting = self.with(name, |memory| memory.begin(now()));
        loop {
            answers.mark_unchanged();
            let until = match self.with(name, |memory| memory.step(&waiting, patience, now())) {
                Step::Use(resolved) => return Ok(resolved),
                Step::Fail(error) => return Err(error),
                Step::Ask { question, until } => {
                    self.ask(name, question);
                    until
                }
                Step::Wait { until } => until,
            };
            // Whether an answer came, and whether it is the one, is looked up in either case.
            let _ = tokio::time::timeout_at(until.into(), answers.changed()).await;
        }
    }

    fn with<T>(&self, name: &str, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(lock(&self.names).entry(name.to_owned()).or_default())
    }

    /// Asks on a thread of its own, of which [`Memory`] bounds the number for each name. It ends with its answer; nobody
    /// waits for it, at the end of the process neither.
    fn ask(&self, name: &str, question: u64) {
        let (asked, names, answers, look_up) =
            (name.to_owned(), self.names.clone(), self.answers.clone(), self.look_up);
        let asking = move || {
            let outcome = match look_up(&asked) {
                Ok(addresses) if addresses.is_empty() => Err(ResolveError::NoAddress),
                Ok(addresses) => Ok(addresses),
                Err(error) => Err(ResolveError::Refused(error.to_string())),
            };
            lock(&names).entry(asked).or_default().answered(question, outcome);
            answers.send_replace(());
        };
        if let Err(error) = thread::Builder::new().name(THREAD_NAME.into()).spawn(asking) {
            let refused = ResolveError::Refused(format!("no thread to ask on: {error}"));
            self.with(name, |memory| memory.answered(question, Err(refused)));
            self.answers.send_replace(());
        }
    }
}

fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while holding one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "the shell of a pure memory")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    const PATIENCE: Patience = Patience { known: Duration::from_secs(20), unknown: Duration::from_secs(20) };

    #[tokio::test]
    async fn names_are_asked_for_and_addresses_are_not() {
        let resolver = Resolver::default();
        let here = resolver.addresses("localhost", PATIENCE).await.expect("every machine knows it");
        assert!(here.addresses.iter().all(IpAddr::is_loopback) && here.stale.is_none(), "{here:?}");
        for address in ["192.0.2.7", "[2001:db8::7]"] {
            let resolved = resolver.addresses(address, PATIENCE).await.expect("nothing to ask");
            assert_eq!(resolved.addresses[0].to_string(), address.trim_matches(['[', ']']));
        }
        let nowhere = resolver.addresses("no-such-host.invalid", PATIENCE).await;
        assert!(matches!(nowhere, Err(ResolveError::Refused(_))), "{nowhere:?}");
        assert_eq!(lock(&resolver.names).len(), 2, "addresses are not remembered");
    }

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_share_a_question() {
        static ALL_HAVE_ASKED: Barrier = Barrier::new(2);
        fn answers_when_all_have_asked(_: &str) -> io::Result<Vec<IpAddr>> {
            ALL_HAVE_ASKED.wait();
            Ok(vec![IpAddr::from([192, 0, 2, 7])])
        }
        let resolver = Resolver { look_up: answers_when_all_have_asked, ..Resolver::default() };
        let asked = futures_util::future::join_all((0..5).map(|_| resolver.addresses("name", PATIENCE)));
        let (answers, _) = futures_util::future::join(asked, async { ALL_HAVE_ASKED.wait() }).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(resolver.with("name", |memory| memory.asked()), 1);
    }

    #[test]
    fn questions_that_hang_leave_the_runtime_s_blocking_threads_to_those_who_end_the_car() {
        fn hangs(_: &str) -> io::Result<Vec<IpAddr>> {
            thread::sleep(Duration::from_secs(5));
            Err(io::ErrorKind::TimedOut.into())
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().max_blocking_threads(1).build();
        let runtime = runtime.expect("a thread");
        runtime.block_on(async {
            let resolver = Resolver { look_up: hangs, ..Resolver::default() };
            let patience = Patience { known: Duration::ZERO, unknown: Duration::from_millis(10) };
            let asked = ["a", "b", "c", "d", "e"].map(|name| resolver.addresses(name, patience));
            let answers = futures_util::future::join_all(asked).await;
            assert!(answers.iter().all(|answer| *answer == Err(ResolveError::Silent)), "{answers:?}");
            let parked = tokio::task::spawn_blocking(|| ());
            tokio::time::timeout(Duration::from_secs(2), parked).await.expect("at once").expect("no panic");
        });
        runtime.shutdown_background();
    }
}
