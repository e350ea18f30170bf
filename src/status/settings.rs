//! Where the daemon answers those who ask how it is.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::path_component;
use crate::signal::settings::ChannelId;

/// Where sockets lie unless systemd made a folder for them.
pub const RUNTIME_FOLDER: &str = "/run/rtcpub";

/// The end of each status socket's name; the channel is in front of it.
pub const SOCKET_SUFFIX: &str = ".status.sock";

/// The exposition for Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Where it is served.
    pub listen: SocketAddr,
}

/// The socket `rtcpub status` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusConfig {
    /// Its path.
    pub socket: PathBuf,
}

/// The status socket of a channel, given systemd's `$RUNTIME_DIRECTORY`.
pub fn socket_path(runtime_folder: Option<PathBuf>, channel: &ChannelId) -> PathBuf {
    let folder = runtime_folder.unwrap_or_else(|| RUNTIME_FOLDER.into());
    folder.join(format!("{}{SOCKET_SUFFIX}", path_component(channel)))
}
