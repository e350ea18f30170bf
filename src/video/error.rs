//! What can go wrong between camera and access unit, told with the setting to change and what to do.

use super::encoder::EncoderError;

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VideoError {
    /// GStreamer does not start, or lacks what every pipeline is made of.
    #[error("GStreamer: {problem}; install the packages gstreamer1.0-plugins-base and gstreamer1.0-plugins-good")]
    GStreamer {
        /// What it said.
        problem: String,
    },
    /// No encoder to use.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The source cannot be made, gives no pictures, or stopped giving them.
    #[error("{key}: {problem}; {remedy}")]
    Camera {
        /// The setting that describes the source.
        key: &'static str,
        /// The element and what it said.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The encoder, or what follows it, failed.
    #[error("encoder: {problem}; try another encoder.name, or look closer with GST_DEBUG=3")]
    EncoderFailed {
        /// The element and what it said.
        problem: String,
    },
    /// The pipeline did not stop in time. Its device is probably held until the process ends.
    #[error("the pipeline did not stop within {} ms: a driver hangs; end the process to free the camera", within.as_millis())]
    StopTimedOut {
        /// How long it was waited for.
        within: std::time::Duration,
    },
}

/// A text of GStreamer's, fit to be shown: on one line, and without the `user:password@` of a URL, which source
/// descriptions may hold.
pub(super) fn shown(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, from_authority)) = rest.split_once("://") {
        let end = from_authority.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(from_authority.len());
        let host = from_authority[..end].rfind('@').map_or(0, |at| at + 1);
        shown.extend([before, "://"]);
        rest = &from_authority[host..];
    }
    shown + rest
}

/// What to do about a failing source, by what kind of failure it is.
pub mod remedy {
    /// The description is not in the language of `gst-launch-1.0`.
    pub const SYNTAX: &str = "try the description with gst-launch-1.0, with \"! videoconvert ! fakesink\" behind it";
    /// An element is not installed.
    pub const NO_ELEMENT: &str =
        "correct the name, or install the plugin that has it (apt-cache search gstreamer1.0 lists the packages)";
    /// An element has no such property, or the property no such value.
    pub const PROPERTY: &str = "gst-inspect-1.0 ELEMENT lists the properties it has and their values";
    /// What comes out is not raw video.
    pub const RAW_VIDEO: &str =
        "the description must end in raw video (video/x-raw): add a decoder if it is compressed, and no sink";
    /// The device or file is not there or may not be opened.
    pub const NOT_FOUND: &str = "check that it is there and that this user may open it (cameras: group video)";
    /// Somebody else has the device.
    pub const BUSY: &str = "another program holds it (fuser -v DEVICE tells which): end that one first";
    /// The device was opened but no longer delivers.
    pub const LOST: &str = "check the cable and power of the camera (dmesg tells when it went away)";
    /// Anything else.
    pub const OTHER: &str = "look closer with GST_DEBUG=3";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_not_shown() {
        let cases = [
            ("no element \"foo\"", "no element \"foo\""),
            ("could not open\n rtsp://me:p@ss@cam/1 now", "could not open rtsp://cam/1 now"),
            ("rtsp://me:pass@cam and http://you:word@host", "rtsp://cam and http://host"),
            ("file:///tmp/a@b and rtsp://cam/@", "file:///tmp/a@b and rtsp://cam/@"),
            ("://", "://"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected);
        }
    }
}
