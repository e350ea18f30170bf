//! How the daemon is: for a person (`rtcpub status`, over a Unix socket) and for Prometheus.
//!
//! Both are told from [`Snapshot`](crate::telemetry::snapshot::Snapshot): [`document`] is JSON for programs, [`screen`] that
//! document for a person, [`exposition`] Prometheus' text (all pure); [`socket`] and [`http`] serve them, [`ask`] asks.

pub mod ask;
pub mod document;
pub mod exposition;
pub mod http;
pub mod screen;
pub mod settings;
pub mod socket;
#[cfg(test)]
mod tests;
