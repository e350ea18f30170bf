//! Which layer wins, and that each value knows where it comes from.

use super::*;
use crate::video::settings::Size;

#[test]
fn flags_are_above_the_environment_above_the_file_above_the_defaults() {
    let file = format!("{LEAST}[camera]\nwidth = 800\nheight = 600\nframerate = 20\n");
    let loaded = Case::of(file)
        .with_variable("RTCPUB__CAMERA__HEIGHT", "720")
        .with_variable("RTCPUB__CAMERA__FRAMERATE", "25")
        .with_flag("camera.framerate", "50")
        .with_flag("camera.framerate", "60")
        .loaded();
    let camera = &loaded.config.video.camera;
    assert_eq!(Some(camera.size), Size::new(800, 720));
    assert_eq!(camera.framerate.per_second(), 60);
    let rows = [
        ("camera.kind", "\"test\"", "default".to_owned()),
        ("camera.width", "800", format!("{PATH}:4:1")),
        ("camera.height", "720", "environment variable RTCPUB__CAMERA__HEIGHT".to_owned()),
        ("camera.framerate", "60", "flag --set".to_owned()),
        ("channel", "\"c40hipepjh65aeq6ndj0\"", "from the file's name".to_owned()),
        ("ice.host", "\"host\"", "from server.url".to_owned()),
        ("drive.max_speed.ceiling", "440", "from drive.calibration.throttle_max".to_owned()),
    ];
    for (key, value, origin) in rows {
        assert_eq!(effective(&loaded, key), (value.to_owned(), origin), "{key}");
    }
}

#[test]
fn text_layers_are_converted_to_the_type_of_their_key() {
    let loaded = Case::of(LEAST)
        .with_variable("RTCPUB__CHANNEL", "123")
        .with_variable("RTCPUB__DRIVE__NEUTRAL_FIRST", "off")
        .with_variable("RTCPUB__DRIVE__LIMITS__THROTTLE_CAP", "1")
        .with_variable("RTCPUB__DRIVE__PCA9685__ADDRESS", "0x41")
        .with_variable("RTCPUB__LAP_SENSOR__LINES", "5, 6")
        .with_variable("RTCPUB__SERVER__QUERY__BRATE", " 900 ")
        .with_variable(
            "RTCPUB__ICE__SERVERS",
            "[{ url = \"stun:a\" }, { url = \"turn:b\", username = \"u\", credential = \"c\" }]",
        )
        .loaded();
    let Config { signal, rtc, drive, .. } = &loaded.config;
    assert_eq!(signal.channel.as_str(), "123");
    assert_eq!(signal.query, [("vcodec".into(), "h264".into()), ("brate".into(), "900".into())]);
    assert!(!drive.gate.neutral_first);
    assert_eq!(drive.gate.limits.throttle_cap, 1.0);
    assert_eq!(drive.lap_sensor.as_ref().map(|sensor| sensor.lines), Some([5, 6]));
    assert_eq!(
        rtc.ice.servers.iter().map(|server| server.url().to_string()).collect::<Vec<_>>(),
        ["stun:a:3478", "turn:b:3478?transport=udp"]
    );
    assert_eq!(effective(&loaded, "drive.pca9685.address").0, "65");
}

#[test]
fn a_list_of_servers_replaces_that_of_the_layer_below() {
    let file = format!("{LEAST}[[ice.servers]]\nurl = \"stun:a\"\n[[ice.servers]]\nurl = \"stun:b\"\n");
    let loaded = Case::of(file).with_variable("RTCPUB__ICE__SERVERS", "[{ url = \"stun:c\" }]").loaded();
    let urls: Vec<_> = loaded.config.rtc.ice.servers.iter().map(|server| server.url().to_string()).collect();
    assert_eq!(urls, ["stun:c:3478"]);
}

#[test]
fn a_wrong_value_is_reported_even_where_a_higher_layer_covers_it() {
    let file = format!("{LEAST}[camera]\nwidth = \"640\"\n");
    let problems = Case::of(file).with_flag("camera.width", "800").problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains(":4:1: camera.width = \"640\""), "{}", problems[0]);
}

#[test]
fn other_programs_variables_are_left_alone() {
    Case::of(LEAST).with_variable("RTCPUB_CONFIG_DIR", "/x").with_variable("rtcpub__camera__x", "1").loaded();
}

#[test]
fn print_config_shows_what_gives_the_same_configuration_again() {
    let file = format!(
        "{LEAST}[camera]\nkind = \"pipeline\"\npipeline = 'videotestsrc name=\"a\\b\"'\n[drive.limits]\nthrottle_cap = 0.4\n\
         [lap_sensor]\n[[ice.servers]]\nurl = \"stun:a\"\n[[ice.servers]]\nurl = \"stun:b:1\"\n"
    );
    let loaded = Case::of(file).loaded();
    let again = Case::of(show(&loaded.effective)).loaded();
    assert_eq!(again.config, loaded.config);
    let least = Case::of(LEAST).loaded();
    let again = Case::of(show(&least.effective)).loaded();
    assert_eq!(again.config, least.config);
}

#[test]
fn every_configuration_is_read_with_the_same_keys() {
    let schema: Vec<_> = Schema::of_sections().keys().map(|(key, _)| key.to_owned()).collect();
    let full = [LEAST, "[drive]\nactuator = \"bridge\"\n[lap_sensor]\n[bridge]\n"].concat();
    for file in ["", LEAST, "[camera]\nwidth = 1", "x = [", &full] {
        let asked = keys_asked_for(Case::of(file).sources());
        assert_eq!(asked, schema, "{file}");
    }
}

/// The keys that the sections ask for when they read this configuration, without those of an array's elements.
fn keys_asked_for(sources: Sources<'_>) -> Vec<String> {
    let (schema, mut problems) = (Schema::of_sections(), Collector::default());
    let layers = sources.file.iter().fold(Layers::new(&schema, &mut problems), Layers::file);
    let values = layers.merge();
    let facts = Facts::new(sources.file.as_ref(), &sources.environment, sources.read);
    let mut reader = Reader::new(&values, &facts, &mut problems);
    sections::read(&mut reader, &KINDS);
    reader.asked().keys().map(|(key, _)| key.to_owned()).collect()
}
