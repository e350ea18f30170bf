//! What cannot work says why, and what to do.

use super::*;

fn refusal(config: &VideoConfig) -> String {
    let (sender, _units) = access_unit_channel();
    let overlay = OverlaySource::new(|| OverlayState::PARKED);
    Pipeline::start(config, overlay, sender).expect_err("refused").to_string()
}

#[test]
fn a_description_that_cannot_be_made_is_refused_with_key_element_and_remedy() {
    let cases: [(&str, &[&str]); 11] = [
        ("", &["gst-launch-1.0"]),
        ("videotestsrc ! !", &["gst-launch-1.0"]),
        ("nosuchsrc ! videoconvert", &["nosuchsrc", "install"]),
        ("videotestsrc ! nosuchfilter", &["nosuchfilter", "install"]),
        ("videotestsrc ! nvvidconv", &["nvvidconv is in nvidia-l4t-gstreamer (JetPack)"]),
        ("videotestsrc nosuch=1", &["nosuch", "videotestsrc", "gst-inspect-1.0"]),
        ("videotestsrc pattern=nosuch", &["pattern", "videotestsrc", "gst-inspect-1.0"]),
        ("audiotestsrc", &["audiotestsrc", "raw video"]),
        ("videotestsrc ! jpegenc", &["jpegenc", "raw video"]),
        ("videotestsrc ! fakesink", &["fakesink", "raw video"]),
        ("v4l2src device=/dev/nosuch", &["/dev/nosuch", "check that it is there"]),
    ];
    for (description, parts) in cases {
        let message = refusal(&config(pipeline(description), 320, 240));
        for part in [&["camera.pipeline: "], parts].concat() {
            assert!(message.contains(part), "{description:?}: {part:?} is missing in: {message}");
        }
    }
}

#[tokio::test]
async fn a_source_that_fails_later_is_announced_with_key_and_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("text");
    std::fs::write(&text, "not a film\n".repeat(1000)).expect("written");
    let playing_text = format!("filesrc location={} ! decodebin", text.display());
    let untyped = format!("filesrc location={}", text.display());
    let cases: [(&str, &[&str]); 4] = [
        ("videotestsrc is-live=true ! identity name=broken error-after=5", &["broken"]),
        (&playing_text, &["raw video"]),
        (&untyped, &["raw video"]),
        ("filesrc location=/no/such/film ! decodebin", &["/no/such/film", "check that it is there"]),
    ];
    for (description, parts) in cases {
        let (sender, mut units) = access_unit_channel();
        let overlay = OverlaySource::new(|| OverlayState::PARKED);
        let message = match Pipeline::start(&config(pipeline(description), 320, 240), overlay, sender) {
            Err(error) => error.to_string(),
            Ok(pipeline) => {
                let mut state = pipeline.state();
                let last = tokio::time::timeout(PATIENCE, state.wait_for(PipelineState::is_final)).await;
                match last.expect("a final state").expect("the pipeline is there").clone() {
                    PipelineState::Failed(error) => error.to_string(),
                    other => panic!("{description}: {other:?}"),
                }
            }
        };
        while units.try_recv().is_some() {}
        for part in [&["camera.pipeline: "], parts].concat() {
            assert!(message.contains(part), "{description:?}: {part:?} is missing in: {message}");
        }
    }
}

#[test]
fn an_encoder_that_is_not_known_is_refused() {
    let message = refusal(&with_encoder("x265enc", config(Source::Test, 320, 240)));
    assert!(message.contains("encoder.name = \"x265enc\""), "{message}");
}

#[tokio::test]
async fn the_end_of_the_source_is_announced() {
    let mut running = Running::start(&config(pipeline("videotestsrc num-buffers=5 is-live=true"), 320, 240));
    let units = running.rest().await;
    assert_eq!(running.last_state().await, PipelineState::Ended);
    assert!(!units.is_empty());
}

#[tokio::test]
async fn a_driver_that_hangs_does_not_hang_the_caller() {
    let mut running = Running::start(&config(pipeline("videotestsrc name=driver is-live=true"), 320, 240));
    running.take(1).await;
    let driver = running.pipeline.running.as_ref().and_then(|pipeline| pipeline.by_name("driver"));
    let (release, hang) = std::sync::mpsc::channel::<()>();
    let hang = Mutex::new(hang);
    let (hangs, mut in_driver) = tokio::sync::mpsc::channel(1);
    driver.and_then(|driver| driver.static_pad("src")).expect("a source pad").add_probe(
        gst::PadProbeType::BUFFER,
        move |_, _| {
            let _ = hangs.try_send(());
            let _ = hang.lock().map(|hang| hang.recv());
            gst::PadProbeReturn::Ok
        },
    );
    tokio::time::timeout(PATIENCE, in_driver.recv()).await.expect("a frame comes").expect("the probe is there");
    let pipeline = running.pipeline;
    let stopping = tokio::task::spawn_blocking(move || pipeline.stop());
    let stopped = tokio::time::timeout(PATIENCE, stopping).await.expect("the caller comes back").expect("no panic");
    drop(release);
    assert_eq!(stopped, Err(VideoError::StopTimedOut { within: STOP_DEADLINE }));
}
