//! The task that lets the live peer's link steer the encoder.

use std::time::{Duration, Instant};

use rtc::statistics::StatsSelector;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::status::{LinkStatus, Path, StatusMaker};
use crate::rtc::pump::{Live, LiveEnds};
use crate::video::rate::{LinkReading, RateController, Steering, Targets};
use crate::video::settings::{Framerate, RateConfig, Size};

/// Silence and patience are judged when the peer has said nothing for this long; whatever it says is acted upon at once.
/// Longer than between two of the usual feedbacks, 100 ms: a wake-up costs more than what is done in it.
const TICK: Duration = Duration::from_millis(150);
/// The link's status is told this often.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// What rate control is joined to.
pub struct RateEdge {
    /// How the rate follows the link. May change at any time.
    pub config: watch::Receiver<RateConfig>,
    /// The pictures it steers, asked for when a peer comes up: the pipeline starts beside signalling.
    pub picture: Box<dyn Fn() -> Picture + Send + Sync>,
    /// Called with new targets, only when they differ from the last. Must return at once.
    pub apply: Box<dyn FnMut(&Targets) + Send>,
    /// The live link, once a second; `None` while nobody is connected.
    pub link: watch::Sender<Option<LinkStatus>>,
}

/// The pictures that rate control steers.
#[derive(Clone, Copy, Debug)]
pub struct Picture {
    /// Their full size.
    pub size: Size,
    /// Their full rate.
    pub framerate: Framerate,
    /// How the encoder takes its bit rate.
    pub steering: Steering,
}

/// Steers until the publisher ends. A new live peer is a new link: everything starts anew.
pub(crate) async fn run_rate_control(mut edge: RateEdge, mut live: Live) {
    let mut applied = None;
    loop {
        let ends = live.borrow_and_update().clone();
        let changed = match ends {
            Some(ends) => {
                let mut session = Session::new(&edge, ends);
                tokio::select! {
                    changed = live.changed() => changed,
                    never = session.run(&mut edge, &mut applied) => match never {},
                }
            }
            None => {
                edge.link.send_replace(None);
                live.changed().await
            }
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Rate control of one live peer.
struct Session {
    ends: LiveEnds,
    controller: RateController,
    status: StatusMaker,
    path: Path,
}

impl Session {
    fn new(edge: &RateEdge, ends: LiveEnds) -> Self {
        let Picture { size, framerate, steering } = (edge.picture)();
        let now = now();
        let controller = RateController::new(*edge.config.borrow(), steering, size, framerate, now);
        Self { ends, controller, status: StatusMaker::new(framerate, now), path: Path::default() }
    }

    async fn run(&mut self, edge: &mut RateEdge, applied: &mut Option<Targets>) -> std::convert::Infallible {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut status = tokio::time::interval(STATUS_INTERVAL);
        status.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let second = tokio::select! {
                () = self.ends.link.news() => {
                    ticks.reset();
                    false
                }
                _ = ticks.tick() => false,
                _ = status.tick() => true,
            };
            let targets = self.steer(edge, applied);
            if second {
                let report = self.ends.connection.get_stats(now(), StatsSelector::None).await;
                self.path = Path::of(&report);
                let status = self.status.make(&self.ends.link, &self.controller, targets, &self.path, now());
                edge.link.send_replace(Some(status));
            }
        }
    }

    fn steer(&mut self, edge: &mut RateEdge, applied: &mut Option<Targets>) -> Targets {
        let config = *edge.config.borrow();
        self.controller.set_config(config);
        self.controller.set_steering((edge.picture)().steering);
        self.ends.link.set_limits(config);
        let targets = self.controller.tick(&self.reading(), now());
        self.ends.link.set_targets(&targets);
        let differs = |applied: &Targets| applied.bitrate != targets.bitrate || applied.rung != targets.rung;
        if applied.as_ref().is_none_or(differs) {
            *applied = Some(targets);
            (edge.apply)(&targets);
        }
        targets
    }

    /// A peer that names no sender report leaves the round trip to ICE's own checks.
    fn reading(&self) -> LinkReading {
        let mut reading = self.ends.link.reading();
        if let Some(reception) = &mut reading.reception {
            reception.value.round_trip = reception.value.round_trip.or(self.path.round_trip);
        }
        reading
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell of a pure controller")]
fn now() -> Instant {
    Instant::now()
}
