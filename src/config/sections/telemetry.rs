//! `[telemetry]` and `[metrics]`, and the path of the status socket

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::Origin;
use crate::config::reader::{Read, Reader, Reported};
use crate::signal::settings::ChannelId;
use crate::status::settings::{MetricsConfig, StatusConfig, socket_path};
use crate::telemetry::settings::{TelemetryConfig, Topic};

/// The port of Prometheus's own node exporter: free on a car that does not run one.
const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9100);

pub(super) fn read(reader: &mut Reader<'_>) -> Read<TelemetryConfig> {
    let topics = reader.choices("telemetry.topics", &Topic::ALL.map(|topic| (topic.name(), topic)));
    let period = reader.millis("telemetry.period_ms", 200..=60_000, 1000);
    Ok(TelemetryConfig { topics: topics?, period: period? })
}

/// The exposition for Prometheus, when its table is there.
pub(super) fn metrics(reader: &mut Reader<'_>) -> Read<Option<MetricsConfig>> {
    const FORM: &str = "must be ADDRESS:PORT, such as \"127.0.0.1:9100\"";
    let listen = reader.parsed("metrics.listen", |text| text.trim().parse::<SocketAddr>().map_err(|_| FORM.to_owned()));
    let allow_remote = reader.boolean("metrics.allow_remote", false);
    let listen = listen?.unwrap_or_else(|| {
        reader.derive("metrics.listen", METRICS, Origin::Default);
        METRICS
    });
    let allow_remote = allow_remote?;
    if !reader.is_switched_on("metrics") {
        return Ok(None);
    }
    if !listen.ip().is_loopback() && !allow_remote {
        let remedy = "others could read it there, and it has no password: use a loopback address, or say \
                      metrics.allow_remote = true";
        return Err(reader.problem("metrics.listen", remedy));
    }
    Ok(Some(MetricsConfig { listen }))
}

/// No key of its own: `rtcpub status` must find the socket without the channel's file, which it may not be able to read.
pub(super) fn status(reader: &mut Reader<'_>, channel: Option<&ChannelId>) -> Read<StatusConfig> {
    let channel = channel.ok_or(Reported)?;
    let folder = reader.facts.folder("RUNTIME_DIRECTORY");
    Ok(StatusConfig { socket: socket_path(folder, channel) })
}
