//! The edges of the car: what the link brings goes to the drive, what the drive tells goes to viewers, programs and the log.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::provoke::Provocation;
use crate::drive::DriveHandle;
use crate::drive::bridge::BridgeHandle;
use crate::drive::event::DriveEvent;
use crate::drive::link::{LinkEvent, PeerId as DrivePeer};
use crate::rtc::channels::{ControlSink, LinkState};
use crate::rtc::session::PeerId;
use crate::telemetry::outlet::Outlet;
use crate::telemetry::report;

/// Control from the live peer to the drive thread and to the owner's programs.
pub(super) struct CarControl {
    pub(super) drive: DriveHandle,
    pub(super) bridge: Option<BridgeHandle>,
    pub(super) provocation: Provocation,
}

impl ControlSink for CarControl {
    fn message(&self, message: &[u8], arrived: Instant) {
        self.provocation.heard(message);
        self.provocation.at("stream");
        let topic = self.drive.message(message, arrived);
        match &self.bridge {
            Some(bridge) => bridge.stream(message),
            None if topic.is_some() => self.drive.unclaimed(),
            None => {}
        }
    }

    fn link(&self, peer: PeerId, state: LinkState) {
        let peer = DrivePeer(peer.0);
        // Whatever fell is told first: the gate must not see a new link beside an old one.
        let connection = match state {
            LinkState { connected: true, .. } => LinkEvent::PeerConnected,
            LinkState { ice_lost: true, .. } => LinkEvent::IceLost,
            _ => LinkEvent::PeerDisconnected,
        };
        let channel = if state.stream_open { LinkEvent::ChannelOpen } else { LinkEvent::ChannelClosed };
        self.drive.link(peer, channel);
        self.drive.link(peer, connection);
    }
}

/// What the drive thread tells. Called on it: nothing here waits.
pub(super) struct DriveEvents {
    pub(super) outlet: Outlet,
    pub(super) bridge: Option<BridgeHandle>,
    /// Given at each change of the gate's state: the car may move from now on, or comes to rest.
    pub(super) stirred: Arc<Notify>,
    /// Given when the thread has ended, for whatever reason.
    pub(super) ended: CancellationToken,
    pub(super) provocation: Provocation,
}

impl DriveEvents {
    pub(super) fn take(&mut self, event: &DriveEvent) {
        if let DriveEvent::MaxSpeed(_) = event {
            self.provocation.at("drive thread");
        }
        if let DriveEvent::State(state) = event {
            self.stirred.notify_one();
            self.bridge.iter().for_each(|bridge| bridge.gate(*state));
        }
        if let Some(message) = report::drive_event(event) {
            self.outlet.send(message);
        }
        if let DriveEvent::Ended(_) = event {
            self.ended.cancel();
        }
    }
}
