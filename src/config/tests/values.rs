//! What the values become.

use std::time::Duration;

use super::*;
use crate::drive::actuator::kind::ActuatorConfig;
use crate::drive::bridge::BridgeActuatorConfig;
use crate::drive::pca9685::Pca9685Config;
use crate::drive::settings::StopBehaviour;
use crate::drive::simulated::SimulatedConfig;
use crate::rtc::settings::{DeliveryLimit, IcePolicy, Reliability};
use crate::signal::settings::{TlsConfig, Trickle};
use crate::telemetry::settings::Topic;
use crate::video::settings::{EncoderChoice, Source};

#[test]
fn the_defaults_are_those_of_the_reference() {
    let Config { log, signal, video, cameras, rate, rtc, drive, telemetry, metrics, status } =
        Case::of(LEAST).loaded().config;
    assert_eq!(log.filter.as_str(), "info");
    assert_eq!(signal.server.as_str(), "wss://host:8267/");
    assert_eq!(signal.channel.as_str(), "c40hipepjh65aeq6ndj0");
    assert_eq!(signal.query, [("vcodec".to_owned(), "h264".to_owned())]);
    assert_eq!((signal.token, signal.trickle, signal.tls), (None, Trickle::Candidate2, TlsConfig::SystemRoots));
    let times =
        [signal.ping_interval, signal.answer_timeout, signal.silence_timeout, signal.retry_min, signal.retry_max];
    assert_eq!(times.map(|time| time.as_millis()), [30_000, 10_000, 90_000, 500, 15_000]);

    assert_eq!(cameras, []);
    assert_eq!(video.camera.source, Source::Test);
    assert_eq!((video.camera.size.to_string().as_str(), video.camera.framerate.per_second()), ("640x480", 30));
    assert_eq!((video.encoder.choice, video.encoder.bitrate.kbps()), (EncoderChoice::Auto, 800));
    assert_eq!(video.encoder.key_frame_interval, Duration::from_secs(10));
    assert_eq!([rate.min(), rate.start(), rate.max()].map(|rate| rate.kbps()), [150, 800, 800]);
    assert_eq!((rate.bits_per_pixel(), rate.slowest().per_second()), (0.02, 10));

    assert_eq!((rtc.metric, rtc.stream), (Reliability::ORDERED_RELIABLE, Reliability::ORDERED_RELIABLE));
    assert_eq!(rtc.ice.policy, IcePolicy::All);
    let urls: Vec<_> = rtc.ice.servers.iter().map(|server| server.url().to_string()).collect();
    assert_eq!(urls, ["stun:host:3478"], "TURN needs a credential");

    assert_eq!(drive.actuator, ActuatorConfig::new(SimulatedConfig));
    assert_eq!(drive.gate.deadline, Duration::from_millis(500));
    assert_eq!((drive.gate.neutral_first, drive.gate.stop), (true, StopBehaviour::Coast));
    assert_eq!(drive.vehicle.calibration.raw().throttle_max.ticks(), 440);
    assert_eq!((drive.max_speed.initial, drive.max_speed.ceiling.ticks()), (None, 440));
    assert_eq!(drive.max_speed.state_file, Path::new("/var/lib/rtcpub/c40hipepjh65aeq6ndj0/max-speed.json"));
    assert_eq!((drive.lap_sensor, drive.bridge), (None, None));

    assert_eq!((telemetry.topics, telemetry.period), (Topic::ALL.to_vec(), Duration::from_secs(1)));
    assert_eq!(metrics, None);
    assert_eq!(status.socket, Path::new("/run/rtcpub/c40hipepjh65aeq6ndj0.status.sock"));
}

#[test]
fn telemetry_tells_the_topics_that_are_named() {
    let rows: [(&str, &[Topic]); 4] = [
        ("[]", &[]),
        ("[\"link\"]", &[Topic::Link]),
        ("[\"video\", \"host\", \"video\"]", &[Topic::Video, Topic::Host]),
        ("[ ]", &[]),
    ];
    for (topics, expected) in rows {
        let loaded = Case::of(format!("{LEAST}[telemetry]\ntopics = {topics}\n")).loaded();
        assert_eq!(loaded.config.telemetry.topics, expected, "{topics}");
    }
    let variable = Case::of(LEAST).with_variable("RTCPUB__TELEMETRY__TOPICS", "host, drive").loaded();
    assert_eq!(variable.config.telemetry.topics, [Topic::Host, Topic::Drive]);
    assert!(show(&variable.effective).contains("topics = [\"host\", \"drive\"]"));
    for wrong in ["[\"hots\"]", "[1]", "\"host\""] {
        let problems = Case::of(format!("{LEAST}[telemetry]\ntopics = {wrong}\n")).parse().expect_err(wrong);
        assert!(problems.to_string().contains("telemetry.topics"), "{problems}");
    }
}

#[test]
fn metrics_are_served_to_this_machine_alone_unless_said_otherwise() {
    let listen = |text: &str| {
        let parsed = Case::of(format!("{LEAST}[metrics]\n{text}\n")).parse();
        parsed.map(|loaded| loaded.config.metrics.expect("the table is there").listen.to_string())
    };
    assert_eq!(listen(""), Ok("127.0.0.1:9100".to_owned()));
    assert_eq!(listen("listen = \"[::1]:9200\""), Ok("[::1]:9200".to_owned()));
    let open = "listen = \"0.0.0.0:9100\"";
    assert_eq!(listen(&format!("{open}\nallow_remote = true")), Ok("0.0.0.0:9100".to_owned()));
    let refused = listen(open).expect_err("others could read it").to_string();
    assert!(refused.contains("metrics.listen = \"0.0.0.0:9100\": others could read it there"), "{refused}");
    assert!(listen("listen = \"localhost\"").is_err(), "an address, not a name");
}

#[test]
fn a_host_and_a_credential_become_the_reference_s_three_servers() {
    let rows: [(&str, &str, &[&str]); 6] = [
        (
            "wss://car.example",
            "username = \"u\"\ncredential = \"c\"",
            &["stun:car.example:3478", "turn:car.example:3478?transport=udp", "turn:car.example:3478?transport=tcp"],
        ),
        ("wss://car.example", "host = \"turn.example\"\nport = 443", &["stun:turn.example:443"]),
        ("wss://car.example", "host = \"\"", &[]),
        ("wss://localhost", "", &[]),
        ("wss://127.0.0.1:1", "", &[]),
        ("wss://[2001:db8::1]", "", &["stun:[2001:db8::1]:3478"]),
    ];
    for (server, ice, expected) in rows {
        let loaded = Case::of(format!("[server]\nurl = \"{server}\"\n[ice]\n{ice}\n")).loaded();
        let servers = &loaded.config.rtc.ice.servers;
        assert_eq!(
            servers.iter().map(|server| server.url().to_string()).collect::<Vec<_>>(),
            expected,
            "{server} {ice}"
        );
    }
}

#[test]
fn a_whole_car_is_read() {
    let file = format!(
        "{LEAST}[drive]\nactuator = \"pca9685\"\nstop = \"brake\"\n[drive.calibration]\nthrottle_zero = 370\nforward_zero = 380\n\
         throttle_min = 290\nthrottle_max = 430\nsteering_zero = 400\nsteering_min = 320\nsteering_max = 480\n\
         [drive.pca9685]\noe_chip = \"/dev/gpiochip0\"\noe_line = 22\n[lap_sensor]\n[bridge]\n\
         [drive.limits]\nthrottle_cap = 0.5\nsteering_slew_per_s = 3\n[channels.stream]\nordered = false\nmax_retransmits = 0\n"
    );
    let case = Case::of(file).with_variable("STATE_DIRECTORY", "/s/a:/s/b").with_variable("RUNTIME_DIRECTORY", "/r");
    let Config { drive, rtc, .. } = case.loaded().config;
    let board: &Pca9685Config = drive.actuator.of().expect("a PCA9685");
    assert_eq!((board.address, board.frequency_hz, board.arming), (0x40, 60, Duration::from_secs(2)));
    assert_eq!(board.output_enable.as_ref().map(|line| line.line), Some(22));
    assert_eq!(drive.gate.stop, StopBehaviour::Brake(Duration::from_millis(150)));
    assert_eq!((drive.gate.limits.throttle_cap, drive.gate.limits.steering_slew), (0.5, Some(3.0)));
    assert_eq!(drive.lap_sensor.map(|sensor| sensor.lines), Some([4, 17]));
    assert_eq!(drive.bridge.map(|bridge| bridge.socket), Some("/r/c40hipepjh65aeq6ndj0.sock".into()));
    assert_eq!(drive.max_speed.state_file, Path::new("/s/a/c40hipepjh65aeq6ndj0/max-speed.json"));
    assert_eq!(drive.max_speed.ceiling.ticks(), 430);
    assert_eq!(rtc.stream, Reliability { ordered: false, limit: DeliveryLimit::Retransmits(0) });
}

#[test]
fn a_trim_that_would_make_neutral_something_else_is_a_problem() {
    let trimmed = |min: u16, trim: i16| {
        format!("{LEAST}[drive.calibration]\nthrottle_min = {min}\n[drive.throttle]\ntrim = {trim}\n")
    };
    Case::of(trimmed(330, -45)).loaded();
    let problems = Case::of(trimmed(330, -46)).problems();
    let expected = "drive.throttle.trim = -46: shifts drive.calibration.throttle_zero (375) out of";
    assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
    Case::of(format!("{LEAST}[drive.steering]\ntrim = 50\n")).loaded();
}

#[test]
fn moving_by_the_bridge_switches_the_bridge_on() {
    let loaded = Case::of(format!("{LEAST}[drive]\nactuator = \"bridge\"\n")).loaded();
    assert!(loaded.config.drive.bridge.is_some());
    assert_eq!(effective(&loaded, "bridge.socket").0, "\"/run/rtcpub/c40hipepjh65aeq6ndj0.sock\"");
}

#[test]
fn a_socket_path_that_the_kernel_refuses_is_a_problem() {
    let problems = Case::of(format!("{LEAST}[bridge]\nsocket = \"/{}\"\n", "x".repeat(107))).problems();
    assert!(problems[0].contains("bridge.socket") && problems[0].contains("107 bytes"), "{}", problems[0]);
    Case::of(format!("{LEAST}[bridge]\nsocket = \"/{}\"\n", "x".repeat(106))).loaded();
}

#[test]
fn a_pin_is_64_digits_with_or_without_colons() {
    let plain = "0123456789abcdefABCDEF".repeat(3)[..64].to_owned();
    let colons = plain.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair)).collect::<Vec<_>>().join(":");
    let [a, b] = [&plain, &colons]
        .map(|pin| Case::of(format!("{LEAST}[tls]\npin_sha256 = \"{pin}\"\n")).loaded().config.signal.tls);
    assert_eq!(a, b);
    assert!(matches!(a, TlsConfig::Pin([0x01, 0x23, ..])), "{a:?}");
}

#[test]
fn what_is_unwise_is_a_warning() {
    let rows = [
        (LEAST, ""),
        ("channel = \"my car\"\n[server]\nurl = \"wss://host\"\n", "channel: \"my car\" does not look like the id"),
        ("[server]\nurl = \"ws://host\"\n", "server.url: ws:// is not encrypted"),
        ("[server]\nurl = \"ws://localhost\"\n", ""),
        ("[server]\nurl = \"ws://[::1]\"\n", ""),
        ("[server]\nurl = \"wss://host\"\n[tls]\ninsecure = true\n", "tls.insecure: anyone on the way can pose"),
        ("[server]\nurl = \"ws://127.0.0.1\"\n[tls]\nca_file = \"x\"\n", "tls.ca_file: has no effect"),
        (
            "[server]\nurl = \"wss://host\"\n[ice]\nport = 1\n[[ice.servers]]\nurl = \"stun:a\"\n",
            "ice.port: has no effect",
        ),
    ];
    for (file, expected) in rows {
        let warnings: Vec<_> = Case::of(file).loaded().warnings.iter().map(ToString::to_string).collect();
        match expected {
            "" => assert_eq!(warnings, [""; 0], "{file}"),
            expected => assert!(warnings.len() == 1 && warnings[0].contains(expected), "{file}\n{warnings:?}"),
        }
    }
}

#[test]
fn the_car_can_be_parked_whatever_is_wrong_elsewhere_in_its_file() {
    let broken = "[server]\nurl = 5\n[camra]\n[drive]\nactuator = \"bridge\"\n";
    let drive = parse_drive(&Case::of(broken).sources()).expect("the car's own sections are right");
    assert_eq!(drive.actuator, ActuatorConfig::new(BridgeActuatorConfig));

    for wrong in ["[drive]\nactuator = \"x\"\n", "[drive.pca9685]\nadress = 1\n", "[drive\n"] {
        let problems = parse_drive(&Case::of(wrong).sources()).expect_err("the car's sections are wrong");
        assert!(problems.iter().all(|problem| !problem.key.starts_with("server")), "{problems}");
    }
}

#[test]
fn a_ca_file_that_cannot_be_used_is_told_with_its_own_key() {
    let read = |path: &Path| match path.to_str() {
        Some("/right.pem") => Ok(FileContent { bytes: certificate(), world_readable: true }),
        Some("/empty.pem") => Ok(FileContent::default()),
        // As much as is read of a whole system's bundle: its last certificate is torn.
        Some("/bundle.pem") => {
            let bytes = certificate().into_iter().cycle().take(256 * 1024 + 1).collect();
            Ok(FileContent { bytes, world_readable: true })
        }
        _ => no_files(path),
    };
    let server =
        |tls: &str| format!("[[ice.servers]]\nurl = \"turns:a\"\nusername = \"u\"\ncredential = \"cccc\"\n{tls}\n");
    let loaded = |file: String| Case { read: &read, ..Case::of(format!("{LEAST}{file}")) }.parse();
    let right = format!("[tls]\nca_file = \"/right.pem\"\n{}", server("tls_ca_file = \"/right.pem\""));
    let bundle = "[tls]\nca_file = \"/bundle.pem\"\n".to_owned();
    for file in [right, bundle] {
        loaded(file).unwrap_or_else(|problems| panic!("{problems}"));
    }
    let rows = [
        ("[tls]\nca_file = \"/wrong.pem\"\n".to_owned(), "tls.ca_file = \"/wrong.pem\": cannot be read"),
        (
            "[tls]\nca_file = \"/empty.pem\"\n".to_owned(),
            "tls.ca_file = \"/empty.pem\": holds no certificate; give a PEM",
        ),
        (server("tls_ca_file = \"/wrong.pem\""), "ice.servers[0].tls_ca_file = \"/wrong.pem\": cannot be read"),
    ];
    for (file, expected) in rows {
        let problems = loaded(file).expect_err(expected);
        assert!(problems.iter().count() == 1 && problems.to_string().contains(expected), "{problems}");
    }
}
