//! The wires to the chip: the I2C bus, and the OE line when there is one.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gpiocdev::Request;
use gpiocdev::line::Value;
use i2cdev::core::I2CDevice;
use i2cdev::linux::LinuxI2CDevice;

use super::claim::Outputs;
use super::settings::{GpioLine, Pca9685Config};

/// How long the oscillator may take to run after SLEEP was cleared (data sheet §7.3.1.1).
const OSCILLATOR_START: Duration = Duration::from_micros(500);

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
    /// One I2C transaction.
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

    fn device(&mut self) -> io::Result<&mut LinuxI2CDevice> {
        self.device.as_mut().ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the bus is not open"))
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
        let written = self.device()?.write(bytes);
        written.map_err(|error| with_remedy(error.into(), &self.bus, self.address))
    }

    fn read(&mut self, register: u8) -> io::Result<u8> {
        let read = self.device()?.smbus_read_byte_data(register);
        read.map_err(|error| with_remedy(error.into(), &self.bus, self.address))
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
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{remedy} ({error})"))
}
