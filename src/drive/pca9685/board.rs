//! The wires to the chip: the I2C bus, and the OE line when there is one.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gpiocdev::Request;
use gpiocdev::line::Value;
use i2cdev::core::I2CDevice;
use i2cdev::linux::{LinuxI2CDevice, LinuxI2CError};

use super::claim::Outputs;
use super::settings::{GpioLine, Pca9685Config};

/// How long the oscillator may take to run after SLEEP was cleared (data sheet §7.3.1.1).
const OSCILLATOR_START: Duration = Duration::from_micros(500);

/// A transfer that fails after longer than this was held up by a bus that hangs, whatever the kernel's driver calls it: the
/// longest of this driver takes less than a millisecond.
const LONGEST_TRANSFER: Duration = Duration::from_millis(100);

/// What the driver asks of the hardware. No decision is made below this line.
pub(super) trait Board: Send {
    /// Takes the outputs, so that no other process moves them while this board is not dropped.
    fn take_outputs(&mut self) -> io::Result<()>;
    /// Whether some process has taken them.
    fn outputs_are_taken(&self) -> bool;
    /// Opens the bus, anew when it is open: a device that vanished and came back is another device.
    fn open(&mut self) -> io::Result<()>;
    /// Closes the bus, so that a device that vanished can go away.
    fn close(&mut self);
    /// One I2C transaction. One that a hanging bus holds up fails by [`io::ErrorKind::TimedOut`], like a read.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// One register.
    fn read(&mut self, register: u8) -> io::Result<u8>;
    /// Lets the pulses out, or holds all outputs low, by the OE line. Nothing when there is no such line.
    fn enable_outputs(&mut self, enabled: bool) -> io::Result<()>;
    /// Whether there is an OE line.
    fn has_output_enable(&self) -> bool;
    /// Gives the oscillator its time to start.
    fn await_oscillator(&mut self);
}

/// The real thing.
pub(super) struct LinuxBoard {
    bus: PathBuf,
    address: u8,
    device: Option<LinuxI2CDevice>,
    outputs: Outputs,
    output_enable: Option<OutputEnable>,
}

struct OutputEnable {
    line: GpioLine,
    request: Option<Request>,
}

impl LinuxBoard {
    pub(super) fn new(config: &Pca9685Config) -> Self {
        let output_enable = config.output_enable.clone().map(|line| OutputEnable { line, request: None });
        Self {
            bus: config.bus.clone(),
            address: config.address,
            device: None,
            outputs: Outputs::of(config),
            output_enable,
        }
    }

    fn transfer<T>(&mut self, transfer: impl FnOnce(&mut LinuxI2CDevice) -> Result<T, LinuxI2CError>) -> io::Result<T> {
        let not_open = || io::Error::new(io::ErrorKind::NotConnected, "the bus is not open");
        let device = self.device.as_mut().ok_or_else(not_open)?;
        let begun = now();
        transfer(device).map_err(|error| {
            let error = by_its_time(error.into(), now().saturating_duration_since(begun));
            with_remedy(error, &self.bus, self.address)
        })
    }
}

impl Board for LinuxBoard {
    fn take_outputs(&mut self) -> io::Result<()> {
        self.outputs.take()
    }

    fn outputs_are_taken(&self) -> bool {
        self.outputs.are_taken()
    }

    fn open(&mut self) -> io::Result<()> {
        self.device = None;
        let device = LinuxI2CDevice::new(&self.bus, u16::from(self.address));
        self.device = Some(device.map_err(|error| with_remedy(error.into(), &self.bus, self.address))?);
        Ok(())
    }

    fn close(&mut self) {
        self.device = None;
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.transfer(|device| device.write(bytes))
    }

    fn read(&mut self, register: u8) -> io::Result<u8> {
        self.transfer(|device| device.smbus_read_byte_data(register))
    }

    fn enable_outputs(&mut self, enabled: bool) -> io::Result<()> {
        let Some(output_enable) = &mut self.output_enable else { return Ok(()) };
        // The line is requested active-low, as OE is: active lets the pulses out.
        let value = if enabled { Value::Active } else { Value::Inactive };
        output_enable.set(value).map_err(|error| {
            let GpioLine { chip, line } = &output_enable.line;
            io::Error::other(format!("line {line} of {}: {error}", chip.display()))
        })
    }

    fn has_output_enable(&self) -> bool {
        self.output_enable.is_some()
    }

    fn await_oscillator(&mut self) {
        std::thread::sleep(OSCILLATOR_START);
    }
}

impl OutputEnable {
    fn set(&mut self, value: Value) -> gpiocdev::Result<()> {
        if let Some(request) = &self.request {
            return request.set_value(self.line.line, value).map(drop);
        }
        let request = Request::builder()
            .on_chip(&self.line.chip)
            .with_consumer("rtcpub OE")
            .with_line(self.line.line)
            .as_active_low()
            .as_output(value)
            .request()?;
        self.request = Some(request);
        Ok(())
    }
}

/// The same for all kernel drivers: some call a bus that hangs an I/O error, or one that is in use.
fn by_its_time(error: io::Error, took: Duration) -> io::Error {
    if took > LONGEST_TRANSFER { rustix::io::Errno::TIMEDOUT.into() } else { error }
}

#[expect(clippy::disallowed_methods, reason = "a shell: how long the bus took")]
fn now() -> Instant {
    Instant::now()
}

/// What a person can do about the errors that wiring and rights lead to.
fn with_remedy(error: io::Error, bus: &Path, address: u8) -> io::Error {
    let bus = bus.display();
    let remedy = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NOENT) => {
            format!("there is no {bus}: switch I2C on (e.g. dtparam=i2c_arm=on) or correct drive.pca9685.bus")
        }
        Some(rustix::io::Errno::ACCESS) => format!("{bus} may not be opened: put the user into the group i2c"),
        Some(rustix::io::Errno::BUSY) => {
            format!("a kernel driver holds address {address:#04x} on {bus}: remove its overlay or unbind it")
        }
        Some(rustix::io::Errno::NXIO | rustix::io::Errno::REMOTEIO | rustix::io::Errno::IO) => {
            format!("nothing answers at {address:#04x} on {bus}: check power, wiring and drive.pca9685.address")
        }
        Some(rustix::io::Errno::TIMEDOUT) => {
            format!("{bus} hangs: look for a wire or a device that holds SDA or SCL low")
        }
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{remedy} ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_that_a_hanging_bus_held_up_has_timed_out_whatever_the_kernel_calls_it() {
        for (errno, took_ms, expected) in [
            (rustix::io::Errno::TIMEDOUT, 1000, io::ErrorKind::TimedOut),
            (rustix::io::Errno::TIMEDOUT, 1, io::ErrorKind::TimedOut),
            (rustix::io::Errno::AGAIN, 1000, io::ErrorKind::TimedOut),
            (rustix::io::Errno::IO, 101, io::ErrorKind::TimedOut),
            (rustix::io::Errno::BUSY, 1, io::ErrorKind::ResourceBusy),
        ] {
            let error = by_its_time(errno.into(), Duration::from_millis(took_ms));
            let error = with_remedy(error, Path::new("/dev/i2c-1"), 0x40);
            assert_eq!(error.kind(), expected, "{error}");
        }
        let error = with_remedy(rustix::io::Errno::TIMEDOUT.into(), Path::new("/dev/i2c-1"), 0x40).to_string();
        assert!(error.starts_with("/dev/i2c-1 hangs: ") && error.ends_with("(os error 110))"), "{error}");
    }
}
