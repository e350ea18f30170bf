//! The pictures of one peer connection by what RTP and RTCP name them by: their SSRCs.

use std::sync::Arc;

use super::feedback::KeyFrameSink;
use crate::video::trace::LatencyTrace;

/// One picture's streams and what it is joined to.
pub(crate) struct Stream {
    /// Of the picture itself.
    pub(crate) ssrc: u32,
    /// Of its repairs (RFC 4588 §4).
    pub(crate) rtx: u32,
    pub(crate) on_key_frame_request: KeyFrameSink,
    /// Where its pictures' time goes.
    pub(crate) trace: LatencyTrace,
}

/// All pictures of a peer connection, the first one first. They are told by their places. Clones are of the
/// same.
#[derive(Clone)]
pub(crate) struct Streams(Arc<[Stream]>);

impl Streams {
    pub(crate) fn new(streams: impl IntoIterator<Item = Stream>) -> Self {
        Self(streams.into_iter().collect())
    }

    /// One picture that nobody is joined to.
    #[cfg(test)]
    pub(crate) fn only(ssrc: u32, rtx: u32) -> Self {
        Self::new([Stream { ssrc, rtx, on_key_frame_request: Arc::new(|| {}), trace: LatencyTrace::default() }])
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The picture whose stream, or stream of repairs, this is.
    pub(crate) fn of(&self, ssrc: u32) -> Option<usize> {
        self.0.iter().position(|stream| stream.ssrc == ssrc || stream.rtx == ssrc)
    }

    /// The picture that this is the stream of; not of its repairs.
    pub(crate) fn media(&self, ssrc: u32) -> Option<usize> {
        self.0.iter().position(|stream| stream.ssrc == ssrc)
    }

    pub(crate) fn trace(&self, picture: usize) -> &LatencyTrace {
        &self.0[picture].trace
    }

    pub(crate) fn request_key_frame(&self, picture: usize) {
        (self.0[picture].on_key_frame_request)();
    }

    /// Somebody asks for key frames of these streams. Who names none of ours means the picture there is, or, where there
    /// are several, may mean any: it is better made in vain than waited for.
    pub(crate) fn request_key_frames_of(&self, ssrcs: impl IntoIterator<Item = u32>) {
        let mut named = false;
        for picture in ssrcs.into_iter().filter_map(|ssrc| self.of(ssrc)) {
            named = true;
            self.request_key_frame(picture);
        }
        if !named {
            (0..self.count()).for_each(|picture| self.request_key_frame(picture));
        }
    }
}
