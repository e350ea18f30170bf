//! Reads the board: a few small files a second.

use std::fs;
use std::path::Path;

use super::host::{self, CpuTimes, HostReading};

/// Reads the board; keeps what is needed to tell rates.
#[derive(Debug, Default)]
pub struct HostProbe {
    cpu: Option<CpuTimes>,
}

/// Where a Raspberry Pi's firmware says whether it throttles.
const PI_THROTTLED: &str = "/sys/devices/platform/soc/soc:firmware/get_throttled";
/// Whose free space is told.
const DISK: &str = "/";

impl HostProbe {
    /// The board now. Blocks for some tens of microseconds: these files are made by the kernel on the spot.
    pub fn read(&mut self) -> HostReading {
        let cpu = text("/proc/stat").as_deref().and_then(CpuTimes::parse);
        let cpu_load = cpu.zip(self.cpu).and_then(|(now, before)| now.load_since(before));
        self.cpu = cpu;
        HostReading {
            cpu_load,
            memory_used: text("/proc/meminfo").as_deref().and_then(host::memory_used),
            disk_free_mb: rustix::fs::statvfs(DISK).ok().map(|disk| (disk.f_bavail * disk.f_frsize) as f64 / 1e6),
            temperature_c: hottest(),
            wifi_dbm: text("/proc/net/wireless").as_deref().and_then(host::wifi_dbm),
            throttled: text(PI_THROTTLED).as_deref().and_then(host::throttled),
        }
    }
}

/// Resident memory of this process in KiB.
pub fn resident_kib() -> Option<u64> {
    host::resident_kib(&text("/proc/self/status")?)
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn hottest() -> Option<f64> {
    let zones = fs::read_dir("/sys/class/thermal").ok()?;
    let temperatures = zones.filter_map(|zone| host::celsius(&text(zone.ok()?.path().join("temp"))?));
    temperatures.reduce(f64::max)
}
