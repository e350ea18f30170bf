//! In a process of its own, because it counts the process's threads and file descriptors.

use std::fs;
use std::time::Duration;

use rtcpub::video::overlay::{OverlaySource, OverlayState};
use rtcpub::video::pipeline::Pipeline;
use rtcpub::video::settings::{
    Bitrate, CameraConfig, EncoderChoice, EncoderConfig, Framerate, Size, Source, VideoConfig,
};
use rtcpub::video::units::access_unit_channel;

/// GLib keeps this many finished threads for a while, to use them again (`g_thread_pool_set_max_unused_threads`).
const KEPT_BY_GLIB: usize = 2;

fn entries(folder: &str) -> usize {
    fs::read_dir(folder).expect("Linux").count()
}

async fn run_and_stop(encoder: &str) {
    let config = VideoConfig {
        camera: CameraConfig::new(
            Source::Test,
            Size::new(320, 240).expect("a valid size"),
            Framerate::new(30).expect("a valid rate"),
        ),
        rear: None,
        encoder: EncoderConfig {
            choice: EncoderChoice::Named(encoder.to_owned()),
            bitrate: Bitrate::from_kbps(500).expect("a valid rate"),
            key_frame_interval: Duration::from_secs(10),
        },
    };
    let (sender, mut units) = access_unit_channel();
    let pipeline = Pipeline::start(&config, OverlaySource::new(|| OverlayState::PARKED), sender).expect("it starts");
    for _ in 0..3 {
        units.recv().await.expect("an access unit");
    }
    let kept = units.recv().await.expect("an access unit");
    pipeline.stop().expect("it stops");
    assert!(!kept.data.is_empty(), "an access unit outlives its pipeline");
    while units.recv().await.is_some() {}
}

/// The names of this process's threads, once there are no more than so many. The kernel takes a moment to clear away one
/// that has ended.
async fn threads_left(at_most: usize) -> Vec<String> {
    for _ in 0..100 {
        if entries("/proc/self/task") <= at_most {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok()).collect()
}

#[tokio::test]
async fn a_stopped_pipeline_leaves_no_threads_and_no_descriptors_behind() {
    let threads = entries("/proc/self/task");
    // The first run opens what GStreamer keeps for good.
    run_and_stop("x264enc").await;
    let descriptors = entries("/proc/self/fd");
    for _ in 0..5 {
        run_and_stop("x264enc").await;
        run_and_stop("openh264enc").await;
        let left = threads_left(threads + KEPT_BY_GLIB).await;
        assert!(left.len() <= threads + KEPT_BY_GLIB, "{left:?}, {threads} before");
        assert_eq!(entries("/proc/self/fd"), descriptors);
    }
}
