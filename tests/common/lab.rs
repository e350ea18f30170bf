//! The lab: a kernel with an I2C bus that has a PCA9685-like register file at 0x40, and GPIO lines 4 and 17 that can be
//! pulled up and down. A test that needs it begins with
//!
//! ```ignore
//! if !lab::entered("the_name_of_this_test") { return; }
//! ```
//!
//! which runs the same test of the same binary inside, and makes the rest of it run there only.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use i2cdev::core::I2CDevice;
use i2cdev::linux::LinuxI2CDevice;

/// Set inside the lab.
const INSIDE: &str = "RTCPUB_TEST_INSIDE_LAB";

/// A test that takes longer in there hangs.
const TIME_LIMIT_S: &str = "600";

/// The I2C bus of the lab.
pub(crate) const BUS: &str = "/dev/i2c-0";
/// The board on it.
pub(crate) const ADDRESS: u8 = 0x40;

/// Whether this is the lab. If not, the test called `name` has been run there, and has passed; or there is no lab here,
/// and a line says so.
///
/// # Panics
/// When the test failed in the lab.
pub(crate) fn entered(name: &str) -> bool {
    entered_with(name, "256M")
}

/// The same with this much memory: a daemon with its hub and its viewer needs 512M, a browser beside them 2G.
pub(crate) fn entered_with(name: &str, memory: &str) -> bool {
    // No camera.
    entered_lab(name, &[("VIVID", ""), ("UML_MEM", memory)])
}

/// As [`entered`], in a lab with these settings.
#[expect(clippy::print_stderr, reason = "whoever runs the tests must know what was not tested")]
pub(crate) fn entered_lab(name: &str, settings: &[(&str, &str)]) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = project.join("../shared/lab/uml/run");
    if !run.exists() {
        eprintln!("skipped {name}: there is no {}", run.display());
        return false;
    }
    let this = env::current_exe().expect("the running test binary has a path");
    let command = format!("'{}' --exact {name} --nocapture --test-threads=1", this.display());
    // Streams are inherited: the lab's console must not depend on who reads it.
    let status = Command::new(run)
        .args(["-t", TIME_LIMIT_S, &command])
        .env(INSIDE, "1")
        .envs(settings.iter().copied())
        .current_dir(project)
        .stdin(Stdio::null())
        .status()
        .expect("the lab starts");
    assert!(status.success(), "{name} failed in the lab ({status})");
    false
}

/// The registers of the board, read past the program under test.
#[derive(Debug)]
pub(crate) struct Registers(LinuxI2CDevice);

impl Registers {
    /// Opens the lab's board.
    pub(crate) fn open() -> Self {
        Self(LinuxI2CDevice::new(BUS, ADDRESS.into()).expect("the lab has an I2C bus"))
    }

    /// One register.
    pub(crate) fn byte(&mut self, register: u8) -> u8 {
        self.0.smbus_read_byte_data(register).expect("the lab's board answers")
    }

    /// Sets one register, as another program would.
    pub(crate) fn set(&mut self, register: u8, byte: u8) {
        self.0.smbus_write_byte_data(register, byte).expect("the lab's board answers");
    }

    /// The pulse of a channel in ticks; `None` when it puts none out (full off).
    pub(crate) fn pulse(&mut self, channel: u8) -> Option<u16> {
        let first = 0x06 + 4 * channel;
        assert_eq!([self.byte(first), self.byte(first + 1)], [0, 0], "a pulse begins at tick 0");
        let (low, high) = (self.byte(first + 2), self.byte(first + 3));
        (high & 0x10 == 0).then(|| u16::from_le_bytes([low, high]))
    }

    /// Throttle (channel 0) and steering (channel 1), as wired by default.
    pub(crate) fn pulses(&mut self) -> [Option<u16>; 2] {
        [self.pulse(0), self.pulse(1)]
    }

    /// Whether the board is awake, i.e. whether its pulses go out.
    pub(crate) fn is_awake(&mut self) -> bool {
        self.byte(0x00) & 0x10 == 0
    }

    /// PRE_SCALE.
    pub(crate) fn prescale(&mut self) -> u8 {
        self.byte(0xFE)
    }
}

/// While it lives, every write of a process to the I2C bus fails as it does when nothing answers (`EREMOTEIO`).
pub(crate) struct BrokenBus {
    strace: Child,
}

impl BrokenBus {
    /// Breaks the bus, for this very process, by a debugger on it: the lab's own bus cannot fail while it is open.
    pub(crate) fn new() -> Self {
        Self::of(std::process::id())
    }

    /// The same for every write of another process.
    pub(crate) fn of(process: u32) -> Self {
        Self::inject(process, "error=EREMOTEIO")
    }

    /// Every write of another process takes ten seconds.
    pub(crate) fn hanging(process: u32) -> Self {
        Self::inject(process, "delay_enter=10000000")
    }

    fn inject(process: u32, what: &str) -> Self {
        let process = process.to_string();
        let inject = format!("inject=write:{what}");
        let mut strace = Command::new("strace")
            .args(["-f", "-p", &process, "-P", BUS, "-e", "trace=write", "-e", &inject])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is installed");
        let mut said = BufReader::new(strace.stderr.take().expect("it is piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("strace says that it is attached");
        assert!(line.contains("attached"), "{line}");
        // It goes on to tell each write; somebody has to listen.
        thread::spawn(move || io::copy(&mut said, &mut io::sink()));
        Self { strace }
    }
}

impl Drop for BrokenBus {
    fn drop(&mut self) {
        let strace = rustix::process::Pid::from_child(&self.strace);
        rustix::process::kill_process(strace, rustix::process::Signal::INT).expect("strace runs");
        self.strace.wait().expect("strace detaches");
    }
}

/// Takes the I2C bus away, which works while nobody has it open.
pub(crate) fn remove_bus() {
    assert!(bus_goes(), "the bus is in use");
}

/// The same between two tries of a daemon to open it.
pub(crate) fn remove_bus_soon() {
    assert!((0..100).any(|_| bus_goes()), "the bus is in use all the time");
}

fn bus_goes() -> bool {
    let removed = Command::new("rmmod").arg("i2c_stub").status().expect("kmod is installed");
    removed.success() && !Path::new(BUS).exists()
}

/// Brings the bus back, with a board that has just got its power.
pub(crate) fn bring_bus_back() {
    let cache = env::var_os("UML_CACHE").map_or_else(|| home().join(".cache/rtcpub-lab"), PathBuf::from);
    let found = Command::new("find").arg(cache).args(["-name", "i2c-stub.ko*"]).output().expect("find is installed");
    let module = String::from_utf8(found.stdout).expect("a path is text");
    let module = module.lines().next().expect("the lab's modules are in its cache");
    let loaded = Command::new("insmod").args([module, "chip_addr=0x40"]).status().expect("kmod is installed");
    assert!(loaded.success(), "{module} does not load");
}

fn home() -> PathBuf {
    env::var_os("HOME").map(PathBuf::from).expect("there is a home")
}

/// Waits until something is so that tells nobody when it becomes so, such as a register.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("in ten seconds it did not come about that {what}");
}

/// Pulls one of the lab's input lines (4 or 17) high or low from outside.
pub(crate) fn pull(line: u32, high: bool) {
    let pull = sim_gpio(line).join("pull");
    fs::write(pull, if high { "pull-up" } else { "pull-down" }).expect("gpio-sim takes a pull");
}

/// The level of one of the lab's lines: what a program drives it to, or what it is pulled to.
pub(crate) fn level(line: u32) -> bool {
    let value = fs::read_to_string(sim_gpio(line).join("value")).expect("gpio-sim has values");
    value.trim() == "1"
}

/// The lab's GPIO chip.
pub(crate) fn gpio_chip() -> PathBuf {
    let name = child(Path::new("/sys/devices/platform/gpio-sim.0"), "gpiochip");
    Path::new("/dev").join(name.file_name().expect("a folder has a name"))
}

fn sim_gpio(line: u32) -> PathBuf {
    child(Path::new("/sys/devices/platform/gpio-sim.0"), "gpiochip").join(format!("sim_gpio{line}"))
}

fn child(folder: &Path, prefix: &str) -> PathBuf {
    let children = fs::read_dir(folder).expect("gpio-sim is loaded");
    let mut paths = children.map(|child| child.expect("a readable folder").path());
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    paths.find(named).expect("gpio-sim has a chip")
}
