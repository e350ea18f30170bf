//! What is refused, and what is said about it.

use super::*;

/// File (below [`LEAST`]), and what its one problem must say: place and key, value, remedy.
const FILES: &[(&str, &[&str])] = &[
    // Unknown keys at each level.
    ("fps = 30", &[":3:1: server.fps", "unknown key", "known here: ", "retry_max_ms"]),
    ("[camra]\nwidth = 640", &[":3:2: camra:", "did you mean camera?"]),
    ("[camera]\nwidht = 640", &[":4:1: camera.widht = 640:", "did you mean camera.width?"]),
    ("[camera]\nbitrate_kbps = 900", &["camera.bitrate_kbps = 900", "did you mean encoder.bitrate_kbps?"]),
    (
        "[server.query]\nvcodecs = \"h264\"",
        &[":4:1: server.query.vcodecs = \"h264\"", "did you mean server.query.vcodec?"],
    ),
    ("[server.querry]\nbrate = 1", &["server.querry:", "did you mean server.query?"]),
    ("[drive.pca9685]\nadress = 0x40", &["drive.pca9685.adress = 0x40", "did you mean drive.pca9685.address?"]),
    ("[channels.metrics]\nordered = true", &["channels.metrics", "did you mean channels.metric?"]),
    (
        "[[ice.servers]]\nurl = \"stun:a\"\nusrname = \"x\"",
        &[":5:1: ice.servers[0].usrname", "did you mean ice.servers[].username?"],
    ),
    ("\"camera.width\" = 640", &["server.\"camera.width\" = [redacted]", "unknown key"]),
    ("tokn = \"hunter2\"", &["server.tokn = [redacted]", "did you mean server.token?"]),
    ("[camera.width.x]\ny = 1", &["camera.width", "must be an integer, not a table"]),
    // Wrong types.
    (
        "[camera]\nwidth = \"640\"",
        &[":4:1: camera.width = \"640\":", "must be an integer, not a string", "without quotes"],
    ),
    ("[camera]\nwidth = 640.0", &["camera.width = 640.0", "must be an integer, not a number with a fraction"]),
    ("[camera]\nwidth = true", &["camera.width = true", "must be an integer, not true or false"]),
    ("[camera]\nkind = 5", &["camera.kind = 5", "must be a string, not an integer: write it in quotes"]),
    ("[camera]\nframerate = 1979-05-27", &["camera.framerate = 1979-05-27", "must be an integer, not a date or time"]),
    ("[drive]\nneutral_first = \"yes\"", &["drive.neutral_first = \"yes\"", "must be true or false, not a string"]),
    ("[drive.limits]\nthrottle_cap = \"half\"", &["drive.limits.throttle_cap = \"half\"", "must be a number"]),
    ("[lap_sensor]\nlines = 4", &["lap_sensor.lines = 4", "must be an array of integers, not an integer"]),
    ("[lap_sensor]\nlines = [4, \"17\"]", &["lap_sensor.lines = [4, \"17\"]", "must be an array of integers"]),
    ("[[camera]]\nwidth = 640", &["camera:", "this is a table: write [camera]"]),
    ("token = 5", &["server.token = [redacted]", "must be a string"]),
    ("[ice]\nservers = \"stun:a\"", &["ice.servers = [redacted]", "write [[ice.servers]]"]),
    ("[ice]\nservers = [1]", &["ice.servers = [redacted]", "must be an array of tables"]),
    // Out of range.
    ("[camera]\nwidth = -1", &["camera.width = -1", "from 16 to 8192"]),
    ("[camera]\nwidth = 70000", &["camera.width = 70000", "from 16 to 8192"]),
    ("[camera]\nheight = 481", &["camera.height = 481", "must be even"]),
    ("[camera]\nframerate = 0", &["camera.framerate = 0", "from 1 to 240"]),
    (
        "[encoder]\nbitrate_kbps = 9223372036854775807",
        &["encoder.bitrate_kbps = 9223372036854775807", "from 50 to 100000"],
    ),
    ("[drive]\ndeadline_ms = 99", &["drive.deadline_ms = 99", "from 100 to 2000"]),
    ("[drive.limits]\nthrottle_cap = 1.5", &["drive.limits.throttle_cap = 1.5", "from 0 to 1"]),
    ("[drive.limits]\nthrottle_cap = nan", &["drive.limits.throttle_cap = NaN", "from 0 to 1"]),
    ("[drive.limits]\nthrottle_slew_per_s = 1e999", &["drive.limits.throttle_slew_per_s", "1e999", "not valid TOML"]),
    ("[drive.limits]\nthrottle_slew_per_s = inf", &["drive.limits.throttle_slew_per_s = inf", "from 0.01 to 1000"]),
    ("[drive.pca9685]\naddress = 0x140", &["drive.pca9685.address = 320", "from 64 to 119"]),
    ("[drive.pca9685]\naddress = 0x70", &["drive.pca9685.address = 112", "every PCA9685 on the bus"]),
    ("[drive.throttle]\ntrim = -51", &["drive.throttle.trim = -51", "from -50 to 50"]),
    ("[lap_sensor]\nlines = [4]", &["lap_sensor.lines = [4]", "two different lines"]),
    ("[lap_sensor]\nlines = [4, -1]", &["lap_sensor.lines = [4, -1]", "from 0 to 1023"]),
    ("[channels.stream]\nmax_retransmits = 65536", &["channels.stream.max_retransmits = 65536", "from 0 to 65535"]),
    ("[ice]\nport = 0", &["ice.port = 0", "from 1 to 65535"]),
    // Words.
    (
        "[camera]\nkind = \"tset\"",
        &["camera.kind = \"tset\"", "must be \"test\" or \"pipeline\"", "did you mean \"test\"?"],
    ),
    ("[drive]\nactuator = \"PCA9685\"", &["drive.actuator = \"PCA9685\"", "did you mean \"pca9685\"?"]),
    ("[log]\nlevel = \"inof\"", &["log.level = \"inof\"", "did you mean \"info\"?"]),
    (
        "[encoder]\nname = \"x264enc ! fakesink\"",
        &["encoder.name = \"x264enc ! fakesink\"", "must be \"auto\" or a GStreamer element"],
    ),
    ("[tls]\npin_sha256 = \"ab:cd\"", &["tls.pin_sha256 = \"ab:cd\"", "64 hexadecimal digits"]),
    ("[[ice.servers]]\nurl = \"http://a\"", &["ice.servers[0].url = \"http://a\"", "starts with neither stun:"]),
    ("[[ice.servers]]\nusername = \"a\"\ncredential = \"b\"", &["ice.servers[0].url:", "missing"]),
    // Conflicts.
    ("[tls]\nca_file = \"a\"\ninsecure = true", &["tls.insecure = true", "only one of tls.ca_file, tls.insecure"]),
    (
        "[camera]\npipeline = \"videotestsrc\"",
        &["camera.pipeline = \"videotestsrc\"", "camera.kind = \"pipeline\" only"],
    ),
    ("[camera]\nkind = \"pipeline\"", &["camera.pipeline:", "missing", "v4l2src"]),
    (
        "[channels.metric]\nmax_retransmits = 1\nmax_packet_life_time_ms = 1",
        &["channels.metric.max_retransmits = 1", "not both"],
    ),
    ("[ice]\npolicy = \"relay\"", &["ice.policy = \"relay\"", "needs a TURN server"]),
    ("[ice]\nusername = \"joe\"", &["ice.username = \"joe\"", "needs ice.credential_file"]),
    ("[ice]\ncredential = \"hunter2\"", &["ice.credential = \"[redacted]\"", "needs ice.username"]),
    (
        "[[ice.servers]]\nurl = \"turn:a\"\nusername = \"u\"\ncredential = \"p\"\ntls_insecure = true",
        &["ice.servers[0].url = \"turn:a\"", "turns:"],
    ),
    (
        "[[ice.servers]]\nurl = \"turns:a\"\ntls_pin_sha256 = \"12\"",
        &["ice.servers[0].tls_pin_sha256 = \"12\"", "64 hexadecimal digits"],
    ),
    ("[ice]\nexclude_interfaces = [\"*lan\"]", &["ice.exclude_interfaces = [\"*lan\"]", "an interface's name"]),
    ("[[ice.servers]]\nurl = \"turn:a\"", &["ice.servers[0].url = \"turn:a\"", "needs a credential"]),
    ("silence_timeout_ms = 30000", &["server.silence_timeout_ms = 30000", "longer than server.ping_interval_ms"]),
    ("retry_max_ms = 499", &["server.retry_max_ms = 499", "not be less than server.retry_min_ms"]),
    ("[rate]\nmin_kbps = 900", &["rate.min_kbps = 900", "not be more than encoder.bitrate_kbps, 800"]),
    ("[rate]\nmax_kbps = 700", &["rate.max_kbps = 700", "not be less than encoder.bitrate_kbps, 800"]),
    ("[rate]\nbits_per_pixel = -0.1", &["rate.bits_per_pixel = -0.1", "from 0 to 1"]),
    ("[drive.pca9685]\noe_line = 3", &["drive.pca9685.oe_line = 3", "needs drive.pca9685.oe_chip"]),
    ("[drive.pca9685]\nsteering_channel = 0", &["drive.pca9685.steering_channel = 0", "must not be the throttle's"]),
    (
        "[drive]\nactuator = \"pca9685\"",
        &["drive.calibration:", "another car's pulses are dangerous", "throttle_zero, forward_zero"],
    ),
    (
        "[drive.calibration]\nthrottle_min = 375",
        &["drive.calibration.throttle_min = 375", "must be below throttle_zero (375)"],
    ),
    (
        "[drive.max_speed]\ninitial = 441",
        &["drive.max_speed.initial = 441", "throttle_zero (375) to drive.max_speed.ceiling (440)"],
    ),
    (
        "[drive.max_speed]\nceiling = 100",
        &["drive.max_speed.ceiling = 100", "not be below drive.calibration.throttle_zero"],
    ),
    (
        "[drive.reverse]\nbrake_ticks = 400",
        &["drive.reverse.brake_ticks = 400", "not be above drive.calibration.throttle_zero"],
    ),
    // Syntax.
    ("[camera\nwidth = 640", &[":3:8: ", "not valid TOML"]),
    ("[camera]\nkind = pipeline", &[":4:8: camera.kind = pipeline: ", "not valid TOML", "must be quoted"]),
    ("[camera]\nwidth = 640\nwidth = 640", &[":5:1: camera.width = 640", "duplicate key"]),
    ("[camera]\nwidth = 99999999999999999999", &[":4:9: camera.width = 99999999999999999999", "not valid TOML"]),
    ("credential = hunter2", &[":3:14: server.credential = [redacted]", "not valid TOML"]),
];

#[test]
fn each_mistake_in_a_file_is_one_problem_that_names_place_key_value_and_remedy() {
    for (file, expected) in FILES {
        let problems = Case::of(format!("{LEAST}{file}\n")).problems();
        assert_eq!(problems.len(), 1, "{file}\n{}", problems.join("\n"));
        assert!(problems[0].starts_with(PATH), "{}", problems[0]);
        for part in *expected {
            assert!(problems[0].contains(part), "{file}\nexpected: {part}\nfound: {}", problems[0]);
        }
        assert!(!problems[0].contains("hunter2"), "{}", problems[0]);
    }
}

/// Environment variable, value, and what is said.
const VARIABLES: &[(&str, &str, &[&str])] = &[
    ("RTCPUB__CAMERA__WIDTH", "wide", &["camera.width = wide", "must be an integer"]),
    ("RTCPUB__CAMERA__WIDTH", "640.5", &["camera.width = 640.5", "must be an integer"]),
    ("RTCPUB__CAMERA__WIDTH", "", &["camera.width = ", "must be an integer"]),
    ("RTCPUB__CAMERA__WIDTH", "99999999999999999999", &["camera.width = 99999999999999999999", "beyond every range"]),
    ("RTCPUB__CAMERA__WIDTH", "70000", &["camera.width = 70000", "from 16 to 8192"]),
    ("RTCPUB__CAMERA__WIDHT", "640", &["camera.widht = 640", "did you mean RTCPUB__CAMERA__WIDTH?"]),
    ("RTCPUB__CAMRA__WIDTH", "640", &["camra.width = 640", "did you mean RTCPUB__CAMERA__WIDTH?"]),
    ("RTCPUB__SERVER__QUERY__BRAT", "640", &["server.query.brat", "did you mean RTCPUB__SERVER__QUERY__BRATE?"]),
    ("RTCPUB__CAMERA", "640", &["camera = 640", "this is a table"]),
    ("RTCPUB__CAMERA__WIDTH__X", "1", &["camera.width.x", "unknown key"]),
    ("RTCPUB__", "1", &["unknown key"]),
    ("RTCPUB____WIDTH", "1", &["unknown key"]),
    ("RTCPUB__ICE__SERVERS[0]__URL", "stun:a", &["ice.servers[0].url", "give the whole array"]),
    ("RTCPUB__LAP_SENSOR__LINES", "[[4, 17]", &["lap_sensor.lines = [[4, 17]", "must be an array of integers"]),
    ("RTCPUB__DRIVE__NEUTRAL_FIRST", "maybe", &["drive.neutral_first = maybe", "must be true or false"]),
    ("RTCPUB__DRIVE__LIMITS__THROTTLE_CAP", "NaN", &["throttle_cap = NaN", "from 0 to 1"]),
    ("RTCPUB__LAP_SENSOR__LINES", "4;17", &["lap_sensor.lines = 4;17", "must be an array of integers"]),
    ("RTCPUB__ICE__SERVERS", "hunter2", &["ice.servers = [redacted]", "must be an array of tables as TOML writes it"]),
    ("RTCPUB__ICE__SERVERS", "[{url = 5}]", &["ice.servers[0].url = 5", "must be a string"]),
    ("RTCPUB__ICE__SERVERS", "[]\nevil = 1", &["ice.servers = [redacted]", "must be"]),
    ("RTCPUB__SERVER__TOKEN", "hunter2 \u{1b}[0m", &["server.token = \"[redacted]\"", "without spaces"]),
];

#[test]
fn each_mistake_in_the_environment_names_the_variable_key_value_and_remedy() {
    for (name, value, expected) in VARIABLES {
        let problems = Case::of(LEAST).with_variable(name, value).problems();
        assert_eq!(problems.len(), 1, "{name}={value}\n{}", problems.join("\n"));
        assert!(problems[0].starts_with(&format!("environment variable {name}: ")), "{}", problems[0]);
        for part in *expected {
            assert!(problems[0].contains(part), "{name}={value}\nexpected: {part}\nfound: {}", problems[0]);
        }
        assert!(!problems[0].contains("hunter2"), "{}", problems[0]);
    }
}

#[test]
fn a_variable_that_is_not_utf8_is_a_problem() {
    use std::os::unix::ffi::OsStringExt;
    let mut case = Case::of(LEAST);
    case.environment.push(("RTCPUB__CAMERA__WIDTH".into(), OsString::from_vec(vec![0xff])));
    assert_eq!(case.problems(), ["environment variable RTCPUB__CAMERA__WIDTH: camera.width = \u{fffd}: must be UTF-8"]);
}

#[test]
fn each_mistake_in_a_flag_names_the_flag_key_value_and_remedy() {
    let rows = [
        ("camera.width", "x", "flag --set: camera.width = x: must be an integer"),
        ("camera.widht", "1", "flag --set: camera.widht = 1: unknown key; did you mean camera.width?"),
        (
            "server.token",
            "hunter2",
            "flag --set: server.token = [redacted]: every user can read a command line: use server.token_file or the \
             environment variable RTCPUB__SERVER__TOKEN",
        ),
        (
            "ice.servers",
            "[{credential = \"hunter2\"}]",
            "flag --set: ice.servers = [redacted]: every user can read a command line: use the channel file or the \
             environment variable RTCPUB__ICE__SERVERS",
        ),
    ];
    for (key, value, expected) in rows {
        assert_eq!(Case::of(LEAST).with_flag(key, value).problems(), [expected]);
    }
}

#[test]
fn one_run_reports_every_problem_of_every_layer() {
    let file = "\
[server]
url = wss://host
[log]
level = 5
[camera]
kind = \"pipelin\"
width = -1
heigth = 480
[drive.calibration]
throttle_zero = 500
[drive.max_speed]
initial = 5000
";
    let case = Case::of(file).with_variable("RTCPUB__CAMERA__FRAMERATE", "999").with_flag("encoder.nam", "x");
    let problems = case.problems();
    let starts = [
        ":2:7: server.url = wss://host: not valid TOML",
        ":4:1: log.level = 5: must be a string",
        ":6:1: camera.kind = \"pipelin\": must be",
        ":7:1: camera.width = -1: must be",
        ":8:1: camera.heigth = 480: unknown key",
        ":12:1: drive.max_speed.initial = 5000: must be",
        ": drive.calibration.forward_zero = 399: must not be below throttle_zero (500)",
        ": drive.calibration.throttle_max = 440: must be above throttle_zero (500)",
        "environment variable RTCPUB__CAMERA__FRAMERATE: camera.framerate = 999: must be",
        "flag --set: encoder.nam = x: unknown key",
    ];
    assert_eq!(problems.len(), starts.len(), "{}", problems.join("\n"));
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.trim_start_matches(PATH).starts_with(start), "expected: {start}\nfound: {problem}");
    }
}

#[test]
fn an_empty_file_lacks_the_server_and_nothing_else() {
    let problems = Case::of("").problems();
    assert_eq!(problems, [format!("{PATH}: server.url: missing: give the pub server, such as \"wss://host:8267\"")]);
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    let mut file = LEAST.as_bytes().to_vec();
    file.extend(b"[camera]\nkind = \"\xff\xfe\"\n");
    let problems = Case::of(file).problems();
    assert_eq!(
        problems,
        [format!("{PATH}:4:9: camera.kind = \"\u{fffd}\u{fffd}\": not valid TOML: not UTF-8: save the file in UTF-8")]
    );
}

#[test]
fn a_broken_table_header_hides_no_problem_of_the_other_layers() {
    let problems = Case::of("[server\nurl = 1").with_variable("RTCPUB__CAMERA__WIDTH", "x").problems();
    assert_eq!(problems.len(), 2, "{}", problems.join("\n"));
    assert!(problems[0].contains(":1:8: not valid TOML"), "{}", problems[0]);
    assert!(problems[1].contains("RTCPUB__CAMERA__WIDTH"), "{}", problems[1]);
}

#[test]
fn a_file_that_is_too_big_or_too_deep_or_too_wrong_is_refused_at_once() {
    let many = "x = [1]\n".repeat(layers::MAX_FILE_BYTES);
    assert_eq!(Case::of(many).problems(), [format!("{PATH}: bigger than 256 KiB: this is not a channel file")]);
    for deep in ["[".repeat(100_000), format!("a = {}", "[".repeat(100_000)), format!("{}a = 1", "a.".repeat(100_000))]
    {
        let problems = Case::of(&deep).problems();
        assert!(problems[0].contains("not valid TOML"), "{}", problems[0]);
    }
    let servers = format!("{LEAST}{}", "[[ice.servers]]\nurl = \"x\"\n".repeat(5000));
    let problems = Case::of(servers).problems();
    assert_eq!(problems, [format!("{PATH}:3:7: ice.servers = \"[redacted]\": must not have more than 64 elements")]);
    let unknown: String = (0..10_000).map(|n| format!("camera{n} = 1\n")).collect();
    let problems = Case::of(unknown).problems();
    assert_eq!(problems.len(), problem::MAX_PROBLEMS + 1);
    assert!(problems.last().is_some_and(|last| last.starts_with("… and 9901 more")), "{:?}", problems.last());
}
