use proptest::prelude::*;

use super::*;

fn throttle(to: impl Fn(Steps) -> Throttle, steps: f64) -> Command {
    Command::Motion(Motion::Throttle(Steps::new(steps).map_or(Throttle::Stop, to)))
}

fn steering(to: impl Fn(Steps) -> Steering, steps: f64) -> Command {
    Command::Motion(Motion::Steering(Steps::new(steps).map_or(Steering::Centre, to)))
}

fn command_of(message: &str) -> Command {
    match parse(message.as_bytes()) {
        Ok(Parsed::Drive(Message { command, .. })) => command,
        other => panic!("{message}: {other:?}"),
    }
}

#[test]
fn every_message_of_the_reference_becomes_its_command() {
    let table = [
        (r#"{"motion":{"key":"forward","value":5}}"#, throttle(Throttle::Forward, 5.0)),
        (r#"{"motion":{"key":"forward","value":0}}"#, Command::Motion(Motion::Throttle(Throttle::Stop))),
        (r#"{"motion":{"key":"forward","value":-3}}"#, Command::Motion(Motion::Throttle(Throttle::Stop))),
        (r#"{"motion":{"key":"forward","value":0.25}}"#, throttle(Throttle::Forward, 0.25)),
        (r#"{"motion":{"key":"forward","value":9000}}"#, throttle(Throttle::Forward, 9000.0)),
        (r#"{"motion":{"key":"back","value":20}}"#, throttle(Throttle::Back, 20.0)),
        (r#"{"motion":{"key":"back","value":-0.0}}"#, Command::Motion(Motion::Throttle(Throttle::Stop))),
        (r#"{"motion":{"key":"left","value":1e1}}"#, steering(Steering::Left, 10.0)),
        (r#"{"motion":{"key":"right","value":7.5}}"#, steering(Steering::Right, 7.5)),
        (r#"{"motion":{"key":"right","value":0}}"#, Command::Motion(Motion::Steering(Steering::Centre))),
        (r#"{"motion":{"value":3,"key":"left"}}"#, steering(Steering::Left, 3.0)),
        (r#" {"m\u006ftion" : {"key":"l\u0065ft" , "value":3} } "#, steering(Steering::Left, 3.0)),
        (r#"{"motion":{"key":"forward","value":0,"gone":1},"seq":18,"session":"k3"}"#, Command::Gone),
        (r#"{"motion":{"gone":1,"key":"left","value":0}}"#, Command::Gone),
        (r#"{"motion":{"key":"back","value":-1,"gone":1}}"#, Command::Gone),
        (r#"{"motion":{"key":"forward","value":5,"gone":0}}"#, throttle(Throttle::Forward, 5.0)),
        (r#"{"motion":{"key":"forward","value":0,"gone":0}}"#, Command::Motion(Motion::Throttle(Throttle::Stop))),
        (r#"{"speed":{"key":"maxSpeed","value":420}}"#, Command::MaxSpeed(420)),
        (r#"{"speed":{"key":"maxSpeed","value":420.0}}"#, Command::MaxSpeed(420)),
        (r#"{"estop":{"key":"latch","value":1}}"#, Command::EStop(EStop::Latch)),
        (r#"{"estop":{"key":"latch","value":0}}"#, Command::EStop(EStop::Latch)),
        (r#"{"estop":{"key":"clear","value":1}}"#, Command::EStop(EStop::Clear)),
    ];
    for (message, command) in table {
        assert_eq!(command_of(message), command, "{message}");
    }
}

#[test]
fn seq_and_session_are_taken_from_beside_the_value_or_beside_the_topic() {
    let session = Session::new("k3-9z");
    for message in [
        r#"{"motion":{"key":"forward","value":5,"seq":18446744073709551615,"session":"k3-9z"}}"#,
        r#"{"seq":18446744073709551615,"motion":{"key":"forward","value":5},"session":"k3-9z"}"#,
        r#"{"motion":{"key":"forward","value":5,"session":"k3-9z"},"seq":18446744073709551615}"#,
    ] {
        let Ok(Parsed::Drive(parsed)) = parse(message.as_bytes()) else { panic!("{message}") };
        assert_eq!((parsed.seq, parsed.session), (Some(u64::MAX), session), "{message}");
    }
}

#[test]
fn everything_else_is_rejected_with_its_reason() {
    let long = format!(r#"{{"motion":{{"key":"forward","value":5}}}}{}"#, " ".repeat(MESSAGE_LIMIT));
    let id = format!(r#"{{"motion":{{"key":"forward","value":5,"session":"{}"}}}}"#, "x".repeat(33));
    let deep = "[".repeat(MESSAGE_LIMIT);
    let table = [
        (long.as_str(), Rejection::TooLong),
        ("", Rejection::Malformed),
        ("forward", Rejection::Malformed),
        ("close", Rejection::Malformed),
        (r#"{"motion":{"key":"forward","value":5}"#, Rejection::Malformed),
        (r#"{"motion":{"key":"forward","value":5}}{}"#, Rejection::Malformed),
        (r#"{"motion":{"key":"forward","value":NaN}}"#, Rejection::Malformed),
        (r#"{"motion":{"key":"forward","value":Infinity}}"#, Rejection::Malformed),
        (r#"{"motion":{"key":"forward","value":1e999}}"#, Rejection::Malformed),
        (r#"{"motion":{"key":"forward","value":05}}"#, Rejection::Malformed),
        ("null", Rejection::Shape),
        ("5", Rejection::Shape),
        (r#""motion""#, Rejection::Shape),
        (r#"[{"motion":{"key":"forward","value":5}}]"#, Rejection::Shape),
        (deep.as_str(), Rejection::Shape),
        ("{}", Rejection::Shape),
        (r#"{"seq":1}"#, Rejection::Shape),
        (r#"{"motion":5}"#, Rejection::Shape),
        (r#"{"motion":null}"#, Rejection::Shape),
        (r#"{"motion":["forward",5,1,"x","y"]}"#, Rejection::Shape),
        (r#"{"motion":["forward",5,null,null]}"#, Rejection::Shape),
        (r#"{"motion":["forward",5]}"#, Rejection::Shape),
        (r#"{"motion":{}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward"}}"#, Rejection::Shape),
        (r#"{"motion":{"value":5}}"#, Rejection::Shape),
        (r#"{"motion":{"key":5,"value":5}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":"5"}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":true}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":null}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":[5]}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":5,"value":0}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":5,"turbo":1}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":5,"seq":-1}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":5,"seq":1.5}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":5,"session":7}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":5,"seq":1},"seq":1}"#, Rejection::Shape),
        (r#"{"seq":1,"seq":2,"motion":{"key":"forward","value":5}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":5},"motion":{"key":"back","value":5}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":5},"speed":{"key":"maxSpeed","value":400}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":5},"camera":{"key":"select","value":1}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":0,"gone":true}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":0,"gone":1.0}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":0,"gone":-1}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":0},"gone":1}"#, Rejection::Shape),
        (r#"{"speed":{"key":"maxSpeed","value":420,"gone":1}}"#, Rejection::Shape),
        (r#"{"estop":{"key":"clear","value":1,"gone":0}}"#, Rejection::Shape),
        (r#"{"motion":{"key":"forward","value":0,"gone":2}}"#, Rejection::OutOfRange),
        (r#"{"motion":{"key":"forward","value":5,"gone":1}}"#, Rejection::OutOfRange),
        (r#"{"motion":{"key":"Forward","value":5}}"#, Rejection::UnknownKey),
        (r#"{"motion":{"key":"maxSpeed","value":5}}"#, Rejection::UnknownKey),
        (r#"{"speed":{"key":"forward","value":5}}"#, Rejection::UnknownKey),
        (r#"{"estop":{"key":"","value":1}}"#, Rejection::UnknownKey),
        (r#"{"motion":{"key":"forward","value":65536}}"#, Rejection::OutOfRange),
        (r#"{"motion":{"key":"forward","value":1e300}}"#, Rejection::OutOfRange),
        (r#"{"motion":{"key":"forward","value":-1e300}}"#, Rejection::OutOfRange),
        (r#"{"speed":{"key":"maxSpeed","value":420.5}}"#, Rejection::OutOfRange),
        (r#"{"speed":{"key":"maxSpeed","value":-1}}"#, Rejection::OutOfRange),
        (r#"{"estop":{"key":"clear","value":0}}"#, Rejection::OutOfRange),
        (r#"{"motion":{"key":"forward","value":5,"session":""}}"#, Rejection::BadSession),
        (r#"{"motion":{"key":"forward","value":5,"session":"a b"}}"#, Rejection::BadSession),
        (id.as_str(), Rejection::BadSession),
    ];
    for (message, rejection) in table {
        assert_eq!(parse(message.as_bytes()), Err(rejection), "{message:.80}");
    }
    assert_eq!(parse(b"{\"motion\":{\"key\":\"\xff\",\"value\":5}}"), Err(Rejection::Malformed));
}

#[test]
fn an_emergency_stop_is_not_rejected_for_its_form() {
    for message in [
        r#"{"estop":{"key":"latch","value":1764300000000}}"#,
        r#"{"estop":{"key":"latch","value":1e999}}"#,
        r#"{"estop":{"key":"latch"}}"#,
        r#"{"estop":{"key":"latch","value":true}}"#,
        r#"{"estop":{"key":"latch","value":"now"}}"#,
        r#"{"estop":{"key":"latch","value":null}}"#,
        r#"{"estop":{"value":{"deep":[1]},"key":"latch"}}"#,
        r#"{"estop":{"key":"latch","value":1,"why":"a dog"}}"#,
        r#"{"estop":{"key":"latch","value":1,"gone":1}}"#,
        r#"{"estop":{"key":"latch","value":1},"motion":{"key":"forward","value":20}}"#,
        r#"{"at":1764300000000,"estop":{"key":"latch","value":1}}"#,
        r#"{"estop":{"key":"latch","value":1},"seq":-1}"#,
        r#"{"estop":{"key":"latch","value":1},"session":""}"#,
    ] {
        let latch = Message { command: Command::EStop(EStop::Latch), seq: None, session: None };
        assert_eq!(parse(message.as_bytes()), Ok(Parsed::Drive(latch)), "{message}");
    }
    let message = br#"{"estop":{"key":"latch","value":"now","seq":41},"seq":42,"session":"k3"}"#;
    let latch = Message { command: Command::EStop(EStop::Latch), seq: Some(42), session: Session::new("k3") };
    assert_eq!(parse(message), Ok(Parsed::Drive(latch)), "what can be read is used");
}

#[test]
fn a_clear_is_not_taken_for_granted() {
    for (message, rejection) in [
        (r#"{"estop":{"key":"clear"}}"#, Rejection::Shape),
        (r#"{"estop":{"key":"clear","value":true}}"#, Rejection::Shape),
        (r#"{"estop":{"key":"clear","value":1,"why":"no dog"}}"#, Rejection::Shape),
        (r#"{"estop":{"key":"clear","value":1},"seq":-1}"#, Rejection::Shape),
        (r#"{"estop":"latch"}"#, Rejection::Shape),
        (r#"{"estop":["latch",1]}"#, Rejection::Shape),
        (r#"{"estop":{"key":"latch","value":1}"#, Rejection::Malformed),
        (r#"{"light":{"key":"latch","value":1},"seq":-1}"#, Rejection::Shape),
    ] {
        assert_eq!(parse(message.as_bytes()), Err(rejection), "{message}");
    }
}

#[test]
fn a_topic_that_is_not_the_drives_is_left_for_others() {
    let table = [
        (r#"{"camera":{"key":"select","value":1}}"#, "camera"),
        (r#"{"camera":{"key":"select","value":1},"seq":4,"session":"x"}"#, "camera"),
        (r#"{"light":"on"}"#, "light"),
        (r#"{"Motion":{"key":"forward","value":5}}"#, "Motion"),
        (r#"{"a\nb":1}"#, "a\u{fffd}b"),
    ];
    for (message, topic) in table {
        assert_eq!(parse(message.as_bytes()), Ok(Parsed::NotForDrive(Topic::new(topic))), "{message}");
    }
    let Ok(Parsed::NotForDrive(topic)) = parse(format!(r#"{{"{}":0}}"#, "é".repeat(900)).as_bytes()) else { panic!() };
    assert_eq!(topic.as_str(), "é".repeat(32));
}

#[test]
fn a_message_of_exactly_the_limit_is_read() {
    let message = r#"{"motion":{"key":"forward","value":5}}"#;
    let padded = format!("{message}{}", " ".repeat(MESSAGE_LIMIT - message.len()));
    assert_eq!(command_of(&padded), throttle(Throttle::Forward, 5.0));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_damage_to_a_good_message_makes_it_panic_or_exceed_the_scale(
        at in 0usize..60, byte in any::<u8>(), value in any::<f64>()
    ) {
        let mut bytes = format!(r#"{{"motion":{{"key":"forward","value":{value},"seq":1}}}}"#).into_bytes();
        let length = bytes.len();
        bytes[at % length] = byte;
        if let Ok(Parsed::Drive(Message { command: Command::Motion(Motion::Throttle(Throttle::Forward(steps))), .. })) = parse(&bytes) {
            prop_assert!(steps.get() > 0.0 && steps.get() <= VALUE_LIMIT);
        }
    }
}
