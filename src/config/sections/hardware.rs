//! The tables of the actuators, `[lap_sensor]` and `[bridge]`

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::reader::{Read, Reader, Reported};
use crate::config::{Origin, path_component};
use crate::drive::actuator::kind::{ActuatorConfig, ActuatorKind, Table};
use crate::drive::settings::{BridgeConfig, LapSensorConfig, Pull};
use crate::signal::settings::ChannelId;

/// Highest line offset accepted; the GPIO chips of our boards have at most a few hundred lines.
const MAX_LINE: u32 = 1023;

/// Longest path of a Unix socket on Linux, in bytes (`sun_path` without its NUL, unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// The settings of each kind of actuator: what is wrong in the table of one that is not chosen is told as well.
pub(super) fn actuators(reader: &mut Reader<'_>, kinds: &[&ActuatorKind]) -> Read<Vec<ActuatorConfig>> {
    let read = |kind: &&ActuatorKind| (kind.read)(&mut KindTable { reader: &mut *reader, kind: kind.name });
    let settings: Vec<_> = kinds.iter().map(read).collect();
    settings.into_iter().collect()
}

/// `[drive.KIND]`.
struct KindTable<'r, 'a> {
    reader: &'r mut Reader<'a>,
    kind: &'static str,
}

impl KindTable<'_, '_> {
    fn key(&self, key: &str) -> String {
        format!("drive.{}.{key}", self.kind)
    }
}

impl Table for KindTable<'_, '_> {
    fn integer(&mut self, key: &str, range: RangeInclusive<u32>, default: u32) -> Read<u32> {
        self.reader.integer(&self.key(key), range, default)
    }

    fn integer_if_given(&mut self, key: &str, range: RangeInclusive<u32>) -> Read<Option<u32>> {
        self.reader.integer_if_given(&self.key(key), range)
    }

    fn millis(&mut self, key: &str, range: RangeInclusive<u32>, default: u32) -> Read<Duration> {
        self.reader.millis(&self.key(key), range, default)
    }

    fn path(&mut self, key: &str, default: &str) -> Read<PathBuf> {
        self.reader.path(&self.key(key), default)
    }

    fn path_if_given(&mut self, key: &str) -> Read<Option<PathBuf>> {
        self.reader.path_if_given(&self.key(key))
    }

    fn problem(&mut self, key: &str, remedy: &str) -> Reported {
        self.reader.problem(&self.key(key), remedy)
    }
}

/// The lap sensor, when its table is there.
pub(super) fn lap_sensor(reader: &mut Reader<'_>) -> Read<Option<LapSensorConfig>> {
    let chip = reader.path("lap_sensor.chip", "/dev/gpiochip0");
    let lines = reader.integers("lap_sensor.lines", 0..=MAX_LINE, &[4, 17]);
    let pull = reader.choice("lap_sensor.pull", &[("up", Pull::Up), ("down", Pull::Down), ("none", Pull::None)]);
    let active_low = reader.boolean("lap_sensor.active_low", true);
    let debounce = reader.millis("lap_sensor.debounce_ms", 0..=1000, 2);
    let wanted = reader.is_switched_on("lap_sensor");
    let lines = match lines?[..] {
        [first, second] if first != second => [first, second],
        _ => return Err(reader.problem("lap_sensor.lines", "must be two different lines, such as [4, 17]")),
    };
    let sensor = LapSensorConfig { chip: chip?, lines, pull: pull?, active_low: active_low?, debounce: debounce? };
    Ok(wanted.then_some(sensor))
}

/// The bridge, when its table is there or the car is moved by it.
pub(super) fn bridge(
    reader: &mut Reader<'_>,
    channel: Option<&ChannelId>,
    moves_the_car: bool,
) -> Read<Option<BridgeConfig>> {
    let socket = socket(reader, channel);
    if !moves_the_car && !reader.is_switched_on("bridge") {
        return Ok(None);
    }
    let socket = socket?;
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        let remedy = format!("\"{}\" is longer than the {MAX_SOCKET_PATH} bytes of a socket's path", socket.display());
        return Err(reader.problem("bridge.socket", format!("{remedy}: give a shorter one")));
    }
    Ok(Some(BridgeConfig { socket }))
}

fn socket(reader: &mut Reader<'_>, channel: Option<&ChannelId>) -> Read<PathBuf> {
    if let Some(path) = reader.path_if_given("bridge.socket")? {
        return Ok(path);
    }
    let channel = channel.ok_or(Reported)?;
    let (folder, origin) = match reader.facts.folder("RUNTIME_DIRECTORY") {
        Some(folder) => (folder, Origin::Environment("RUNTIME_DIRECTORY".to_owned())),
        None => (PathBuf::from("/run/rtcpub"), Origin::Default),
    };
    let path = folder.join(format!("{}.sock", path_component(channel)));
    reader.derive("bridge.socket", path.display(), origin);
    Ok(path)
}
