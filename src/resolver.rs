//! Names to addresses, for signalling, STUN and TURN alike: asked for anew each time, and never waited for for long.
//!
//! The system's resolver waits five seconds and more for a name server that does not answer, and cannot be hurried: what
//! it was asked while the path was dead it answers long after the path is back. So a question that hangs is left hanging
//! and asked again beside it, and who has the addresses of an earlier answer goes on with those.

mod memory;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use memory::{Memory, Step};

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
#[derive(Debug, Default)]
pub struct Resolver {
    names: Arc<Mutex<HashMap<String, Memory>>>,
    /// Changes with every answer.
    answers: watch::Sender<()>,
    /// Questions under way; bounded for each name by [`Memory`].
    questions: Mutex<JoinSet<()>>,
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

    fn ask(&self, name: &str, question: u64) {
        let (name, names, answers) = (name.to_owned(), self.names.clone(), self.answers.clone());
        let mut questions = lock(&self.questions);
        while questions.try_join_next().is_some() {}
        questions.spawn(async move {
            let outcome = tokio::net::lookup_host((name.as_str(), 0)).await;
            let outcome = match outcome.map(|found| found.map(|address| address.ip()).collect::<Vec<_>>()) {
                Ok(addresses) if addresses.is_empty() => Err(ResolveError::NoAddress),
                Ok(addresses) => Ok(addresses),
                Err(error) => Err(ResolveError::Refused(error.to_string())),
            };
            lock(&names).entry(name).or_default().answered(question, outcome);
            answers.send_replace(());
        });
    }
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
        let resolver = Resolver::default();
        let asked = (0..5).map(|_| resolver.addresses("localhost", PATIENCE));
        let answers = futures_util::future::join_all(asked).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(resolver.with("localhost", |memory| memory.asked()), 1);
    }
}
