//! Parts the end-to-end tests are made of: a hub on loopback, publishers and viewers that are real WebRTC peers, real
//! H.264, and a real browser.
#![allow(clippy::disallowed_methods, reason = "the tests measure")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own selection of these modules")]

pub mod car;
pub mod chromium;
pub mod daemon;
pub mod decoder;
pub mod driver;
pub mod encoder;
pub mod lab;
pub mod lossy;
pub mod outputs;
pub mod page;
pub mod peer;
pub mod publisher;
pub mod running;
pub mod scene;
pub mod signal;
pub mod switch;
pub mod viewer;
pub mod wiretap;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rtcpub::hub::{Hub, HubConfig};
use rtcpub::logging::LogFilter;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything here may take before the test fails: generous, for machines that do other things at the same time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A hub on loopback, on ports of the system's choice.
pub struct TestHub {
    pub secure: SocketAddr,
    pub plain: SocketAddr,
    pub pin: [u8; 32],
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    _state: tempfile::TempDir,
}

impl TestHub {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(adjust: impl FnOnce(&mut HubConfig)) -> Self {
        log_to_stderr();
        let state = tempfile::tempdir().expect("a directory");
        let mut config = config(state.path());
        adjust(&mut config);
        let hub = Hub::bind(config).await.expect("a hub");
        let shutdown = CancellationToken::new();
        let (secure, plain, pin) = (hub.secure_address(), hub.plain_address().expect("plain HTTP"), hub.pin());
        let serving = tokio::spawn(hub.serve(shutdown.clone()));
        Self { secure, plain, pin, shutdown, serving, _state: state }
    }

    pub fn page(&self) -> String {
        format!("http://{}/", self.plain)
    }

    /// Stops it; fails when that takes longer than the documented two seconds.
    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(2), self.serving).await.expect("in time").expect("no panic");
    }
}

fn config(state: &Path) -> HubConfig {
    let mut config = HubConfig::on_loopback(state.to_owned());
    config.secure.set_port(0);
    config.plain = config.plain.map(|mut plain| {
        plain.set_port(0);
        plain
    });
    config
}

/// `RUST_LOG=rtcpub=debug` shows what the hub does.
pub fn log_to_stderr() {
    // A test that does not read its picture has the library print each packet that is lost for it, whole. On a busy machine
    // that takes longer than they take to come, and what a data channel brings is stuck behind them.
    const QUIET: &str = "warn,webrtc::peer_connection::driver=off";
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| QUIET.into());
    let _ = rtcpub::logging::start(&LogFilter::parse(&filter).expect("RUST_LOG"));
}

/// Waits for `work`; says what was waited for when it does not come.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} did not come within {PATIENCE:?}"))
}
