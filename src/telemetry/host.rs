//! What the board says of itself, read out of `/proc` and `/sys` texts. Pure: [`super::probe`] reads the files.

/// The board at one moment; `None` for what it does not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostReading {
    /// Share of all processors in use since the last reading, 0 … 1.
    pub cpu_load: Option<f64>,
    /// Share of memory not available to a new program, 0 … 1.
    pub memory_used: Option<f64>,
    /// Free space on the root file system, in megabytes.
    pub disk_free_mb: Option<f64>,
    /// The hottest thermal zone, in degrees Celsius.
    pub temperature_c: Option<f64>,
    /// Every thermal zone by its name (`cpu`, `gpu`, `soc0`, …), in degrees Celsius; at most [`MAX_ZONES`].
    pub temperatures: Vec<(String, f64)>,
    /// Whether the kernel slows a processor down because of heat, on any board.
    pub thermal_throttling: Option<bool>,
    /// Times a Jetson throttled for want of voltage or too much current since it booted.
    pub over_current_events: Option<u64>,
    /// Signal of the first wireless interface, in dBm.
    pub wifi_dbm: Option<f64>,
    /// The Raspberry Pi's "now" flags: under-voltage, capped, throttled, soft limit.
    pub throttled: Option<u32>,
}

/// Thermal zones told at most; boards have up to ten.
pub const MAX_ZONES: usize = 12;

/// Jiffies of all processors together, from the first line of `/proc/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTimes {
    busy: u64,
    total: u64,
}

impl CpuTimes {
    /// From `/proc/stat` (`proc_stat(5)`): user, nice, system, idle, iowait, irq, softirq, steal.
    pub fn parse(stat: &str) -> Option<Self> {
        let fields = stat.lines().next()?.strip_prefix("cpu ")?;
        let jiffies: Vec<u64> = fields.split_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
        let (idle, iowait) = (*jiffies.get(3)?, jiffies.get(4).copied().unwrap_or(0));
        let total: u64 = jiffies.iter().sum();
        Some(Self { busy: total - idle - iowait, total })
    }

    /// Share of all processors in use between two readings, 0 … 1; `None` when no time has passed.
    pub fn load_since(self, earlier: Self) -> Option<f64> {
        let total = self.total.checked_sub(earlier.total).filter(|total| *total > 0)?;
        let busy = self.busy.saturating_sub(earlier.busy);
        Some(busy as f64 / total as f64)
    }
}

/// Share of memory that is not available to a new program, 0 … 1, from `/proc/meminfo`.
pub fn memory_used(meminfo: &str) -> Option<f64> {
    let kib = |name: &str| -> Option<f64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
    };
    let total = kib("MemTotal").filter(|total| *total > 0.0)?;
    Some(1.0 - kib("MemAvailable")? / total)
}

/// Degrees Celsius from a thermal zone's `temp` (millidegrees).
pub fn celsius(temp: &str) -> Option<f64> {
    let millidegrees: f64 = temp.trim().parse().ok()?;
    Some(millidegrees / 1000.0)
}

/// A thermal zone's `type` as a key: `CPU-therm` → `cpu`, `soc0-thermal` → `soc0`, `x86_pkg_temp` → `x86_pkg`. `None` for
/// a zone that measures nothing: a Jetson Nano's `PMIC-Die` always says 100 °C, `thermal-fan-est` is a weighted sum.
pub fn zone_name(zone_type: &str) -> Option<String> {
    let zone_type = zone_type.trim().to_ascii_lowercase();
    if zone_type.is_empty() || matches!(zone_type.as_str(), "pmic-die" | "thermal-fan-est") {
        return None;
    }
    let short = ["-thermal", "_thermal", "-therm", "_therm", "_temp", "-temp"]
        .iter()
        .find_map(|ending| zone_type.strip_suffix(ending))
        .unwrap_or(&zone_type);
    let key = short.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    Some(key.take(32).collect())
}

/// Whether a cooling device of this `type` slows a processor down when it is active: `cpufreq-cpu0`, `devfreq-…`,
/// `17000000.gpu`, and the Jetson's `cpu-balanced`, `gpu_heavy` and their like. Fans do not.
pub fn slows_down(cooling_type: &str) -> bool {
    let cooling_type = cooling_type.trim().to_ascii_lowercase();
    ["cpu", "gpu", "devfreq", "throttle", "processor"].iter().any(|part| cooling_type.contains(part))
        && !cooling_type.contains("fan")
        && !cooling_type.contains("alert")
}

/// Resident memory of a process in KiB, from `/proc/self/status`.
pub fn resident_kib(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

/// Signal of the first wireless interface in dBm, from `/proc/net/wireless`.
pub fn wifi_dbm(wireless: &str) -> Option<f64> {
    let line = wireless.lines().find(|line| line.contains(':') && !line.contains('|'))?;
    line.split_whitespace().nth(3)?.trim_end_matches('.').parse().ok()
}

/// What the Raspberry Pi's firmware reports in `get_throttled` (hexadecimal, `raspberrypi-hwmon` and the firmware's
/// sysfs node): the low four bits are "now": under-voltage, frequency capped, throttled, soft temperature limit.
pub fn throttled(get_throttled: &str) -> Option<u32> {
    let digits = get_throttled.trim();
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    Some(u32::from_str_radix(digits, 16).ok()? & 0xf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_load_is_the_busy_share_between_two_readings() {
        let first = CpuTimes::parse("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3 4\n").expect("a reading");
        let second = CpuTimes::parse("cpu  150 0 150 750 150 0 0 0 0 0\n").expect("a reading");
        assert_eq!(second.load_since(first), Some(0.5));
        assert_eq!(second.load_since(second), None);
        assert_eq!(first.load_since(second), None, "a counter that went back");
        for junk in ["", "cpu", "cpu  x", "intr 5", "cpu  1 2"] {
            assert_eq!(CpuTimes::parse(junk), None, "{junk:?}");
        }
    }

    #[test]
    fn memory_is_what_is_not_available() {
        let meminfo = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    250 kB\n";
        assert_eq!(memory_used(meminfo), Some(0.75));
        assert_eq!(memory_used("MemTotal: 0 kB\nMemAvailable: 0 kB\n"), None);
        assert_eq!(memory_used("nonsense"), None);
    }

    #[test]
    fn the_boards_texts_are_read_and_junk_is_nothing() {
        assert_eq!(celsius("48312\n"), Some(48.312));
        assert_eq!(celsius("hot"), None);
        let zones = ["CPU-therm\n", "soc0-thermal", "x86_pkg_temp", "tj-thermal", "PMIC-Die", "thermal-fan-est", ""];
        let names = zones.map(zone_name);
        let expected = [Some("cpu"), Some("soc0"), Some("x86_pkg"), Some("tj"), None, None, None];
        assert_eq!(names.each_ref().map(Option::as_deref), expected);
        for (cooling, slows) in [
            ("cpufreq-cpu0", true),
            ("17000000.gpu", true),
            ("gpu-balanced", true),
            ("Processor", true),
            ("pwm-fan", false),
            ("cpu-throttle-alert", false),
            ("iwlwifi_1", false),
        ] {
            assert_eq!(slows_down(cooling), slows, "{cooling}");
        }
        assert_eq!(resident_kib("Name:\trtcpub\nVmRSS:\t   31204 kB\n"), Some(31_204));
        assert_eq!(resident_kib("Name:\trtcpub\n"), None);
        assert_eq!(throttled("50005\n"), Some(5));
        assert_eq!(throttled("0x0"), Some(0));
        assert_eq!(throttled("no"), None);
        let wireless = "Inter-| sta-|   Quality        |   Discarded packets\n face | tus | link level noise |  nwid\n wlan0: 0000   54.  -56.  -256        0\n";
        assert_eq!(wifi_dbm(wireless), Some(-56.0));
        assert_eq!(wifi_dbm("Inter-| sta-|\n face | tus |\n"), None);
    }
}
