//! The commands that run something. The only composition root: makes the parts from their configurations, joins them.

mod answers;
mod channel;
mod control;
mod in_force;
mod pictures;
mod process;
mod provoke;
mod readings;
mod reload;
mod service;
mod sole;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio_util::sync::CancellationToken;

use self::channel::Surroundings;
use self::in_force::InForce;
use self::process::Hangup;
use self::reload::Source;
use crate::cli::{DemoArgs, HubArgs, ImportArgs, StatusArgs};
use crate::config::{self, Config, Loaded, Setting};
use crate::drive::calibrate::calibrate as calibrate_by_hand;
use crate::drive::import::import_calibration as import;
use crate::drive::park::park as park_outputs;
use crate::exit::{Exit, Failure};
use crate::hub::{Hub, HubConfig};
use crate::logging::LogControl;
use crate::probe::probe as try_servers;
use crate::secret::Secret;
use crate::signal::tls::hex;
use crate::status::ask::ask;
use crate::status::screen::screen;
use crate::video::further::CameraName;
use crate::video::pipeline::inspect;
use crate::video::settings::VideoConfig;

/// How often `rtcpub status --watch` asks.
const WATCH_PERIOD: Duration = Duration::from_secs(1);
/// Clears a terminal and goes to its top (ECMA-48 ED and CUP).
const CLEAR_SCREEN: &str = "\u{1b}[2J\u{1b}[H";

/// The channel of `rtcpub demo`, in the form of the servers' ids.
const DEMO_CHANNEL: &str = "demo0000000000000000";

/// `rtcpub run`: publishes the channel until SIGTERM or SIGINT; SIGHUP reads `file` and `settings` again. With
/// `trace_latency` the log tells once a telemetry period where a picture's time goes.
///
/// # Errors
/// What kept it from starting, or ended it unasked.
pub fn run(loaded: Loaded, file: PathBuf, settings: Vec<Setting>, trace_latency: bool, log: LogControl) -> Result<()> {
    let source = Some(Source { file, settings, effective: loaded.effective });
    process::run(Hangup::Reloads, async |signals| {
        channel::publish(loaded.config, Surroundings { log, signals, source, trace_latency }).await
    })
}

/// `rtcpub status`: asks one channel's daemon, or all there are, how they are.
///
/// # Errors
/// Who does not answer, once the others have.
pub fn status(args: &StatusArgs) -> Result<()> {
    loop {
        let sockets = args.sockets(|name| std::env::var_os(name).map(PathBuf::from));
        if sockets.is_empty() {
            bail!("no daemon is running here; name its channel to see where it is looked for");
        }
        let answers: Vec<_> = sockets.iter().map(|socket| ask(socket)).collect();
        let mut text = if args.watch && !args.json { CLEAR_SCREEN.to_owned() } else { String::new() };
        for answer in &answers {
            match answer {
                Ok((json, _)) if args.json => text.push_str(&format!("{json}\n")),
                Ok((_, document)) => text.push_str(&screen(document)),
                Err(error) if args.watch && !args.json => text.push_str(&format!("{error}\n")),
                Err(_) => {}
            }
        }
        if let Err(error) = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
            return if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error.into()) };
        }
        if !args.watch {
            return answers.into_iter().find_map(Result::err).map_or(Ok(()), |error| Err(error.into()));
        }
        std::thread::sleep(WATCH_PERIOD);
    }
}

/// `rtcpub demo`: a hub and a publisher in one process on loopback, over the real protocols.
///
/// # Errors
/// What kept it from starting, or ended it unasked.
pub fn demo(args: DemoArgs, log: LogControl) -> Result<()> {
    process::run(Hangup::Ends, async |signals| {
        let state = tempfile::tempdir().context("no folder for the demo's certificate")?;
        let mut config = HubConfig::on_loopback(state.path().to_owned());
        (config.secure, config.plain) = (args.https, Some(args.http));
        let hub = bind(config).await?;
        let mut loaded = config::load(None, demo_settings(&args, &hub, state.path()))?;
        // Whoever tries the demo has no /run/rtcpub, and need not hear of it.
        loaded.config.status.socket = state.path().join("status.sock");
        let page = format!("http://{}/?channel={DEMO_CHANNEL}", hub.plain_address().unwrap_or(args.http));
        invite(&page, args.no_browser);

        // The publisher ends first, so that its car is at neutral before anything it talks to goes away.
        let hub_shutdown = CancellationToken::new();
        let _end_hub = hub_shutdown.clone().drop_guard();
        let served = tokio::spawn(hub.serve(hub_shutdown.clone()));
        let published =
            channel::publish(loaded.config, Surroundings { log, signals, source: None, trace_latency: false }).await;
        hub_shutdown.cancel();
        served.await.context("the hub")?;
        published
    })
}

/// `rtcpub hub`: the local pub/sub server.
///
/// # Errors
/// What kept it from starting.
pub fn hub(args: HubArgs, log: LogControl) -> Result<()> {
    let state_dir = args.state_dir(|name| std::env::var_os(name).map(PathBuf::from)).ok_or_else(|| {
        Failure::cannot_start("no folder for the hub's certificate: give --state-dir, or set HOME or STATE_DIRECTORY")
    })?;
    let config = HubConfig {
        secure: args.listen_https,
        plain: Some(args.listen_http),
        state_dir,
        publisher_token: token("--pub-token-file", args.pub_token_file.as_deref())?,
        viewer_token: token("--sub-token-file", args.sub_token_file.as_deref())?,
        allowed_hosts: args.allowed_hosts,
    };
    log.protect(config.publisher_token.iter().chain(&config.viewer_token));
    log.know([config.secure.ip()].into_iter().chain(config.plain.map(|plain| plain.ip())));
    process::run(Hangup::Ends, async |signals| {
        bind(config).await?.serve(signals.shutdown).await;
        Ok(())
    })
}

/// `rtcpub snapshot`: one picture into a file, of the camera of that name or of the first.
///
/// # Errors
/// Why there is none.
pub fn snapshot(config: &Config, camera: Option<&str>, file: &Path) -> Result<()> {
    let further = camera.filter(|name| *name != CameraName::FIRST);
    let video = further.map_or(Ok(&config.video), |name| further_camera(config, name))?;
    let picture = inspect::snapshot(video).map_err(|error| if further.is_some() { error.of_further() } else { error });
    let picture = picture.map_err(|error| Failure::cannot_start(error.to_string()))?;
    std::fs::write(file, &picture).with_context(|| format!("cannot write {}", file.display()))?;
    say(&format!("{}: {} KiB", file.display(), picture.len() / 1024));
    Ok(())
}

/// `rtcpub probe`: tries the servers that the channel's file names.
///
/// # Errors
/// [`Failure`] when no session could be made.
pub fn probe(loaded: Loaded) -> Result<()> {
    let config = loaded.config;
    let outcome =
        process::run(Hangup::Ends, async |_| Ok(try_servers(&config.signal, &config.rtc, &mut io::stdout()).await))?;
    if outcome.session_possible() { Ok(()) } else { Err(Failure::cannot_start("no session could be made").into()) }
}

/// `rtcpub park`: puts every output to neutral that a daemon may have moved, by what that had in force; without one, by the
/// channel file. Once its car stands, what a daemon that is gone had in force goes too.
///
/// # Errors
/// Which output could not be reached.
pub fn park(file: &Path, settings: Vec<Setting>) -> Result<()> {
    if was_refused() {
        say("nothing is parked: the daemon that has ended was refused, for another one drives this car");
        return Ok(());
    }
    let in_force = InForce::of_any(file);
    let left = in_force.left().and_then(|left| Some((left, config::load_drive(Some(left), settings.clone()).ok()?)));
    // By what a daemon had in force and nothing else: after that, nothing is left to be parked by it.
    let all_of_it = left.is_some() && settings.is_empty();
    let (by, drive) = match left {
        Some((left, drive)) => (format!("{}, what its daemon drove by", left.display()), drive),
        None => (file.display().to_string(), config::load_drive(Some(file), settings)?),
    };
    let done = park_outputs(&drive).map_err(|error| Failure::cannot_start(format!("{error} (by {by})")))?;
    if all_of_it {
        in_force.remove_if_left(file);
    }
    say(&format!("{done} (by {by})"));
    Ok(())
}

/// Whether this runs after a daemon that never had the car (systemd.exec(5): what `ExecStopPost=` is told).
fn was_refused() -> bool {
    let says = |name, value: &str| std::env::var(name).is_ok_and(|said| said == value);
    says("EXIT_CODE", "exited") && says("EXIT_STATUS", &Exit::Taken.code().to_string())
}

/// `rtcpub calibrate`: finds the car's pulses by hand.
///
/// # Errors
/// What kept it from starting.
pub fn calibrate(file: &Path, settings: Vec<Setting>) -> Result<()> {
    let drive = config::load_drive(Some(file), settings.clone())?;
    let file = file.to_owned();
    let found = process::run(Hangup::Ends, async |signals| {
        // The dialogue blocks on the terminal; the closed end of this pair is how it hears of a signal.
        let (asked, ended) = UnixStream::pair()?;
        let channel_file = file.clone();
        let mut dialogue = tokio::task::spawn_blocking(move || calibrate_by_hand(&drive, &channel_file, ended));
        let found = tokio::select! {
            found = &mut dialogue => found,
            () = signals.shutdown.cancelled() => {
                drop(asked);
                dialogue.await
            }
        };
        Ok(found.context("the dialogue")??)
    })?;
    say(&found.to_string());
    // New pulses may not fit what the file says elsewhere: better told now than at the next start.
    config::load_drive(Some(&file), settings)?;
    Ok(())
}

/// `rtcpub import-calibration`: the old all-cars file into channel files.
///
/// # Errors
/// Every problem of the old file.
pub fn import_calibration(args: &ImportArgs, config_dir: &Path) -> Result<()> {
    let into = args.into.as_deref().unwrap_or(config_dir);
    say(&import(&args.file, into, args.force)?.to_string());
    Ok(())
}

async fn bind(config: HubConfig) -> Result<Hub> {
    Hub::bind(config).await.map_err(|error| Failure::cannot_start(error.to_string()).into())
}

fn further_camera<'c>(config: &'c Config, name: &str) -> Result<&'c VideoConfig> {
    let found = config.cameras.iter().find(|camera| camera.name.as_str() == name);
    found.map(|camera| &camera.video).with_context(|| {
        let names = config.cameras.iter().map(|camera| camera.name.as_str());
        let names: Vec<_> = std::iter::once(CameraName::FIRST).chain(names).collect();
        format!("no camera of this channel is called {name:?}; there are: {}", names.join(", "))
    })
}

fn token(flag: &str, file: Option<&Path>) -> Result<Option<Secret>> {
    let Some(file) = file else { return Ok(None) };
    let read = config::read_credential(file, &config::read_file)
        .map_err(|error| Failure::cannot_start(format!("{flag} {}: {error}", file.display())))?;
    if read.world_readable {
        tracing::warn!(file = %file.display(), "everyone on this machine can read this token: chmod 600 it");
    }
    Ok(Some(read.secret))
}

fn demo_settings(args: &DemoArgs, hub: &Hub, state: &Path) -> Vec<Setting> {
    let setting = |key: &str, value: String| Setting { flag: "demo".to_owned(), key: key.to_owned(), value };
    let server: SocketAddr = hub.secure_address();
    let mut settings = vec![
        setting("channel", DEMO_CHANNEL.to_owned()),
        setting("server.url", format!("wss://{server}")),
        setting("tls.pin_sha256", hex(&hub.pin())),
        setting("drive.actuator", "simulated".to_owned()),
        setting("drive.max_speed.state_file", state.join("max-speed.json").display().to_string()),
    ];
    settings.extend(args.settings());
    settings
}

/// Tells a person where to look, and opens a browser where there is a display.
fn invite(page: &str, no_browser: bool) {
    say(&format!("\n  Open  {page}\n  Drive with W A S D or the arrow keys; space stops.\n  Ctrl-C ends the demo.\n"));
    let has_display = ["WAYLAND_DISPLAY", "DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if no_browser || !has_display {
        return;
    }
    // Its window is the person's from here on: not our task to wait for, and no harm when there is no such program.
    let opened = std::process::Command::new("xdg-open").arg(page).spawn();
    if let Err(error) = opened {
        tracing::debug!(%error, "no browser was opened");
    }
}

#[expect(clippy::print_stdout, reason = "the answer of a command a person ran")]
fn say(text: &str) {
    println!("{text}");
}
