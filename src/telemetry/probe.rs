//! Reads the board: a few small files a second.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::host::{self, CpuTimes, HostReading, MAX_ZONES};
use super::snapshot::ProcessReading;

/// Below `/sys`: the devices of the driver by which a Raspberry Pi's firmware says whether it throttles. Where they are
/// themselves differs from board to board (`soc:firmware`, on a Pi 5 `soc@107c000000:firmware`).
const PI_FIRMWARE: &str = "bus/platform/drivers/raspberrypi-firmware";
/// Whose free space is told.
const DISK: &str = "/";
/// A reading is used again for this long, so that whoever asks often costs little.
const FRESH: Duration = Duration::from_millis(150);

/// Reads the board; keeps what is needed to tell rates.
#[derive(Debug)]
pub struct HostProbe {
    cpu: Option<CpuTimes>,
    places: Places,
    last: Option<(Instant, HostReading)>,
}

/// Where this board's sensors lie: they do not move.
#[derive(Debug, Default)]
struct Places {
    /// Name and `temp` of each thermal zone.
    zones: Vec<(String, PathBuf)>,
    /// `cur_state` of what slows the processors down.
    cooling: Vec<PathBuf>,
    /// `oc*_event_cnt` of a Jetson's over-current monitor.
    over_current: Vec<PathBuf>,
    /// `get_throttled` of a Raspberry Pi.
    throttled: Option<PathBuf>,
}

impl HostProbe {
    /// Looks once for the sensors there are.
    pub fn new() -> Self {
        Self { cpu: None, places: Places::find(Path::new("/sys")), last: None }
    }

    /// The board now. Blocks for some tens of microseconds: these files are made by the kernel on the spot.
    pub fn read(&mut self, now: Instant) -> HostReading {
        if let Some((read, reading)) = &self.last
            && now.saturating_duration_since(*read) < FRESH
        {
            return reading.clone();
        }
        let cpu = text("/proc/stat").as_deref().and_then(CpuTimes::parse);
        let cpu_load = cpu.zip(self.cpu).and_then(|(now, before)| now.load_since(before));
        self.cpu = cpu;
        let temperatures = self.places.temperatures();
        let reading = HostReading {
            cpu_load,
            memory_used: text("/proc/meminfo").as_deref().and_then(host::memory_used),
            disk_free_mb: rustix::fs::statvfs(DISK).ok().map(|disk| (disk.f_bavail * disk.f_frsize) as f64 / 1e6),
            temperature_c: temperatures.iter().map(|(_, degrees)| *degrees).reduce(f64::max),
            temperatures,
            thermal_throttling: self.places.throttling(),
            over_current_events: self.places.over_current_events(),
            wifi_dbm: text("/proc/net/wireless").as_deref().and_then(host::wifi_dbm),
            throttled: self.places.throttled(),
        };
        self.last = Some((now, reading.clone()));
        reading
    }
}

impl Default for HostProbe {
    fn default() -> Self {
        Self::new()
    }
}

impl Places {
    fn find(sys: &Path) -> Self {
        let mut places = Self::default();
        for device in entries(&sys.join("class/thermal")) {
            let Some(kind) = text(device.join("type")) else { continue };
            let name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("thermal_zone") {
                places.zones.extend(host::zone_name(&kind).map(|zone| (zone, device.join("temp"))));
            } else if host::slows_down(&kind) {
                places.cooling.push(device.join("cur_state"));
            }
        }
        places.zones.truncate(MAX_ZONES);
        for monitor in entries(&sys.join("class/hwmon")) {
            if text(monitor.join("name")).is_some_and(|name| name.trim() == "soctherm_oc") {
                let counters = (1..=3).map(|number| monitor.join(format!("oc{number}_event_cnt")));
                places.over_current.extend(counters.filter(|counter| counter.exists()));
            }
        }
        let firmware = entries(&sys.join(PI_FIRMWARE)).into_iter().map(|device| device.join("get_throttled"));
        places.throttled = firmware.into_iter().find(|flags| flags.exists());
        places
    }

    fn temperatures(&self) -> Vec<(String, f64)> {
        let read = |(zone, place): &(String, PathBuf)| Some((zone.clone(), host::celsius(&text(place)?)?));
        self.zones.iter().filter_map(read).collect()
    }

    fn throttling(&self) -> Option<bool> {
        let mut states = self.cooling.iter().filter_map(number).peekable();
        states.peek()?;
        Some(states.any(|state| state > 0))
    }

    fn throttled(&self) -> Option<u32> {
        self.throttled.as_ref().and_then(text).as_deref().and_then(host::throttled)
    }

    fn over_current_events(&self) -> Option<u64> {
        self.over_current.iter().filter_map(number).reduce(u64::saturating_add)
    }
}

/// Resident memory of this process in KiB.
pub fn resident_kib() -> Option<u64> {
    host::resident_kib(&text("/proc/self/status")?)
}

/// This process, which has been up for so long. Not for each second: listing threads and open files would be nearly half
/// of the instructions of what is told then.
pub fn process(uptime: Duration) -> ProcessReading {
    ProcessReading {
        id: std::process::id(),
        uptime,
        resident_kib: resident_kib(),
        threads: Some(entries(Path::new("/proc/self/task")).len()),
        // One of them is the folder that is being read.
        open_files: Some(entries(Path::new("/proc/self/fd")).len().saturating_sub(1)),
        tasks: tokio::runtime::Handle::try_current().ok().map(|runtime| runtime.metrics().num_alive_tasks()),
    }
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// In the order of their names.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    fn file(sys: &tempfile::TempDir, path: &str, text: &str) {
        let path = sys.path().join(path);
        create_dir_all(path.parent().expect("a folder")).expect("ours");
        write(path, text).expect("ours");
    }

    /// `/sys` as a Jetson has it.
    fn jetson() -> tempfile::TempDir {
        let sys = tempfile::tempdir().expect("a folder");
        let class = |path: &str, text: &str| file(&sys, &format!("class/{path}"), text);
        for (zone, kind, temp) in
            [(0, "CPU-therm", "48500"), (1, "GPU-therm", "46000"), (2, "PMIC-Die", "100000"), (3, "CV-therm", "none")]
        {
            class(&format!("thermal/thermal_zone{zone}/type"), kind);
            class(&format!("thermal/thermal_zone{zone}/temp"), temp);
        }
        for (device, kind, state) in [(0, "pwm-fan", "3"), (1, "gpu-balanced", "0"), (2, "cpu-balanced", "1")] {
            class(&format!("thermal/cooling_device{device}/type"), kind);
            class(&format!("thermal/cooling_device{device}/cur_state"), state);
        }
        class("hwmon/hwmon0/name", "ina3221\n");
        class("hwmon/hwmon1/name", "soctherm_oc\n");
        class("hwmon/hwmon1/oc1_event_cnt", "2\n");
        class("hwmon/hwmon1/oc3_event_cnt", "40\n");
        sys
    }

    #[test]
    fn a_jetson_tells_its_zones_by_name_its_throttling_and_its_over_current_events() {
        let sys = jetson();
        let places = Places::find(sys.path());
        assert_eq!(places.temperatures(), [("cpu".to_owned(), 48.5), ("gpu".to_owned(), 46.0)]);
        assert_eq!(places.throttling(), Some(true));
        file(&sys, "class/thermal/cooling_device2/cur_state", "0");
        assert_eq!(places.throttling(), Some(false), "the fan may turn");
        assert_eq!(places.over_current_events(), Some(42));
    }

    #[test]
    fn a_raspberry_pi_tells_its_flags_wherever_its_firmware_is() {
        for device in ["soc:firmware", "soc@107c000000:firmware"] {
            let sys = tempfile::tempdir().expect("a folder");
            file(&sys, &format!("devices/{device}/get_throttled"), "50005\n");
            file(&sys, &format!("{PI_FIRMWARE}/uevent"), "");
            let driver = sys.path().join(PI_FIRMWARE);
            std::os::unix::fs::symlink(sys.path().join("devices").join(device), driver.join(device)).expect("ours");
            assert_eq!(Places::find(sys.path()).throttled(), Some(5), "{device}");
        }
    }

    #[test]
    fn a_board_without_sensors_tells_nothing_of_them() {
        let nothing = Places::find(Path::new("/nowhere"));
        assert_eq!((nothing.temperatures(), nothing.throttling(), nothing.over_current_events()), (vec![], None, None));
        assert_eq!(nothing.throttled(), None);
    }

    /// 0.1 % of a core at one reading a second is 1 ms of processor time. Of this thread alone: others do not count.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the instants are as far apart as they would be")]
    fn reading_the_board_and_the_process_costs_less_than_a_thousandth_of_a_core_each() {
        const READINGS: u32 = 50;
        let cost = |read: &mut dyn FnMut(u32)| {
            let cpu = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("it is positive");
            let before = cpu();
            (0..READINGS).for_each(read);
            (cpu() - before) / READINGS
        };
        let (mut probe, start) = (HostProbe::new(), Instant::now());
        let host = cost(&mut |second| {
            let reading = probe.read(start + Duration::from_secs(second.into()));
            assert!(!crate::telemetry::report::host(&reading).is_empty());
        });
        let process = cost(&mut |second| {
            let reading = process(Duration::from_secs(second.into()));
            assert_eq!(crate::telemetry::report::process(reading.uptime, reading.resident_kib).len(), 3);
        });
        for (topic, cost) in [("host", host), ("process", process)] {
            eprintln!("{topic}: {cost:?} of processor time a reading");
            assert!(cost < Duration::from_millis(1), "{topic}: {cost:?}");
        }
    }
}
