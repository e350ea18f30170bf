//! A local Spider-compatible pub server and its viewer page: drive over your own Wi-Fi with no cloud.
//!
//! - Picture: `rtc/relay → `[`publisher`]` → `[`channels`]` → `[`viewer`]` (`[`forward`]`) → rtc/relay`
//! - Control: `viewer → `[`stream_message`]` → `[`room`]` → `[`control_queue`]` → publisher`
//!
//! [`room`], [`forward`], [`packet`], [`key_frame`], [`control_queue`], [`stream_message`] and [`guard`] decide (pure);
//! [`server`], [`http`], [`signalling`], [`publisher`] and [`viewer`] carry out; [`channels`] joins them.

pub mod certificate;
pub mod channels;
mod clock;
pub mod control_queue;
pub mod forward;
pub mod guard;
pub mod http;
pub mod key_frame;
pub mod packet;
pub mod page;
pub mod publisher;
pub mod room;
pub mod server;
pub mod settings;
pub mod signalling;
pub mod stream_message;
pub mod viewer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use self::certificate::CertificateError;
pub use self::settings::HubConfig;

use self::channels::Channels;
use self::guard::{Names, TokenJudge};
use self::http::Gatekeeper;
use self::server::{Listeners, Server, SessionContext};
use crate::signal::tls;

/// Why the hub cannot run.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address or port in [hub], or stop what uses it")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// A hub whose sockets are open and that serves nobody yet.
pub struct Hub {
    server: Server,
    listeners: Listeners,
    secure: SocketAddr,
    plain: Option<SocketAddr>,
    pin: [u8; 32],
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("secure", &self.secure).field("plain", &self.plain).finish_non_exhaustive()
    }
}

/// Runs a hub until `shutdown`; ends within two seconds of it.
///
/// # Errors
/// [`HubError`] when it cannot start.
pub async fn run(config: HubConfig, shutdown: CancellationToken) -> Result<(), HubError> {
    Hub::bind(config).await?.serve(shutdown).await;
    Ok(())
}

impl Hub {
    /// Opens the sockets and loads or makes the certificate.
    ///
    /// # Errors
    /// [`HubError`].
    pub async fn bind(config: HubConfig) -> Result<Self, HubError> {
        let machine = machine_name();
        let names = Names::new(machine.as_deref(), &config.allowed_hosts);
        let identity = certificate::load_or_make(&config.state_dir, &certificate_names(&names, &config))?;
        let judge = TokenJudge::new().map_err(|_| HubError::Random)?;
        let (secure, secure_address) = listen(config.secure).await?;
        let (plain, plain_address) = match config.plain {
            Some(address) => listen(address).await.map(|(listener, address)| (Some(listener), Some(address)))?,
            None => (None, None),
        };
        let context = SessionContext {
            channels: Arc::new(Channels::default()),
            media_addresses: server::media_addresses(config.listening().map(|address| address.ip())),
            shutdown: CancellationToken::new(),
        };
        let tls = TlsAcceptor::from(identity.config);
        Ok(Self {
            server: Server { tls, gate: Gatekeeper { config, names, judge }, context },
            listeners: Listeners { secure, plain },
            secure: secure_address,
            plain: plain_address,
            pin: identity.pin,
        })
    }

    /// Where HTTPS and WSS are served.
    pub fn secure_address(&self) -> SocketAddr {
        self.secure
    }

    /// Where plain HTTP is served, if it is.
    pub fn plain_address(&self) -> Option<SocketAddr> {
        self.plain
    }

    /// SHA-256 of the certificate: what publishers write as `tls.pin_sha256`.
    pub fn pin(&self) -> [u8; 32] {
        self.pin
    }

    /// Serves until `shutdown`; every session has ended when this returns, within two seconds of it.
    pub async fn serve(mut self, shutdown: CancellationToken) {
        self.announce();
        self.server.context.shutdown = shutdown;
        server::serve(Arc::new(self.server), self.listeners).await;
    }

    fn announce(&self) {
        let pin = tls::hex(&self.pin);
        let plain = self.plain.map(|plain| format!("http://{plain} and ")).unwrap_or_default();
        tracing::info!(tls.pin_sha256 = pin, "hub: page at {plain}https://{0}, publishers at wss://{0}", self.secure);
        if self.server.gate.config.is_loopback() {
            tracing::info!(
                "hub: only this machine can reach it; give it an address of your network to listen on to open it"
            );
        } else if self.server.gate.config.viewer_token.is_none() {
            tracing::warn!("hub: anyone on this network can watch and drive; set a viewer token to change that");
        }
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), HubError> {
    let failed = |source| HubError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn certificate_names(names: &Names, config: &HubConfig) -> Vec<String> {
    let listening = [Some(config.secure), config.plain].into_iter().flatten().map(|address| address.ip());
    let listening = listening.filter(|ip| !ip.is_unspecified() && !ip.is_loopback()).map(|ip| ip.to_string());
    let fixed = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut all: Vec<String> = fixed.into_iter().chain(names.iter().map(str::to_owned)).chain(listening).collect();
    all.sort();
    all.dedup();
    all
}

fn machine_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty() && name != "(none)")
}
