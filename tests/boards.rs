//! Boards that are not here, by stand-ins: elements with the real ones' names, properties, units, caps features and
//! signals around software parts. Each board's pipeline is built, negotiated, run, retuned and asked for a key frame.
//!
//! Each test runs itself again in a process of its own, because what is registered is registered for all of it.

#![allow(clippy::disallowed_methods, reason = "the tests wait")]

mod stand_ins;

use std::time::Duration;

use rtcpub::video::frame::AccessUnit;
use rtcpub::video::overlay::{OverlaySource, OverlayState};
use rtcpub::video::pipeline::{Pipeline, PipelineState, inspect};
use rtcpub::video::settings::{
    Bitrate, CameraConfig, CsiConfig, EncoderChoice, EncoderConfig, Framerate, Orientation, Rotation, Size, Source,
    VideoConfig,
};
use rtcpub::video::units::{AccessUnitReceiver, access_unit_channel};

const PATIENCE: Duration = Duration::from_secs(30);
const BOARD: &str = "RTCPUB_TEST_ON_BOARD";

/// Runs `claim` in a process that has these stand-ins.
fn on_board(name: &str, elements: &[&str], claim: impl Future<Output = ()>) {
    if std::env::var_os(BOARD).is_some() {
        stand_ins::register(elements);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.expect("a runtime").block_on(claim);
    }
    let this = std::env::current_exe().expect("this program has a path");
    let ended = std::process::Command::new(this).args(["--exact", name, "--nocapture"]).env(BOARD, "1").status();
    assert!(ended.expect("it starts").success(), "{name} failed on its board");
}

fn kbps(kbps: u32) -> Bitrate {
    Bitrate::from_kbps(kbps).expect("a valid rate")
}

fn config(source: Source) -> VideoConfig {
    let size = Size::new(320, 240).expect("a valid size");
    VideoConfig {
        camera: CameraConfig::new(source, size, Framerate::new(30).expect("a valid rate")),
        rear: None,
        encoder: EncoderConfig {
            choice: EncoderChoice::Auto,
            bitrate: kbps(810),
            key_frame_interval: Duration::from_secs(60),
        },
    }
}

fn csi() -> Source {
    Source::Csi(CsiConfig::default())
}

struct Running {
    pipeline: Pipeline,
    units: AccessUnitReceiver,
}

impl Running {
    fn start(config: &VideoConfig) -> Self {
        let (sender, units) = access_unit_channel();
        let overlay = OverlaySource::new(|| OverlayState::PARKED);
        Self { pipeline: Pipeline::start(config, overlay, sender).expect("the pipeline starts"), units }
    }

    async fn unit(&mut self) -> AccessUnit {
        tokio::time::timeout(PATIENCE, self.units.recv()).await.expect("in time").expect("it runs on")
    }

    /// The encoder, and the form of what enters it.
    async fn playing(&mut self) -> (&'static str, String) {
        assert!(self.unit().await.idr, "it begins with a key frame");
        let mut state = self.pipeline.state();
        let playing = state.wait_for(|state| *state != PipelineState::Starting);
        match tokio::time::timeout(PATIENCE, playing).await.expect("in time").expect("it is there").clone() {
            PipelineState::Playing { encoder, input } => (encoder, input),
            other => panic!("{other:?}"),
        }
    }

    /// Watches where pictures lie, until each of the camera's buffers has come by everywhere.
    async fn goes_round(&mut self) {
        self.unit().await;
        stand_ins::forget_memories();
        for _ in 0..20 {
            self.unit().await;
        }
    }

    /// Asks for a key frame and a bit rate; both must come to pass.
    async fn obeys(&mut self) {
        for _ in 0..5 {
            assert!(!self.unit().await.idr, "none unasked");
        }
        self.pipeline.control().set_bitrate(kbps(410));
        self.pipeline.control().request_idr();
        for _ in 0..60 {
            if self.unit().await.idr {
                return;
            }
        }
        panic!("no key frame came");
    }
}

#[test]
fn a_jetson_keeps_its_pictures_in_its_own_memory() {
    let elements = ["nvarguscamerasrc", "nvvidconv", "nvv4l2h264enc"];
    on_board("a_jetson_keeps_its_pictures_in_its_own_memory", &elements, async {
        let mut running = Running::start(&config(csi()));
        let (encoder, input) = running.playing().await;
        assert_eq!(encoder, "nvv4l2h264enc");
        assert!(input.contains("(memory:NVMM)") && input.contains("NV12"), "{input}");
        running.obeys().await;
        for done in ["nvv4l2h264enc.bitrate=810000", "nvv4l2h264enc.bitrate=410000", "nvv4l2h264enc.force-IDR"] {
            assert!(stand_ins::was_done(done), "{done}");
        }
        running.pipeline.stop().expect("it stops");
    });
}

#[test]
fn a_jetson_turns_pictures_in_hardware_and_takes_others_in() {
    let elements = ["nvarguscamerasrc", "nvvidconv", "nvv4l2h264enc"];
    on_board("a_jetson_turns_pictures_in_hardware_and_takes_others_in", &elements, async {
        let mut turned = config(csi());
        turned.camera.orientation = Orientation { rotation: Rotation::R180, ..Orientation::default() };
        Running::start(&turned).playing().await;
        assert!(stand_ins::was_done("nvvidconv.flip-method=2"));
        let (encoder, input) = Running::start(&config(Source::Test)).playing().await;
        assert_eq!(encoder, "nvv4l2h264enc");
        assert!(input.contains("(memory:NVMM)"), "{input}");
    });
}

#[test]
fn a_picture_that_has_the_encoders_form_is_not_copied_on_its_way_there() {
    let elements = ["nvarguscamerasrc", "nvvidconv", "nvv4l2h264enc", "libcamerasrc", "v4l2convert", "v4l2h264enc"];
    on_board("a_picture_that_has_the_encoders_form_is_not_copied_on_its_way_there", &elements, async {
        let written = "libcamerasrc ! video/x-raw,format=NV12,width=320,height=240,framerate=30/1";
        let raspberry_pi = |source| {
            let mut config = config(source);
            config.encoder.choice = EncoderChoice::Named("v4l2h264enc".into());
            config
        };
        let table = [
            (config(csi()), "nvarguscamerasrc.src", "nvv4l2h264enc.sink"),
            // Through the software converters that every source of the operator's own has behind it.
            (raspberry_pi(Source::Pipeline(written.into())), "libcamerasrc.src", "v4l2h264enc.sink"),
        ];
        for (config, camera, encoder) in table {
            let mut running = Running::start(&config);
            running.goes_round().await;
            assert!(stand_ins::nothing_was_copied(camera, encoder), "{camera} to {encoder}");
            running.pipeline.stop().expect("it stops");
        }
        let mut scaled = raspberry_pi(Source::Pipeline(written.replace("320", "640")));
        scaled.camera.size = Size::new(160, 120).expect("a valid size");
        Running::start(&scaled).goes_round().await;
        assert!(!stand_ins::nothing_was_copied("libcamerasrc.src", "v4l2h264enc.sink"), "so a copy would be seen");
    });
}

#[test]
fn an_orin_nano_codes_on_its_processor() {
    on_board(
        "an_orin_nano_codes_on_its_processor",
        &["nvarguscamerasrc", "nvvidconv", "nvv4l2h264enc:broken"],
        async {
            let mut running = Running::start(&config(csi()));
            let (encoder, input) = running.playing().await;
            assert_eq!(encoder, "x264enc");
            assert!(!input.contains("NVMM"), "{input}");
            running.obeys().await;
        },
    );
}

#[test]
fn a_raspberry_pi_4_is_steered_by_the_controls_of_its_encoder() {
    let elements = ["libcamerasrc", "v4l2convert", "v4l2h264enc"];
    on_board("a_raspberry_pi_4_is_steered_by_the_controls_of_its_encoder", &elements, async {
        let line = inspect::command_line(&config(csi())).expect("it can run");
        assert!(line.contains("libcamerasrc") && line.contains("level=(string)3.1"), "{line}");
        let mut running = Running::start(&config(csi()));
        assert_eq!(running.playing().await.0, "v4l2h264enc");
        running.obeys().await;
        running.goes_round().await;
        assert!(stand_ins::nothing_was_copied("libcamerasrc.src", "v4l2h264enc.sink"));
        for done in ["video_bitrate=800000", "video_bitrate=400000", "repeat_sequence_header=1"] {
            assert!(stand_ins::was_done(&format!("v4l2h264enc.{done}")), "{done}");
        }
    });
}

#[test]
fn a_raspberry_pi_5_codes_on_its_processor() {
    on_board("a_raspberry_pi_5_codes_on_its_processor", &["libcamerasrc"], async {
        let mut running = Running::start(&config(csi()));
        assert_eq!(running.playing().await.0, "x264enc");
        running.obeys().await;
    });
}

#[test]
fn an_older_jetson_is_steered_by_omx() {
    on_board("an_older_jetson_is_steered_by_omx", &["nvarguscamerasrc", "nvvidconv", "omxh264enc"], async {
        let mut running = Running::start(&config(csi()));
        assert_eq!(running.playing().await.0, "omxh264enc");
        running.obeys().await;
        assert!(stand_ins::was_done("omxh264enc.bitrate=410000"));
    });
}
