//! What the hub may be told: where to listen, where to keep its certificate, and who may come in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::secret::Secret;
use crate::signal::socket::DEFAULT_PORT;

/// The port of the viewer page over plain HTTP.
pub const DEFAULT_PLAIN_PORT: u16 = 8080;

/// Everything the hub needs.
#[derive(Clone, Debug, PartialEq)]
pub struct HubConfig {
    /// HTTPS and WSS: publishers, and viewers who want a secure context (gamepads ask for one off loopback). Port 0
    /// lets the system choose.
    pub secure: SocketAddr,
    /// Plain HTTP for the page and its socket; `None` serves HTTPS alone.
    pub plain: Option<SocketAddr>,
    /// Where the certificate and its key are kept across restarts.
    pub state_dir: PathBuf,
    /// What a publisher must present, when anything.
    pub publisher_token: Option<Secret>,
    /// What a viewer must present, when anything.
    pub viewer_token: Option<Secret>,
    /// Names the page may be opened by, beside IP addresses, `localhost` and this machine's own name: a page on the
    /// internet whose name is rebound to this machine's address must not be able to drive the car.
    pub allowed_hosts: Vec<String>,
}

impl HubConfig {
    /// Loopback only, the reference's ports, no tokens.
    pub fn on_loopback(state_dir: PathBuf) -> Self {
        Self::on(IpAddr::V4(Ipv4Addr::LOCALHOST), state_dir)
    }

    /// Listening at `address` on the reference's ports, no tokens.
    pub fn on(address: IpAddr, state_dir: PathBuf) -> Self {
        Self {
            secure: SocketAddr::new(address, DEFAULT_PORT),
            plain: Some(SocketAddr::new(address, DEFAULT_PLAIN_PORT)),
            state_dir,
            publisher_token: None,
            viewer_token: None,
            allowed_hosts: Vec::new(),
        }
    }

    /// Where it listens.
    pub fn listening(&self) -> impl Iterator<Item = SocketAddr> {
        std::iter::once(self.secure).chain(self.plain)
    }

    /// Whether only this machine can reach the hub.
    pub fn is_loopback(&self) -> bool {
        self.listening().all(|address| address.ip().is_loopback())
    }
}
