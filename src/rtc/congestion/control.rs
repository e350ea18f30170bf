//! The task that lets the live peer's link steer the encoder.

use std::time::{Duration, Instant};

use rtc::statistics::StatsSelector;
use tokio::sync::watch;

use super::status::{LinkStatus, Path, StatusMaker};
use crate::rtc::pump::{Live, LiveEnds};
use crate::video::rate::{FurtherPicture, LinkReading, PictureTargets, RateController, Steering, Targets};
use crate::video::settings::{Bitrate, Framerate, RateConfig, Size};

/// Silence and patience are judged when the peer has said nothing for this long; whatever it says is acted upon at once.
/// Longer than between two of the usual feedbacks, 100 ms, by more than the 64 ms that tokio may wake the thread beforehand:
/// a wake-up costs more than what is done in it.
const TICK: Duration = Duration::from_millis(170);
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

/// What rate control is joined to for a picture beside the first.
pub struct FurtherRateEdge {
    /// What it is configured to take of the link.
    pub bitrate: Bitrate,
    /// See [`RateEdge::picture`].
    pub picture: Box<dyn Fn() -> Picture + Send + Sync>,
    /// See [`RateEdge::apply`].
    pub apply: Box<dyn FnMut(PictureTargets) + Send>,
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

/// Steers the first picture and those beside it until the publisher ends. A new live peer is a new link: everything starts
/// anew.
pub(crate) async fn run_rate_control(edge: RateEdge, further: Vec<FurtherRateEdge>, mut live: Live) {
    let mut steered = Steered::new(edge, further);
    loop {
        let ends = live.borrow_and_update().clone();
        let changed = match ends {
            Some(ends) => {
                let mut session = Session::new(&steered, ends);
                tokio::select! {
                    changed = live.changed() => changed,
                    never = session.run(&mut steered) => match never {},
                }
            }
            None => {
                steered.edge.link.send_replace(None);
                live.changed().await
            }
        };
        if changed.is_err() {
            return;
        }
    }
}

/// All that is steered, and the targets that were applied last.
struct Steered {
    edge: RateEdge,
    applied: Option<Targets>,
    further: Vec<(FurtherRateEdge, Option<PictureTargets>)>,
}

impl Steered {
    fn new(edge: RateEdge, further: Vec<FurtherRateEdge>) -> Self {
        Self { edge, applied: None, further: further.into_iter().map(|further| (further, None)).collect() }
    }

    fn apply(&mut self, targets: &Targets, further: impl Iterator<Item = PictureTargets>) {
        if self.applied.is_none_or(|applied| applied.picture() != targets.picture()) {
            self.applied = Some(*targets);
            (self.edge.apply)(targets);
        }
        for ((edge, applied), targets) in self.further.iter_mut().zip(further) {
            if applied.replace(targets) != Some(targets) {
                (edge.apply)(targets);
            }
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
    fn new(steered: &Steered, ends: LiveEnds) -> Self {
        let Picture { size, framerate, steering } = (steered.edge.picture)();
        let now = now();
        let config = *steered.edge.config.borrow();
        let further = steered.further.iter().map(|(further, _)| {
            let Picture { size, framerate, steering } = (further.picture)();
            FurtherPicture { bitrate: further.bitrate, steering, size, framerate }
        });
        let controller = RateController::new(config, steering, size, framerate, now).beside(further, now);
        Self { ends, controller, status: StatusMaker::new(framerate, now), path: Path::default() }
    }

    async fn run(&mut self, steered: &mut Steered) -> std::convert::Infallible {
        let mut next_status = now();
        loop {
            let targets = self.steer(steered);
            let now = now();
            if now >= next_status {
                next_status = now + STATUS_INTERVAL;
                let report = self.ends.connection.get_stats(now, StatsSelector::None).await;
                self.path = Path::of(&report);
                let status = self.status.make(&self.ends.link, &self.controller, targets, &self.path, now);
                steered.edge.link.send_replace(Some(status));
            }
            // Not one sleep that each news puts off: tokio leaves that where it stands, and wakes the thread at both times.
            tokio::select! {
                () = self.ends.link.news() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    fn steer(&mut self, steered: &mut Steered) -> Targets {
        self.controller.set_config(*steered.edge.config.borrow());
        self.controller.set_steering((steered.edge.picture)().steering);
        self.controller.set_further_steering(steered.further.iter().map(|(further, _)| (further.picture)().steering));
        self.ends.link.set_limits(self.controller.whole());
        let targets = self.controller.tick(&self.reading(), now());
        self.ends.link.set_targets(&targets);
        steered.apply(&targets, self.controller.further());
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
