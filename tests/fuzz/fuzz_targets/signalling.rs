//! Any text frame is a message, an unusable answer or junk; what is written is read back as what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rtcpub::signal::spider::{Incoming, Message, parse};

fuzz_target!(|text: &str| {
    // A candidate is normalised on the way in, so it may differ from what was written.
    if let Incoming::Message(message) = parse(text)
        && !matches!(message, Message::Candidate2(_))
    {
        assert_eq!(parse(&message.to_text()), Incoming::Message(message));
    }
});
