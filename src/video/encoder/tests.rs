use std::time::Duration;

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
        choose(&EncoderChoice::Auto, |element| installed.contains(&element)).map(|row| row.element)
    };
    assert_eq!(chosen(&["openh264enc", "x264enc"]), Ok("x264enc"));
    assert_eq!(chosen(&["openh264enc"]), Ok("openh264enc"));
}

#[test]
fn a_named_encoder_is_taken_even_when_a_better_one_is_installed() {
    assert_eq!(choose(&named("openh264enc"), |_| true).map(|row| row.element), Ok("openh264enc"));
}

#[test]
fn what_cannot_be_had_is_refused_with_key_value_and_remedy() {
    let refusal = |choice, installed: bool| choose(&choice, |_| installed).expect_err("refused").to_string();
    let cases: [(String, &[&str]); 3] = [
        (refusal(named("x265enc"), true), &["encoder.name", "\"x265enc\"", "\"auto\"", "x264enc, openh264enc"]),
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

#[test]
fn each_row_is_written_with_its_own_bitrate_unit() {
    let text = |row: &EncoderRow| {
        row.launch_text(&config(800), circumstances(640, 480, 30), |_| true).expect("all properties are there")
    };
    assert!(text(&TABLE[0]).starts_with("x264enc name=encoder tune=zerolatency "), "{}", text(&TABLE[0]));
    assert!(text(&TABLE[0]).contains(" threads=2 key-int-max=600 "), "{}", text(&TABLE[0]));
    assert!(text(&TABLE[0]).contains(" bitrate=800 ! video/x-h264,"), "{}", text(&TABLE[0]));
    assert!(text(&TABLE[1]).contains(" bitrate=800000 ! video/x-h264,"), "{}", text(&TABLE[1]));
}

#[test]
fn properties_a_build_lacks_are_left_out_but_the_bit_rate_is_needed() {
    let row = &TABLE[0];
    let text = row.launch_text(&config(800), circumstances(640, 480, 30), |property| property == "bitrate");
    assert_eq!(text, Ok(format!("x264enc name=encoder bitrate=800 ! {OUTPUT_CAPS}")));
    let refused = row.launch_text(&config(800), circumstances(640, 480, 30), |_| false);
    assert_eq!(refused, Err(EncoderError::NotSteerable { element: "x264enc", property: "bitrate" }));
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
