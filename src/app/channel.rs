//! One channel's daemon: camera to peer, peer to car, joined and supervised.
//!
//! It ends in phases: the car at neutral, then peers and socket closed, then the pipeline to NULL, then the rest.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::control::{CarControl, DriveEvents};
use super::process::{self, Signals};
use super::provoke::Provocation;
use super::readings::Readings;
use super::reload::{Reload, Source};
use crate::config::Config;
use crate::drive::actuator::{Actuator, Output};
use crate::drive::bridge::{Bridge, BridgeRequest};
use crate::drive::gate::StopCause;
use crate::drive::lap_sensor::{LapPass, LapSensor};
use crate::drive::settings::{ActuatorConfig, DriveConfig};
use crate::drive::simulated::{Simulated, SimulatedCar};
use crate::drive::{Drive, DriveError, pca9685};
use crate::exit::{Exit, Failure};
use crate::logging::LogControl;
use crate::rtc::publisher::{Edges, PublishStatus, publish as publish_session};
use crate::rtc::settings::IceServer;
use crate::signal::settings::TlsConfig;
use crate::status::document::Document;
use crate::status::exposition::exposition;
use crate::status::http::MetricsServer;
use crate::status::socket::StatusSocket;
use crate::supervise::{Ended, Supervisor};
use crate::telemetry::outlet::Outlet;
use crate::telemetry::probe::HostProbe;
use crate::telemetry::report;
use crate::video::control::{VideoControl, VideoStats};
use crate::video::overlay::{OverlaySource, OverlayState};
use crate::video::pipeline::{Pipeline, PipelineState};
use crate::video::settings::{Bitrate, VideoConfig};
use crate::video::units::{AccessUnitSender, access_unit_channel};

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
}

/// Publishes one channel until it is told to stop.
///
/// # Errors
/// What kept it from starting, or ended it unasked.
pub(super) async fn publish(config: Config, surroundings: Surroundings) -> Result<()> {
    let Surroundings { log, signals, source } = surroundings;
    protect(&log, &config);
    if config.signal.tls == TlsConfig::Insecure {
        tracing::warn!("tls.insecure: anyone between this car and its server can watch and drive");
    }
    process::save_memory();
    let (outlet, metrics) = Outlet::new();
    let provocation = Provocation::by_environment();
    let car = Car::start(&config.drive, &outlet, &provocation)?;
    process::guard(car.drive.handle());
    let picture = Arc::new(Picture::default());
    let (sender, units) = access_unit_channel();
    let status = watch::Sender::new(PublishStatus::default());
    let readings = Arc::new(Readings {
        channel: config.signal.channel.as_str().to_owned(),
        started: now(),
        drive: car.drive.handle(),
        car: car.simulated.clone(),
        picture: picture.clone(),
        outlet,
        publish: status.subscribe(),
        counters: Arc::default(),
        host: Mutex::new(HostProbe::new()),
        frame_rates: Mutex::default(),
    });
    let edges = Edges {
        units,
        on_key_frame_request: {
            let (picture, provocation) = (picture.clone(), provocation.clone());
            Arc::new(move || {
                provocation.at("key frame");
                picture.request_idr();
            })
        },
        control: Arc::new(CarControl {
            drive: car.drive.handle(),
            bridge: car.bridge.as_ref().map(Bridge::handle),
            provocation: provocation.clone(),
        }),
        metrics,
        counters: readings.counters.clone(),
        status,
    };
    let (telemetry, telemetry_settings) = watch::channel(config.telemetry.clone());
    let tasks = CancellationToken::new();
    let mut supervisor = Supervisor::new(tasks.clone());
    // Signalling goes ahead while the camera opens: both take their time, and neither needs the other yet.
    let mut spawn = Spawner { supervisor: &mut supervisor, provocation: &provocation };
    spawn.task("publisher", publish_session(config.signal.clone(), config.rtc.clone(), edges, tasks.clone()));
    spawn.task("telemetry", readings.clone().tell(telemetry_settings, tasks.clone()));
    let opened = film(picture.clone(), config.video.clone(), car.overlay(&provocation), sender, tasks.clone());
    spawn.task("video", opened);
    spawn.task("drive", ended(car.ended.clone(), tasks.clone()));
    answer_questions(&config, &readings, &log, &mut spawn, &tasks).await;
    if let Some(source) = source {
        let (config, drive) = (config.clone(), car.drive.handle());
        let reload = Reload { source, config, log, picture: picture.clone(), drive, telemetry };
        spawn.task("reload", reload.run(signals.reload.clone(), tasks.clone()));
    }
    end_in_phases(car, supervisor, picture, signals.shutdown).await
}

struct Spawner<'a> {
    supervisor: &'a mut Supervisor,
    provocation: &'a Provocation,
}

impl Spawner<'_> {
    fn task(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.supervisor.spawn(name, self.provocation.clone().throughout(name, task));
    }
}

/// Ends when the drive has, which is before its time.
async fn ended(drive: CancellationToken, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = drive.cancelled() => {}
    }
}

/// What the configuration keeps secret stays out of the log; the addresses in it are no secrets.
pub(super) fn protect(log: &LogControl, config: &Config) {
    let secrets = config.rtc.ice.servers.iter().filter_map(|server| match server {
        IceServer::Turn(turn) => Some(turn.credential.secret()),
        IceServer::Stun(_) => None,
    });
    log.protect(config.signal.token.iter().chain(secrets));
    let server = config.signal.server.host_str().map(str::to_owned);
    let hosts = config.rtc.ice.servers.iter().map(|server| server.address().host.to_string());
    let written = server.into_iter().chain(hosts);
    log.know(written.filter_map(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok()));
}

/// A car that cannot tell how it is still drives: what is wrong is told, and that is all.
async fn answer_questions(
    config: &Config,
    readings: &Arc<Readings>,
    log: &LogControl,
    spawn: &mut Spawner<'_>,
    shutdown: &CancellationToken,
) {
    match StatusSocket::open(&config.status) {
        Ok(socket) => {
            let (readings, recent) = (readings.clone(), log.recent());
            let document =
                move || Document::new(&readings.snapshot(), &recent.list(), recent.counts(), now()).to_json();
            spawn.task("status", socket.serve(Arc::new(document), shutdown.clone()));
        }
        Err(error) => tracing::warn!(%error, "rtcpub status will get no answer"),
    }
    let Some(metrics) = config.metrics else { return };
    match MetricsServer::bind(metrics).await {
        Ok(server) => {
            let (readings, recent) = (readings.clone(), log.recent());
            let page = move || exposition(&readings.snapshot(), recent.counts());
            spawn.task("metrics", server.serve(Arc::new(page), shutdown.clone()));
        }
        Err(error) => tracing::error!(error, "no metrics"),
    }
}

/// Waits for the end, whoever asks for it, and carries it out in its order.
async fn end_in_phases(car: Car, mut tasks: Supervisor, picture: Arc<Picture>, asked: CancellationToken) -> Result<()> {
    let unasked = tokio::select! {
        () = asked.cancelled() => None,
        unasked = tasks.watch() => unasked,
    };
    // First, whatever else happens: neutral. Asked for here, because threads that may wait can run out.
    car.drive.handle().stop(StopCause::Shutdown);
    let parked = tokio::task::spawn_blocking(move || car.stop()).await.context("the drive")?;
    let ended = tasks.end(TASKS_DEADLINE).await;
    tracing::debug!(?ended, "peers and socket are closed");
    let failure = tokio::task::spawn_blocking(move || picture.end()).await.context("video")?;
    tracing::debug!("the camera is closed");
    parked?;
    match unasked.unwrap_or(ended) {
        Ended::Overdue(count) if asked.is_cancelled() => {
            tracing::warn!(count, "tasks did not end in time and were left");
            Ok(())
        }
        Ended::Asked => Ok(()),
        Ended::Unasked("video") => {
            Err(failure.unwrap_or_else(|| Failure::cannot_start("the camera's pipeline has ended")).into())
        }
        Ended::Unasked(task) => Err(anyhow!("the {task} task has ended unasked")),
        Ended::Panicked(what) => Err(Failure { exit: Exit::Panic, message: what }.into()),
        Ended::Overdue(count) => Err(anyhow!("{count} tasks did not end in time")),
    }
}

/// Opens the camera and watches it. Ends when there is no picture any more.
///
/// A camera may hang while it is opened. That is why opening it is a task among the others: the drive is watched, and
/// the end begins, without it.
async fn film(
    picture: Arc<Picture>,
    config: VideoConfig,
    overlay: OverlaySource,
    sender: AccessUnitSender,
    shutdown: CancellationToken,
) {
    let opening = tokio::task::spawn_blocking(move || picture.start(&config, overlay, sender));
    // An error of the task itself is a panic, which the process-wide hook answers by ending the process.
    if let Ok(Some(state)) = opening.await {
        watch_pipeline(state, shutdown).await;
    }
}

/// Ends when the pipeline has, which is before its time.
async fn watch_pipeline(mut state: watch::Receiver<PipelineState>, shutdown: CancellationToken) {
    loop {
        match &*state.borrow_and_update() {
            PipelineState::Starting => {}
            PipelineState::Playing { encoder, input } => tracing::info!(encoder, input, "encoding"),
            PipelineState::Ended => {
                tracing::error!("camera: its stream has come to its end");
                return;
            }
            PipelineState::Failed(error) => {
                tracing::error!(%error, "camera");
                return;
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = state.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// The pipeline, once there is one: others hold on to this from before it starts until after its end.
#[derive(Debug, Default)]
pub(super) struct Picture(Mutex<Film>);

#[derive(Debug, Default)]
enum Film {
    #[default]
    Opening,
    Running(Pipeline),
    Failed(Failure),
    Over,
}

impl Picture {
    /// Blocks while the camera opens. `None` when it does not, or when it was too late.
    fn start(
        &self,
        config: &VideoConfig,
        overlay: OverlaySource,
        sender: AccessUnitSender,
    ) -> Option<watch::Receiver<PipelineState>> {
        let started = Pipeline::start(config, overlay, sender);
        let mut film = self.film();
        if matches!(*film, Film::Over) {
            // Letting go of it takes it to NULL.
            return None;
        }
        match started {
            Ok(pipeline) => {
                let state = pipeline.state();
                *film = Film::Running(pipeline);
                Some(state)
            }
            Err(error) => {
                *film = Film::Failed(Failure::cannot_start(error.to_string()));
                None
            }
        }
    }

    /// Stops the pipeline; blocks while it does. Tells why there was none, if there was none.
    fn end(&self) -> Option<Failure> {
        let film = std::mem::replace(&mut *self.film(), Film::Over);
        match film {
            Film::Running(pipeline) => {
                if let Err(error) = pipeline.stop() {
                    tracing::warn!(%error, "the pipeline did not stop in time");
                }
                None
            }
            Film::Failed(failure) => Some(failure),
            Film::Opening | Film::Over => None,
        }
    }

    /// A pipeline that is not there yet starts with a key frame anyway.
    fn request_idr(&self) {
        if let Some(control) = self.control() {
            control.request_idr();
        }
    }

    /// Takes effect with the next frame.
    pub(super) fn set_bitrate(&self, bitrate: Bitrate) {
        if let Some(control) = self.control() {
            control.set_bitrate(bitrate);
        }
    }

    pub(super) fn stats(&self) -> Option<VideoStats> {
        self.control().map(|control| control.stats())
    }

    fn control(&self) -> Option<VideoControl> {
        match &*self.film() {
            Film::Running(pipeline) => Some(pipeline.control()),
            Film::Opening | Film::Failed(_) | Film::Over => None,
        }
    }

    fn film(&self) -> MutexGuard<'_, Film> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn start(config: &DriveConfig, outlet: &Outlet, provocation: &Provocation) -> Result<Self> {
        let bridge = start_bridge(config, outlet, provocation)?;
        let (actuator, simulated) = actuator(config, bridge.as_ref())?;
        let ended = CancellationToken::new();
        let mut events = DriveEvents {
            outlet: outlet.clone(),
            bridge: bridge.as_ref().map(Bridge::handle),
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

fn start_bridge(config: &DriveConfig, outlet: &Outlet, provocation: &Provocation) -> Result<Option<Bridge>> {
    let Some(bridge) = &config.bridge else { return Ok(None) };
    let neutral = (config.actuator == ActuatorConfig::Bridge).then(|| Output::neutral(&config.vehicle, now()));
    let (outlet, provocation) = (outlet.clone(), provocation.clone());
    let on_request = move |request| {
        provocation.at("bridge");
        match request {
            BridgeRequest::Metric(message) => outlet.send(message),
        }
    };
    let bridge = Bridge::start(bridge, neutral, on_request)
        .map_err(|error| Failure::cannot_start(format!("bridge: {error}")))?;
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
