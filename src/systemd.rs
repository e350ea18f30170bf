//! How the service manager sees us: READY, STATUS, RELOADING, STOPPING and the watchdog, by sd_notify(3).
//!
//! [`vitals`] (pure) decides whether the daemon is well; this file only speaks. Outside systemd it speaks to nobody.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval};

pub mod vitals;

pub use vitals::{Heartbeat, Vital, Vitals};

/// Kicks in one watchdog timeout. sd_watchdog_enabled(3) asks for two; with four, a late one is no death.
const KICKS_PER_TIMEOUT: u32 = 4;

/// Longest status text, in bytes: a datagram beyond 4096 is ignored as a whole by systemd.
const MAX_STATUS_BYTES: usize = 1024;

/// The line to the service manager. Sending never blocks: what it has no room for is lost, and the next kick or status
/// follows soon.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog_timeout: Option<Duration>,
}

impl Notifier {
    /// By `$NOTIFY_SOCKET`, `$WATCHDOG_USEC` and `$WATCHDOG_PID`. A socket that cannot be had is logged, and nobody is
    /// told anything.
    pub fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok();
        let timeout = watchdog_timeout(
            variable("WATCHDOG_USEC").as_deref(),
            variable("WATCHDOG_PID").as_deref(),
            std::process::id(),
        );
        let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        Self::connect(&address, timeout).unwrap_or_else(|error| {
            tracing::warn!(?address, %error, "cannot talk to the service manager");
            Self::default()
        })
    }

    /// To the datagram socket at `address`: a path, or an abstract name after `@`.
    ///
    /// # Errors
    /// Nobody listens there, or it is no such address.
    pub fn connect(address: &OsStr, watchdog_timeout: Option<Duration>) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some(socket), watchdog_timeout })
    }

    /// Start-up, or a reload, is finished.
    pub fn ready(&self) {
        if let Err(error) = self.send("READY=1") {
            tracing::warn!(%error, "the service manager could not be told that we are ready");
        }
    }

    /// What we are doing, in words, for `systemctl status`: one line, cut after 1024 bytes.
    pub fn status(&self, text: &str) {
        let text = &text[..text.floor_char_boundary(MAX_STATUS_BYTES)];
        self.mention(&format!("STATUS={}", text.replace(char::is_control, " ")));
    }

    /// The configuration is being read again; [`Self::ready`] tells when that is done.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.mention(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
    }

    /// Shutdown has begun.
    pub fn stopping(&self) {
        self.mention("STOPPING=1");
    }

    /// We are well. Only [`watch`] should say so.
    pub fn watchdog(&self) {
        self.mention("WATCHDOG=1");
    }

    /// How often [`Self::watchdog`] is to be called: a quarter of the timeout; `None` when nobody asks for it.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog_timeout.map(|timeout| timeout / KICKS_PER_TIMEOUT)
    }

    fn mention(&self, message: &str) {
        if let Err(error) = self.send(message) {
            tracing::debug!(message, %error, "not heard by the service manager");
        }
    }

    fn send(&self, message: &str) -> io::Result<()> {
        self.socket.as_ref().map_or(Ok(()), |socket| socket.send(message.as_bytes()).map(|_| ()))
    }
}

/// Kicks the service manager's watchdog while every vital loop gives signs of life. Never ends, unless no watchdog is
/// wanted; drop it to stop. A loop that has not ticked by the time of the first kick, a quarter of the timeout from now,
/// counts as silent.
pub async fn watch(notifier: &Notifier, vitals: &Vitals) {
    let Some(every) = notifier.watchdog_interval() else { return };
    let mut kicks = interval(every);
    kicks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is over at once.
    kicks.tick().await;
    let mut silent = Vec::new();
    loop {
        let now = kicks.tick().await.into_std();
        let silent_now = vitals.silent(now);
        if silent_now.is_empty() {
            notifier.watchdog();
        } else if silent_now != silent {
            let names: Vec<_> = silent_now.iter().map(ToString::to_string).collect();
            tracing::error!("no sign of life from {}: the watchdog will end this process", names.join(", "));
        }
        silent = silent_now;
    }
}

/// The timeout that the service manager set for this very process: `$WATCHDOG_PID` names another one when a parent
/// passed the variables on (sd_watchdog_enabled(3)).
fn watchdog_timeout(usec: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    let timeout = usec?.parse().ok().filter(|usec| *usec > 0).map(Duration::from_micros)?;
    pid.is_none_or(|pid| pid.parse() == Ok(own_pid)).then_some(timeout)
}

#[cfg(test)]
mod tests;
