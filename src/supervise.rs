//! Named tasks under one shutdown signal: none is detached, the first that ends unasked ends all, and ending has a deadline.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// The tasks of a process and the signal that ends them.
#[derive(Debug)]
pub struct Supervisor {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    shutdown: CancellationToken,
}

/// How supervision ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything ended after the shutdown signal, within the deadline.
    Asked,
    /// This task ended although nobody had asked.
    Unasked(&'static str),
    /// A task panicked: what it said.
    Panicked(String),
    /// These tasks were still running at the deadline, and were aborted.
    Overdue(Vec<&'static str>),
}

impl Supervisor {
    /// No tasks yet. `shutdown` is the signal: whoever holds a clone can give it.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), names: HashMap::new(), shutdown }
    }

    /// Starts a task that is vital: it must not end before the shutdown signal.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits for the first task that ends although nobody has asked, and tells which; `None` when the shutdown signal was
    /// given before that. Cancel-safe.
    pub async fn watch(&mut self) -> Option<Ended> {
        tokio::select! {
            () = self.shutdown.cancelled() => None,
            Some(ended) = self.tasks.join_next_with_id() => Some(judge(ended, &mut self.names)),
        }
    }

    /// Gives the signal, and lets every task end within `deadline`.
    pub async fn end(mut self, deadline: Duration) -> Ended {
        self.shutdown.cancel();
        match tokio::time::timeout(deadline, drain(&mut self.tasks, &mut self.names)).await {
            Ok(panicked) => panicked.unwrap_or(Ended::Asked),
            Err(_) => Ended::Overdue(self.names.into_values().collect()),
        }
    }
}

async fn drain(tasks: &mut JoinSet<()>, names: &mut HashMap<Id, &'static str>) -> Option<Ended> {
    let mut panicked = None;
    while let Some(ended) = tasks.join_next_with_id().await {
        if let Ended::Panicked(what) = judge(ended, names) {
            panicked.get_or_insert(Ended::Panicked(what));
        }
    }
    panicked
}

fn judge(ended: Result<(Id, ()), JoinError>, names: &mut HashMap<Id, &'static str>) -> Ended {
    let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
    let name = names.remove(&id).expect("every task got its name when it was spawned");
    match ended {
        Ok(_) => Ended::Unasked(name),
        Err(error) => Ended::Panicked(format!("{name}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(2);

    /// As a process does it.
    async fn run(mut supervisor: Supervisor) -> Ended {
        let unasked = supervisor.watch().await;
        let ended = supervisor.end(DEADLINE).await;
        unasked.unwrap_or(ended)
    }

    #[tokio::test(start_paused = true)]
    async fn the_signal_ends_every_task() {
        let shutdown = CancellationToken::new();
        let mut supervisor = Supervisor::new(shutdown.clone());
        for name in ["a", "b"] {
            let shutdown = shutdown.clone();
            supervisor.spawn(name, async move { shutdown.cancelled().await });
        }
        shutdown.cancel();
        assert_eq!(run(supervisor).await, Ended::Asked);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_unasked_takes_the_others_with_it() {
        let shutdown = CancellationToken::new();
        let mut supervisor = Supervisor::new(shutdown.clone());
        let signal = shutdown.clone();
        supervisor.spawn("steady", async move { signal.cancelled().await });
        supervisor.spawn("weak", async {});
        assert_eq!(run(supervisor).await, Ended::Unasked("weak"));
        assert!(shutdown.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_told_whenever_it_happens() {
        let shutdown = CancellationToken::new();
        let mut supervisor = Supervisor::new(shutdown.clone());
        supervisor.spawn("brittle", async { panic!("at once") });
        assert!(matches!(run(supervisor).await, Ended::Panicked(_)));

        let mut supervisor = Supervisor::new(shutdown.clone());
        let signal = shutdown.clone();
        supervisor.spawn("late", async move {
            signal.cancelled().await;
            panic!("while ending");
        });
        assert!(matches!(run(supervisor).await, Ended::Panicked(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_will_not_end_is_aborted_at_the_deadline() {
        let shutdown = CancellationToken::new();
        let mut supervisor = Supervisor::new(shutdown.clone());
        supervisor.spawn("stubborn", std::future::pending());
        shutdown.cancel();
        assert_eq!(run(supervisor).await, Ended::Overdue(vec!["stubborn"]));
    }
}
