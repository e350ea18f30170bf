use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::lines::{self, Incoming, LINE_LIMIT, LineProblem, OUTGOING_LINES, Outgoing, TooSlow, Word};
use super::*;
use crate::drive::actuator::kind::ActuatorSettings;
use crate::drive::actuator::{Actuator, Pulses};
use crate::drive::command::MESSAGE_LIMIT;
use crate::drive::gate::{SafeDrive, StopCause};
use crate::drive::settings::Pulse;

#[expect(clippy::disallowed_methods, reason = "an output has a time")]
fn output(throttle: u16) -> Output {
    let pulses = Pulses { throttle: Pulse::new(throttle).unwrap(), steering: Pulse::new(399).unwrap() };
    Output::new(SafeDrive::NEUTRAL, pulses, Instant::now())
}

const PARKED: State = State::Parked { cause: StopCause::Deadline };

fn line(text: &str) -> Line {
    text.as_bytes().into()
}

#[test]
fn a_stream_message_goes_out_on_one_line_as_it_came() {
    let table: [(&str, Option<&str>); 6] = [
        (r#"{"motion":{"key":"forward","value":3}}"#, Some(r#"{"stream":{"motion":{"key":"forward","value":3}}}"#)),
        ("{\"a\":\r\n 1.50,\n\"b\":\"x\\ny\"}", Some("{\"stream\":{\"a\":   1.50, \"b\":\"x\\ny\"}}")),
        ("[1,2]", Some(r#"{"stream":[1,2]}"#)),
        ("forward!", None),
        ("{\"a\":1} {\"b\":2}", None),
        ("", None),
    ];
    for (message, expected) in table {
        let line = lines::stream(message.as_bytes()).map(|line| String::from_utf8(line.to_vec()).unwrap());
        assert_eq!(line, expected.map(|expected| format!("{expected}\n")), "{message}");
    }
}

#[test]
fn a_message_beyond_the_limit_is_not_passed_on() {
    let message = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    assert!(lines::stream(message(MESSAGE_LIMIT).as_bytes()).is_some());
    assert!(lines::stream(message(MESSAGE_LIMIT + 1).as_bytes()).is_none());
}

#[test]
fn a_program_may_publish_but_not_speak_for_the_gate() {
    let metric = |text: &str| Ok(Word::Ask(BridgeRequest::Metric(text.to_owned())));
    let volts = r#"{"battery":{"key":"volts","value":11.8}}"#;
    assert_eq!(lines::word(format!("{{\"metric\":{volts}}}").as_bytes()), metric(volts));
    assert_eq!(lines::word(br#"{"metric":{"drive":{"key":"state","value":"armed"}}}"#), Err(LineProblem::Reserved));
    for (text, moves) in [(r#"{"moves":true}"#, true), (r#"{"moves":false}"#, false)] {
        assert_eq!(lines::word(text.as_bytes()), Ok(Word::Moves(moves)));
    }
    let table = ["{}", "[]", "3", r#"{"metric":5}"#, r#"{"estop":1}"#, r#"{"metric":{},"more":1}"#, r#"{"moves":1}"#];
    for unknown in table {
        assert_eq!(lines::word(unknown.as_bytes()), Err(LineProblem::Unknown), "{unknown}");
    }
    for (line, rear) in [
        (r#"{"camera":{"key":"select","value":0}}"#, Some(false)),
        (r#"{"camera":{"key":"select","value":1}}"#, Some(true)),
        (r#"{"camera":{"key":"select","value":2}}"#, None),
        (r#"{"camera":1}"#, None),
    ] {
        let expected =
            rear.map(|rear| Word::Ask(BridgeRequest::SelectCamera { rear })).ok_or(LineProblem::UnknownCamera);
        assert_eq!(lines::word(line.as_bytes()), expected, "{line}");
    }
    for junk in ["{", "metric", "{\"metric\":{}}}", "\u{0}", "\u{fffd}"] {
        assert!(matches!(lines::word(junk.as_bytes()), Err(LineProblem::NotJson(_))), "{junk}");
    }
}

#[test]
fn bytes_become_lines_however_they_are_cut() {
    let text = b"{\"a\":1}\n\n  \n{\"b\":2}\r\n{\"c\"";
    for size in 1..text.len() {
        let (mut incoming, mut lines) = (Incoming::default(), Vec::new());
        for chunk in text.chunks(size) {
            incoming.feed(chunk, |line| lines.push(String::from_utf8_lossy(line).trim().to_owned())).unwrap();
        }
        assert_eq!(lines, ["{\"a\":1}", "{\"b\":2}"], "in chunks of {size}");
    }
}

#[test]
fn a_line_of_the_limit_is_taken_and_one_byte_more_is_not() {
    let mut lengths = Vec::new();
    let mut line = vec![b'x'; LINE_LIMIT];
    line.push(b'\n');
    Incoming::default().feed(&line, |line| lengths.push(line.len())).unwrap();
    assert_eq!(lengths, [LINE_LIMIT]);
    let endless = vec![b'x'; LINE_LIMIT + 1];
    assert_eq!(Incoming::default().feed(&endless, |_| {}), Err(LineProblem::TooLong));
}

#[test]
fn of_the_outputs_only_the_newest_waits_and_lines_keep_their_order() {
    let mut outgoing = Outgoing::default();
    outgoing.push(line("one\n")).unwrap();
    outgoing.set_output(line("old\n"));
    outgoing.set_output(line("new\n"));
    outgoing.push(line("two\n")).unwrap();
    let mut written = Vec::new();
    while let Some(bytes) = outgoing.next() {
        // A socket may take one byte at a time.
        written.push(bytes[0]);
        outgoing.written(1);
    }
    assert_eq!(String::from_utf8(written).unwrap(), "one\ntwo\nnew\n");
    assert!(outgoing.is_empty());
}

#[test]
fn a_program_that_does_not_read_is_too_slow_after_its_queue_is_full() {
    let mut outgoing = Outgoing::default();
    for _ in 0..OUTGOING_LINES {
        outgoing.push(line("x\n")).unwrap();
    }
    assert_eq!(outgoing.push(line("x\n")), Err(TooSlow));
}

/// A running bridge with the requests of its programs.
struct Running {
    bridge: Option<Bridge>,
    requests: Receiver<BridgeRequest>,
    config: BridgeConfig,
    _folder: TempDir,
}

fn running(neutral: Option<Output>) -> Running {
    let folder = tempfile::tempdir().unwrap();
    // The folder does not exist yet, as /run/rtcpub by hand.
    let config = BridgeConfig { socket: folder.path().join("run/car.sock") };
    let (sender, requests) = mpsc::channel();
    let bridge = Bridge::start(&config, neutral, move |request| drop(sender.send(request))).unwrap();
    Running { bridge: Some(bridge), requests, config, _folder: folder }
}

impl Running {
    fn handle(&self) -> BridgeHandle {
        self.bridge.as_ref().unwrap().handle()
    }

    fn actuator(&self) -> Box<dyn Actuator> {
        BridgeActuatorConfig.make(self.bridge.as_ref()).expect("there is a bridge")
    }

    fn connect(&self) -> Program {
        let stream = UnixStream::connect(&self.config.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Program { reader: BufReader::new(stream) }
    }
}

struct Program {
    reader: BufReader<UnixStream>,
}

impl Program {
    /// The next line; `None` when the daemon has closed.
    fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            read => {
                read.unwrap();
                Some(serde_json::from_str(&line).unwrap())
            }
        }
    }

    fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }
}

#[test]
fn each_program_is_told_everything_and_a_late_one_where_the_gate_stands() {
    let running = running(None);
    let mut early = running.connect();
    assert_eq!(early.line(), Some(json!({"hello": {"protocol": 1, "actuator": false}})));
    running.handle().gate(State::Armed);
    running.handle().stream(br#"{"motion":{"key":"left","value":2}}"#);
    running.handle().gate(PARKED);
    let parked = json!({"gate": {"state": "parked", "cause": "deadline"}});
    assert_eq!(early.line(), Some(json!({"gate": {"state": "armed", "cause": null}})));
    assert_eq!(early.line(), Some(json!({"stream": {"motion": {"key": "left", "value": 2}}})));
    assert_eq!(early.line(), Some(parked.clone()));

    let mut late = running.connect();
    assert_eq!(late.line(), Some(json!({"hello": {"protocol": 1, "actuator": false}})));
    assert_eq!(late.line(), Some(parked));
}

#[test]
fn requests_come_through_and_bad_lines_are_answered() {
    let running = running(None);
    let mut program = running.connect();
    program.line();
    program.send("{\"metric\":{\"battery\":{\"key\":\"volts\",\"value\":11.8}}}\nnonsense\n");
    let request = running.requests.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(request, BridgeRequest::Metric(r#"{"battery":{"key":"volts","value":11.8}}"#.into()));
    assert!(program.line().unwrap()["error"].as_str().unwrap().starts_with("not JSON"));

    program.send("{\"metric\":{\"last\":{\"key\":\"word\",\"value\":1}}}\n");
    drop(program);
    let request = running.requests.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(request, BridgeRequest::Metric(r#"{"last":{"key":"word","value":1}}"#.into()));
}

#[test]
fn a_program_that_speaks_and_leaves_at_once_is_heard() {
    let running = running(None);
    for count in 0..200 {
        let metric = format!(r#"{{"lap":{{"key":"count","value":{count}}}}}"#);
        let mut stream = UnixStream::connect(&running.config.socket).unwrap();
        stream.write_all(format!("{{\"metric\":{metric}}}\n").as_bytes()).unwrap();
        drop(stream);
        // What is said meanwhile can reach it no more.
        running.handle().gate(PARKED);
        let request = running.requests.recv_timeout(Duration::from_secs(5));
        assert_eq!(request, Ok(BridgeRequest::Metric(metric)));
    }
}

#[test]
fn an_endless_line_ends_the_connection_with_a_word_why() {
    let running = running(None);
    let mut program = running.connect();
    program.line();
    program.send(&"x".repeat(LINE_LIMIT + 1));
    assert_eq!(program.line(), Some(json!({"error": "longer than 4096 bytes"})));
    assert_eq!(program.line(), None);
}

#[test]
fn one_program_too_many_is_told_so() {
    let running = running(None);
    let mut programs: Vec<_> = (0..MAX_PROGRAMS).map(|_| running.connect()).collect();
    programs.iter_mut().for_each(|program| assert!(program.line().is_some()));
    let mut extra = running.connect();
    assert_eq!(extra.line(), Some(json!({"error": "8 programs are connected already"})));
    assert_eq!(extra.line(), None);

    drop(programs.pop());
    // The place is free once the thread has seen the other leave, which it does before it accepts.
    running.handle().gate(PARKED);
    assert_eq!(programs[0].line(), Some(json!({"gate": {"state": "parked", "cause": "deadline"}})));
    assert!(running.connect().line().unwrap().get("hello").is_some());
}

#[test]
fn a_program_that_does_not_read_is_disconnected_and_holds_up_nobody() {
    let running = running(None);
    let (mut sleeper, mut reader) = (running.connect(), running.connect());
    reader.line();
    let message = format!("{{\"motion\":{{\"key\":\"{}\",\"value\":1}}}}", "x".repeat(1000));
    for count in 0..1000 {
        running.handle().stream(message.as_bytes());
        let stream = reader.line().expect("the reader is served");
        assert!(stream.get("stream").is_some(), "{count}: {stream}");
    }
    let lines = std::iter::from_fn(|| sleeper.line()).count();
    assert!(lines < 2 * OUTGOING_LINES, "{lines} lines were kept for one that did not read");
}

#[test]
fn the_actuator_hands_out_the_gates_output_and_fails_when_the_bridge_has_ended() {
    let mut running = running(Some(output(375)));
    let mut actuator = running.actuator();
    assert_eq!((actuator.name(), actuator.period()), ("bridge", Duration::from_millis(20)));
    let mut program = running.connect();
    let neutral = json!({"throttle": 375, "steering": 399});
    assert_eq!(program.line(), Some(json!({"hello": {"protocol": 1, "actuator": true, "neutral": neutral}})));

    assert_eq!(actuator.start(&output(375)).unwrap(), Duration::ZERO);
    assert_eq!(program.line().unwrap()["output"]["pulses"], neutral);
    actuator.apply(&output(420)).unwrap();
    let told = program.line().unwrap();
    assert_eq!(told["output"]["pulses"], json!({"throttle": 420, "steering": 399}));
    assert_eq!(told["output"]["throttle"], json!(0.0));
    assert_eq!(told["output"]["brake"], json!(false));
    assert!(told["output"]["at"].is_f64());

    actuator.apply(&output(375)).unwrap();
    running.bridge = None;
    assert!(actuator.apply(&output(375)).is_err());
    assert_eq!(program.line().unwrap()["output"]["pulses"], neutral, "the last word is still told");
    assert_eq!(program.line(), None, "then a program sees the end at once");
}

/// What the gate lets through.
#[expect(clippy::disallowed_methods, reason = "an output has a time")]
fn motion() -> Output {
    Output::new(SafeDrive::for_test(0.5, 0.0), output(420).pulses(), Instant::now())
}

fn until(holds: impl Fn() -> bool) {
    for _ in 0..5000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("it does not come to hold");
}

#[test]
fn a_car_whose_program_leaves_is_stopped_and_a_program_that_comes_back_finds_it_at_neutral() {
    let running = running(Some(output(375)));
    let (mut actuator, shared) = (running.actuator(), running.handle().0);
    actuator.start(&output(375)).expect("to stand needs no program");
    assert!(actuator.apply(&motion()).is_err(), "who drives hears that nothing moves");
    actuator.start(&output(375)).expect("it stands");

    let mut program = running.connect();
    assert!(program.line().is_some());
    assert!(actuator.apply(&motion()).is_err(), "the program came while the stick was held");
    actuator.apply(&output(375)).expect("it stands");
    actuator.apply(&motion()).expect("somebody moves it");
    let other = running.connect();
    until(|| shared.programs.load(Ordering::SeqCst) == 2);
    drop(other);
    until(|| shared.programs.load(Ordering::SeqCst) == 1);
    actuator.apply(&motion()).expect("one is left");

    drop(program);
    until(|| !shared.has_programs());
    let mut back = running.connect();
    until(|| shared.has_programs());
    assert!(actuator.apply(&motion()).is_err(), "although there is one again");
    assert!(actuator.apply(&motion()).is_err(), "at the retry as well");
    actuator.start(&output(375)).expect("it stands");
    while back.line().expect("it is told").get("output").is_none() {}
    actuator.apply(&motion()).expect("now it may");
}

#[test]
fn the_socket_is_for_owner_and_group_and_goes_with_the_daemon() {
    let mut running = running(None);
    let file = fs::symlink_metadata(&running.config.socket).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o660);
    running.bridge = None;
    assert!(!running.config.socket.exists());
}

#[test]
fn a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let config = BridgeConfig { socket: folder.path().join("car.sock") };
    drop(UnixListener::bind(&config.socket).unwrap());
    assert!(config.socket.exists(), "a dead daemon leaves its file");
    assert!(!is_served(&config.socket).unwrap());

    let bridge = Bridge::start(&config, None, |_| {}).unwrap();
    assert!(is_served(&config.socket).unwrap());
    let error = Bridge::start(&config, None, |_| {}).unwrap_err();
    assert!(matches!(error, BridgeError::InUse(_)), "{error}");
    drop(bridge);
    assert!(!is_served(&config.socket).unwrap());

    fs::write(&config.socket, "precious").unwrap();
    let error = Bridge::start(&config, None, |_| {}).unwrap_err();
    assert!(matches!(error, BridgeError::NotASocket(_)), "{error}");
    assert_eq!(fs::read_to_string(&config.socket).unwrap(), "precious");
}

#[test]
fn a_daemon_that_hangs_is_not_taken_for_a_dead_one() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("car.sock");
    let address = SocketAddrUnix::new(&path).unwrap();
    let socket = || socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    let hanging = socket();
    bind(&hanging, &address).unwrap();
    listen(&hanging, 1).unwrap();
    // Nobody accepts, so the backlog fills: a connect that waited for its turn would never return.
    let waiting = [(); 3].map(|()| socket());
    let refused = waiting.iter().filter(|stream| connect(stream, &address).is_err()).count();
    assert!(refused > 0, "the backlog is not full");
    assert!(is_served(&path).unwrap());
}
