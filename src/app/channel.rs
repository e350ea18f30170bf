//! One channel's daemon: camera to peer, peer to car, joined and supervised.
//!
//! It ends in phases: the car at neutral, then peers and socket closed, then the pipeline to NULL, then the rest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::control::{CarControl, DriveEvents};
use super::process;
use super::readings::Readings;
use crate::config::Config;
use crate::drive::actuator::{Actuator, Output};
use crate::drive::bridge::{Bridge, BridgeRequest};
use crate::drive::lap_sensor::LapSensor;
use crate::drive::settings::{ActuatorConfig, DriveConfig};
use crate::drive::simulated::{Simulated, SimulatedCar};
use crate::drive::{Drive, pca9685};
use crate::exit::{Exit, Failure};
use crate::rtc::publisher::{Edges, PublishStatus, publish as publish_session};
use crate::signal::settings::TlsConfig;
use crate::supervise::{Ended, Supervisor};
use crate::telemetry::outlet::Outlet;
use crate::telemetry::report;
use crate::video::control::VideoControl;
use crate::video::error::VideoError;
use crate::video::keeper::Keeper;
use crate::video::overlay::{OverlaySource, OverlayState};
use crate::video::recovery::CameraState;
use crate::video::units::access_unit_channel;

/// How long the actuator may take to confirm neutral at the end.
const NEUTRAL_DEADLINE: Duration = Duration::from_millis(300);
/// How long peers, socket and tasks may take to end after that; with the pipeline, less than the two seconds promised.
const TASKS_DEADLINE: Duration = Duration::from_millis(1200);

/// Publishes one channel until `shutdown`.
///
/// # Errors
/// What kept it from starting, or ended it unasked.
pub(super) async fn publish(config: Config, shutdown: CancellationToken) -> Result<()> {
    if config.signal.tls == TlsConfig::Insecure {
        tracing::warn!("tls.insecure: anyone between this car and its server can watch and drive");
    }
    let (outlet, metrics) = Outlet::new();
    let car = Car::start(&config.drive, &outlet)?;
    process::guard(car.drive.handle());
    let (sender, units) = access_unit_channel();
    let control = VideoControl::new(config.video.encoder.bitrate);
    let (camera, camera_state) = watch::channel(CameraState::Starting);
    let edges = Edges {
        units,
        on_key_frame_request: {
            let control = control.clone();
            Arc::new(move || control.request_idr())
        },
        control: Arc::new(CarControl { drive: car.drive.handle(), bridge: car.bridge.as_ref().map(Bridge::handle) }),
        metrics,
        counters: Arc::default(),
        status: watch::Sender::new(PublishStatus::default()),
    };
    let readings = Readings {
        drive: car.drive.handle(),
        car: car.simulated.clone(),
        picture: control.clone(),
        camera: camera_state.clone(),
        outlet: outlet.clone(),
    };

    let tasks_shutdown = CancellationToken::new();
    let mut supervisor = Supervisor::new(tasks_shutdown.clone());
    // Signalling goes ahead while the camera opens: both take their time, and neither needs the other yet.
    supervisor.spawn("publisher", publish_session(config.signal, config.rtc, edges, tasks_shutdown.clone()));
    supervisor.spawn("telemetry", readings.tell(tasks_shutdown.clone()));
    supervisor.spawn("camera state", tell_camera(camera_state, outlet.clone(), tasks_shutdown.clone()));
    let (video, overlay) = (config.video, car.overlay());
    let video = Video::start(Keeper { config: video, overlay, units: sender, control, state: camera });
    let video_ended = video.ended.clone();
    supervisor.spawn("video", async move { video_ended.cancelled().await });
    let drive_ended = car.ended.clone();
    supervisor.spawn("drive", async move { drive_ended.cancelled().await });
    end_in_phases(car, supervisor, video, shutdown, tasks_shutdown).await
}

/// Waits for the end, whoever asks for it, and carries it out in its order.
async fn end_in_phases(
    car: Car,
    supervisor: Supervisor,
    video: Video,
    asked: CancellationToken,
    tasks: CancellationToken,
) -> Result<()> {
    let supervised = supervisor.run(TASKS_DEADLINE);
    tokio::pin!(supervised);
    let unasked = tokio::select! {
        () = asked.cancelled() => None,
        ended = &mut supervised => Some(ended),
    };
    // First, whatever else happens: neutral.
    let parked = tokio::task::spawn_blocking(move || car.stop()).await.context("the drive")?;
    tasks.cancel();
    let ended = match unasked {
        Some(ended) => ended,
        None => supervised.await,
    };
    let kept = video.stop().await;
    parked?;
    kept?;
    match ended {
        // The drive's own task ends because the drive was just told to.
        Ended::Asked | Ended::Unasked("drive") if asked.is_cancelled() => Ok(()),
        Ended::Asked => Ok(()),
        Ended::Unasked(task) => Err(anyhow!("the {task} task has ended unasked")),
        Ended::Panicked(what) => Err(Failure { exit: Exit::Panic, message: what }.into()),
        Ended::Overdue(count) => Err(anyhow!("{count} tasks did not end in time")),
    }
}

/// Tells viewers how the picture is doing, at each change.
async fn tell_camera(mut state: watch::Receiver<CameraState>, outlet: Outlet, shutdown: CancellationToken) {
    loop {
        let message = report::video_state(&state.borrow_and_update());
        outlet.send(message);
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = state.changed() => if changed.is_err() {
                // The picture has ended, and with it everything.
                return shutdown.cancelled().await;
            },
        }
    }
}

/// The task that keeps the picture.
struct Video {
    keeping: JoinHandle<Result<(), VideoError>>,
    shutdown: CancellationToken,
    ended: CancellationToken,
}

impl Video {
    fn start(keeper: Keeper) -> Self {
        let (shutdown, ended) = (CancellationToken::new(), CancellationToken::new());
        let (asked, guard) = (shutdown.clone(), ended.clone().drop_guard());
        let keeping = tokio::spawn(async move {
            let _ended = guard;
            keeper.keep(asked).await
        });
        Self { keeping, shutdown, ended }
    }

    /// Takes the pipeline to NULL.
    async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        self.keeping.await.context("video")?.map_err(|error| match error.is_unavailable() {
            true => Failure::cannot_start(error.to_string()).into(),
            false => Failure { exit: Exit::BadConfiguration, message: error.to_string() }.into(),
        })
    }
}

/// The car and what belongs to it. Everything in it ends its own thread when dropped.
struct Car {
    drive: Drive,
    bridge: Option<Bridge>,
    simulated: Option<SimulatedCar>,
    _lap_sensor: Option<LapSensor>,
    ended: CancellationToken,
}

impl Car {
    fn start(config: &DriveConfig, outlet: &Outlet) -> Result<Self> {
        let bridge = start_bridge(config, outlet)?;
        let (actuator, simulated) = actuator(config, bridge.as_ref())?;
        let ended = CancellationToken::new();
        let mut events =
            DriveEvents { outlet: outlet.clone(), bridge: bridge.as_ref().map(Bridge::handle), ended: ended.clone() };
        let drive = Drive::spawn(config, actuator, Box::new(move |event| events.take(&event)))
            .map_err(|error| Failure::cannot_start(error.to_string()))?;
        let lap_sensor = start_lap_sensor(config, outlet);
        Ok(Self { drive, bridge, simulated, _lap_sensor: lap_sensor, ended })
    }

    fn overlay(&self) -> OverlaySource {
        let drive = self.drive.handle();
        OverlaySource::new(move || {
            let drive = drive.snapshot();
            OverlayState { throttle: drive.throttle as f32, steering: drive.steering as f32, state: drive.state.name() }
        })
    }

    fn stop(self) -> Result<()> {
        self.drive.shutdown(NEUTRAL_DEADLINE).map_err(|error| anyhow!(error))
    }
}

fn start_bridge(config: &DriveConfig, outlet: &Outlet) -> Result<Option<Bridge>> {
    let Some(bridge) = &config.bridge else { return Ok(None) };
    let neutral = (config.actuator == ActuatorConfig::Bridge).then(|| Output::neutral(&config.vehicle, now()));
    let outlet = outlet.clone();
    let on_request = move |request| match request {
        BridgeRequest::Metric(message) => outlet.send(message),
    };
    let bridge =
        Bridge::start(bridge, neutral, on_request).map_err(|error| Failure::cannot_start(error.to_string()))?;
    Ok(Some(bridge))
}

fn actuator(config: &DriveConfig, bridge: Option<&Bridge>) -> Result<(Box<dyn Actuator>, Option<SimulatedCar>)> {
    match &config.actuator {
        ActuatorConfig::Simulated => {
            let (actuator, car) = Simulated::new();
            Ok((Box::new(actuator), Some(car)))
        }
        ActuatorConfig::Pca9685(board) => {
            let actuator = pca9685::actuator(board).map_err(|error| Failure::cannot_start(error.to_string()))?;
            Ok((actuator, None))
        }
        ActuatorConfig::Bridge => {
            let bridge = bridge.context("drive.actuator = \"bridge\" needs the bridge")?;
            Ok((bridge.actuator(), None))
        }
    }
}

/// A car without its lap sensor still drives: what is wrong is told, and that is all.
fn start_lap_sensor(config: &DriveConfig, outlet: &Outlet) -> Option<LapSensor> {
    let sensor = config.lap_sensor.clone()?;
    let outlet = outlet.clone();
    match LapSensor::start(sensor, move |pass| outlet.send(report::lap_pass(pass.unix_seconds))) {
        Ok(sensor) => Some(sensor),
        Err(error) => {
            tracing::error!(%error, "laps are not counted");
            None
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the composition root gives the time to those who may not take it")]
fn now() -> Instant {
    Instant::now()
}
