//! One file a section of the channel file: every key's type, range, default, and what it becomes.

mod cameras;
mod drive;
mod hardware;
mod ice;
mod log;
mod rate;
mod rtc;
mod server;
mod telemetry;
mod tls;
mod vehicle;
mod video;

use super::reader::{Read, Reader};
use super::{Config, LogConfig};
use crate::drive::actuator::kind::ActuatorKind;
use crate::drive::settings::DriveConfig;
use crate::rtc::settings::RtcConfig;
use crate::signal::settings::SignalConfig;
use crate::status::settings::{MetricsConfig, StatusConfig};
use crate::telemetry::settings::TelemetryConfig;
use crate::video::further::FurtherCamera;
use crate::video::settings::{RateConfig, VideoConfig};

/// What each folder needs, as far as it could be read.
pub(super) struct Parts {
    pub(super) log: Read<LogConfig>,
    pub(super) signal: Read<SignalConfig>,
    pub(super) video: Read<VideoConfig>,
    pub(super) cameras: Read<Vec<FurtherCamera>>,
    pub(super) rate: Read<RateConfig>,
    pub(super) rtc: Read<RtcConfig>,
    pub(super) drive: Read<DriveConfig>,
    pub(super) telemetry: Read<TelemetryConfig>,
    pub(super) metrics: Read<Option<MetricsConfig>>,
    pub(super) status: Read<StatusConfig>,
}

impl Parts {
    /// The configuration, when no part failed.
    pub(super) fn whole(self) -> Read<Config> {
        Ok(Config {
            log: self.log?,
            signal: self.signal?,
            video: self.video?,
            cameras: self.cameras?,
            rate: self.rate?,
            rtc: self.rtc?,
            drive: self.drive?,
            telemetry: self.telemetry?,
            metrics: self.metrics?,
            status: self.status?,
        })
    }
}

/// Reads every section, in the order of `config/example.toml`. `kinds` are the actuators there are.
pub(super) fn read(reader: &mut Reader<'_>, kinds: &[&ActuatorKind]) -> Parts {
    let channel = server::channel(reader);
    let log = log::read(reader);
    let signal = server::read(reader, channel.clone());
    let server = signal.as_ref().ok().map(|signal| &signal.server);
    let rtc = rtc::read(reader, server);
    let video = video::read(reader);
    let cameras = cameras::read(reader, video.as_ref().map_err(|reported| *reported));
    let start = video.as_ref().map(|video| video.encoder.bitrate).map_err(|reported| *reported);
    let rate = rate::read(reader, start);
    let drive = drive::read(reader, channel.as_ref().ok(), kinds);
    let telemetry = telemetry::read(reader);
    let metrics = telemetry::metrics(reader);
    let status = telemetry::status(reader, channel.as_ref().ok());
    Parts { log, signal, video, cameras, rate, rtc, drive, telemetry, metrics, status }
}

/// Whether a key is one of the car's (see [`super::load_drive`]).
pub(super) fn concerns_the_car(key: &str) -> bool {
    let section = key.split('.').next().unwrap_or(key);
    matches!(section, "drive" | "lap_sensor" | "bridge")
}
