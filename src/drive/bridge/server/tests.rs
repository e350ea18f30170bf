//! Turn by turn, without the thread.

use std::net::Shutdown;
use std::sync::mpsc::{self, Receiver};

use super::*;
use crate::drive::gate::{State, StopCause};

/// A server whose turns are the test's, where programs connect, and what they ask for.
struct Lab {
    server: Server<Box<dyn FnMut(BridgeRequest)>>,
    path: std::path::PathBuf,
    requests: Receiver<BridgeRequest>,
    _folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("car.sock");
        let (sender, requests) = mpsc::channel();
        let shared = Arc::new(Shared::new(None).unwrap());
        let listening = Listening::open(&path).unwrap();
        let server = Server::new(listening, shared, Box::new(move |request| sender.send(request).unwrap()) as Box<_>);
        Self { server, path, requests, _folder: folder }
    }

    /// A program that is connected by the end of the next turn.
    fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).unwrap()
    }

    /// A program that is connected, and has said whether it moves the car.
    fn connect_and_say(&mut self, moves: bool) -> UnixStream {
        let mut program = self.connect();
        self.turn();
        self.says(&mut program, moves);
        program
    }

    fn says(&mut self, program: &mut UnixStream, moves: bool) {
        writeln!(program, "{{\"moves\":{moves}}}").unwrap();
        self.turn();
    }

    /// One turn of the thread. Without news it would wait for ever.
    fn turn(&mut self) {
        assert!(self.server.turn());
    }

    /// The gate says something, which each program is told.
    fn tell(&mut self) {
        let line = lines::gate(State::Parked { cause: StopCause::Deadline });
        self.server.shared.tell(|inbox| inbox.push(line));
        self.turn();
    }

    fn would_spin(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut polled: Vec<_> = self.server.programs.iter().map(Program::interest).collect();
        poll(&mut polled, Some(&now)).unwrap() > 0
    }
}

#[test]
fn a_last_program_that_leaves_and_comes_back_in_one_turn_is_noticed() {
    let mut lab = Lab::new();
    let program = lab.connect();
    lab.turn();
    lab.server.shared.begin_anew();
    assert!(!lab.server.shared.was_deserted());
    drop(program);
    let _back = lab.connect();
    lab.turn();
    assert!(lab.server.shared.has_programs());
    assert!(lab.server.shared.was_deserted());
}

#[test]
fn a_program_that_stops_reading_moves_no_car_and_costs_nothing_but_is_heard() {
    let mut lab = Lab::new();
    let mut program = lab.connect();
    lab.turn();
    lab.server.shared.begin_anew();
    program.shutdown(Shutdown::Read).unwrap();
    lab.tell();
    assert!(!lab.server.shared.has_programs() && lab.server.shared.was_deserted());
    lab.tell();
    assert!(!lab.would_spin());

    let metric = r#"{"battery":{"key":"volts","value":11.8}}"#;
    program.write_all(format!("nonsense\n{{\"metric\":{metric}}}\n").as_bytes()).unwrap();
    lab.turn();
    assert_eq!(lab.requests.try_recv(), Ok(BridgeRequest::Metric(metric.to_owned())));
    assert!(!lab.would_spin());
    drop(program);
    lab.turn();
    assert!(lab.server.programs.is_empty());
}

#[test]
fn the_last_program_that_hears_counts_whoever_only_speaks() {
    let mut lab = Lab::new();
    let (speaker, driver) = (lab.connect(), lab.connect());
    lab.turn();
    speaker.shutdown(Shutdown::Read).unwrap();
    lab.tell();
    lab.server.shared.begin_anew();
    assert!(!lab.server.shared.was_deserted());
    drop(driver);
    lab.turn();
    assert!(lab.server.shared.was_deserted());
}

#[test]
fn when_the_program_that_moves_the_car_leaves_it_is_noticed_whoever_else_listens() {
    let mut lab = Lab::new();
    let (_listener, mover) = (lab.connect(), lab.connect_and_say(true));
    lab.server.shared.begin_anew();
    assert!(!lab.server.shared.was_deserted());
    drop(mover);
    lab.turn();
    assert!(lab.server.shared.was_deserted());
    lab.server.shared.begin_anew();
    assert!(lab.server.shared.was_deserted(), "who is left moves nothing");

    let mut back = lab.connect();
    lab.turn();
    lab.server.shared.begin_anew();
    assert!(lab.server.shared.was_deserted(), "nor, for all that is known, does who comes");
    lab.says(&mut back, true);
    lab.server.shared.begin_anew();
    assert!(!lab.server.shared.was_deserted());
}

#[test]
fn a_program_that_says_it_moves_nothing_is_none_that_moves_the_car() {
    let mut lab = Lab::new();
    let mut listener = lab.connect();
    lab.turn();
    lab.server.shared.begin_anew();
    assert!(!lab.server.shared.was_deserted(), "one that has said nothing may");
    lab.says(&mut listener, false);
    assert!(lab.server.shared.was_deserted() && lab.server.shared.has_programs());
}

#[test]
fn a_program_that_moves_the_car_and_hangs_is_one_that_has_left_and_a_slow_listener_is_not() {
    let mut lab = Lab::new();
    let (_listener, _hanging) = (lab.connect(), lab.connect_and_say(true));
    lab.server.shared.begin_anew();
    let output: Line = [b'x'; 150].into();
    let mut told = 0;
    while !lab.server.shared.was_deserted() {
        told += 1;
        assert!(told < 200, "it is never noticed");
        lab.server.shared.tell(|inbox| inbox.output = Some(Arc::clone(&output)));
        lab.turn();
    }
    assert!(told > UNREAD_OUTPUTS, "what the kernel keeps for it is not lost: {told}");
    assert_eq!(lab.server.programs.len(), 1);
    println!("left after {told} outputs");
}
