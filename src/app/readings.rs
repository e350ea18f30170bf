//! Telemetry at its two paces: what moves, ten times a second and only when it changed; the rest once a second.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::drive::DriveHandle;
use crate::drive::simulated::SimulatedCar;
use crate::telemetry::outlet::Outlet;
use crate::telemetry::probe::{self, HostProbe};
use crate::telemetry::report;
use crate::video::control::VideoControl;
use crate::video::recovery::CameraState;

/// How often what moves is looked at.
const MOTION_PERIOD: Duration = Duration::from_millis(100);
/// Every so many of these everything is told.
const MOTIONS_A_ROUND: u32 = 10;

/// What telemetry is read from.
pub(super) struct Readings {
    pub(super) drive: DriveHandle,
    pub(super) car: Option<SimulatedCar>,
    pub(super) picture: VideoControl,
    pub(super) camera: watch::Receiver<CameraState>,
    pub(super) outlet: Outlet,
}

impl Readings {
    /// Tells viewers until `shutdown`.
    pub(super) async fn tell(self, shutdown: CancellationToken) {
        let started = now();
        let mut ticks = tokio::time::interval(MOTION_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut host = HostProbe::default();
        let mut shown = None;
        let mut video = None;
        for tick in 0_u32.. {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let drive = self.drive.snapshot();
            let round = tick % MOTIONS_A_ROUND == 0;
            let mut messages = report::drive_motion(&drive, shown.as_ref().filter(|_| !round));
            shown = Some(drive);
            if round {
                // Viewers come at any time: what only changes are told of elsewhere is repeated for them.
                messages.push(report::drive_state(drive.state));
                messages.push(report::metric("speed", "maxSpeed", drive.max_speed.ticks()));
                if let Some(car) = &self.car {
                    messages.extend(report::simulated(&car.state()));
                }
                let read = now();
                let stats = self.picture.stats();
                messages.push(report::video_state(&self.camera.borrow()));
                if let Some((before, since)) = video.replace((stats, read)) {
                    messages.extend(report::video(&stats, &before, seconds(since, read)));
                }
                messages.extend(report::host(&host.read()));
                messages.extend(report::process(probe::resident_kib(), read.duration_since(started).as_secs()));
            }
            messages.into_iter().for_each(|message| self.outlet.send(message));
        }
    }
}

fn seconds(since: Instant, until: Instant) -> f64 {
    until.duration_since(since).as_secs_f64().max(f64::EPSILON)
}

#[expect(clippy::disallowed_methods, reason = "the shell of telemetry")]
fn now() -> Instant {
    Instant::now()
}
