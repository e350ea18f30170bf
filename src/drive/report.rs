//! What the drive thread tells: each event to the callback and, at a bounded rate, to the log.

use std::time::{Duration, Instant};

use super::command::Rejection;
use super::event::{Counters, DriveEvent};
use super::gate::{Refusal, State};

/// Lines logged at once before the rate counts, and how long each of them takes to be earned anew.
const LOG_BURST: u32 = 20;
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// How often rejected messages are told of.
const REJECTIONS_INTERVAL: Duration = Duration::from_secs(5);

/// Room for the news of one turn, made beforehand: each message of the inbox may be one, and a few changes of the gate and
/// the actuator. When turns pass in which nothing can be told, the oldest go.
const NEWS_CAPACITY: usize = 64;

/// Where events go.
pub(super) struct Reports {
    events: Box<dyn FnMut(DriveEvent) + Send>,
    /// What happened and is not told yet.
    news: Vec<DriveEvent>,
    budget: LogBudget,
    pub(super) counters: Counters,
    /// To be logged.
    refused: Option<Refusal>,
    rejected: [u64; Rejection::ALL.len()],
    rejections_due: Instant,
}

impl Reports {
    pub(super) fn new(events: Box<dyn FnMut(DriveEvent) + Send>, now: Instant) -> Self {
        let rejected = [0; Rejection::ALL.len()];
        Self {
            events,
            news: Vec::with_capacity(NEWS_CAPACITY),
            budget: LogBudget::new(now),
            counters: Counters::default(),
            refused: None,
            rejected,
            rejections_due: now,
        }
    }

    /// Takes note of an event, to be told when the actuator has what it needs.
    pub(super) fn note(&mut self, event: DriveEvent) {
        if self.news.len() == NEWS_CAPACITY {
            self.news.remove(0);
        }
        self.news.push(event);
    }

    /// Tells what was noted, oldest first.
    pub(super) fn tell_news(&mut self, now: Instant) {
        if let Some(refusal) = self.refused.take() {
            tracing::debug!(%refusal, "message refused");
        }
        let mut news = std::mem::take(&mut self.news);
        news.drain(..).for_each(|event| self.tell(event, now));
        self.news = news;
    }

    /// Tells of an event at once.
    pub(super) fn tell(&mut self, event: DriveEvent, now: Instant) {
        // A driver turns as often as he likes; that is nothing for the log.
        let worth_a_line = !matches!(event, DriveEvent::Direction(_));
        if let Some(left_out) = worth_a_line.then(|| self.budget.spend(now)).flatten() {
            if left_out > 0 {
                tracing::warn!(left_out, "drive events came faster than they are logged");
            }
            log(&event);
        }
        (self.events)(event);
    }

    /// Takes note of a message that is not obeyed.
    pub(super) fn refused(&mut self, refusal: Refusal) {
        if self.counters.last_refusal != Some(refusal) {
            self.refused = Some(refusal);
        }
        self.counters.refused += 1;
        self.counters.last_refusal = Some(refusal);
    }

    /// Tells of rejected messages, given the counts by kind since the start, when that is due.
    pub(super) fn rejections(&mut self, rejected: [u64; Rejection::ALL.len()], now: Instant) {
        self.counters.rejected = rejected.iter().sum();
        if rejected == self.rejected || now < self.rejections_due {
            return;
        }
        self.rejections_due = now + REJECTIONS_INTERVAL;
        let news = |kind: &Rejection| rejected[*kind as usize] - self.rejected[*kind as usize];
        let count = Rejection::ALL.iter().map(news).sum();
        let most = Rejection::ALL.into_iter().max_by_key(news);
        self.rejected = rejected;
        if let Some(most) = most {
            self.tell(DriveEvent::MessagesRejected { count, most }, now);
        }
    }
}

fn log(event: &DriveEvent) {
    match event {
        DriveEvent::State(State::Armed) => tracing::info!("drive armed"),
        DriveEvent::Direction(_) => {}
        DriveEvent::State(state) => {
            tracing::info!(cause = state.cause().map(|cause| cause.name()), "drive {}", state.name());
        }
        DriveEvent::MaxSpeed(pulse) => tracing::info!(ticks = pulse.ticks(), "maxSpeed set"),
        DriveEvent::MaxSpeedRefused(refusal) => tracing::warn!("maxSpeed refused: {refusal}"),
        DriveEvent::MaxSpeedFile(problem) => tracing::warn!("{problem}"),
        DriveEvent::ActuatorFault(error) => tracing::error!("actuator failed, the car is stopped: {error}"),
        DriveEvent::ActuatorRecovered => tracing::info!("actuator answers"),
        DriveEvent::MessagesRejected { count, most } => tracing::warn!(count, "stream messages rejected, most: {most}"),
        DriveEvent::Ended(ended) => tracing::info!(?ended, "drive thread ended"),
    }
}

/// A bounded number of lines.
struct LogBudget {
    lines: u32,
    earned: Instant,
    left_out: u64,
}

impl LogBudget {
    fn new(now: Instant) -> Self {
        Self { lines: LOG_BURST, earned: now, left_out: 0 }
    }

    /// Whether there is a line to spend; if so, how many were left out before it.
    fn spend(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.earned).as_nanos() / LOG_INTERVAL.as_nanos();
        let earned = u32::try_from(passed).unwrap_or(u32::MAX);
        if earned > 0 {
            self.lines = self.lines.saturating_add(earned).min(LOG_BURST);
            self.earned = now;
        }
        if self.lines == 0 {
            self.left_out += 1;
            return None;
        }
        self.lines -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "virtual time needs some moment to begin at")]
    fn the_log_takes_a_burst_then_a_line_a_second_and_tells_what_it_left_out() {
        let begin = Instant::now();
        let mut budget = LogBudget::new(begin);
        let told = (0..1000).filter(|_| budget.spend(begin).is_some()).count();
        assert_eq!(told, 20);
        assert_eq!(budget.spend(begin + Duration::from_millis(999)), None);
        assert_eq!(budget.spend(begin + Duration::from_secs(1)), Some(981));
        assert_eq!(budget.spend(begin + Duration::from_secs(1)), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "virtual time needs some moment to begin at")]
    fn rejections_are_told_at_most_once_in_five_seconds_with_the_kind_met_most() {
        let begin = Instant::now();
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut reports = Reports::new(Box::new(move |event| sender.send(event).unwrap()), begin);
        let mut rejected = [0; Rejection::ALL.len()];
        for second in 0..12 {
            rejected[Rejection::Malformed as usize] += 2;
            rejected[Rejection::Shape as usize] += 1;
            reports.rejections(rejected, begin + Duration::from_secs(second));
        }
        let told: Vec<_> = receiver.try_iter().collect();
        let event = |count| DriveEvent::MessagesRejected { count, most: Rejection::Malformed };
        assert_eq!(told, [event(3), event(15), event(15)]);
        assert_eq!(reports.counters.rejected, 36);
    }
}
