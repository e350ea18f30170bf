//! Any bytes of the `stream` channel are a command, a topic of someone else's, or a rejection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rtcpub::drive::command::{Command, Motion, Parsed, Steering, Throttle, VALUE_LIMIT, parse};

fuzz_target!(|bytes: &[u8]| {
    let Ok(Parsed::Drive(message)) = parse(bytes) else { return };
    let steps = match message.command {
        Command::Motion(Motion::Throttle(Throttle::Forward(steps) | Throttle::Back(steps))) => steps,
        Command::Motion(Motion::Steering(Steering::Left(steps) | Steering::Right(steps))) => steps,
        _ => return,
    };
    assert!(steps.get() > 0.0 && steps.get() <= VALUE_LIMIT, "{message:?}");
});
