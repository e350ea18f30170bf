//! The two steady flows to the live peer: access units onto its track, telemetry onto its `metric` channel.
//!
//! Each is one task of its own, so that nothing the session does (an offer, a closing peer) delays a frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};
use webrtc::data_channel::DataChannel;

use super::feedback::KeyFrameSink;
use super::mailbox::Mailbox;
use super::session::{PeerId, PeerState};
use super::track::{TrackWriter, VideoTrack};
use crate::video::trace::LatencyTrace;
use crate::video::units::AccessUnitReceiver;

/// The live peer's ends of the two flows; `None` while nobody is connected.
pub(crate) type Live = watch::Receiver<Option<LiveEnds>>;

/// One peer's ends of the two flows.
#[derive(Clone)]
pub(crate) struct LiveEnds {
    pub(crate) peer: PeerId,
    pub(crate) track: VideoTrack,
    pub(crate) metric: Arc<dyn DataChannel>,
}

/// What went out and what did not, since the process started.
#[derive(Debug, Default)]
pub struct PublishCounters {
    /// Turns of the session's loop: one a second at least.
    pub turns: AtomicU64,
    /// RTP packets handed to the peer connection.
    pub packets: AtomicU64,
    /// Access units handed to it.
    pub access_units: AtomicU64,
    /// Telemetry messages dropped because the channel was full.
    pub metrics_dropped: AtomicU64,
    /// Where a picture's time goes.
    pub trace: LatencyTrace,
}

/// Writes access units to the live peer's track until the pipeline's end of the edge is gone.
///
/// A new track starts with an IDR, asked for here the moment the track is live: without it the first picture would
/// wait for the end of the group of pictures.
pub(crate) async fn pump_media(
    mut units: AccessUnitReceiver,
    mut live: Live,
    key_frames: KeyFrameSink,
    mailbox: Arc<Mailbox>,
    counters: Arc<PublishCounters>,
) {
    let mut track: Option<(PeerId, TrackWriter)> = None;
    let mut awaiting_idr = true;
    loop {
        tokio::select! {
            biased;
            changed = live.changed() => {
                if changed.is_err() {
                    return;
                }
                let ends = live.borrow_and_update().clone();
                track = match ends {
                    Some(ends) => open(&ends).await.map(|writer| (ends.peer, writer)),
                    None => None,
                };
                awaiting_idr = true;
                if track.is_some() {
                    key_frames();
                }
            }
            unit = units.recv() => {
                let Some(unit) = unit else { return };
                let Some((peer, writer)) = &mut track else { continue };
                if awaiting_idr && !unit.idr {
                    continue;
                }
                match writer.write(&unit, &counters.trace).await {
                    Ok(packets) => {
                        awaiting_idr = false;
                        counters.packets.fetch_add(packets as u64, Ordering::Relaxed);
                        counters.access_units.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => {
                        // Its driver has ended without a word; the session must know.
                        tracing::debug!(peer = peer.0, %error, "the track takes no more packets");
                        mailbox.state(*peer, PeerState::Closed);
                        track = None;
                    }
                }
            }
        }
    }
}

async fn open(ends: &LiveEnds) -> Option<TrackWriter> {
    let peer = ends.peer.0;
    match ends.track.writer().await {
        Ok(Some(writer)) => return Some(writer),
        Ok(None) => tracing::warn!(peer, "the server took no H.264: viewers will see no picture"),
        Err(error) => tracing::warn!(peer, %error, "the track of a connected peer cannot be written"),
    }
    None
}

/// Sends telemetry to the live peer; what a full channel does not take is dropped and counted.
pub(crate) async fn pump_metrics(mut metrics: mpsc::Receiver<String>, live: Live, counters: Arc<PublishCounters>) {
    while let Some(metric) = metrics.recv().await {
        let channel = live.borrow().as_ref().map(|ends| ends.metric.clone());
        let Some(channel) = channel else { continue };
        if channel.try_send_text(&metric).await.is_err() {
            counters.metrics_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
