//! What may be waited for, and for how long.

use super::*;

#[test]
fn the_way_of_a_command_is_timed_from_its_arrival_to_the_write() {
    let bench = Bench::with(|config| config.gate.deadline = Duration::from_secs(600)).connected();
    assert_eq!(bench.handle.control_latency(), None);
    let on_its_way = Duration::from_millis(40);
    // What arrived before the actuator was ready moves nothing.
    std::thread::sleep(2 * on_its_way);
    bench.handle.message(FORWARD, clock() - on_its_way);
    bench.call(|call| call.throttle() == 419);
    bench.say(FORWARD);
    assert!(bench.handle.stop_and_confirm(StopCause::Reload, PATIENCE));
    let told = bench.handle.control_latency().expect("a command was carried out");
    assert_eq!(told.commands, 1, "the second changed nothing, so nothing was written");
    assert!(told.max >= on_its_way && told.p50 == told.max, "{told:?}");
}

#[test]
fn a_stop_goes_its_whole_way_while_threads_that_cannot_run_hold_every_lock() {
    let brake = StopBehaviour::Brake(Duration::from_millis(50));
    let bench = Bench::with(|config| (config.gate.stop, config.gate.deadline) = (brake, PATIENCE)).driving();
    bench.handle.inbox.while_locked(|| {
        bench.handle.stop(StopCause::EStop);
        assert_eq!(bench.call(|_| true).throttle(), 325, "the brake pulse");
        assert_eq!(bench.call(|_| true).throttle(), 375);
    });
    bench.event(|event| matches!(event, DriveEvent::State(State::Latched { cause: StopCause::EStop, .. })));
}

#[test]
fn a_thread_that_was_held_up_on_its_way_knows_as_well_as_one_that_overslept() {
    let bench = Bench::with(|config| config.gate.deadline = Duration::from_secs(600)).connected();
    let stuck = bench.script.motion.lock().unwrap();
    bench.say(FORWARD);
    bench.until(|| bench.script.attempts.load(Ordering::SeqCst) > 0);
    std::thread::sleep(Duration::from_millis(300));
    drop(stuck);
    bench.call(|call| call.throttle() == 419);
    assert_eq!(bench.call(|_| true).throttle(), 375);
    bench.event(|event| *event == DriveEvent::State(State::Parked { cause: StopCause::Stalled }));
}
