//! What the service manager is told: READY once there is something to be ready with, how it goes in words, and the watchdog
//! only while every loop lives. Of the pictures only the first counts: without another the car still drives.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::provoke::Spawner;
use super::readings::Readings;
use crate::rtc::status::PublishStatus;
use crate::systemd::{Notifier, Vitals, watch};
use crate::video::recovery::CameraState;

/// How often the loops are looked at: well below the shortest silence that counts, and cheap.
const LOOK: Duration = Duration::from_millis(200);

/// Starts telling. `stall` is how long the pipeline itself waits for a frame.
pub(super) fn start(
    notifier: Arc<Notifier>,
    readings: Arc<Readings>,
    stall: Duration,
    spawn: &mut Spawner<'_>,
    shutdown: &CancellationToken,
) {
    let vitals = Arc::new(Vitals::new(now(), stall));
    if notifier.watchdog_interval().is_some() {
        spawn.task("signs of life", take_pulse(readings.clone(), vitals.clone(), shutdown.clone()));
    }
    let shutdown = shutdown.clone();
    spawn.task("service manager", async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = report(&notifier, &readings, &vitals) => {}
        }
    });
}

async fn report(notifier: &Notifier, readings: &Readings, vitals: &Vitals) {
    become_ready(readings).await;
    notifier.ready();
    tokio::join!(tell_state(notifier, readings), async {
        watch(notifier, vitals).await;
        std::future::pending::<()>().await;
    });
}

/// Ready is: the camera plays or is known to be lost, and the server has been tried.
async fn become_ready(readings: &Readings) {
    let (mut camera, mut publish) = (readings.picture.camera.clone(), readings.publish.clone());
    // An error means that the other end is gone, which ends this task too.
    let _ = camera.wait_for(|state| *state != CameraState::Starting).await;
    let _ = publish.wait_for(|status| status.tried).await;
}

/// STATUS, at each change.
async fn tell_state(notifier: &Notifier, readings: &Readings) {
    let (mut camera, mut publish) = (readings.picture.camera.clone(), readings.publish.clone());
    loop {
        notifier.status(&in_words(&camera.borrow_and_update(), &publish.borrow_and_update()));
        tokio::select! {
            Ok(()) = camera.changed() => {}
            Ok(()) = publish.changed() => {}
            else => return std::future::pending().await,
        }
    }
}

fn in_words(camera: &CameraState, publish: &PublishStatus) -> String {
    let session = if publish.publishing { "publishing" } else { "not publishing, trying again for ever" };
    match camera {
        CameraState::Lost { message, .. } => format!("{session}; camera lost: {message}"),
        CameraState::Starting | CameraState::Playing => format!("{session}; camera {}", camera.name()),
    }
}

/// Looks at what each loop leaves behind when it turns, so that no loop has to know of the watchdog.
async fn take_pulse(readings: Arc<Readings>, vitals: Arc<Vitals>, shutdown: CancellationToken) {
    let mut camera = readings.picture.camera.clone();
    let (mut frames, mut turns) = (0, 0);
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = looks.tick() => {}
        }
        let now = now();
        vitals.control.tick(readings.drive.snapshot().ticked);
        let (frames_now, turns_now) =
            (readings.picture.control.stats().units_out, readings.counters.turns.load(Relaxed));
        if std::mem::replace(&mut frames, frames_now) != frames_now {
            vitals.frames.tick(now);
        }
        if std::mem::replace(&mut turns, turns_now) != turns_now {
            vitals.session.tick(now);
        }
        // Told anew at each try to bring it back.
        if camera.has_changed().unwrap_or(false) && matches!(*camera.borrow_and_update(), CameraState::Lost { .. }) {
            vitals.camera_lost.tick(now);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell around the vitals")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::video::recovery::LossCause;

    #[test]
    fn the_state_in_words_says_what_is_missing() {
        let message = "camera.device: gone".to_owned();
        let lost = CameraState::Lost { cause: LossCause::Missing, message, since: SystemTime::UNIX_EPOCH };
        let (up, down) = (PublishStatus { publishing: true, ..Default::default() }, PublishStatus::default());
        let rows = [
            (&CameraState::Playing, &up, "publishing; camera playing"),
            (&CameraState::Starting, &down, "not publishing, trying again for ever; camera starting"),
            (&lost, &up, "publishing; camera lost: camera.device: gone"),
        ];
        for (camera, publish, words) in rows {
            assert_eq!(in_words(camera, publish), words);
        }
    }
}
