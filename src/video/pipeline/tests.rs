//! Claims about the running pipeline, with the real GStreamer. None depends on how fast this machine is.

use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::video::frame::AccessUnit;
use crate::video::h264::{self, ProfileLevel};
use crate::video::overlay::{OverlayState, Stamp};
use crate::video::settings::{
    Bitrate, CameraConfig, EncoderChoice, EncoderConfig, Framerate, Size, Source, VideoConfig,
};
use crate::video::units::{ACCESS_UNIT_CAPACITY, AccessUnitReceiver, access_unit_channel};

pub(in crate::video) mod decode;
mod faults;
mod lab;
mod sources;
mod steering;

/// However slow the machine: what has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(source: Source, width: u32, height: u32) -> VideoConfig {
    VideoConfig {
        camera: CameraConfig::new(
            source,
            Size::new(width, height).expect("a valid size"),
            Framerate::new(30).expect("a valid rate"),
        ),
        rear: None,
        encoder: EncoderConfig {
            choice: EncoderChoice::Auto,
            bitrate: kbps(800),
            key_frame_interval: Duration::from_secs(60),
        },
    }
}

fn with_encoder(element: &str, mut config: VideoConfig) -> VideoConfig {
    config.encoder.choice = EncoderChoice::Named(element.to_owned());
    config
}

fn kbps(kbps: u32) -> Bitrate {
    Bitrate::from_kbps(kbps).expect("a valid rate")
}

/// A source as a person would write it.
fn pipeline(description: &str) -> Source {
    Source::Pipeline(description.to_owned())
}

/// A running pipeline and the track's end of its queue.
struct Running {
    pipeline: Pipeline,
    units: AccessUnitReceiver,
}

impl Running {
    fn start(config: &VideoConfig) -> Self {
        let (sender, units) = access_unit_channel();
        let overlay = OverlaySource::new(|| OverlayState { throttle: 0.5, steering: -0.5, state: "armed" });
        Self { pipeline: Pipeline::start(config, overlay, sender).expect("the pipeline starts"), units }
    }

    async fn next(&mut self) -> Option<AccessUnit> {
        tokio::time::timeout(PATIENCE, self.units.recv()).await.expect("an access unit or the end")
    }

    async fn take(&mut self, count: usize) -> Vec<AccessUnit> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            taken.push(self.next().await.expect("the pipeline runs on"));
        }
        taken
    }

    /// Everything up to the end of the source.
    async fn rest(&mut self) -> Vec<AccessUnit> {
        let mut taken = Vec::new();
        let mut state = self.pipeline.state();
        loop {
            tokio::select! {
                unit = self.next() => taken.push(unit.expect("the pipeline holds the queue open")),
                last = state.wait_for(PipelineState::is_final) => { last.expect("the pipeline is there"); break }
            }
        }
        taken.extend(std::iter::from_fn(|| self.units.try_recv()));
        taken
    }

    async fn last_state(&self) -> PipelineState {
        let mut state = self.pipeline.state();
        let last = tokio::time::timeout(PATIENCE, state.wait_for(PipelineState::is_final)).await;
        last.expect("a final state").expect("the pipeline is there").clone()
    }
}

fn stamp(picture: &decode::Picture) -> Option<Stamp> {
    Stamp::read(&picture.luma, picture.width, picture.height, picture.stride)
}

fn rises<T: PartialOrd>(values: impl IntoIterator<Item = T>) -> bool {
    values.into_iter().is_sorted_by(|earlier, later| earlier < later)
}

#[tokio::test]
async fn the_test_picture_moves_and_tells_its_number_and_time_after_decoding() {
    for (width, height, rate) in [(320, 240, 200), (640, 480, 400), (1280, 720, 1000)] {
        let mut config = config(Source::Test, width, height);
        config.encoder.bitrate = kbps(rate);
        let mut running = Running::start(&config);
        let units = running.take(30).await;
        let pictures = decode::decode(&units);
        assert_eq!(pictures.len(), units.len(), "every access unit is a picture: none is held back or reordered");
        assert!(pictures.iter().all(|picture| (picture.width, picture.height) == (width as usize, height as usize)));
        let stamps: Vec<_> = pictures.iter().filter_map(stamp).collect();
        assert!(stamps.is_sorted_by_key(|stamp| (stamp.frame, stamp.drawn_at)), "{stamps:?}");
        // Not all thirty: right after an IDR an encoder may have no bits left, and repeat or smear the picture it has.
        let distinct: HashSet<_> = stamps.iter().map(|stamp| stamp.frame).collect();
        assert!(distinct.len() > 20, "{stamps:?}");
    }
}

#[tokio::test]
async fn each_encoder_begins_with_an_idr_in_constrained_baseline_of_a_level_the_sdp_promises() {
    for element in ["x264enc", "openh264enc"] {
        for (width, height, rate) in [(320, 240, 800), (640, 480, 20_000), (1280, 720, 14_000)] {
            let mut config = with_encoder(element, config(Source::Test, width, height));
            config.encoder.bitrate = kbps(rate);
            let mut running = Running::start(&config);
            let units = running.take(5).await;
            let told = format!("{element} {width}x{height} at {rate} kbit/s");
            assert!(units[0].idr, "{told}");
            let sps = ProfileLevel::of(&units[0].data).expect("an SPS");
            assert!(sps.is_constrained_baseline() && sps.level <= 31, "{told}: {sps:?}");
            assert!(units[1..].iter().all(|unit| !unit.idr), "{told}");
        }
    }
}

#[tokio::test]
async fn access_units_carry_rising_capture_times_and_no_delimiter() {
    for element in ["x264enc", "openh264enc"] {
        let mut running = Running::start(&with_encoder(element, config(Source::Test, 320, 240)));
        let units = running.take(20).await;
        assert!(rises(units.iter().map(|unit| unit.pts)), "{element}");
        for unit in &units {
            let first = h264::nal_units(&unit.data).next().expect("a NAL unit").kind();
            assert!([h264::SPS, h264::NON_IDR_SLICE].contains(&first), "{element}: NAL unit type {first}");
        }
    }
}

#[tokio::test]
async fn the_state_tells_when_pictures_come_and_what_makes_them() {
    let mut running = Running::start(&config(Source::Test, 320, 240));
    running.take(1).await;
    let mut state = running.pipeline.state();
    let playing = tokio::time::timeout(PATIENCE, state.wait_for(|state| *state != PipelineState::Starting)).await;
    match playing.expect("in time").expect("the pipeline is there").clone() {
        PipelineState::Playing { encoder, input } => {
            assert_eq!(encoder, "x264enc");
            assert!(input.contains("format=(string)I420") && input.contains("width=(int)320"), "{input}");
        }
        other => panic!("{other:?}"),
    };
    drop(running);
    let changed = tokio::time::timeout(PATIENCE, state.changed()).await.expect("in time");
    assert!(changed.is_err(), "the state ends with the pipeline");
}
