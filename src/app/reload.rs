//! SIGHUP: what can change in place does, what needs a restart is named, and a broken file changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::answers::protect;
use super::in_force::InForce;
use super::readings::Readings;
use crate::config::{self, Config, Effective, Loaded, Problems, Setting};
use crate::drive::DriveHandle;
use crate::drive::KINDS;
use crate::drive::actuator::kind::ActuatorKind;
use crate::logging::LogControl;
use crate::systemd::Notifier;
use crate::telemetry::settings::TelemetryConfig;
use crate::video::settings::{self, RateConfig, View};

/// Where the configuration came from, and comes from again.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) file: PathBuf,
    pub(super) settings: Vec<Setting>,
    /// What was read the first time.
    pub(super) effective: Vec<Effective>,
}

/// What a new configuration is applied to.
pub(super) struct Reload {
    pub(super) source: Source,
    pub(super) config: Config,
    pub(super) log: LogControl,
    pub(super) rate: watch::Sender<RateConfig>,
    pub(super) pictures: Arc<Readings>,
    pub(super) drive: DriveHandle,
    pub(super) telemetry: watch::Sender<TelemetryConfig>,
    pub(super) in_force: InForce,
    pub(super) service_manager: Arc<Notifier>,
}

impl Reload {
    /// Reads the configuration again each time it is `asked` to, until `shutdown`.
    pub(super) async fn run(mut self, asked: Arc<Notify>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = asked.notified() => {}
            }
            self.service_manager.reloading();
            let Source { file, settings, .. } = self.source.clone();
            let read = tokio::task::spawn_blocking(move || config::load(Some(&file), settings)).await;
            match read {
                Ok(Ok(loaded)) => self.apply(loaded),
                Ok(Err(problems)) => refuse(&problems),
                // The process-wide hook has answered this panic by ending the process.
                Err(_) => return,
            }
            self.service_manager.ready();
        }
    }

    fn apply(&mut self, new: Loaded) {
        protect(&self.log, &new.config);
        new.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let changes = Changes::between((&self.source.effective, &self.config), (&new.effective, &new.config));
        let Config { log, video, mut cameras, rate, drive, telemetry, .. } = new.config;
        if changes.touch("log.") {
            self.log.set(&log.filter);
            self.config.log = log;
        }
        if changes.touch("encoder.bitrate_kbps") || changes.touch("rate.") {
            self.rate.send_replace(rate);
            self.config.rate = rate;
            self.config.video.encoder.bitrate = video.encoder.bitrate;
        }
        if changes.touch("camera.") {
            let mut video = video.clone();
            let controls = View::ALL.map(|view| video.controls_mut(view).map(|controls| controls.clone()));
            for (view, controls) in View::ALL.into_iter().zip(&controls) {
                if let (Some(kept), Some(controls)) = (self.config.video.controls_mut(view), controls) {
                    kept.clone_from(controls);
                }
            }
            self.pictures.picture.control.set_camera_controls(controls);
        }
        if changes.touch(CAMERAS) {
            for picture in &self.pictures.further {
                let named = cameras.iter_mut().find(|camera| Some(&camera.name) == picture.name.as_ref());
                let controls = named.and_then(|camera| camera.video.controls_mut(View::Front));
                picture.control.set_camera_controls([controls.map(|controls| controls.clone()), None]);
            }
        }
        if changes.touch("telemetry.") {
            self.telemetry.send_replace(telemetry.clone());
            self.config.telemetry = telemetry;
        }
        if changes.touch("drive.") {
            // It stops the car first: the driver must not meet new limits at speed.
            self.drive.reload(drive.clone());
            let kept = std::mem::replace(&mut self.config.drive, drive);
            self.config.drive.actuator = kept.actuator;
            self.config.drive.max_speed.state_file = kept.max_speed.state_file;
        }
        changes.tell();
        self.source.effective = changes.in_force;
        self.in_force.keep(&self.source.effective);
    }
}

/// Every problem, and that nothing has changed.
fn refuse(problems: &Problems) {
    tracing::error!("the configuration is not reloaded, and everything stays as it was:");
    problems.iter().for_each(|problem| tracing::error!("{problem}"));
}

/// What differs between two configurations.
#[derive(Debug, PartialEq)]
struct Changes {
    applied: BTreeSet<String>,
    restart: BTreeSet<String>,
    /// The old configuration with what is applied of the new one.
    in_force: Vec<Effective>,
}

impl Changes {
    fn between(old: (&[Effective], &Config), new: (&[Effective], &Config)) -> Self {
        let (before, after) = (rows(old.0), rows(new.0));
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
        // A camera that was not there before has no controls to be set.
        let same_camera = |key: &str| {
            let name = key.strip_suffix("controls").map(|table| format!("{table}name"));
            let value_in = |rows: &BTreeMap<&str, &Effective>| {
                name.as_deref().and_then(|name| rows.get(name)).map(|row| row.value.clone())
            };
            !key.starts_with(CAMERAS) || value_in(&before) == value_in(&after)
        };
        let differs = |key: &&str| before.get(key).map(|row| &row.value) != after.get(key).map(|row| &row.value);
        // Pulses belong to the wiring they were measured on: on another board or at another frequency neutral may be full
        // throttle. So nothing of the car is taken while its wiring waits for a restart.
        let rewired = keys.iter().any(|key| is_wiring(key) && differs(key));
        let applies = |key: &str| in_place(key) && same_camera(key) && !(rewired && key.starts_with("drive."));
        let (applied, mut restart): (BTreeSet<_>, BTreeSet<_>) =
            keys.into_iter().filter(differs).map(str::to_owned).partition(|key| applies(key));
        // A secret is not shown, so a row does not tell that it is another one.
        if old.1.signal.token != new.1.signal.token {
            restart.insert("server.token".to_owned());
        }
        if old.1.rtc.ice != new.1.rtc.ice && !restart.iter().any(|key| key.starts_with("ice.")) {
            restart.insert("ice.credential".to_owned());
        }
        let described = pipelines(new.1);
        restart.extend(described.difference(&pipelines(old.1)).map(|(key, _)| key.clone()));
        let kept = old.0.iter().filter(|row| !applies(&row.key));
        let in_force = kept.chain(new.0.iter().filter(|row| applies(&row.key))).cloned().collect();
        Self { applied, restart, in_force }
    }

    fn touch(&self, keys: &str) -> bool {
        self.applied.iter().any(|key| key.starts_with(keys))
    }

    fn tell(&self) {
        let list = |keys: &BTreeSet<String>| keys.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        if self.applied.is_empty() && self.restart.is_empty() {
            tracing::info!("configuration reloaded: nothing has changed");
        }
        if !self.applied.is_empty() {
            tracing::info!(applied = list(&self.applied), "configuration reloaded");
        }
        if !self.restart.is_empty() {
            tracing::warn!(keys = list(&self.restart), "these changes need a restart, and are not in force");
        }
    }
}

/// The source descriptions, which may hold a password, and their keys.
fn pipelines(config: &Config) -> BTreeSet<(String, &str)> {
    let video = &config.video;
    let rear = video.rear.iter().map(|rear| ("camera.rear.pipeline".to_owned(), &rear.source));
    let further = config.cameras.iter().enumerate();
    let further = further.map(|(index, camera)| (format!("{CAMERAS}{index}].pipeline"), &camera.video.camera.source));
    let all = std::iter::once(("camera.pipeline".to_owned(), &video.camera.source)).chain(rear).chain(further);
    let described = all.filter_map(|(key, source)| match source {
        settings::Source::Pipeline(description) => Some((key, description.as_str())),
        _ => None,
    });
    described.collect()
}

/// How the keys of cameras beside the first begin.
const CAMERAS: &str = "cameras[";

/// Whether a key can change while the daemon runs.
fn in_place(key: &str) -> bool {
    let free =
        ["log.", "encoder.bitrate_kbps", "rate.", "camera.controls", "camera.rear.controls", "telemetry.", "drive."];
    let of_further = key.starts_with(CAMERAS) && key.ends_with(".controls");
    let is_free = free.iter().any(|keys| key.starts_with(keys));
    of_further || is_free && key != "drive.max_speed.state_file" && !is_wiring(key)
}

/// Whether a key says what moves the car, and how it is wired.
fn is_wiring(key: &str) -> bool {
    let is_of = |kind: &&ActuatorKind| key.strip_prefix("drive.").is_some_and(|key| table_of(key) == Some(kind.name));
    key == "drive.actuator" || KINDS.iter().any(is_of)
}

fn table_of(key: &str) -> Option<&str> {
    key.split_once('.').map(|(table, _)| table)
}

fn rows(effective: &[Effective]) -> BTreeMap<&str, &Effective> {
    effective.iter().map(|row| (row.key.as_str(), row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ChannelFile, FileContent, Sources};

    const SERVER: &str = "[server]\nurl = \"wss://host\"\n";
    /// A car of its own pulses, at a frequency that is not the usual one.
    const BOARD: &str = "[drive]\nactuator = \"pca9685\"\n[drive.pca9685]\nfrequency_hz = 61\n[drive.calibration]\n\
        throttle_zero = 374\nforward_zero = 399\nthrottle_min = 300\nthrottle_max = 440\nsteering_zero = 399\n\
        steering_min = 319\nsteering_max = 479\nthrottle_steps = 20\nsteering_steps = 20\n";

    fn load(text: &str) -> Loaded {
        let content = FileContent { bytes: text.into(), world_readable: false };
        let file = Some(ChannelFile { path: "/etc/rtcpub/c40hipepjh65aeq6ndj0.toml".into(), content });
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let sources = Sources { file, environment: vec![], flags: vec![], read: &read };
        config::parse(&sources).expect("a right configuration")
    }

    fn changes(before: &str, after: &str) -> (Vec<String>, Vec<String>) {
        let (before, after) = (load(&format!("{SERVER}{before}")), load(&format!("{SERVER}{after}")));
        let changes = Changes::between((&before.effective, &before.config), (&after.effective, &after.config));
        (changes.applied.into_iter().collect(), changes.restart.into_iter().collect())
    }

    #[test]
    fn what_can_change_in_place_is_told_from_what_needs_a_restart() {
        let rows: [(&str, &str, &[&str], &[&str]); 19] = [
            (
                "[[cameras]]\nname = \"left\"\nkind = \"usb\"",
                "[[cameras]]\nname = \"left\"\nkind = \"usb\"\ncontrols = { gain = 3 }",
                &["cameras[0].controls"],
                &[],
            ),
            (
                "[[cameras]]\nname = \"left\"",
                "[[cameras]]\nname = \"left\"\nwidth = 320\nbitrate_kbps = 300",
                &[],
                &["cameras[0].bitrate_kbps", "cameras[0].width"],
            ),
            (
                "[[cameras]]\nname = \"left\"\nkind = \"usb\"\ncontrols = { gain = 3 }",
                "[[cameras]]\nname = \"right\"\nkind = \"usb\"\ncontrols = { gain = 4 }",
                &[],
                &["cameras[0].controls", "cameras[0].name"],
            ),
            (
                "[camera]\nkind = \"usb\"",
                "[camera]\nkind = \"usb\"\ncontrols = { gain = 3 }",
                &["camera.controls"],
                &[],
            ),
            (
                "[camera.rear]\nkind = \"usb\"\ncontrols = { gain = 2 }",
                "[camera.rear]\nkind = \"usb\"\ncontrols = { gain = 3 }",
                &["camera.rear.controls"],
                &[],
            ),
            ("", "", &[], &[]),
            ("", "[log]\nlevel = \"debug\"", &["log.level"], &[]),
            ("", "[encoder]\nbitrate_kbps = 500", &["encoder.bitrate_kbps", "rate.max_kbps"], &[]),
            ("", "[rate]\nmax_kbps = 3000", &["rate.max_kbps"], &[]),
            ("", "[telemetry]\nperiod_ms = 500\ntopics = []", &["telemetry.period_ms", "telemetry.topics"], &[]),
            ("", "[drive]\ndeadline_ms = 200", &["drive.deadline_ms"], &[]),
            ("", "[camera]\nwidth = 320", &[], &["camera.width"]),
            ("token = \"aaaa\"", "token = \"bbbb\"", &[], &["server.token"]),
            (
                "[ice]\nusername = \"u\"\ncredential = \"aaaa\"",
                "[ice]\nusername = \"u\"\ncredential = \"bbbb\"",
                &[],
                &["ice.credential"],
            ),
            (
                "[camera]\nkind = \"pipeline\"\npipeline = \"rtspsrc user-pw=old\"",
                "[camera]\nkind = \"pipeline\"\npipeline = \"rtspsrc user-pw=new\"",
                &[],
                &["camera.pipeline"],
            ),
            (
                "[[cameras]]\nname = \"left\"\nkind = \"pipeline\"\npipeline = \"rtspsrc user-pw=old\"",
                "[[cameras]]\nname = \"left\"\nkind = \"pipeline\"\npipeline = \"rtspsrc user-pw=new\"\nwidth = 320",
                &[],
                &["cameras[0].pipeline", "cameras[0].width"],
            ),
            (
                "[metrics]",
                "[drive.limits]\nthrottle_cap = 0.5",
                &["drive.limits.throttle_cap"],
                &["metrics.allow_remote", "metrics.listen"],
            ),
            (
                BOARD,
                "[drive]\nactuator = \"pca9685\"\ndeadline_ms = 200\n[drive.pca9685]\nfrequency_hz = 50\n\
                 [drive.calibration]\nthrottle_zero = 307\nforward_zero = 327\nthrottle_min = 246\n\
                 throttle_max = 360\nsteering_zero = 327\nsteering_min = 261\nsteering_max = 392\n\
                 throttle_steps = 20\nsteering_steps = 20\n[log]\nlevel = \"debug\"",
                &["log.level"],
                &[
                    "drive.calibration.forward_zero",
                    "drive.calibration.steering_max",
                    "drive.calibration.steering_min",
                    "drive.calibration.steering_zero",
                    "drive.calibration.throttle_max",
                    "drive.calibration.throttle_min",
                    "drive.calibration.throttle_zero",
                    "drive.deadline_ms",
                    "drive.max_speed.ceiling",
                    "drive.pca9685.frequency_hz",
                ],
            ),
            (
                BOARD,
                "[drive]\nactuator = \"simulated\"",
                &[],
                &["drive.actuator", "drive.calibration.throttle_zero", "drive.pca9685.frequency_hz"],
            ),
        ];
        for (before, after, applied, restart) in rows {
            let found = changes(before, after);
            assert_eq!(
                (&found.0[..], &found.1[..]),
                (
                    &applied.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>()[..],
                    &restart.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>()[..]
                ),
                "{after}"
            );
        }
    }

    #[test]
    fn what_needs_a_restart_is_named_again_until_it_gets_one() {
        let (first, second) = (load(SERVER), load(&format!("{SERVER}[camera]\nwidth = 320\n[log]\nlevel = \"warn\"")));
        let once = Changes::between((&first.effective, &first.config), (&second.effective, &second.config));
        assert_eq!((once.applied.len(), once.restart.len()), (1, 1));
        let again = Changes::between((&once.in_force, &first.config), (&second.effective, &second.config));
        assert_eq!((again.applied.len(), again.restart.len()), (0, 1));
    }

    #[test]
    fn pulses_that_wait_with_their_wiring_are_not_in_force_for_parking_either() {
        let after = BOARD.replace("frequency_hz = 61", "frequency_hz = 50").replace("= 374", "= 307");
        let after = after.replace("throttle_min = 300", "throttle_min = 246");
        let (before, after) = (load(&format!("{SERVER}{BOARD}")), load(&format!("{SERVER}{after}")));
        let changes = Changes::between((&before.effective, &before.config), (&after.effective, &after.config));
        let drives = |rows: &[Effective]| rows.iter().filter(|row| row.key.starts_with("drive.")).cloned().collect();
        let [kept, old]: [Vec<_>; 2] = [&changes.in_force, &before.effective].map(|rows| drives(rows));
        assert_eq!(kept, old);
    }

    #[test]
    fn every_key_of_the_car_but_its_wiring_can_change_in_place() {
        for key in ["drive.actuator", "drive.pca9685.bus", "drive.max_speed.state_file", "server.url", "bridge.socket"]
        {
            assert!(!in_place(key), "{key}");
        }
        for key in ["drive.max_speed.ceiling", "drive.calibration.throttle_max", "drive.stop"] {
            assert!(in_place(key), "{key}");
        }
    }
}
