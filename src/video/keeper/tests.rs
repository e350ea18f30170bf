//! With the real GStreamer: sources that end, stall, fail, are missing and come back.

use std::io::{PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::*;
use crate::video::frame::AccessUnit;
use crate::video::overlay::OverlayState;
use crate::video::settings::{
    Bitrate, CameraConfig, EncoderChoice, EncoderConfig, Framerate, RearConfig, Size, Source,
};
use crate::video::units::{AccessUnitReceiver, access_unit_channel};

mod pair;

const PATIENCE: Duration = Duration::from_secs(30);

fn keeper(
    camera: CameraConfig,
    rear: Option<RearConfig>,
) -> (Keeper, AccessUnitReceiver, watch::Receiver<CameraState>) {
    let bitrate = Bitrate::from_kbps(800).expect("a valid rate");
    let encoder = EncoderConfig { choice: EncoderChoice::Auto, bitrate, key_frame_interval: Duration::from_secs(60) };
    let (sender, units) = access_unit_channel();
    let (announce, state) = watch::channel(CameraState::Starting);
    let keeper = Keeper {
        name: None,
        config: VideoConfig { camera, rear, encoder },
        overlay: OverlaySource::new(|| OverlayState::PARKED),
        units: sender,
        control: VideoControl::new(bitrate),
        state: announce,
    };
    (keeper, units, state)
}

/// A picture that is kept.
struct Kept {
    units: AccessUnitReceiver,
    state: watch::Receiver<CameraState>,
    control: VideoControl,
    shutdown: CancellationToken,
    keeping: tokio::task::JoinHandle<Result<(), VideoError>>,
}

impl Kept {
    fn start(source: &str, adjust: impl FnOnce(&mut CameraConfig)) -> Self {
        let size = Size::new(320, 240).expect("a valid size");
        let framerate = Framerate::new(30).expect("a valid rate");
        let mut camera = CameraConfig::new(Source::Pipeline(source.to_owned()), size, framerate);
        adjust(&mut camera);
        Self::start_with(camera, None)
    }

    fn start_pair(front: &str, rear: Option<RearConfig>) -> Self {
        let size = Size::new(320, 240).expect("a valid size");
        let framerate = Framerate::new(30).expect("a valid rate");
        Self::start_with(CameraConfig::new(Source::Pipeline(front.to_owned()), size, framerate), rear)
    }

    fn start_with(camera: CameraConfig, rear: Option<RearConfig>) -> Self {
        let (keeper, units, state) = keeper(camera, rear);
        let (control, shutdown) = (keeper.control.clone(), CancellationToken::new());
        let keeping = tokio::spawn(keeper.keep(shutdown.clone()));
        Self { units, state, control, shutdown, keeping }
    }

    async fn unit(&mut self) -> AccessUnit {
        match tokio::time::timeout(PATIENCE, self.units.recv()).await {
            Ok(unit) => unit.expect("the queue stays open"),
            Err(_) => panic!("no access unit in time: {}", self.told()),
        }
    }

    /// What is known, for a test that fails.
    fn told(&self) -> String {
        format!("{:?}, keeping is finished: {}", *self.state.borrow(), self.keeping.is_finished())
    }

    /// Drops access units until the camera is in this state.
    async fn until(&mut self, name: &str) -> CameraState {
        let mut state = self.state.clone();
        let wanted = state.wait_for(|state| state.name() == name);
        let units = &mut self.units;
        let draining = async { while units.recv().await.is_some() {} };
        let found = tokio::select! {
            found = tokio::time::timeout(PATIENCE, wanted) => found.map(|found| found.expect("it is kept").clone()),
            () = draining => panic!("the queue is closed"),
        };
        found.unwrap_or_else(|_| panic!("not {name} in time: {}", self.told()))
    }

    async fn stop(self) {
        self.shutdown.cancel();
        let kept = tokio::time::timeout(PATIENCE, self.keeping).await.expect("in time").expect("no panic");
        assert_eq!(kept, Ok(()));
    }
}

#[tokio::test]
async fn a_source_that_ends_is_opened_again_and_time_goes_on_with_an_idr() {
    let mut kept = Kept::start("videotestsrc num-buffers=10 is-live=true", |_| {});
    let (mut last, mut idrs) = (None, 0);
    while idrs < 4 {
        let unit = kept.unit().await;
        assert!(last.is_none_or(|last| last < unit.pts), "{last:?}, then {:?}", unit.pts);
        if let Some(last) = last.filter(|_| unit.idr) {
            assert!(unit.pts - last < Duration::from_secs(10), "and not by leaps: {last:?}, then {:?}", unit.pts);
        }
        last = Some(unit.pts);
        idrs += u32::from(unit.idr);
    }
    assert_eq!(kept.until("lost").await.cause(), Some(LossCause::Ended));
    kept.until("playing").await;
    kept.stop().await;
}

fn write_picture(file: &Path) {
    gst::init().expect("GStreamer");
    let partial = file.with_extension("partial");
    let drawing = gst::parse::launch(&format!(
        "videotestsrc num-buffers=1 pattern=white ! video/x-raw,width=320,height=240 ! pngenc ! filesink location={}",
        partial.display()
    ))
    .expect("the elements are installed");
    drawing.set_state(gst::State::Playing).expect("it draws");
    let end = drawing.bus().expect("a bus").timed_pop_filtered(
        gst::ClockTime::from_seconds(PATIENCE.as_secs()),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    assert!(matches!(end.map(|end| end.type_()), Some(gst::MessageType::Eos)));
    drawing.set_state(gst::State::Null).expect("it stops");
    std::fs::rename(partial, file).expect("renamed");
}

#[tokio::test]
async fn a_camera_that_is_missing_at_the_start_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("camera.png");
    let source = format!("filesrc location={} ! pngdec ! imagefreeze is-live=true", file.display());
    let mut kept = Kept::start(&source, |_| {});
    assert_eq!(kept.until("lost").await.cause(), Some(LossCause::Missing));
    assert!(kept.units.try_recv().is_none(), "no placeholder unless asked for");
    write_picture(&file);
    kept.until("playing").await;
    assert!(!kept.keeping.is_finished());
    kept.stop().await;
}

#[tokio::test]
async fn a_placeholder_is_shown_meanwhile_and_gives_way_with_an_idr() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("camera.png");
    let source = format!("filesrc location={} ! pngdec ! imagefreeze is-live=true", file.display());
    let mut kept = Kept::start(&source, |camera| camera.placeholder = true);
    let first = kept.unit().await;
    assert!(first.idr);
    assert_eq!(kept.state.borrow().cause(), Some(LossCause::Missing));
    write_picture(&file);
    let mut last = first.pts;
    for _ in 0..1000 {
        let unit = kept.unit().await;
        assert!(last < unit.pts);
        last = unit.pts;
        if unit.idr {
            kept.until("playing").await;
            return kept.stop().await;
        }
    }
    panic!("the camera never takes over");
}

/// A keeper of this source that shows a placeholder, and has lost it.
fn lost(source: &str) -> (Keeper, AccessUnitReceiver, Watched) {
    let size = Size::new(320, 240).expect("a valid size");
    let framerate = Framerate::new(30).expect("a valid rate");
    let mut camera = CameraConfig::new(Source::Pipeline(source.to_owned()), size, framerate);
    camera.placeholder = true;
    let (keeper, units, _) = keeper(camera, None);
    let (cause, message) = (LossCause::Missing, String::new());
    keeper.state.send_replace(CameraState::Lost { cause, message, since: SystemTime::UNIX_EPOCH });
    let recovery = Recovery::new(keeper.config.camera.stall);
    (keeper, units, Watched { recovery, placeholder: None, told: None })
}

#[tokio::test]
async fn a_try_that_gave_a_picture_and_failed_unseen_makes_room_for_another_placeholder() {
    let (keeper, mut units, mut watched) = lost("videotestsrc num-buffers=1");
    let shutdown = CancellationToken::new();
    keeper.show_placeholder(&mut watched, &shutdown).await;
    assert!(units.recv().await.is_some_and(|unit| unit.idr) && watched.placeholder.is_some());
    // Nobody looks while the try plays: all of it happens within one of these.
    let busy = async {
        for _ in 0..100 {
            thread::sleep(Duration::from_millis(500));
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::select! {
        ended = keeper.run_once(&mut watched, &shutdown) => ended,
        () = busy => panic!("the try never ends"),
    };
    assert!(matches!(ended, Some(VideoError::Ended { .. })), "{ended:?}");
    assert_eq!(keeper.state.borrow().name(), "lost", "it was not seen to play");
    assert!(watched.placeholder.is_none(), "what it offers would be dropped");
    keeper.show_placeholder(&mut watched, &shutdown).await;
    while units.try_recv().is_some() {}
    let unit = tokio::time::timeout(PATIENCE, units.recv()).await.expect("in time");
    assert!(unit.is_some(), "and the next is heard");
    let _ = stop(watched.placeholder.take()).await;
}

#[tokio::test]
async fn a_placeholder_that_has_failed_is_replaced() {
    let (keeper, _units, mut watched) = lost("videotestsrc num-buffers=2");
    let (overlay, units, control) = (keeper.overlay.clone(), keeper.units.clone(), keeper.control.clone());
    let failed = Pipeline::start_steered(&keeper.config, overlay, units, control).expect("it starts");
    failed.state().wait_for(PipelineState::is_final).await.expect("it is held here");
    watched.placeholder = Some(failed);
    let shutdown = CancellationToken::new();
    keeper.show_placeholder(&mut watched, &shutdown).await;
    let shown = watched.placeholder.as_ref().expect("there is one").state();
    assert!(!shown.borrow().is_final(), "{:?}", *shown.borrow());
    keeper.show_placeholder(&mut watched, &shutdown).await;
    let still = watched.placeholder.as_ref().expect("there is one").state();
    assert!(still.same_channel(&shown), "one that is well stays");
    let _ = stop(watched.placeholder.take()).await;
}

/// Thirty pictures a second into the pipe while it is not silent, until nobody can read them.
fn feed(mut pipe: PipeWriter, silent: &AtomicBool) {
    let mut picture = vec![0; 320 * 240];
    picture.extend([128; 320 * 240 / 2]);
    while silent.load(Ordering::Relaxed) || pipe.write_all(&picture).is_ok() {
        thread::sleep(Duration::from_millis(33));
    }
}

#[tokio::test]
async fn a_source_that_falls_silent_is_opened_again() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let source = format!(
        "fdsrc fd={} do-timestamp=true ! rawvideoparse width=320 height=240 format=i420 framerate=30/1",
        reader.as_raw_fd()
    );
    let mut kept = Kept::start(&source, |camera| camera.stall = Duration::from_millis(300));
    let silent = Arc::new(AtomicBool::new(false));
    let feeding = thread::spawn({
        let silent = silent.clone();
        move || feed(writer, &silent)
    });
    kept.until("playing").await;
    silent.store(true, Ordering::Relaxed);
    assert_eq!(kept.until("lost").await.cause(), Some(LossCause::Stalled));
    silent.store(false, Ordering::Relaxed);
    kept.until("playing").await;
    kept.stop().await;
    drop(reader);
    feeding.join().expect("no panic");
}

#[tokio::test]
async fn what_cannot_work_ends_it() {
    for source in ["nosuchsrc", "videotestsrc nosuch=1", "videotestsrc ! jpegenc"] {
        let kept = Kept::start(source, |_| {});
        let ended = tokio::time::timeout(PATIENCE, kept.keeping).await.expect("in time").expect("no panic");
        assert!(ended.as_ref().is_err_and(VideoError::is_configuration), "{source}: {ended:?}");
    }
}

#[tokio::test]
async fn a_source_that_fails_again_and_again_is_tried_for_and_can_be_stopped_any_time() {
    let mut kept = Kept::start("videotestsrc is-live=true ! identity error-after=5", |_| {});
    for _ in 0..3 {
        kept.until("playing").await;
        assert_eq!(kept.until("lost").await.cause(), Some(LossCause::Camera));
    }
    kept.stop().await;
}
