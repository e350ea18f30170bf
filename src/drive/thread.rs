//! The drive thread: waits, takes what came, asks the gate, writes to the actuator. It alone touches either.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::actuation::Actuation;
use super::actuator::{ActuatorError, Output};
use super::control::{Control, Heard};
use super::event::{Direction, DriveEvent, DriveSnapshot, Ended};
use super::gate::{Input, StopCause};
use super::inbox::{Batch, Inbox};
use super::max_speed::KeeperHandle;
use super::report::Reports;
use super::settings::Pulse;
use crate::realtime::schedule_first;

/// Longest sleep, so that counters and the snapshot are never older.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A sleep that takes this much longer than planned means that the whole process did not run: commands that arrive
/// thereafter may have waited in a socket.
const STALL: Duration = Duration::from_millis(250);

/// When somebody just reads the snapshot, it is published this much later.
const PUBLISH_AGAIN: Duration = Duration::from_millis(1);

/// How often neutral is tried on the way out.
const LAST_ATTEMPTS: usize = 3;

/// Everything the thread owns.
pub(super) struct DriveThread {
    inbox: Arc<Inbox>,
    control: Control,
    actuation: Actuation,
    keeper: KeeperHandle,
    reports: Reports,
    batch: Batch,
    /// Whether the world was told that the actuator is down.
    fault_told: bool,
    /// The way the driver goes.
    direction: Option<Direction>,
    turn: Turn,
}

/// What one turn of the thread leaves to its end, or to the next.
struct Turn {
    /// When the oldest command arrived that was obeyed and not yet carried out.
    obeyed: Option<Instant>,
    /// A top speed that is not kept yet.
    to_keep: Option<Pulse>,
    /// Whether the keeper was last told of a latched emergency stop.
    estop_kept: bool,
    /// Neutral has stood since this many stops were asked for.
    confirmed: u64,
    /// Whether the world knows.
    published: bool,
    /// When this turn began.
    woken: Instant,
}

impl DriveThread {
    pub(super) fn new(
        inbox: Arc<Inbox>,
        control: Control,
        actuation: Actuation,
        keeper: KeeperHandle,
        reports: Reports,
    ) -> Self {
        let estop_kept = control.gate.is_estop_latched();
        let turn = Turn { obeyed: None, to_keep: None, estop_kept, confirmed: 0, published: true, woken: clock() };
        Self {
            inbox,
            control,
            actuation,
            keeper,
            reports,
            batch: Batch::new(),
            fault_told: false,
            direction: None,
            turn,
        }
    }

    /// The thread's whole life. However it ends, neutral is tried and the end is told.
    pub(super) fn main(mut self) {
        schedule_first();
        self.turn.woken = clock();
        self.inbox.read_by(thread::current());
        tracing::debug!(actuator = self.actuation.name(), "drive thread runs");
        // The pieces may be in any state after a panic; only the actuator is used then, and only for neutral.
        let ended = catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|_| {
            let neutral = self.control.neutral(clock());
            Ended::Panicked { neutral: self.actuation.neutral_at_any_price(&neutral) }
        });
        self.inbox.ended(ended);
        // What panicked may have been the callback: then there is nobody left to tell, and the waiters know already.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            self.reports.note(DriveEvent::Ended(ended));
            self.reports.tell_news(clock());
        }));
    }

    /// Never waits for another thread, which may itself be kept from running: what is locked now is taken or told later.
    fn run(&mut self) -> Ended {
        loop {
            let all = self.inbox.try_take(&mut self.batch);
            let now = clock();
            if all {
                self.take_in(now);
            } else {
                // Whoever puts something in wakes this thread when he is done. Stops, and the deadline, come before him.
                self.inbox.take_stops(&mut self.batch);
                self.take_in_stops(now);
            }
            let output = self.control.output(now);
            let confirmed = self.carry_out(&output);
            self.report(now);
            // Who looks does so for a moment; after that moment the end is told, and all that came before it.
            if self.batch.end && self.turn.published {
                return if confirmed { Ended::Neutral } else { self.last_attempts() };
            }
            self.sleep();
        }
    }

    fn take_in_stops(&mut self, now: Instant) {
        for cause in self.batch.stops.iter() {
            self.control.gate.handle(stop_input(cause), now);
        }
    }

    fn take_in(&mut self, now: Instant) {
        self.take_in_stops(now);
        if let Some(config) = self.batch.reload.take()
            && let Some(pulse) = self.control.reload(&config, now)
        {
            self.reports.note(DriveEvent::MaxSpeed(pulse));
        }
        if self.batch.link_up {
            self.control.gate.handle(Input::LinkUp, now);
        }
        if let Some(problem) = self.batch.file_problem.take() {
            self.reports.note(DriveEvent::MaxSpeedFile(problem));
        }
        while let Some((message, arrived)) = self.batch.messages.pop_front() {
            let heard = self.control.hear(message, arrived, now);
            if !matches!(heard, Heard::Refused(_) | Heard::MaxSpeed(Err(_))) {
                self.reports.counters.obeyed += 1;
                self.turn.obeyed = self.turn.obeyed.or(Some(arrived));
            }
            match heard {
                Heard::Obeyed => {}
                Heard::Throttle(direction) => {
                    let before = std::mem::replace(&mut self.direction, direction);
                    if let Some(direction) = direction.filter(|_| direction != before) {
                        self.reports.note(DriveEvent::Direction(direction));
                    }
                }
                Heard::Refused(refusal) => self.reports.refused(refusal),
                Heard::MaxSpeed(Ok(pulse)) => {
                    self.reports.note(DriveEvent::MaxSpeed(pulse));
                    self.turn.to_keep = Some(pulse);
                }
                Heard::MaxSpeed(Err(refusal)) => {
                    self.reports.counters.refused += 1;
                    self.reports.note(DriveEvent::MaxSpeedRefused(refusal));
                }
            }
        }
        self.reports.counters.superseded = self.batch.superseded;
    }

    /// Puts the output on the actuator; nothing is told, logged or kept before that. Tells whether the car is confirmed to
    /// stand at neutral.
    fn carry_out(&mut self, output: &Output) -> bool {
        let stop_asked = !self.batch.stops.is_empty();
        let obeyed = self.turn.obeyed.take();
        if self.actuation.applied().is_none() {
            return self.bring_up(output.at(), stop_asked);
        }
        if self.actuation.is_due(output, stop_asked) {
            let waited = obeyed.map(|arrived| clock().saturating_duration_since(arrived));
            if let Err(error) = self.actuation.apply(output) {
                self.control.gate.handle(Input::Stop(StopCause::ActuatorFault), output.at());
                self.note_fault(&error);
                // A device that hangs takes its time for a start as well: first this is told.
                return self.bring_up(output.at(), !error.hangs());
            }
            waited.into_iter().for_each(|waited| self.inbox.latency().record(waited));
        }
        let stands = !output.safe().is_motion() && !output.safe().is_brake();
        if stands {
            self.turn.confirmed = self.batch.ticket;
        }
        stands
    }

    /// Starts an actuator that is down, when that is due. Tells whether it stands at neutral now.
    fn bring_up(&mut self, now: Instant, at_once: bool) -> bool {
        if now < self.actuation.poll_timeout() && !at_once {
            return false;
        }
        let neutral = self.control.neutral(now);
        let started = if self.fault_told { self.actuation.restart(&neutral) } else { self.actuation.start(&neutral) };
        match started {
            Ok(from) => {
                self.control.gate.handle(Input::ActuatorReady(from), now);
                if std::mem::take(&mut self.fault_told) {
                    self.reports.note(DriveEvent::ActuatorRecovered);
                }
                self.turn.confirmed = self.batch.ticket;
                true
            }
            Err(error) => {
                self.control.gate.handle(Input::Stop(StopCause::ActuatorFault), now);
                self.note_fault(&error);
                false
            }
        }
    }

    fn note_fault(&mut self, error: &ActuatorError) {
        if !std::mem::replace(&mut self.fault_told, true) {
            self.reports.counters.actuator_faults += 1;
            self.reports.note(DriveEvent::ActuatorFault(error.to_string()));
        }
    }

    fn report(&mut self, now: Instant) {
        let applied = self.actuation.applied().copied().unwrap_or_else(|| self.control.neutral(now));
        let snapshot = DriveSnapshot {
            state: self.control.gate.state(),
            awaits_neutral: self.control.gate.awaits_neutral(),
            throttle: applied.safe().throttle(),
            steering: applied.safe().steering(),
            pulses: applied.pulses(),
            max_speed: self.control.max_speed(),
            counters: self.reports.counters,
            ticked: now,
        };
        // The snapshot first: who hears of a change finds it there.
        self.turn.published = self.inbox.try_publish(snapshot, self.turn.confirmed);
        if !self.turn.published {
            return;
        }
        self.turn.to_keep.take().into_iter().for_each(|pulse| self.keeper.keep(pulse));
        let estop = self.control.gate.is_estop_latched();
        if std::mem::replace(&mut self.turn.estop_kept, estop) != estop {
            self.keeper.keep_estop(estop);
        }
        for state in self.control.gate.take_changes() {
            self.reports.note(DriveEvent::State(state));
        }
        self.reports.tell_news(now);
        self.reports.rejections(self.inbox.rejected(), now);
    }

    fn last_attempts(&mut self) -> Ended {
        for _ in 0..LAST_ATTEMPTS {
            if self.bring_up(clock(), true) {
                return Ended::Neutral;
            }
        }
        Ended::Unconfirmed
    }

    /// Sleeps until something comes or is due. Tells the gate when it slept, or was awake before, for far too long: the
    /// process may be stopped at any point of its way.
    fn sleep(&mut self) {
        let now = clock();
        if now.saturating_duration_since(self.turn.woken) > STALL {
            self.control.gate.handle(Input::Stalled, now);
            self.turn.woken = now;
            return;
        }
        let again = (!self.turn.published).then(|| now + PUBLISH_AGAIN);
        let due = [Some(self.actuation.poll_timeout()), self.control.poll_timeout(), again];
        let wake = due.into_iter().flatten().fold(now + LONGEST_SLEEP, Instant::min);
        thread::park_timeout(wake.saturating_duration_since(now));
        self.turn.woken = clock();
        if self.turn.woken.saturating_duration_since(wake.max(now)) > STALL {
            self.control.gate.handle(Input::Stalled, self.turn.woken);
        }
    }
}

fn stop_input(cause: StopCause) -> Input {
    match cause {
        StopCause::ChannelClosed | StopCause::IceLost | StopCause::PeerDisconnected => Input::LinkDown(cause),
        _ => Input::Stop(cause),
    }
}

#[expect(clippy::disallowed_methods, reason = "the drive thread is where the pure files get their time from")]
fn clock() -> Instant {
    Instant::now()
}
