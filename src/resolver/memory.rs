//! What is known of one name, and what is asked. Pure.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Patience, ResolveError, Resolved};

/// A question without an answer for this long is asked again: its packet, or the answer's, is lost. Until then it is asked
/// for all who want to know, and who comes later waits no longer than who came first.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Questions that hang at the same time, each of them a thread of the system's resolver. Full: none is asked until one
/// ends, after some seconds.
const MOST_UNDER_WAY: usize = 8;

/// One name.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// The newest answer, and the question it was to.
    known: Option<(u64, Vec<IpAddr>)>,
    /// The newest refusal, likewise.
    refused: Option<(u64, ResolveError)>,
    /// Questions without an answer, and when they were asked; the oldest first.
    under_way: VecDeque<(u64, Instant)>,
    asked: u64,
}

/// Someone who waits for addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    since: Instant,
    /// Answers to this question and later ones are new enough.
    question: u64,
}

/// What to do for someone who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// These are the addresses.
    Use(Resolved),
    /// There are none.
    Fail(ResolveError),
    /// Ask this question, and look again at an answer, or then.
    Ask { question: u64, until: Instant },
    /// Look again at an answer, or then.
    Wait { until: Instant },
}

impl Memory {
    /// Someone begins to wait.
    pub(super) fn begin(&self, now: Instant) -> Waiting {
        let shared = self.under_way.back().filter(|(_, at)| now.saturating_duration_since(*at) < ASK_AGAIN);
        let (question, since) = shared.copied().unwrap_or((self.asked + 1, now));
        Waiting { since, question }
    }

    /// What to do for them now.
    pub(super) fn step(&mut self, waiting: &Waiting, patience: Patience, now: Instant) -> Step {
        let Waiting { since, question } = *waiting;
        if let Some((_, addresses)) = self.known.as_ref().filter(|(answered, _)| *answered >= question) {
            return Step::Use(Resolved { addresses: addresses.clone(), stale: None });
        }
        let open = self.under_way.iter().any(|(asked, _)| *asked >= question);
        let refused = self.refused.as_ref().filter(|(refused, _)| *refused >= question && !open);
        let patience = if self.known.is_some() { patience.known } else { patience.unknown };
        let late = (now >= since + patience).then_some(ResolveError::Silent);
        if let Some(error) = refused.map(|(_, error)| error.clone()).or(late) {
            return match &self.known {
                Some((_, addresses)) => Step::Use(Resolved { addresses: addresses.clone(), stale: Some(error) }),
                None => Step::Fail(error),
            };
        }
        self.wait(open, since + patience, now)
    }

    fn wait(&mut self, open: bool, until: Instant, now: Instant) -> Step {
        let newest = self.under_way.back().map(|(_, at)| *at).filter(|_| open);
        let full = self.under_way.len() >= MOST_UNDER_WAY;
        match newest.map(|at| at + ASK_AGAIN) {
            Some(again) if again > now => Step::Wait { until: until.min(again) },
            _ if full => Step::Wait { until },
            _ => {
                self.asked += 1;
                self.under_way.push_back((self.asked, now));
                Step::Ask { question: self.asked, until: until.min(now + ASK_AGAIN) }
            }
        }
    }

    /// A question is answered, late or in time.
    pub(super) fn answered(&mut self, question: u64, outcome: Result<Vec<IpAddr>, ResolveError>) {
        self.under_way.retain(|(asked, _)| *asked != question);
        match outcome {
            Ok(addresses) if self.known.as_ref().is_none_or(|(newest, _)| *newest < question) => {
                self.known = Some((question, addresses));
            }
            Err(error) if self.refused.as_ref().is_none_or(|(newest, _)| *newest < question) => {
                self.refused = Some((question, error));
            }
            Ok(_) | Err(_) => {}
        }
    }

    #[cfg(test)]
    pub(super) fn asked(&self) -> u64 {
        self.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { known: Duration::from_millis(250), unknown: Duration::from_secs(5) };

    /// A resolver's answers on virtual time.
    struct World {
        memory: Memory,
        start: Instant,
        /// When which question is answered, in milliseconds, and how.
        answers: Vec<(u64, u64, Result<Vec<IpAddr>, ResolveError>)>,
        now_ms: u64,
    }

    fn ip(last: u8) -> Vec<IpAddr> {
        vec![[192, 0, 2, last].into()]
    }

    fn fresh(last: u8) -> Result<Resolved, ResolveError> {
        Ok(Resolved { addresses: ip(last), stale: None })
    }

    fn stale(last: u8, stale: ResolveError) -> Result<Resolved, ResolveError> {
        Ok(Resolved { addresses: ip(last), stale: Some(stale) })
    }

    impl World {
        fn new() -> Self {
            #[expect(clippy::disallowed_methods, reason = "any instant will do")]
            let start = Instant::now();
            Self { memory: Memory::default(), start, answers: Vec::new(), now_ms: 0 }
        }

        /// The system's resolver as it is at a time: how long it takes, and what it answers.
        fn ask(
            &mut self,
            resolver: &impl Fn(u64) -> (u64, Result<Vec<IpAddr>, ResolveError>),
        ) -> (u64, Result<Resolved, ResolveError>) {
            let begun = self.now_ms;
            let waiting = self.memory.begin(self.at(begun));
            for _ in 0..10_000 {
                let now = self.at(self.now_ms);
                match self.memory.step(&waiting, PATIENCE, now) {
                    Step::Use(resolved) => return (self.now_ms - begun, Ok(resolved)),
                    Step::Fail(error) => return (self.now_ms - begun, Err(error)),
                    Step::Ask { question, .. } => {
                        let (takes, outcome) = resolver(self.now_ms);
                        self.answers.push((self.now_ms + takes, question, outcome));
                    }
                    Step::Wait { .. } => {}
                }
                self.pass(10);
            }
            panic!("nobody waits for ever");
        }

        fn pass(&mut self, ms: u64) {
            self.now_ms += ms;
            let due = |(at, ..): &(u64, u64, Result<Vec<IpAddr>, ResolveError>)| *at <= self.now_ms;
            let (due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.answers).into_iter().partition(due);
            self.answers = rest;
            for (_, question, outcome) in due {
                self.memory.answered(question, outcome);
            }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }
    }

    fn dead(_: u64) -> (u64, Result<Vec<IpAddr>, ResolveError>) {
        (10_000, Err(ResolveError::Refused("temporary failure".to_owned())))
    }

    #[test]
    fn every_time_is_asked_anew_and_the_newest_answer_counts() {
        let mut world = World::new();
        for last in 1..=3 {
            assert_eq!(world.ask(&|_| (20, Ok(ip(last)))), (20, fresh(last)));
        }
        assert_eq!(world.memory.asked(), 3);
    }

    #[test]
    fn while_the_dns_server_is_dead_the_last_addresses_are_used_at_once() {
        let mut world = World::new();
        assert_eq!(world.ask(&|_| (20, Ok(ip(1)))), (20, fresh(1)));
        let silent = stale(1, ResolveError::Silent);
        assert_eq!(world.ask(&dead), (250, silent.clone()));
        assert_eq!(world.ask(&dead), (0, silent.clone()), "and nobody waits twice for the same question");
        for _ in 0..20 {
            let (took, found) = world.ask(&dead);
            assert!(took <= 250 && found == silent, "{took} ms, {found:?}");
            world.pass(500);
        }
        assert!(world.memory.under_way.len() <= MOST_UNDER_WAY, "questions that hang are bounded");
        world.pass(20_000);
        assert_eq!(world.ask(&|_| (30, Ok(ip(2)))), (30, fresh(2)), "and the new ones as soon as there are any");
    }

    #[test]
    fn a_name_never_heard_of_is_found_within_a_second_of_the_path_being_back() {
        let mut world = World::new();
        // What is asked in the first 2.3 s hangs as long as the system's resolver lets it.
        let back = |now| if now < 2300 { dead(now) } else { (20, Ok(ip(1))) };
        let (took, found) = world.ask(&back);
        assert_eq!(found, fresh(1));
        assert!((2300..3400).contains(&took), "{took} ms");
    }

    #[test]
    fn a_late_answer_serves_the_next_try_and_never_takes_the_place_of_a_newer_one() {
        let mut world = World::new();
        assert_eq!(world.ask(&|_| (20, Ok(ip(1)))), (20, fresh(1)));
        assert_eq!(world.ask(&|_| (900, Ok(ip(2)))), (250, stale(1, ResolveError::Silent)));
        world.pass(1000);
        assert_eq!(world.ask(&dead), (250, stale(2, ResolveError::Silent)), "the late one");
        world.memory.answered(1, Ok(ip(9)));
        assert_eq!(world.ask(&dead), (0, stale(2, ResolveError::Silent)), "not one that is later still, and older");
    }

    #[test]
    fn a_refusal_is_not_waited_on_and_does_not_take_known_addresses_away() {
        let mut world = World::new();
        let refused = ResolveError::Refused("no such name".to_owned());
        let refusing = |_| (30, Err(refused.clone()));
        assert_eq!(world.ask(&refusing), (30, Err(refused.clone())));
        assert_eq!(world.ask(&|_| (20, Ok(ip(1)))), (20, fresh(1)));
        assert_eq!(world.ask(&refusing), (30, stale(1, refused.clone())));
    }

    #[test]
    fn a_name_that_nobody_answers_for_is_given_up() {
        let mut world = World::new();
        assert_eq!(world.ask(&dead), (5000, Err(ResolveError::Silent)));
        assert_eq!(world.memory.asked(), 5, "asked again each second");
        for _ in 0..5 {
            assert!(world.ask(&dead).1.is_err());
            assert!(world.memory.under_way.len() <= MOST_UNDER_WAY);
        }
        assert!(world.memory.asked() > MOST_UNDER_WAY as u64, "nor is it left at that");
    }
}
