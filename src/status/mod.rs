//! How the daemon is: for a person (`rtcpub status`, over a Unix socket) and for Prometheus.

pub mod settings;
