//! The `pipeline` source: whatever raw video it gives, the channel gets what its settings say.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};

use super::*;

/// What entered the encoder: the adapted form of the source.
async fn input_of(source: &str) -> (String, Vec<AccessUnit>) {
    let mut running = Running::start(&config(pipeline(source), 320, 240));
    let units = running.take(10).await;
    match running.last_state_or_now() {
        PipelineState::Playing { input, .. } => (input, units),
        other => panic!("{source}: {other:?}"),
    }
}

impl Running {
    fn last_state_or_now(&self) -> PipelineState {
        self.pipeline.state().borrow().clone()
    }
}

#[tokio::test]
async fn any_raw_format_size_and_rate_is_adapted_to_the_channel() {
    let cases = [
        ("as it is", "format=I420,width=320,height=240,framerate=30/1", "I420", "30/1"),
        ("another 4:2:0 format the encoder takes", "format=NV12,width=320,height=240,framerate=30/1", "NV12", "30/1"),
        ("packed 4:2:2", "format=YUY2,width=320,height=240,framerate=30/1", "I420", "30/1"),
        ("larger", "format=I420,width=640,height=360,framerate=30/1", "I420", "30/1"),
        ("faster", "format=I420,width=320,height=240,framerate=60/1", "I420", "30/1"),
        ("slower, and so it stays", "format=I420,width=320,height=240,framerate=15/1", "I420", "15/1"),
        ("RGB at an odd size", "format=RGB,width=161,height=121,framerate=25/1", "I420", "25/1"),
    ];
    for (name, caps, format, framerate) in cases {
        let (input, units) = input_of(&format!("videotestsrc is-live=true ! video/x-raw,{caps}")).await;
        for expected in [format!("format=(string){format}"), format!("framerate=(fraction){framerate}")] {
            assert!(input.contains(&expected), "{name}: {input}");
        }
        let pictures = decode::decode(&units);
        assert_eq!(pictures.len(), units.len(), "{name}");
        assert!(pictures.iter().all(|picture| (picture.width, picture.height) == (320, 240)), "{name}");
    }
}

#[tokio::test]
async fn frames_that_fit_reach_the_encoder_without_a_copy() {
    let source = "videotestsrc name=camera is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate=30/1";
    let mut running = Running::start(&config(pipeline(source), 320, 240));
    running.take(1).await;
    let at_encoder = running.memory_at(encoder::ENCODER_NAME, "sink");
    let at_camera = running.memory_at("camera", "src");
    running.take(20).await;
    // A frame may have passed the camera before it was watched there: the buffers go round, so it comes by again.
    let (at_camera, at_encoder) = (at_camera.lock().expect("no panic"), at_encoder.lock().expect("no panic"));
    assert!(!at_encoder.is_empty() && at_encoder.is_subset(&at_camera), "{at_encoder:x?} of {at_camera:x?}");
}

impl Running {
    /// Watches a pad: where in memory the frames lie that pass it.
    fn memory_at(&self, element: &str, pad: &str) -> Arc<Mutex<HashSet<usize>>> {
        let element = self.pipeline.running.as_ref().and_then(|pipeline| pipeline.by_name(element));
        let pad = element.and_then(|element| element.static_pad(pad)).expect("such a pad");
        let seen = Arc::new(Mutex::new(HashSet::new()));
        let watched = seen.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let pixels = info.buffer().and_then(|buffer| buffer.map_readable().ok()).expect("a frame in memory");
            watched.lock().expect("no panic").insert(pixels.as_ptr() as usize);
            gst::PadProbeReturn::Ok
        });
        seen
    }
}

#[tokio::test]
async fn a_file_plays_at_its_own_speed_and_then_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("film.mkv");
    gst::init().expect("GStreamer");
    let film = gst::parse::launch(&format!(
        "videotestsrc num-buffers=30 pattern=ball ! video/x-raw,width=640,height=480,framerate=30/1 ! openh264enc \
         ! h264parse ! matroskamux name=mux ! filesink location={} \
         audiotestsrc num-buffers=43 ! audioconvert ! vorbisenc ! mux.",
        file.display()
    ));
    let film = film.expect("the elements are installed");
    film.set_state(gst::State::Playing).expect("it records");
    let end = film.bus().expect("a bus").timed_pop_filtered(
        gst::ClockTime::from_seconds(PATIENCE.as_secs()),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    assert!(matches!(end.as_ref().map(|end| end.type_()), Some(gst::MessageType::Eos)), "{end:?}");
    film.set_state(gst::State::Null).expect("it stops");

    let source = format!("filesrc location={} ! decodebin", file.display());
    #[expect(clippy::disallowed_methods, reason = "playing at the right speed is a claim about real time")]
    let started = Instant::now();
    let mut running = Running::start(&config(pipeline(&source), 320, 240));
    let units = running.rest().await;
    assert_eq!(running.last_state().await, PipelineState::Ended);
    assert!(started.elapsed() >= Duration::from_millis(900), "a film of one second took {:?}", started.elapsed());
    let pictures = decode::decode(&units);
    assert!(!pictures.is_empty() && pictures.len() == units.len());
    assert!(units[0].idr && rises(units.iter().map(|unit| unit.pts)));
}

#[tokio::test]
async fn only_what_is_not_live_is_held_back_until_it_is_due() {
    for (source, paced) in [("videotestsrc is-live=true", false), ("videotestsrc", true)] {
        let mut running = Running::start(&config(pipeline(source), 320, 240));
        running.take(3).await;
        let pace = running.pipeline.running.as_ref().and_then(|pipeline| pipeline.by_name(camera::PACE_NAME));
        assert_eq!(pace.expect("it is there").property::<bool>("sync"), paced, "{source}");
    }
}

#[tokio::test]
async fn pictures_that_come_while_the_pipeline_is_still_starting_have_the_time_they_come_at() {
    // Gives without end from the moment it is opened, and stamps what it gives.
    let zeros = File::open("/dev/zero").expect("every Linux has it");
    let source = format!(
        "fdsrc fd={} do-timestamp=true ! identity sleep-time=100 ! rawvideoparse width=64 height=64 format=gray8 framerate=30/1",
        zeros.as_raw_fd()
    );
    for attempt in 0..20 {
        let mut running = Running::start(&config(pipeline(&source), 320, 240));
        let units = running.take(3).await;
        let base = units[0].pts;
        assert!(units.iter().all(|unit| unit.pts < base + PATIENCE), "attempt {attempt}: {units:?}");
    }
}
