//! The steady flows to the live peer: each picture's access units onto its track, telemetry onto the `metric` channel.
//!
//! Each is one task of its own, so that nothing the session does (an offer, a closing peer) delays a frame, and no picture
//! waits for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use webrtc::data_channel::DataChannel;
use webrtc::error::Result;
use webrtc::peer_connection::PeerConnection;

use super::admission::{Admission, Verdict};
use super::congestion::FurtherRateEdge;
use super::congestion::meter::LinkMeter;
use super::feedback::KeyFrameSink;
use super::mailbox::Mailbox;
use super::session::{PeerId, PeerState};
use super::track::{TrackWriter, VideoTrack};
use crate::video::frame::AccessUnit;
use crate::video::further::CameraName;
use crate::video::trace::LatencyTrace;
use crate::video::units::AccessUnitReceiver;

/// The live peer's ends of the flows; `None` while nobody is connected.
pub(crate) type Live = watch::Receiver<Option<LiveEnds>>;

/// One peer's ends of the flows.
#[derive(Clone)]
pub(crate) struct LiveEnds {
    pub(crate) peer: PeerId,
    /// One for each picture.
    pub(crate) tracks: Arc<[VideoTrack]>,
    pub(crate) metric: Arc<dyn DataChannel>,
    pub(crate) link: Arc<LinkMeter>,
    pub(crate) connection: Arc<dyn PeerConnection>,
}

/// What went out and what did not, since the process started.
#[derive(Debug, Default)]
pub struct PublishCounters {
    /// Turns of the session's loop: one a second at least.
    pub turns: AtomicU64,
    /// Access units handed to a peer connection.
    pub access_units: AtomicU64,
    /// RTP packets made of them.
    pub packets: AtomicU64,
    /// Telemetry messages dropped because the channel was full.
    pub metrics_dropped: AtomicU64,
}

/// What a picture is joined to.
pub struct PictureEdge {
    /// Pictures in.
    pub units: AccessUnitReceiver,
    /// Requests for a key frame out.
    pub on_key_frame_request: KeyFrameSink,
    /// Where a picture's time goes.
    pub trace: LatencyTrace,
}

impl PictureEdge {
    /// One whose time nobody asks for.
    pub fn new(units: AccessUnitReceiver, on_key_frame_request: KeyFrameSink) -> Self {
        Self { units, on_key_frame_request, trace: LatencyTrace::default() }
    }
}

/// What a picture beside the first is joined to.
pub struct FurtherEdge {
    /// Its track's id.
    pub name: CameraName,
    /// Pictures and requests for key frames.
    pub picture: PictureEdge,
    /// Its share of the link.
    pub rate: FurtherRateEdge,
}

/// Writes the access units of the picture at this place to its track of the live peer, until the pipeline's end of the edge
/// is gone.
///
/// A new track starts with an IDR, asked for here the moment the track is live: without it the first picture would
/// wait for the end of the group of pictures. The same holds after a picture that the pacer had no room for, and when the
/// server takes the picture only in a later description.
pub(crate) async fn pump_media(
    picture: PictureEdge,
    place: usize,
    mut live: Live,
    mailbox: Arc<Mailbox>,
    counters: Arc<PublishCounters>,
) {
    let PictureEdge { mut units, on_key_frame_request: key_frames, trace } = picture;
    let mut ends: Option<LiveEnds> = None;
    let mut outlet: Option<Outlet> = None;
    loop {
        tokio::select! {
            biased;
            changed = live.changed() => {
                if changed.is_err() {
                    return;
                }
                ends = live.borrow_and_update().clone();
                outlet = Outlet::open(ends.as_ref(), place).await;
                if outlet.is_some() {
                    key_frames();
                }
            }
            () = renegotiated(ends.as_ref(), place) => {
                let again = Outlet::open(ends.as_ref(), place).await;
                let payload_type = |outlet: &Outlet| outlet.writer.payload_type();
                // A picture that flows on as it did needs no key frame.
                if again.as_ref().map(payload_type) != outlet.as_ref().map(payload_type) {
                    outlet = again;
                    key_frames();
                }
            }
            unit = units.recv() => {
                let Some(unit) = unit else { return };
                let Some(out) = &mut outlet else { continue };
                match out.send(&unit, &key_frames, &trace).await {
                    Ok(Sent::Yes) => {
                        counters.access_units.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(Sent::No) => {}
                    Err(error) => {
                        // Its driver has ended without a word; the session must know.
                        let peer = out.peer;
                        tracing::debug!(peer = peer.0, %error, "the track takes no more packets");
                        mailbox.state(peer, PeerState::Closed);
                        outlet = None;
                    }
                }
            }
        }
    }
}

/// Waits until the picture's track was part of another description of the server's.
async fn renegotiated(ends: Option<&LiveEnds>, place: usize) {
    match ends {
        Some(ends) => ends.tracks[place].renegotiated().await,
        None => std::future::pending().await,
    }
}

/// What became of a picture.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Yes,
    No,
}

/// The live peer's track and what lets pictures onto it.
struct Outlet {
    peer: PeerId,
    place: usize,
    writer: TrackWriter,
    link: Arc<LinkMeter>,
    admission: Admission,
}

impl Outlet {
    async fn open(ends: Option<&LiveEnds>, place: usize) -> Option<Self> {
        let ends = ends?;
        let writer = open(ends.peer, &ends.tracks[place]).await?;
        Some(Self { peer: ends.peer, place, writer, link: ends.link.clone(), admission: Admission::new(now()) })
    }

    /// Sends a picture or drops it.
    async fn send(&mut self, unit: &AccessUnit, key_frames: &KeyFrameSink, trace: &LatencyTrace) -> Result<Sent> {
        let bytes = unit.data.len();
        self.link.encoded(self.place, bytes);
        let now = now();
        match self.admission.judge(unit.idr, self.link.room_for(self.place, bytes, now), now) {
            Verdict::Send => {
                self.writer.write(unit, trace).await?;
                Ok(Sent::Yes)
            }
            verdict => {
                self.link.dropped_picture();
                if verdict == Verdict::DropAndAsk {
                    key_frames();
                }
                Ok(Sent::No)
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell of a pure admission")]
fn now() -> Instant {
    Instant::now()
}

async fn open(PeerId(peer): PeerId, track: &VideoTrack) -> Option<TrackWriter> {
    let camera = track.name();
    match track.writer().await {
        Ok(Some(writer)) => return Some(writer),
        Ok(None) if camera == CameraName::FIRST => {
            tracing::warn!(peer, "the server took no H.264: viewers will see no picture")
        }
        Ok(None) => tracing::warn!(peer, camera, "the server did not take this picture: viewers will not see it"),
        Err(error) => tracing::warn!(peer, camera, %error, "the track of a connected peer cannot be written"),
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
