//! What travels from the encoder to the track: one coded picture and when it was captured.

use std::time::{Duration, Instant};

use bytes::Bytes;

/// One H.264 access unit in Annex B byte-stream form, with SPS and PPS in front when it is an IDR.
#[derive(Clone, Debug)]
pub struct AccessUnit {
    /// The coded bytes; shared with the encoder's buffer, not copied.
    pub data: Bytes,
    /// Presentation time on the pipeline's running clock. RTP time is made from this, never from a frame count.
    pub pts: Duration,
    /// True when a decoder can start here (IDR with parameter sets).
    pub idr: bool,
    /// When the encoder handed it out: the start of the "encoder out → sent" delay.
    pub encoded_at: Instant,
}
