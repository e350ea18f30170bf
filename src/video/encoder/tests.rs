use std::time::Duration;

use super::table::OUTPUT_CAPS;
use super::*;

fn config(kbps: u32) -> EncoderConfig {
    EncoderConfig {
        choice: EncoderChoice::Auto,
        bitrate: Bitrate::from_kbps(kbps).expect("a valid rate"),
        key_frame_interval: Duration::from_secs(20),
    }
}

fn circumstances(width: u32, height: u32, framerate: u32) -> Circumstances {
    Circumstances {
        size: Size::new(width, height).expect("a valid size"),
        framerate: Framerate::new(framerate).expect("a valid rate"),
        processors: 2,
    }
}

fn named(name: &str) -> EncoderChoice {
    EncoderChoice::Named(name.to_owned())
}

#[test]
fn the_best_installed_encoder_is_taken() {
    let chosen = |installed: &[&str]| {
        choose(&EncoderChoice::Auto, |element| installed.contains(&element), |_| false).map(|row| row.element)
    };
    assert_eq!(chosen(&["openh264enc", "x264enc"]), Ok("x264enc"));
    assert_eq!(chosen(&["openh264enc"]), Ok("openh264enc"));
    assert_eq!(chosen(&["nvv4l2h264enc", "x264enc"]), Ok("x264enc"), "an Orin Nano has the plugin and no encoder");
}

#[test]
fn hardware_that_works_comes_first_and_each_is_tried_until_one_does() {
    let chosen = |working: &[&str]| {
        choose(&EncoderChoice::Auto, |_| true, |row| working.contains(&row.element)).map(|row| row.element)
    };
    assert_eq!(chosen(&["nvv4l2h264enc", "v4l2h264enc"]), Ok("nvv4l2h264enc"));
    assert_eq!(chosen(&["omxh264enc", "v4l2h264enc"]), Ok("v4l2h264enc"));
    assert_eq!(chosen(&["omxh264enc"]), Ok("omxh264enc"));
    assert_eq!(chosen(&[]), Ok("x264enc"));
}

#[test]
fn a_named_encoder_is_taken_even_when_a_better_one_is_installed() {
    assert_eq!(choose(&named("openh264enc"), |_| true, |_| true).map(|row| row.element), Ok("openh264enc"));
}

#[test]
fn what_cannot_be_had_is_refused_with_key_value_and_remedy() {
    let refusal =
        |choice, installed: bool| choose(&choice, |_| installed, |_| installed).expect_err("refused").to_string();
    let cases: [(String, &[&str]); 3] = [
        (
            refusal(named("x265enc"), true),
            &["encoder.name", "\"x265enc\"", "\"auto\"", "omxh264enc, x264enc, openh264enc"],
        ),
        (refusal(named("x264enc"), false), &["encoder.name", "\"x264enc\"", "gstreamer1.0-plugins-ugly", "Fedora"]),
        (
            refusal(EncoderChoice::Auto, false),
            &["gstreamer1.0-plugins-ugly", "gstreamer1.0-plugins-bad", "Debian", "gstreamer1-plugin-openh264"],
        ),
    ];
    for (message, parts) in cases {
        for part in parts {
            assert!(message.contains(part), "{part:?} in {message}");
        }
    }
}

const NEW: (u32, u32, u32) = (1, 24, 0);

fn setup(element: &str, version: (u32, u32, u32), has: impl Fn(&str) -> bool) -> Result<Setup, EncoderError> {
    row(element).expect("a row").setup(&config(810), circumstances(640, 480, 30), version, has)
}

#[test]
fn each_row_is_written_with_its_own_properties_and_bitrate_unit() {
    let table: [(&str, &[&str]); 5] = [
        (
            "x264enc",
            &["x264enc name=encoder tune=zerolatency ", " threads=2 key-int-max=600 ", " bitrate=810 ! video/x-h264,"],
        ),
        ("openh264enc", &[" bitrate=810000 ! video/x-h264,profile=constrained-baseline,"]),
        (
            "nvv4l2h264enc",
            &[
                "nvv4l2h264enc name=encoder control-rate=1 ",
                " maxperf-enable=1 insert-sps-pps=1 ",
                " iframeinterval=600 idrinterval=600 bitrate=810000 ! video/x-h264,stream-format=byte-stream,alignment=au !",
                " ! h264parse config-interval=-1 ! ",
            ],
        ),
        (
            "v4l2h264enc",
            &[" gop-size=600 bitrate=800000 extra-controls=\"controls,", ",level=(string)3.1 ! h264parse "],
        ),
        ("omxh264enc", &[" control-rate=2 ", " target-bitrate=810000 ! "]),
    ];
    for (element, parts) in table {
        let text = setup(element, NEW, |_| true).expect("all properties are there").text;
        for part in parts {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}

#[test]
fn a_v4l2_encoder_without_properties_is_steered_by_controls_set_as_a_whole() {
    let has = |property: &str| property == CONTROLS;
    let setup = setup("v4l2h264enc", (1, 22, 0), has).expect("it has extra-controls");
    let controls =
        "controls,repeat_sequence_header=1,video_bitrate_mode=1,h264_i_frame_period=600,video_bitrate=800000";
    assert!(
        setup.text.starts_with(&format!("v4l2h264enc name=encoder extra-controls=\"{controls}\" ! ")),
        "{}",
        setup.text
    );
    assert_eq!(setup.controls(config(800).bitrate, None), controls);
    assert_eq!(setup.key_frame, KeyFrameControl::EventOrControl("force_key_frame"));
    assert_eq!(setup.controls(config(800).bitrate, Some("force_key_frame")), format!("{controls},force_key_frame=1"));
}

#[test]
fn the_event_forces_key_frames_from_the_version_that_passes_it_on() {
    let control = KeyFrameControl::EventOrControl("force_key_frame");
    for (version, event) in
        [((1, 16, 3), false), ((1, 22, 0), false), ((1, 22, 3), false), ((1, 22, 4), true), ((1, 24, 0), true)]
    {
        assert_eq!(control.in_version(version) == KeyFrameControl::Event, event, "{version:?}");
    }
}

#[test]
fn bit_rates_are_those_that_the_encoder_takes() {
    let steps = row("v4l2h264enc").and_then(|row| row.steps).expect("the Pi's");
    for (asked, given) in [(50, 50), (74, 50), (810, 800), (25_000, 25_000), (90_000, 25_000)] {
        assert_eq!(steps.fit(config(asked).bitrate).kbps(), given, "{asked}");
    }
}

#[test]
fn a_level_that_the_encoder_takes_from_the_caps_is_the_one_promised_or_what_the_picture_needs() {
    let text = |width, height| {
        let row = row("v4l2h264enc").expect("a row");
        row.setup(&config(800), circumstances(width, height, 30), NEW, |_| true).expect("all is there").text
    };
    assert!(text(1280, 720).contains("level=(string)3.1"));
    assert!(text(1920, 1080).contains("level=(string)4 "));
}

#[test]
fn the_pis_encoder_never_gets_the_period_that_hangs_it() {
    let short = EncoderConfig { key_frame_interval: Duration::from_millis(100), ..config(800) };
    assert_eq!(Value::LongGroupOfPictures.resolve(&short, circumstances(640, 480, 10)), "2");
    assert_eq!(Value::GroupOfPictures.resolve(&short, circumstances(640, 480, 10)), "1");
}

#[test]
fn properties_a_build_lacks_are_left_out_but_the_bit_rate_is_needed() {
    let bare = setup("x264enc", NEW, |property| property == "bitrate").map(|setup| setup.text);
    assert_eq!(bare, Ok(format!("x264enc name=encoder bitrate=810 ! {OUTPUT_CAPS}")));
    for (element, property) in [("x264enc", "bitrate"), ("v4l2h264enc", "bitrate"), ("omxh264enc", "target-bitrate")] {
        assert_eq!(setup(element, NEW, |_| false), Err(EncoderError::NotSteerable { element, property }));
    }
}

#[test]
fn threads_follow_the_board_within_reason() {
    for (processors, threads) in [(0, "1"), (1, "1"), (2, "2"), (4, "4"), (6, "4"), (128, "4")] {
        let circumstances = Circumstances { processors, ..circumstances(640, 480, 30) };
        assert_eq!(Value::Threads.resolve(&config(800), circumstances), threads);
    }
}

#[test]
fn the_group_of_pictures_counts_frames_and_is_never_zero() {
    let gop = |interval, framerate| {
        let config = EncoderConfig { key_frame_interval: interval, ..config(800) };
        Value::GroupOfPictures.resolve(&config, circumstances(640, 480, framerate))
    };
    assert_eq!(gop(Duration::from_secs(20), 30), "600");
    assert_eq!(gop(Duration::from_millis(1500), 5), "8");
    assert_eq!(gop(Duration::ZERO, 30), "1");
    assert_eq!(gop(Duration::MAX, 240), i32::MAX.to_string());
}

#[test]
fn where_level_3_1_holds_the_picture_it_holds_the_bit_rate() {
    let cases = [
        (320, 240, 30, 14_000),
        (640, 480, 60, 14_000),
        (1280, 720, 30, 14_000),
        (1280, 720, 60, Bitrate::MAX_KBPS),
        (1920, 1080, 30, Bitrate::MAX_KBPS),
        (1296, 720, 5, Bitrate::MAX_KBPS),
    ];
    for (width, height, framerate, kbps) in cases {
        let ceiling = bitrate_ceiling(circumstances(width, height, framerate));
        assert_eq!(ceiling.kbps(), kbps, "{width}x{height}@{framerate}");
    }
}
