//! What the daemon tells those who ask, and what it must not tell anybody.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::readings::Readings;
use crate::config::Config;
use crate::logging::LogControl;
use crate::rtc::settings::IceServer;
use crate::status::document::Document;
use crate::status::exposition::exposition;
use crate::status::http::MetricsServer;
use crate::status::socket::StatusSocket;
use crate::supervise::Supervisor;

/// What the configuration keeps secret stays out of the log; the addresses in it are no secrets.
pub(super) fn protect(log: &LogControl, config: &Config) {
    let secrets = config.rtc.ice.servers.iter().filter_map(|server| match server {
        IceServer::Turn(turn) => Some(turn.credential.secret()),
        IceServer::Stun(_) => None,
    });
    log.protect(config.signal.token.iter().chain(secrets));
    let server = config.signal.server.host_str().map(str::to_owned);
    let hosts = config.rtc.ice.servers.iter().map(|server| server.address().host.to_string());
    let written = server.into_iter().chain(hosts);
    log.know(written.filter_map(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok()));
}

/// Answers `rtcpub status`, and Prometheus where that is wanted. A car that cannot tell how it is still drives: what is
/// wrong is told, and that is all.
pub(super) async fn start(
    config: &Config,
    readings: &Arc<Readings>,
    log: &LogControl,
    supervisor: &mut Supervisor,
    shutdown: &CancellationToken,
) {
    match StatusSocket::open(&config.status) {
        Ok(socket) => {
            let (readings, recent) = (readings.clone(), log.recent());
            let document =
                move || Document::new(&readings.snapshot(), &recent.list(), recent.counts(), now()).to_json();
            supervisor.spawn("status", socket.serve(Arc::new(document), shutdown.clone()));
        }
        Err(error) => tracing::warn!(%error, "rtcpub status will get no answer"),
    }
    let Some(metrics) = config.metrics else { return };
    match MetricsServer::bind(metrics).await {
        Ok(server) => {
            let (readings, recent) = (readings.clone(), log.recent());
            let page = move || exposition(&readings.snapshot(), recent.counts());
            supervisor.spawn("metrics", server.serve(Arc::new(page), shutdown.clone()));
        }
        Err(error) => tracing::error!(error, "no metrics"),
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell of the status document")]
fn now() -> Instant {
    Instant::now()
}
