//! What is known of the daemon, for all who ask; and telemetry at its two paces: what moves, ten times a second and only
//! when it changed; the rest once a period.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::pictures::PictureReadings;
use crate::drive::DriveHandle;
use crate::drive::event::DriveSnapshot;
use crate::drive::simulated::SimulatedCar;
use crate::rtc::congestion::LinkStatus;
use crate::rtc::pump::PublishCounters;
use crate::rtc::status::PublishStatus;
use crate::telemetry::link;
use crate::telemetry::outlet::Outlet;
use crate::telemetry::probe::{self, HostProbe};
use crate::telemetry::report;
use crate::telemetry::settings::{TelemetryConfig, Topic};
use crate::telemetry::snapshot::{LinkReading, Snapshot};
use crate::video::settings::View;

/// How often what moves is looked at.
const MOTION_PERIOD: Duration = Duration::from_millis(100);
/// How long it is looked at after the gate has changed its state: what comes to rest does so by a brake pulse and a ramp.
const SETTLING: Duration = Duration::from_secs(1);

/// What everything known is read from.
pub(super) struct Readings {
    pub(super) channel: String,
    pub(super) started: Instant,
    pub(super) drive: DriveHandle,
    pub(super) car: Option<SimulatedCar>,
    /// Given when the gate's state changes.
    pub(super) stirred: Arc<Notify>,
    pub(super) picture: PictureReadings,
    /// Those beside the first.
    pub(super) further: Vec<PictureReadings>,
    /// Where there are two cameras.
    pub(super) shown: Option<watch::Receiver<View>>,
    pub(super) outlet: Outlet,
    pub(super) publish: watch::Receiver<PublishStatus>,
    pub(super) link: watch::Receiver<Option<LinkStatus>>,
    pub(super) counters: Arc<PublishCounters>,
    /// Whether the log tells where a picture's time goes.
    pub(super) trace_latency: bool,
    pub(super) host: Mutex<HostProbe>,
}

impl Readings {
    /// All of them, the first one first.
    pub(super) fn pictures(&self) -> impl Iterator<Item = &PictureReadings> {
        std::iter::once(&self.picture).chain(&self.further)
    }

    /// Everything, now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let (now, drive, publish) = (now(), self.drive.snapshot(), self.publish.borrow().clone());
        Snapshot {
            channel: self.channel.clone(),
            link: self.link(&publish),
            publish,
            quality: self.link.borrow().clone(),
            camera: self.picture.camera.borrow().clone(),
            video: self.picture.encoding(),
            further: self.further.iter().filter_map(PictureReadings::snapshot).collect(),
            drive_age: now.saturating_duration_since(drive.ticked),
            control: self.drive.control_latency(),
            drive,
            host: lock(&self.host).read(now),
            process: probe::process(now.saturating_duration_since(self.started)),
        }
    }

    /// Tells viewers until `shutdown`.
    pub(super) async fn tell(self: Arc<Self>, settings: watch::Receiver<TelemetryConfig>, shutdown: CancellationToken) {
        let mut shown: Option<DriveSnapshot> = None;
        let mut next_round = now();
        let (mut next_motion, mut attentive_until) = (next_round, next_round);
        loop {
            let moves = self.drive.snapshot().state.moves() || now() < attentive_until;
            let wake = if moves { next_round.min(next_motion) } else { next_round };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep_until(wake.into()) => {}
                () = self.stirred.notified() => {
                    attentive_until = now() + SETTLING;
                    continue;
                }
            }
            let (now, settings) = (now(), settings.borrow().clone());
            next_motion = now + MOTION_PERIOD;
            // A tick may come a little early of its round.
            let round = now + MOTION_PERIOD / 2 >= next_round;
            if settings.tells(Topic::Drive) {
                let drive = self.drive.snapshot();
                let moved = report::drive_motion(&drive, shown.as_ref().filter(|_| !round));
                moved.into_iter().for_each(|message| self.outlet.send(message));
                shown = Some(drive);
            }
            if round {
                next_round = now + settings.period;
                self.pictures().for_each(|picture| picture.count_frames(now));
                self.round(&settings, now).into_iter().for_each(|message| self.outlet.send(message));
            }
        }
    }

    fn round(&self, settings: &TelemetryConfig, now: Instant) -> Vec<String> {
        let drive = self.drive.snapshot();
        // Viewers come at any time: what only changes are told of elsewhere is repeated for them.
        let mut messages =
            vec![report::drive_state(drive.state), report::metric("speed", "maxSpeed", drive.max_speed.ticks())];
        messages.extend(self.pictures().map(PictureReadings::state));
        if let Some(report) = self.picture.control.trace().report() {
            if self.trace_latency {
                tracing::info!("latency p50/p95/max: {report}");
            }
            messages.extend(report::latency(&report));
        }
        if let Some(control) = self.drive.control_latency().filter(|_| self.picture.control.trace().is_on()) {
            if self.trace_latency {
                tracing::info!("commands, arrival to write, p50/p95/max: {control}");
            }
            messages.push(report::control_latency(&control));
        }
        messages.extend(self.shown.as_ref().map(|shown| report::camera_shown(*shown.borrow())));
        for topic in &settings.topics {
            messages.extend(match topic {
                Topic::Drive => self.car.as_ref().map(|car| report::simulated(&car.state())).unwrap_or_default(),
                Topic::Video => self.pictures().flat_map(PictureReadings::figures).collect(),
                Topic::Host => report::host(&lock(&self.host).read(now)),
                Topic::Process => report::process(now.saturating_duration_since(self.started), probe::resident_kib()),
                Topic::Link => {
                    let publish = self.publish.borrow().clone();
                    let mut messages = report::link(&self.link(&publish));
                    let live = self.link.borrow();
                    messages.extend(live.iter().flat_map(|status| link::link(status, &publish)));
                    messages
                }
            });
        }
        messages
    }

    fn link(&self, publish: &PublishStatus) -> LinkReading {
        LinkReading {
            publishing: publish.publishing,
            sessions: publish.sessions,
            packets: self.counters.packets.load(Relaxed),
            access_units: self.counters.access_units.load(Relaxed),
            metrics_dropped: self.counters.metrics_dropped.load(Relaxed) + self.outlet.dropped(),
        }
    }
}

/// Nothing panics while one of these is held; if it did, what lies in it would still be whole.
fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "the shell of telemetry")]
fn now() -> Instant {
    Instant::now()
}
