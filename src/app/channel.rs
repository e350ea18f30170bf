//! One channel's daemon: camera to peer, peer to car, joined and supervised.
//!
//! It ends in phases: the car at neutral, then peers and socket closed, then the pipeline to NULL, then the rest.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::control::{CameraChoice, CarControl, DriveEvents};
use super::in_force::InForce;
use super::pictures::{Shot, Shots, Video, further_edges, rate_edge, tell_camera};
use super::process::{self, Signals};
use super::provoke::{Provocation, Spawner};
use super::readings::Readings;
use super::reload::{Reload, Source};
use super::sole::Sole;
use super::{answers, service};
use crate::config::Config;
use crate::drive::actuator::Output;
use crate::drive::bridge::{Bridge, BridgeRequest};
use crate::drive::gate::StopCause;
use crate::drive::lap_sensor::{LapPass, LapSensor};
use crate::drive::settings::DriveConfig;
use crate::drive::simulated::SimulatedCar;
use crate::drive::{Drive, DriveError};
use crate::exit::{Exit, Failure};
use crate::logging::LogControl;
use crate::rtc::publisher::{Edges, publish as publish_session};
use crate::rtc::status::PublishStatus;
use crate::signal::settings::TlsConfig;
use crate::supervise::{Ended, Supervisor};
use crate::systemd::Notifier;
use crate::telemetry::outlet::Outlet;
use crate::telemetry::probe::HostProbe;
use crate::telemetry::report;
use crate::video::control::VideoControl;
use crate::video::overlay::{OverlaySource, OverlayState};

/// How long the actuator may take to confirm neutral at the end.
const NEUTRAL_DEADLINE: Duration = Duration::from_millis(300);
/// How long peers, socket and tasks may take to end after that. With [`STOP_DEADLINE`] of the pipeline this is less than
/// the two seconds promised, even when everything hangs.
///
/// [`STOP_DEADLINE`]: crate::video::pipeline::STOP_DEADLINE
const TASKS_DEADLINE: Duration = Duration::from_millis(600);

/// What a channel's daemon needs besides its configuration.
pub(super) struct Surroundings {
    pub(super) log: LogControl,
    pub(super) signals: Signals,
    /// Where the configuration is read again from; none for the demo, which has no file.
    pub(super) source: Option<Source>,
    /// Whether the log tells where a picture's time goes.
    pub(super) trace_latency: bool,
}

/// Publishes one channel until it is told to stop.
///
/// # Errors
/// What kept it from starting, or ended it unasked.
pub(super) async fn publish(config: Config, surroundings: Surroundings) -> Result<()> {
    let Surroundings { log, signals, source, trace_latency } = surroundings;
    answers::protect(&log, &config);
    let service_manager = Arc::new(Notifier::from_env());
    if config.signal.tls == TlsConfig::Insecure {
        tracing::warn!("tls.insecure: anyone between this car and its server can watch and drive");
    }
    process::save_memory();
    let (outlet, metrics) = Outlet::new();
    let provocation = Provocation::by_environment();
    let control = VideoControl::new(config.video.encoder.bitrate);
    control.trace().set(trace_latency);
    let cameras = CameraChoice::new(&config.video, &control);
    let stirred = Arc::new(Notify::new());
    let told = Told { outlet: &outlet, stirred: &stirred, cameras: cameras.as_ref(), provocation: &provocation };
    let folder = config.status.socket.parent().unwrap_or(Path::new("/"));
    let sole = source.as_ref().map(|source| Sole::on(&config.signal.channel, &source.file, folder)).transpose()?;
    let car = Car::start(&config.drive, told)?;
    let in_force = source.as_ref().map(|source| InForce::of(&source.file, folder));
    // Before the car can move, for nobody is connected yet.
    if let (Some(in_force), Some(source)) = (&in_force, &source) {
        in_force.keep(&source.effective);
    }
    process::guard(&signals, car.drive.handle(), provocation.clone());
    let status = watch::Sender::new(PublishStatus::default());
    let (rate, rate_settings) = watch::channel(config.rate);
    let rate_edge = rate_edge(&config.video.camera, rate_settings, control.clone());
    let overlay = car.overlay(&provocation);
    let further = Shots::apart(Shot::further(&config.cameras, &overlay, &provocation));
    let first = Shot::new(None, config.video.clone(), control.clone(), overlay, &provocation);
    let readings = Arc::new(Readings {
        channel: config.signal.channel.as_str().to_owned(),
        started: now(),
        drive: car.drive.handle(),
        car: car.simulated.clone(),
        stirred,
        picture: first.readings,
        further: further.readings,
        shown: config.video.rear.as_ref().map(|_| control.views().shown()),
        outlet: outlet.clone(),
        publish: status.subscribe(),
        link: rate_edge.link.subscribe(),
        counters: Arc::default(),
        trace_latency,
        host: Mutex::new(HostProbe::new()),
    });
    let edges = Edges {
        picture: first.edge,
        further: further_edges(&config.cameras, &readings.further, further.edges),
        control: Arc::new(CarControl {
            drive: car.drive.handle(),
            bridge: car.bridge.as_ref().map(Bridge::handle),
            cameras,
            trace: control.trace().clone(),
            provocation: provocation.clone(),
        }),
        metrics,
        counters: readings.counters.clone(),
        status,
        rate: rate_edge,
    };
    let (telemetry, telemetry_settings) = watch::channel(config.telemetry.clone());
    let tasks = CancellationToken::new();
    let mut supervisor = Supervisor::new(tasks.clone());
    // Signalling goes ahead while the camera opens: both take their time, and neither needs the other yet.
    let mut spawn = Spawner::new(&mut supervisor, &provocation);
    spawn.task("publisher", publish_session(config.signal.clone(), config.rtc.clone(), edges, tasks.clone()));
    spawn.task("telemetry", readings.clone().tell(telemetry_settings, tasks.clone()));
    for picture in readings.pictures() {
        let shown = readings.shown.clone().filter(|_| picture.name.is_none());
        let (name, camera) = (picture.name.clone(), picture.camera.clone());
        spawn.task("camera state", tell_camera(name, camera, shown, outlet.clone(), tasks.clone()));
    }
    let video = Video::start(first.keeper, further.keepers, &provocation);
    // The pipeline itself ends last, when these tasks have.
    spawn.task("video", ended(video.ended.clone(), tasks.clone()));
    spawn.task("drive", ended(car.ended.clone(), tasks.clone()));
    answers::start(&config, &readings, &log, &mut spawn, &tasks).await;
    service::start(service_manager.clone(), readings.clone(), config.video.camera.stall, &mut spawn, &tasks);
    if let (Some(source), Some(in_force)) = (source, in_force.clone()) {
        let (drive, pictures, service_manager) = (car.drive.handle(), readings.clone(), service_manager.clone());
        let reload = Reload { source, config, log, rate, pictures, drive, telemetry, in_force, service_manager };
        spawn.task("reload", reload.run(signals.reload, tasks.clone()));
    }
    end_in_phases(Leaving { car, in_force, _sole: sole }, supervisor, video, signals.shutdown, &service_manager).await
}

/// Ends when that has, which is before its time.
async fn ended(that: CancellationToken, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = that.cancelled() => {}
    }
}

/// Waits for the end, whoever asks for it, and carries it out in its order.
async fn end_in_phases(
    leaving: Leaving,
    mut tasks: Supervisor,
    video: Video,
    asked: CancellationToken,
    service_manager: &Notifier,
) -> Result<()> {
    let unasked = tokio::select! {
        () = asked.cancelled() => None,
        unasked = tasks.watch() => unasked,
    };
    // First, whatever else happens: neutral. A signal has asked for it already; a task that has ended has not.
    leaving.car.drive.handle().stop(StopCause::Shutdown);
    service_manager.stopping();
    let parked = tokio::task::spawn_blocking(move || leaving.stop()).await.context("the drive")?;
    let ended = tasks.end(TASKS_DEADLINE).await;
    tracing::debug!(?ended, "peers and socket are closed");
    let kept = video.stop().await;
    tracing::debug!("the camera is closed");
    parked?;
    kept?;
    match unasked.unwrap_or(ended) {
        Ended::Overdue(tasks) if asked.is_cancelled() => {
            tracing::warn!(tasks = tasks.join(", "), "not ended in time, and left");
            Ok(())
        }
        Ended::Asked => Ok(()),
        Ended::Unasked(task) => Err(anyhow!("the {task} task has ended unasked")),
        Ended::Panicked(what) => Err(Failure { exit: Exit::Panic, message: what }.into()),
        Ended::Overdue(tasks) => Err(anyhow!("not ended in time: {}", tasks.join(", "))),
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

/// The car, and what tells `rtcpub park` of it while it may move.
struct Leaving {
    car: Car,
    in_force: Option<InForce>,
    /// Until the car stands, and the file in force is gone.
    _sole: Option<Vec<Sole>>,
}

impl Leaving {
    fn stop(self) -> Result<()> {
        self.car.stop()?;
        self.in_force.iter().for_each(InForce::remove);
        Ok(())
    }
}

/// Who hears of what the car does.
struct Told<'a> {
    outlet: &'a Outlet,
    stirred: &'a Arc<Notify>,
    cameras: Option<&'a CameraChoice>,
    provocation: &'a Provocation,
}

impl Car {
    fn start(config: &DriveConfig, told: Told<'_>) -> Result<Self> {
        let Told { outlet, stirred, cameras, provocation } = told;
        let bridge = start_bridge(config, outlet, cameras.cloned(), provocation)?;
        let actuator = config.actuator.make(bridge.as_ref());
        let actuator = actuator.map_err(|error| Failure::cannot_start(error.to_string()))?;
        let simulated = actuator.simulated_car();
        let ended = CancellationToken::new();
        let mut events = DriveEvents {
            outlet: outlet.clone(),
            bridge: bridge.as_ref().map(Bridge::handle),
            stirred: stirred.clone(),
            cameras: cameras.cloned(),
            ended: ended.clone(),
            provocation: provocation.clone(),
        };
        let drive = Drive::spawn(config, actuator, Box::new(move |event| events.take(&event)))
            .map_err(|error| Failure::cannot_start(error.to_string()))?;
        let lap_sensor = start_lap_sensor(config, outlet, provocation);
        Ok(Self { drive, bridge, simulated, _lap_sensor: lap_sensor, ended })
    }

    fn overlay(&self, provocation: &Provocation) -> OverlaySource {
        let (drive, provocation) = (self.drive.handle(), provocation.clone());
        OverlaySource::new(move || {
            provocation.at("picture");
            let drive = drive.snapshot();
            OverlayState { throttle: drive.throttle as f32, steering: drive.steering as f32, state: drive.state.name() }
        })
    }

    fn stop(self) -> Result<()> {
        self.drive.shutdown(NEUTRAL_DEADLINE).map_err(|error| match error {
            DriveError::Panicked { .. } => Failure { exit: Exit::Panic, message: error.to_string() }.into(),
            error => error.into(),
        })
    }
}

fn start_bridge(
    config: &DriveConfig,
    outlet: &Outlet,
    cameras: Option<CameraChoice>,
    provocation: &Provocation,
) -> Result<Option<Bridge>> {
    let Some(bridge) = &config.bridge else { return Ok(None) };
    let neutral = config.actuator.needs_bridge().then(|| Output::neutral(&config.vehicle, now()));
    let (outlet, provocation) = (outlet.clone(), provocation.clone());
    let on_request = move |request| {
        provocation.at("bridge");
        match request {
            BridgeRequest::Metric(message) => outlet.send(message),
            BridgeRequest::SelectCamera { rear } => cameras.iter().for_each(|cameras| cameras.select(rear)),
        }
    };
    let bridge = Bridge::start(bridge, neutral, on_request)
        .map_err(|error| Failure::cannot_start(format!("bridge: {error}")))?;
    Ok(Some(bridge))
}

/// A car without its lap sensor still drives: what is wrong is told, and that is all.
fn start_lap_sensor(config: &DriveConfig, outlet: &Outlet, provocation: &Provocation) -> Option<LapSensor> {
    let sensor = config.lap_sensor.clone()?;
    let (outlet, provocation) = (outlet.clone(), provocation.clone());
    let on_pass = move |pass: LapPass| {
        provocation.at("lap sensor");
        outlet.send(report::lap_pass(pass.unix_seconds));
    };
    match LapSensor::start(sensor, on_pass) {
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
