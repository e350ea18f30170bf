//! The edges of the car: what the link brings goes to the drive, what the drive tells goes to viewers, programs and the log.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::provoke::Provocation;
use crate::drive::DriveHandle;
use crate::drive::bridge::BridgeHandle;
use crate::drive::event::{Direction, DriveEvent};
use crate::drive::link::{LinkEvent, PeerId as DrivePeer};
use crate::rtc::channels::{ControlSink, LinkState};
use crate::rtc::session::PeerId;
use crate::telemetry::outlet::Outlet;
use crate::telemetry::report;
use crate::video::control::VideoControl;
use crate::video::settings::{VideoConfig, View};
use crate::video::trace::{self, LatencyTrace};
use crate::video::views::{self, Views};

/// Control from the live peer to the drive thread and to the owner's programs.
pub(super) struct CarControl {
    pub(super) drive: DriveHandle,
    pub(super) bridge: Option<BridgeHandle>,
    pub(super) cameras: Option<CameraChoice>,
    pub(super) trace: LatencyTrace,
    pub(super) provocation: Provocation,
}

/// Which of two cameras is shown; there is none of these where there is one camera.
#[derive(Clone)]
pub(super) struct CameraChoice {
    views: Views,
    on_reverse: bool,
}

impl CameraChoice {
    pub(super) fn new(config: &VideoConfig, control: &VideoControl) -> Option<Self> {
        let rear = config.rear.as_ref()?;
        Some(Self { views: control.views().clone(), on_reverse: rear.on_reverse })
    }

    /// As a viewer asks for it.
    fn select_by(&self, message: &[u8]) -> Option<View> {
        let view = views::selection_in(message)?;
        self.views.select(view);
        Some(view)
    }

    /// As a program asks for it.
    pub(super) fn select(&self, rear: bool) {
        self.views.select(if rear { View::Rear } else { View::Front });
    }

    /// As the original car did it.
    fn follow(&self, direction: Direction) {
        if self.on_reverse {
            self.select(direction == Direction::Back);
        }
    }
}

impl ControlSink for CarControl {
    fn message(&self, message: &[u8], arrived: Instant) {
        self.provocation.heard(message);
        self.provocation.at("stream");
        let topic = self.drive.message(message, arrived);
        let selection = topic.as_ref().filter(|topic| topic.as_str() == views::TOPIC);
        let selection = selection.and(self.cameras.as_ref()).and_then(|cameras| cameras.select_by(message));
        let trace = topic.as_ref().filter(|topic| topic.as_str() == trace::TOPIC);
        let trace = trace.and_then(|_| trace::request_in(message)).map(|on| self.trace.set(on));
        match &self.bridge {
            Some(bridge) => bridge.stream(message),
            None if topic.is_some() && selection.is_none() && trace.is_none() => self.drive.unclaimed(),
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
    pub(super) cameras: Option<CameraChoice>,
    /// Given when the thread has ended, for whatever reason.
    pub(super) ended: CancellationToken,
    pub(super) provocation: Provocation,
}

impl DriveEvents {
    pub(super) fn take(&mut self, event: &DriveEvent) {
        if let DriveEvent::MaxSpeed(_) = event {
            self.provocation.at("drive thread");
        }
        if let (DriveEvent::Direction(direction), Some(cameras)) = (event, &self.cameras) {
            cameras.follow(*direction);
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
