//! The two ends of a forwarded track.

use std::sync::Arc;

use bytes::Bytes;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_local::{TrackLocal, TrackLocalEvent};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::{MediaPacket, RelayError, engine};

/// A publisher's track, for receiving.
pub struct Uplink {
    track: Arc<dyn TrackRemote>,
    id: String,
    ssrc: u32,
}

impl std::fmt::Debug for Uplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uplink").field("id", &self.id).field("ssrc", &self.ssrc).finish_non_exhaustive()
    }
}

impl Uplink {
    pub(super) fn new(track: Arc<dyn TrackRemote>, id: String, ssrc: u32) -> Self {
        Self { track, id, ssrc }
    }

    /// The publisher's id for it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The next packet, in order of arrival, repaired ones in their turn; `None` when the track has ended. Cancel-safe.
    pub async fn receive(&self) -> Option<MediaPacket> {
        loop {
            match self.track.poll().await? {
                TrackRemoteEvent::OnRtpPacket(packet) => {
                    return Some(MediaPacket {
                        sequence: packet.header.sequence_number,
                        timestamp: packet.header.timestamp,
                        marker: packet.header.marker,
                        payload: packet.payload,
                    });
                }
                TrackRemoteEvent::OnEnded | TrackRemoteEvent::OnError => return None,
                _ => {}
            }
        }
    }

    /// Asks the publisher for a key frame (PLI, RFC 4585 §6.3.1).
    pub async fn request_key_frame(&self) {
        let request = PictureLossIndication { sender_ssrc: 0, media_ssrc: self.ssrc };
        // An error means that the connection is gone; its state tells.
        let _ = self.track.write_rtcp(vec![Box::new(request)]).await;
    }
}

/// A viewer's decoder has lost its place (PLI or FIR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFrameNeeded;

/// A track to a viewer, for sending.
#[derive(Clone)]
pub struct Downlink {
    track: Arc<TrackLocalStaticRTP>,
    ssrc: u32,
    payload_type: u8,
    /// The negotiated id of the playout-delay extension, when the viewer knows it.
    playout_delay: Option<u8>,
}

impl std::fmt::Debug for Downlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ssrc, payload_type, .. } = self;
        f.debug_struct("Downlink").field("ssrc", ssrc).field("payload_type", payload_type).finish_non_exhaustive()
    }
}

impl Downlink {
    pub(super) fn new(track: Arc<TrackLocalStaticRTP>, ssrc: u32, payload_type: u8, playout_delay: Option<u8>) -> Self {
        Self { track, ssrc, payload_type, playout_delay }
    }

    /// Sends one packet; waits while the peer connection is behind.
    ///
    /// # Errors
    /// [`RelayError::Peer`] when the connection is gone.
    pub async fn send(&self, packet: MediaPacket) -> Result<(), RelayError> {
        let mut header = rtp::Header {
            version: 2,
            marker: packet.marker,
            payload_type: self.payload_type,
            sequence_number: packet.sequence,
            timestamp: packet.timestamp,
            ssrc: self.ssrc,
            ..Default::default()
        };
        if let Some(id) = self.playout_delay {
            let delay = Bytes::from_static(&engine::NO_PLAYOUT_DELAY);
            header.set_extension(id, delay).map_err(|error| RelayError::Peer(error.to_string()))?;
        }
        let packet = rtp::Packet { header, payload: packet.payload };
        self.track.write_rtp(packet).await.map_err(|error| RelayError::Peer(error.to_string()))
    }

    /// The viewer's next key-frame request; `None` when the connection is gone. Cancel-safe.
    pub async fn feedback(&self) -> Option<KeyFrameNeeded> {
        // Only key-frame requests pass the interceptors.
        let TrackLocalEvent::OnRtcpPacket(_) = self.track.poll().await? else { return None };
        Some(KeyFrameNeeded)
    }
}
