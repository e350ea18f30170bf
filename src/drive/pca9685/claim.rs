//! One process at a time moves a board's outputs.
//!
//! Two daemons on one board, or `calibrate` beside a daemon, would each undo what the other's gate decides: an emergency
//! stop of the one would last until the next write of the other. So an actuator takes its outputs by binding a name for
//! each in the abstract namespace (unix(7)): that needs no folder and no rights, and the kernel gives the name back however
//! a process ends. `rtcpub park` takes nothing, for it must always work; it only looks.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::Pca9685Config;

/// The outputs of one configuration.
pub(super) struct Outputs {
    names: [String; 2],
    held: Vec<UnixDatagram>,
}

impl Outputs {
    pub(super) fn of(config: &Pca9685Config) -> Self {
        // A bus may have several names, one of which is a link to the other.
        let bus = fs::canonicalize(&config.bus).unwrap_or_else(|_| config.bus.clone());
        let name = |channel| format!("rtcpub pca9685 {} {:#04x} {channel}", bus.display(), config.address);
        Self { names: [config.throttle_channel, config.steering_channel].map(name), held: Vec::new() }
    }

    /// Takes them for this actuator, until it is dropped.
    pub(super) fn take(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            let taken = self.names.iter().map(|name| UnixDatagram::bind_addr(&address(name)?));
            self.held = taken.collect::<io::Result<_>>().map_err(with_remedy)?;
        }
        Ok(())
    }

    /// Whether some process has taken one of them.
    pub(super) fn are_taken(&self) -> bool {
        let taken = |name| UnixDatagram::unbound()?.connect_addr(&address(name)?);
        self.names.iter().any(|name| taken(name).is_ok())
    }
}

fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(name)
}

fn with_remedy(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::AddrInUse {
        return error;
    }
    let remedy = "another rtcpub moves them: end it (systemctl stop), for two would undo each other's stops";
    io::Error::new(error.kind(), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(address: u8, throttle_channel: u8) -> Outputs {
        let steering_channel = throttle_channel + 1;
        Outputs::of(&Pca9685Config { address, throttle_channel, steering_channel, ..super::super::tests::config() })
    }

    #[test]
    fn outputs_are_one_actuators_until_it_is_gone() {
        let (mut first, mut second) = (outputs(0x41, 0), outputs(0x41, 1));
        assert!(!first.are_taken());
        first.take().expect("they are free");
        first.take().expect("they are its own");
        assert!(second.are_taken(), "channel 1 is");
        let error = second.take().expect_err("one of two is not enough");
        assert!(error.to_string().contains("another rtcpub moves them"), "{error}");
        outputs(0x41, 4).take().expect("the board has others");
        outputs(0x42, 0).take().expect("there are other boards");
        drop(first);
        assert!(!second.are_taken(), "nor is the one that it nearly had");
        second.take().expect("they are free again");
    }
}
