//! Actuators that fail, parts that panic, and ends of all kinds.

use super::*;

#[test]
fn a_write_that_fails_once_is_tried_again_at_once() {
    let bench = Bench::with(|config| config.gate.deadline = Duration::from_secs(600)).connected();
    bench.script.failures.store(1, Ordering::SeqCst);
    bench.say(FORWARD);
    bench.call(|call| call.throttle() == 419);
    bench.event(|event| *event == DriveEvent::State(State::Armed));
    assert!(bench.handle.stop_and_confirm(StopCause::Reload, PATIENCE));
    assert_eq!(bench.handle.snapshot().counters.actuator_faults, 0);
}

#[test]
fn a_write_that_timed_out_is_not_tried_again_with_what_may_be_past() {
    let bench = Bench::with(|config| config.gate.deadline = Duration::from_secs(600)).connected();
    bench.script.failures.store(1, Ordering::SeqCst);
    bench.script.hangs.store(true, Ordering::SeqCst);
    bench.say(FORWARD);
    bench.event(|event| matches!(event, DriveEvent::ActuatorFault(_)));
    assert!(matches!(bench.call(|_| true), Call::Start(_)), "neutral comes first");
    bench.event(|event| *event == DriveEvent::ActuatorRecovered);
    assert!(bench.handle.stop_and_confirm(StopCause::Reload, PATIENCE));
    assert!(bench.calls.try_iter().all(|call| call.throttle() == 375));
}

#[test]
fn a_dead_actuator_latches_and_one_that_answers_again_needs_a_new_command() {
    let bench = Bench::with(|config| config.gate.deadline = Duration::from_secs(600)).driving();
    bench.script.dead.store(true, Ordering::SeqCst);
    bench.say(LEFT);
    let fault = bench.event(|event| matches!(event, DriveEvent::ActuatorFault(_)));
    let said = "the recorder: could not write the throttle channel: no acknowledge";
    assert_eq!(fault, DriveEvent::ActuatorFault(said.into()));
    bench.event(|event| matches!(event, DriveEvent::State(State::Latched { cause: StopCause::ActuatorFault, .. })));
    bench.say(FORWARD);
    bench.script.dead.store(false, Ordering::SeqCst);
    assert_eq!(bench.call(|_| true).throttle(), 375, "neutral comes first");
    bench.event(|event| *event == DriveEvent::ActuatorRecovered);
    bench.event(|event| *event == DriveEvent::State(State::Parked { cause: StopCause::ActuatorFault }));
    bench.until(|| {
        bench.say(FORWARD);
        bench.handle.snapshot().state == State::Armed
    });
    bench.call(|call| call.throttle() == 419);
    assert_eq!(bench.handle.snapshot().counters.actuator_faults, 1);
}

#[test]
fn an_actuator_that_is_missing_at_the_start_is_waited_for() {
    let (sender, events) = mpsc::channel();
    let (calls_sender, calls) = mpsc::channel();
    let script = Arc::new(Script::default());
    script.dead.store(true, Ordering::SeqCst);
    let recorder = Recorder { calls: calls_sender, script: Arc::clone(&script), period: Duration::from_secs(1) };
    let folder = tempfile::tempdir().unwrap();
    let tell = Box::new(move |event| drop(sender.send(event)));
    let drive = Drive::spawn(&config(folder.path()), Box::new(recorder), tell).unwrap();
    let handle = drive.handle();
    let bench = Bench { drive, handle, calls, events, script, folder };
    bench.event(|event| matches!(event, DriveEvent::ActuatorFault(_)));
    bench.script.dead.store(false, Ordering::SeqCst);
    assert!(matches!(bench.call(|_| true), Call::Start(_)));
    bench.event(|event| *event == DriveEvent::ActuatorRecovered);
    bench.drive.shutdown(PATIENCE).unwrap();
}

#[test]
fn a_panic_in_the_actuator_still_puts_it_to_neutral_and_is_told() {
    let bench = Bench::new().connected();
    bench.script.panic_on_motion.store(true, Ordering::SeqCst);
    bench.say(FORWARD);
    bench.event(|event| *event == DriveEvent::Ended(Ended::Panicked { neutral: true }));
    assert_eq!(bench.last_call().throttle(), 375);
    assert!(bench.handle.stop_and_confirm(StopCause::Panic, Duration::ZERO), "a late waiter knows at once");
    assert!(matches!(bench.drive.shutdown(PATIENCE), Err(DriveError::Panicked { neutral: true })));
}

#[test]
fn a_panic_in_the_callback_still_puts_the_car_to_neutral() {
    let tell = Box::new(|event| assert_ne!(event, DriveEvent::State(State::Armed), "as the test wants it"));
    let bench = Bench::build(tempfile::tempdir().unwrap(), |_| {}, mpsc::channel().1, tell);
    bench.handle.link(PEER, LinkEvent::PeerConnected);
    bench.handle.link(PEER, LinkEvent::ChannelOpen);
    bench.call(|call| matches!(call, Call::Start(_)));
    bench.say(FORWARD);
    bench.call(|call| call.throttle() == 419);
    assert_eq!(bench.call(|_| true).throttle(), 375);
    assert!(matches!(bench.drive.shutdown(PATIENCE), Err(DriveError::Panicked { neutral: true })));
}

#[test]
fn a_panic_elsewhere_stops_the_car_for_good_and_is_confirmed() {
    let brake = StopBehaviour::Brake(PATIENCE);
    let bench = Bench::with(|config| config.gate.stop = brake).driving();
    assert!(bench.handle.stop_and_confirm(StopCause::Panic, PATIENCE));
    assert_eq!(bench.last_call().throttle(), 375, "no brake comes before it");
    bench.event(|event| matches!(event, DriveEvent::State(State::Latched { cause: StopCause::Panic, .. })));
    bench.say(br#"{"estop":{"key":"clear","value":1}}"#);
    bench.say(FORWARD);
    assert!(bench.handle.stop_and_confirm(StopCause::Reload, PATIENCE));
    assert!(bench.calls.try_iter().all(|call| call.throttle() == 375));
}

#[test]
fn waiting_for_neutral_on_the_drive_thread_itself_does_not_wait() {
    let handle: Arc<OnceLock<DriveHandle>> = Arc::default();
    let (sender, answers) = mpsc::channel();
    let for_callback = Arc::clone(&handle);
    let tell = Box::new(move |event| {
        if event == DriveEvent::State(State::Armed) {
            let handle = for_callback.get().expect("set before the link is up");
            sender.send(handle.stop_and_confirm(StopCause::Panic, PATIENCE * 10)).unwrap();
        }
    });
    let bench = Bench::build(tempfile::tempdir().unwrap(), |_| {}, mpsc::channel().1, tell);
    handle.set(bench.handle.clone()).unwrap();
    bench.handle.link(PEER, LinkEvent::PeerConnected);
    bench.handle.link(PEER, LinkEvent::ChannelOpen);
    bench.call(|call| matches!(call, Call::Start(_)));
    bench.say(FORWARD);
    assert_eq!(answers.recv_timeout(PATIENCE), Ok(false));
}

#[test]
fn shutdown_leaves_the_car_at_neutral() {
    let bench = Bench::with(|config| config.gate.stop = StopBehaviour::Brake(PATIENCE)).driving();
    bench.drive.shutdown(PATIENCE).unwrap();
    assert_eq!(bench.calls.try_iter().last().map(Call::throttle), Some(375));
    assert_eq!(bench.events.try_iter().last(), Some(DriveEvent::Ended(Ended::Neutral)));
}

#[test]
fn shutdown_tells_when_neutral_is_not_confirmed() {
    let bench = Bench::new().driving();
    bench.script.dead.store(true, Ordering::SeqCst);
    assert!(matches!(bench.drive.shutdown(PATIENCE), Err(DriveError::Unconfirmed)));
}

#[test]
fn shutdown_does_not_wait_for_ever_for_a_stuck_write() {
    let bench = Bench::new().connected();
    let script = Arc::clone(&bench.script);
    let stuck = script.motion.lock().unwrap();
    bench.say(FORWARD);
    bench.until(|| script.attempts.load(Ordering::SeqCst) > 0);
    let within = Duration::from_millis(50);
    assert!(matches!(bench.drive.shutdown(within), Err(DriveError::TimedOut(_))));
    drop(stuck);
    let calls = &bench.calls;
    let last = std::iter::from_fn(|| calls.recv_timeout(PATIENCE).ok()).last();
    assert_eq!(last.map(Call::throttle), Some(375), "it still stops when the write comes back");
}

#[test]
fn dropping_the_drive_stops_the_car() {
    let bench = Bench::with(|config| config.gate.deadline = Duration::from_secs(600)).driving();
    drop(bench.drive);
    assert_eq!(bench.calls.try_iter().last().map(Call::throttle), Some(375));
}

#[test]
fn nobody_waits_for_a_stuck_write_and_the_newest_command_counts_after_it() {
    let bench = Bench::with(|config| config.gate.deadline = Duration::from_secs(600)).connected();
    let stuck = bench.script.motion.lock().unwrap();
    bench.say(FORWARD);
    // Not for so long that the thread would take it for a stall.
    for steps in 0..500 {
        bench.say(format!(r#"{{"motion":{{"key":"forward","value":{}}}}}"#, steps % 20).as_bytes());
        bench.handle.link(PEER, LinkEvent::PeerConnected);
        bench.handle.snapshot();
    }
    bench.say(br#"{"motion":{"key":"forward","value":20}}"#);
    drop(stuck);
    bench.call(|call| call.throttle() == 440);
    assert!(bench.handle.stop_and_confirm(StopCause::Reload, PATIENCE));
    assert!(bench.handle.snapshot().counters.superseded > 400);
}

#[test]
fn a_write_that_fails_twice_stops_the_car_even_if_the_device_answers_right_after() {
    let bench = Bench::with(|config| config.gate.deadline = Duration::from_secs(600)).connected();
    bench.script.failures.store(2, Ordering::SeqCst);
    bench.say(FORWARD);
    bench.event(|event| matches!(event, DriveEvent::ActuatorFault(_)));
    bench.event(|event| *event == DriveEvent::ActuatorRecovered);
    bench.event(|event| *event == DriveEvent::State(State::Parked { cause: StopCause::ActuatorFault }));
    assert!(bench.handle.stop_and_confirm(StopCause::Reload, PATIENCE));
    assert!(bench.calls.try_iter().all(|call| call.throttle() == 375));
}

#[test]
fn a_stop_is_confirmed_only_when_the_brake_is_over() {
    let brake = Duration::from_millis(100);
    let bench = Bench::with(|config| config.gate.stop = StopBehaviour::Brake(brake)).driving();
    let asked = clock();
    assert!(bench.handle.stop_and_confirm(StopCause::EStop, PATIENCE));
    assert!(clock() - asked >= brake);
    let throttles: Vec<_> = bench.calls.try_iter().map(Call::throttle).collect();
    assert_eq!(throttles, [325, 375]);
}

#[test]
fn an_emergency_stop_outlives_the_daemon_until_a_driver_clears_it() {
    let latched =
        |event: &DriveEvent| matches!(event, DriveEvent::State(State::Latched { cause: StopCause::EStop, .. }));
    let bench = Bench::new().driving();
    bench.say(br#"{"estop":{"key":"latch","value":1}}"#);
    bench.event(latched);
    bench.drive.shutdown(PATIENCE).unwrap();

    let again = Bench::in_folder(bench.folder, |_| {});
    again.event(latched);
    again.handle.link(PEER, LinkEvent::PeerConnected);
    again.handle.link(PEER, LinkEvent::ChannelOpen);
    again.call(|call| matches!(call, Call::Start(_)));
    for _ in 0..20 {
        again.say(FORWARD);
    }
    assert!(again.handle.stop_and_confirm(StopCause::Reload, PATIENCE));
    assert!(again.calls.try_iter().all(|call| call.throttle() == 375));
    again.say(br#"{"estop":{"key":"clear","value":1}}"#);
    again.event(|event| matches!(event, DriveEvent::State(State::Parked { .. })));
    again.drive.shutdown(PATIENCE).unwrap();

    let cleared = Bench::in_folder(again.folder, |_| {}).driving();
    cleared.drive.shutdown(PATIENCE).unwrap();
}
