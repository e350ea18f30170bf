//! The drive thread: waits, takes what came, asks the gate, writes to the actuator. It alone touches either.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

use super::actuation::Actuation;
use super::actuator::Output;
use super::control::{Control, Heard};
use super::event::{Direction, DriveEvent, DriveSnapshot, Ended};
use super::gate::{Input, StopCause};
use super::inbox::{Batch, Inbox};
use super::max_speed::KeeperHandle;
use super::report::Reports;

/// Longest sleep, so that counters and the snapshot are never older.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A sleep that takes this much longer than planned means that the whole process did not run: commands that arrive
/// thereafter may have waited in a socket.
const STALL: Duration = Duration::from_millis(250);

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
}

impl DriveThread {
    pub(super) fn new(
        inbox: Arc<Inbox>,
        control: Control,
        actuation: Actuation,
        keeper: KeeperHandle,
        reports: Reports,
    ) -> Self {
        Self { inbox, control, actuation, keeper, reports, batch: Batch::new(), fault_told: false, direction: None }
    }

    /// The thread's whole life. However it ends, neutral is tried and the end is told.
    pub(super) fn main(mut self) {
        schedule_first();
        self.inbox.read_by(thread::current());
        tracing::debug!(actuator = self.actuation.name(), "drive thread runs");
        // The pieces may be in any state after a panic; only the actuator is used then, and only for neutral.
        let ended = catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|_| {
            let neutral = self.control.neutral(clock());
            Ended::Panicked { neutral: self.actuation.neutral_at_any_price(&neutral) }
        });
        self.inbox.ended(ended);
        // What panicked may have been the callback: then there is nobody left to tell, and the waiters know already.
        let _ = catch_unwind(AssertUnwindSafe(|| self.reports.tell(DriveEvent::Ended(ended), clock())));
    }

    fn run(&mut self) -> Ended {
        loop {
            if !self.inbox.try_take(&mut self.batch) {
                self.stop_if_due();
                self.inbox.take(&mut self.batch);
            }
            let now = clock();
            self.take_in(now);
            let output = self.control.output(now);
            let confirmed = self.carry_out(&output);
            self.report(now);
            if self.batch.end {
                return if confirmed { Ended::Neutral } else { self.last_attempts() };
            }
            self.sleep();
        }
    }

    /// What must not wait for anybody: asked-for stops, and the deadline.
    fn stop_if_due(&mut self) {
        let now = clock();
        self.inbox.take_stops(&mut self.batch);
        self.take_in_stops(now);
        let output = self.control.output(now);
        self.carry_out(&output);
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
            self.reports.tell(DriveEvent::MaxSpeed(pulse), now);
        }
        if self.batch.link_up {
            self.control.gate.handle(Input::LinkUp, now);
        }
        while let Some((message, arrived)) = self.batch.messages.pop_front() {
            match self.control.hear(message, arrived, now) {
                Heard::Obeyed => self.reports.counters.obeyed += 1,
                Heard::Throttle(direction) => {
                    self.reports.counters.obeyed += 1;
                    let before = std::mem::replace(&mut self.direction, direction);
                    if let Some(direction) = direction.filter(|_| direction != before) {
                        self.reports.tell(DriveEvent::Direction(direction), now);
                    }
                }
                Heard::Refused(refusal) => self.reports.refused(refusal),
                Heard::MaxSpeed(Ok(pulse)) => {
                    self.reports.counters.obeyed += 1;
                    self.reports.tell(DriveEvent::MaxSpeed(pulse), now);
                    self.keeper.keep(pulse);
                }
                Heard::MaxSpeed(Err(refusal)) => {
                    self.reports.counters.refused += 1;
                    self.reports.tell(DriveEvent::MaxSpeedRefused(refusal), now);
                }
            }
        }
        self.reports.counters.superseded = self.batch.superseded;
    }

    /// Puts the output on the actuator. Tells whether the car is confirmed to stand at neutral.
    fn carry_out(&mut self, output: &Output) -> bool {
        let stop_asked = !self.batch.stops.is_empty();
        if self.actuation.applied().is_none() {
            return self.bring_up(output.at(), stop_asked);
        }
        if let Err(error) = self.actuation.apply(output, stop_asked) {
            self.control.gate.handle(Input::Stop(StopCause::ActuatorFault), output.at());
            self.tell_fault(error.to_string(), output.at());
            return self.bring_up(output.at(), true);
        }
        let stands = !output.safe().is_motion() && !output.safe().is_brake();
        if stands {
            self.inbox.confirm(self.batch.ticket);
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
                    self.reports.tell(DriveEvent::ActuatorRecovered, now);
                }
                self.inbox.confirm(self.batch.ticket);
                true
            }
            Err(error) => {
                self.control.gate.handle(Input::Stop(StopCause::ActuatorFault), now);
                self.tell_fault(error.to_string(), now);
                false
            }
        }
    }

    fn tell_fault(&mut self, error: String, now: Instant) {
        if !std::mem::replace(&mut self.fault_told, true) {
            self.reports.counters.actuator_faults += 1;
            self.reports.tell(DriveEvent::ActuatorFault(error), now);
        }
    }

    fn report(&mut self, now: Instant) {
        let applied = self.actuation.applied().copied().unwrap_or_else(|| self.control.neutral(now));
        self.inbox.publish(DriveSnapshot {
            state: self.control.gate.state(),
            awaits_neutral: self.control.gate.awaits_neutral(),
            throttle: applied.safe().throttle(),
            steering: applied.safe().steering(),
            pulses: applied.pulses(),
            max_speed: self.control.max_speed(),
            counters: self.reports.counters,
            ticked: now,
        });
        // The snapshot first: who hears of a change finds it there.
        for state in self.control.gate.take_changes() {
            self.reports.tell(DriveEvent::State(state), now);
        }
        if let Some(problem) = self.batch.file_problem.take() {
            self.reports.tell(DriveEvent::MaxSpeedFile(problem), now);
        }
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

    /// Sleeps until something comes or is due, and tells the gate when it slept for far too long.
    fn sleep(&mut self) {
        let now = clock();
        let due = [Some(self.actuation.poll_timeout()), self.control.poll_timeout()];
        let wake = due.into_iter().flatten().fold(now + LONGEST_SLEEP, Instant::min);
        thread::park_timeout(wake.saturating_duration_since(now));
        let woken = clock();
        if woken.saturating_duration_since(wake.max(now)) > STALL {
            self.control.gate.handle(Input::Stalled, woken);
        }
    }
}

/// Asks the kernel to run this thread before all ordinary ones: on a machine whose cores are full of encoding, a deadline
/// would otherwise be served tens of milliseconds late. It sleeps but for microseconds, so nobody misses the core.
fn schedule_first() {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy) {
        tracing::info!(
            "no real-time scheduling for the drive thread ({error:?}): the failsafe may be late on a busy machine; \
             allow it with LimitRTPRIO=1"
        );
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
