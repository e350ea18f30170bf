//! `[[cameras]]`: what they become, and each way in which they can be wrong.

use super::*;
use crate::video::further::FurtherCamera;
use crate::video::settings::{EncoderChoice, Rotation, Source};

fn cameras(text: &str) -> Vec<FurtherCamera> {
    Case::of(format!("{LEAST}{text}")).loaded().config.cameras
}

#[test]
fn a_camera_is_all_that_its_table_says_and_the_rest_as_for_the_first() {
    let text = "[camera]\nstall_ms = 500\nplaceholder = true\n[encoder]\nkey_frame_interval_ms = 2000\n\
                [[cameras]]\nname = \"left\"\nkind = \"usb\"\ndevice = \"/dev/video4\"\ncontrols = { gain = 2 }\nrotation = 90\n\
                width = 320\nheight = 240\nframerate = 15\nbitrate_kbps = 300\nencoder = \"x264enc\"\n\
                [[cameras]]\nname = \"tail-2\"\n";
    let found = cameras(text);
    let names: Vec<_> = found.iter().map(|camera| camera.name.as_str()).collect();
    assert_eq!(names, ["left", "tail-2"], "in the order of the file");
    let (left, tail) = (&found[0].video, &found[1].video);
    let Source::Usb(usb) = &left.camera.source else { panic!("{:?}", left.camera.source) };
    assert_eq!(usb.controls, [("gain".to_owned(), 2)]);
    assert_eq!((left.camera.size.to_string().as_str(), left.camera.framerate.per_second()), ("320x240", 15));
    assert_eq!(left.camera.orientation.rotation, Rotation::R90);
    assert_eq!((left.camera.stall.as_millis(), left.camera.placeholder), (500, true));
    assert_eq!((&left.encoder.choice, left.encoder.bitrate.kbps()), (&EncoderChoice::Named("x264enc".into()), 300));
    assert_eq!((left.encoder.key_frame_interval.as_millis(), &left.rear), (2000, &None));
    assert_eq!((&tail.camera.source, tail.camera.size.to_string().as_str()), (&Source::Test, "640x480"));
    assert_eq!((&tail.encoder.choice, tail.encoder.bitrate.kbps()), (&EncoderChoice::Auto, 400));
}

#[test]
fn each_mistake_is_told_by_its_key_with_what_to_do() {
    let one = "[[cameras]]\nname = \"a\"\n";
    let usb =
        |name: &str, device: &str| format!("[[cameras]]\nname = \"{name}\"\nkind = \"usb\"\ndevice = \"{device}\"\n");
    let rows = [
        ("[[cameras]]\n".to_owned(), "cameras[0].name", "missing: give it"),
        ("[[cameras]]\nname = \"camera\"\n".into(), "cameras[0].name = \"camera\"", "not \"camera\""),
        ("[[cameras]]\nname = \"Left\"\n".into(), "cameras[0].name = \"Left\"", "1 to 16 of a-z"),
        (format!("{one}{one}"), "cameras[1].name = \"a\"", "the name of cameras[0] as well"),
        (format!("{one}width = 321\n"), "cameras[0].width = 321", "must be even"),
        (format!("{one}device = \"/dev/video1\"\n"), "cameras[0].device", "is used by cameras[0].kind = \"usb\" only"),
        (
            format!("{one}kind = \"pipeline\"\n"),
            "cameras[0].pipeline",
            "missing: cameras[0].kind = \"pipeline\" needs it",
        ),
        (format!("{one}bitrate_kbps = 49\n"), "cameras[0].bitrate_kbps = 49", "from 50 to 100000"),
        (format!("{one}encoder = \"a b\"\n"), "cameras[0].encoder", "a GStreamer element"),
        (format!("{one}bitrate = 3\n"), "cameras[0].bitrate", "did you mean cameras[].bitrate_kbps?"),
        (format!("{one}stall_ms = 300\n"), "cameras[0].stall_ms", "unknown key"),
        (
            ["a", "b", "c", "d"].map(|name| format!("[[cameras]]\nname = \"{name}\"\n")).concat(),
            "cameras",
            "must not have more than 3 elements",
        ),
        ("[cameras]\nname = \"a\"\n".into(), "cameras", "write [[cameras]]"),
        (
            format!("[camera]\nkind = \"usb\"\n{}", usb("a", "auto")),
            "cameras[0].device = \"auto\"",
            "the camera of camera as well",
        ),
        (
            format!("[camera.rear]\nkind = \"usb\"\ndevice = \"/dev/video2\"\n{}", usb("a", "/dev/video2")),
            "cameras[0].device = \"/dev/video2\"",
            "the camera of camera.rear as well",
        ),
        (
            usb("a", "Front Cam") + &usb("b", "Front Cam"),
            "cameras[1].device = \"Front Cam\"",
            "the camera of cameras[0] as well",
        ),
        (
            "[camera]\nkind = \"csi\"\n[[cameras]]\nname = \"a\"\nkind = \"csi\"\nsensor = \"0\"\n".into(),
            "cameras[0].sensor = \"0\"",
            "name another, by its number",
        ),
    ];
    for (text, key, remedy) in rows {
        let problems = Case::of(format!("{LEAST}{text}")).problems();
        assert!(
            problems.len() == 1 && problems[0].contains(key) && problems[0].contains(remedy),
            "{text}\n{problems:#?}"
        );
    }
}

#[test]
fn cameras_on_different_devices_are_right() {
    let found = cameras(
        "[camera]\nkind = \"usb\"\n[[cameras]]\nname = \"a\"\nkind = \"usb\"\ndevice = \"/dev/video2\"\n\
         [[cameras]]\nname = \"b\"\nkind = \"csi\"\n[[cameras]]\nname = \"c\"\n",
    );
    assert_eq!(found.len(), 3);
}

#[test]
fn the_environment_and_flags_give_the_whole_array_and_what_is_in_force_is_shown() {
    let file = format!("{LEAST}[[cameras]]\nname = \"a\"\n[[cameras]]\nname = \"b\"\n");
    let given = "[{ name = \"left\", width = 320, controls = { gain = 1 }, kind = \"usb\" }]";
    let variable = Case::of(&file).with_variable("RTCPUB__CAMERAS", given);
    let flag = Case::of(&file).with_flag("cameras", given);
    for (case, origin) in [(variable, "environment variable RTCPUB__CAMERAS"), (flag, "flag --set")] {
        let loaded = case.loaded();
        let names: Vec<_> = loaded.config.cameras.iter().map(|camera| camera.name.as_str()).collect();
        assert_eq!(names, ["left"]);
        assert_eq!(effective(&loaded, "cameras[0].width"), ("320".to_owned(), origin.to_owned()));
        assert_eq!(effective(&loaded, "cameras[0].height"), ("480".to_owned(), "default".to_owned()));
        let shown = show(&loaded.effective);
        assert!(shown.contains("[[cameras]]\nname = \"left\""), "{shown}");
        let again = Case::of(shown).loaded();
        assert_eq!(again.config.cameras, loaded.config.cameras, "what is shown can be read again");
    }
}
