//! What can go wrong between camera and access unit, told with the setting to change and what to do.

use std::fmt;
use std::time::Duration;

use super::encoder::EncoderError;
use super::settings::View;

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
    #[error("{key}: {problem}; {fault}")]
    Camera {
        /// The setting that describes the source.
        key: &'static str,
        /// The element and what it said.
        problem: String,
        /// What kind of fault it is.
        fault: CameraFault,
    },
    /// The source came to its end.
    #[error("{key}: its stream has come to its end")]
    Ended {
        /// The setting that describes the source.
        key: &'static str,
    },
    /// The pipeline runs, and no picture comes out.
    #[error("no picture for {} ms", within.as_millis())]
    Stalled {
        /// How long it was waited for.
        within: Duration,
    },
    /// The encoder, or what follows it, failed.
    #[error("encoder: {problem}; try another encoder.name, or look closer with GST_DEBUG=3")]
    EncoderFailed {
        /// The element and what it said.
        problem: String,
    },
    /// The pipeline did not start in time. Its device is probably held until the driver comes back.
    #[error("the pipeline did not start within {} ms: a driver hangs; unplug the camera, or restart its daemon", within.as_millis())]
    StartTimedOut {
        /// How long it was waited for.
        within: Duration,
    },
    /// The pipeline did not stop in time. Its device is probably held until the process ends.
    #[error("the pipeline did not stop within {} ms: a driver hangs; end the process to free the camera", within.as_millis())]
    StopTimedOut {
        /// How long it was waited for.
        within: Duration,
    },
}

impl VideoError {
    /// Whether the configuration, or what is installed, is at fault: trying again changes nothing.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::GStreamer { .. } | Self::Encoder(_) => true,
            Self::Camera { fault, .. } => fault.is_configuration(),
            Self::Ended { .. }
            | Self::Stalled { .. }
            | Self::EncoderFailed { .. }
            | Self::StartTimedOut { .. }
            | Self::StopTimedOut { .. } => false,
        }
    }
}

impl VideoError {
    /// The same of this view's camera, where it was told of the front one's.
    pub(super) fn of(mut self, view: View) -> Self {
        if let Self::Camera { key, .. } | Self::Ended { key } = &mut self {
            *key = view.key(key);
        }
        self
    }

    /// The same of a camera beside the first, where it was told of the first one's.
    pub fn of_further(mut self) -> Self {
        if let Self::Camera { key, .. } | Self::Ended { key } = &mut self {
            *key = match *key {
                "camera.kind" => "cameras[].kind",
                "camera.pipeline" => "cameras[].pipeline",
                "camera.device" => "cameras[].device",
                "camera.sensor" => "cameras[].sensor",
                "camera.width" => "cameras[].width",
                other => other,
            };
        }
        self
    }

    /// Whether something is missing here, rather than written wrongly in the channel's file.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Encoder(error) => !matches!(error, EncoderError::Unknown { .. }),
            Self::Camera { .. } => false,
            _ => true,
        }
    }
}

/// What is wrong with a source. Shown as what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraFault {
    /// The description is not in the language of `gst-launch-1.0`.
    Syntax,
    /// An element is not installed.
    NoElement,
    /// An element has no such property, or the property no such value.
    Property,
    /// What comes out is not raw video.
    NotRawVideo,
    /// The camera has no mode near what was asked for.
    NoMode,
    /// The device or file is not there or may not be opened.
    Missing,
    /// Somebody else has the device.
    Busy,
    /// The device was opened but no longer delivers.
    Lost,
    /// Anything else.
    Other,
}

impl CameraFault {
    /// Whether trying again changes nothing.
    pub fn is_configuration(self) -> bool {
        match self {
            Self::Syntax | Self::NoElement | Self::Property | Self::NotRawVideo | Self::NoMode => true,
            Self::Missing | Self::Busy | Self::Lost | Self::Other => false,
        }
    }
}

impl fmt::Display for CameraFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "try the description with gst-launch-1.0, with \"! videoconvert ! fakesink\" behind it",
            Self::NoElement => {
                "correct the name, or install the plugin that has it (apt-cache search gstreamer1.0 lists the packages)"
            }
            Self::Property => "gst-inspect-1.0 ELEMENT lists the properties it has and their values",
            Self::NotRawVideo => {
                "the description must end in raw video (video/x-raw): add a decoder if it is compressed, and no sink"
            }
            Self::NoMode => "ask for one of these (`rtcpub devices` lists them)",
            Self::Missing => "check that it is there and that this user may open it (cameras: group video)",
            Self::Busy => "another program holds it (fuser -v DEVICE tells which): end that one first",
            Self::Lost => "check the cable and power of the camera (dmesg tells when it went away)",
            Self::Other => "look closer with GST_DEBUG=3",
        })
    }
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
