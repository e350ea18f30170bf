//! One channel's daemon: camera to peer, peer to car, joined and supervised.
//!
//! It ends in phases: the car at neutral, then peers and socket closed, then the pipeline to NULL, then the rest.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::control::{CarControl, DriveEvents};
use super::process::{self, Signals};
use super::readings::Readings;
use super::reload::{Reload, Source};
use crate::config::Config;
use crate::drive::actuator::{Actuator, Output};
use crate::drive::bridge::{Bridge, BridgeRequest};
use crate::drive::lap_sensor::LapSensor;
use crate::drive::settings::{ActuatorConfig, DriveConfig};
use crate::drive::simulated::{Simulated, SimulatedCar};
use crate::drive::{Drive, pca9685};
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
    let car = Car::start(&config.drive, &outlet)?;
    process::guard(car.drive.handle());
    let (sender, units) = access_unit_channel();
    let picture = VideoControl::new(config.video.encoder.bitrate);
    let (camera, camera_state) = watch::channel(CameraState::Starting);
    let status = watch::Sender::new(PublishStatus::default());
    let readings = Arc::new(Readings {
        channel: config.signal.channel.as_str().to_owned(),
        started: now(),
        drive: car.drive.handle(),
        car: car.simulated.clone(),
        picture: picture.clone(),
        camera: camera_state.clone(),
        outlet: outlet.clone(),
        publish: status.subscribe(),
        counters: Arc::default(),
        host: Mutex::new(HostProbe::new()),
        frame_rates: Mutex::default(),
    });
    let edges = Edges {
        units,
        on_key_frame_request: {
            let picture = picture.clone();
            Arc::new(move || picture.request_idr())
        },
        control: Arc::new(CarControl { drive: car.drive.handle(), bridge: car.bridge.as_ref().map(Bridge::handle) }),
        metrics,
        counters: readings.counters.clone(),
        status,
    };
    let (telemetry, telemetry_settings) = watch::channel(config.telemetry.clone());
    let tasks_shutdown = CancellationToken::new();
    let mut supervisor = Supervisor::new(tasks_shutdown.clone());
    // Signalling goes ahead while the camera opens: both take their time, and neither needs the other yet.
    supervisor
        .spawn("publisher", publish_session(config.signal.clone(), config.rtc.clone(), edges, tasks_shutdown.clone()));
    supervisor.spawn("telemetry", readings.clone().tell(telemetry_settings, tasks_shutdown.clone()));
    answer_questions(&config, &readings, &log, &mut supervisor, &tasks_shutdown).await;
    if let Some(source) = source {
        let (config, drive) = (config.clone(), car.drive.handle());
        let reload = Reload { source, config, log, picture: picture.clone(), drive, telemetry };
        supervisor.spawn("reload", reload.run(signals.reload.clone(), tasks_shutdown.clone()));
    }
    supervisor.spawn("camera state", tell_camera(camera_state, outlet, tasks_shutdown.clone()));
    let (video, overlay) = (config.video, car.overlay());
    let video = Video::start(Keeper { config: video, overlay, units: sender, control: picture, state: camera });
    let (video_ended, asked) = (video.ended.clone(), tasks_shutdown.clone());
    // The picture itself ends after the peers: here it only must not end before it is told to.
    supervisor.spawn("video", async move {
        tokio::select! {
            () = video_ended.cancelled() => {}
            () = asked.cancelled() => {}
        }
    });
    let drive_ended = car.ended.clone();
    supervisor.spawn("drive", async move { drive_ended.cancelled().await });
    end_in_phases(car, supervisor, video, signals.shutdown, tasks_shutdown).await
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
    supervisor: &mut Supervisor,
    shutdown: &CancellationToken,
) {
    match StatusSocket::open(&config.status) {
        Ok(socket) => {
            let (readings, recent) = (readings.clone(), log.recent());
            let document =
                move || Document::new(&readings.snapshot(), &recent.list(), recent.counts(), now()).to_json();
            supervisor.spawn("status", socket.serve(Arc::new(document), shutdown.clone()));
        }
        Err(error) => tracing::warn!(%error, "rtcpub status will get no answer"),
    }
    let Some(metrics) = config.metrics else { return };
    match MetricsServer::bind(metrics).await {
        Ok(server) => {
            let (readings, recent) = (readings.clone(), log.recent());
            let page = move || exposition(&readings.snapshot(), recent.counts());
            supervisor.spawn("metrics", server.serve(Arc::new(page), shutdown.clone()));
        }
        Err(error) => tracing::error!(error, "no metrics"),
    }
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
