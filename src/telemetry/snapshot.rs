//! Everything known of the daemon at one moment: what telemetry, `rtcpub status` and Prometheus are told from. Pure.

use std::time::Duration;

use super::host::HostReading;
use crate::drive::event::DriveSnapshot;
use crate::drive::latency::ControlLatency;
use crate::rtc::congestion::LinkStatus;
use crate::rtc::status::PublishStatus;
use crate::video::control::VideoStats;
use crate::video::further::CameraName;
use crate::video::recovery::CameraState;

/// The daemon at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The channel's id.
    pub channel: String,
    /// The session with the server.
    pub publish: PublishStatus,
    /// What went over it.
    pub link: LinkReading,
    /// How good the link is; none while nobody is connected.
    pub quality: Option<LinkStatus>,
    /// How the picture is doing.
    pub camera: CameraState,
    /// The encoder, once one has run.
    pub video: Option<(VideoStats, FrameRates)>,
    /// The pictures beside the first.
    pub further: Vec<FurtherSnapshot>,
    /// The car.
    pub drive: DriveSnapshot,
    /// How long ago the drive thread last went around.
    pub drive_age: Duration,
    /// How long commands took; none before the first.
    pub control: Option<ControlLatency>,
    /// The board.
    pub host: HostReading,
    /// This process.
    pub process: ProcessReading,
}

/// A picture beside the first at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct FurtherSnapshot {
    /// Which.
    pub name: CameraName,
    /// How it is doing.
    pub camera: CameraState,
    /// Its encoder, once one has run.
    pub video: Option<(VideoStats, FrameRates)>,
}

/// What went over the connection since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkReading {
    /// Whether a peer carries the picture.
    pub publishing: bool,
    /// Sessions that came up.
    pub sessions: u64,
    /// RTP packets sent.
    pub packets: u64,
    /// Access units sent.
    pub access_units: u64,
    /// Telemetry messages that did not fit.
    pub metrics_dropped: u64,
}

/// Frames a second over the last period of telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameRates {
    /// Into the encoder.
    pub frames_in: f64,
    /// Out of it.
    pub frames_out: f64,
}

/// This process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessReading {
    /// Process id.
    pub id: u32,
    /// Time since it started publishing.
    pub uptime: Duration,
    /// Resident memory.
    pub resident_kib: Option<u64>,
    /// Threads.
    pub threads: Option<usize>,
    /// Open file descriptors.
    pub open_files: Option<usize>,
    /// Tasks of the runtime.
    pub tasks: Option<usize>,
}

impl FrameRates {
    /// From two readings of the counters; none when they are of two pipelines or no time has passed.
    pub fn between(before: &VideoStats, now: &VideoStats, elapsed: Duration) -> Option<Self> {
        let seconds = elapsed.as_secs_f64();
        let rate = |before: u64, now: u64| (seconds > 0.0).then_some(now.checked_sub(before)? as f64 / seconds);
        Some(Self {
            frames_in: rate(before.frames_in, now.frames_in)?,
            frames_out: rate(before.units_out, now.units_out)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::settings::Bitrate;

    #[test]
    fn frame_rates_are_of_one_pipeline_over_real_time() {
        let stats = |frames_in, units_out| VideoStats {
            encoder: "x264enc",
            bitrate: Bitrate::from_kbps(800).expect("a valid rate"),
            frames_in,
            frames_dropped: 0,
            units_out,
            units_dropped: 0,
            key_frames: 0,
        };
        let second = Duration::from_secs(1);
        let rates = FrameRates::between(&stats(10, 10), &stats(70, 69), 2 * second);
        assert_eq!(rates, Some(FrameRates { frames_in: 30.0, frames_out: 29.5 }));
        assert_eq!(FrameRates::between(&stats(10, 10), &stats(3, 3), second), None, "a pipeline that began anew");
        assert_eq!(FrameRates::between(&stats(10, 10), &stats(11, 11), Duration::ZERO), None);
    }
}
