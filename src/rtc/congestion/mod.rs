//! Congestion control: what the peer tells of the path becomes the rate of the encoder and the pace of the packets.
//!
//! ```text
//! RTCP ─► feedback, transport_cc ─► estimator ─► meter ─► video::rate ─► encoder
//!                                                  ▲          │
//!                            pump, pacing ─────────┴◄─────────┘ pace
//! ```
//!
//! The interceptors sit in every peer's chain and are passive until the peer has agreed to transport-wide feedback: to
//! any other peer packets leave as they would without them. Forward error correction ([`flexfec`]) joins them when it is
//! configured, and is passive until the peer has agreed to that.

mod control;
mod estimator;
mod flexfec;
pub mod meter;
mod pacer;
mod pacing;
mod protection;
pub(crate) mod reception;
pub(crate) mod repair;
mod status;
mod transport_cc;
mod windows;

use std::sync::Arc;
use std::time::Instant;

use rtc::interceptor::Slot;
use webrtc::peer_connection::Registry;

use super::stage::InChain;
use super::streams::Streams;
use crate::video::settings::{Fec, RateConfig};
pub(crate) use control::run_rate_control;
pub use control::{FurtherRateEdge, Picture, RateEdge};
use estimator::Estimator;
use flexfec::FlexFec;
use meter::LinkMeter;
use pacing::Pacing;
pub use status::{CandidatePair, LinkStatus};
pub(crate) use transport_cc::TRANSPORT_CC_URI;
use transport_cc::TransportCc;

/// Puts congestion control into a peer's interceptor chain. `rate` is that of the whole link.
pub(crate) fn control(registry: Registry, rate: &RateConfig, streams: &Streams, meter: Arc<LinkMeter>) -> Registry {
    #[expect(clippy::disallowed_methods, reason = "the start of this peer's packet times")]
    let now = Instant::now();
    let bps = |rate: crate::video::settings::Bitrate| f64::from(rate.bps());
    let estimator = Estimator::new(bps(rate.start()), bps(rate.min()), bps(rate.max()), now);
    let registry = match rate.fec() {
        Fec::Off => registry,
        Fec::FlexFec03 => registry.with(Slot::FecEncoder, InChain::new(FlexFec::new(meter.clone()))),
    };
    registry
        .with(Slot::CongestionControl, InChain::new(TransportCc::new(meter.clone(), streams.clone(), estimator)))
        .with(Slot::Pacer, InChain::new(Pacing::new(meter, streams.clone(), now)))
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
