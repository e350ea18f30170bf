//! An emergency stop in a message that is no good otherwise. Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::{Command, EStop, Message, Object, Session};

/// What has to be readable, and what is used where it is.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    estop: Object<Body<'a>>,
    seq: Option<Value>,
    session: Option<Value>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    seq: Option<Value>,
    session: Option<Value>,
}

/// The emergency stop that a rejected message asks for all the same: a value of any kind or none, fields nobody knows, another
/// topic beside it, a bad number or name. Whoever presses it means it.
pub(super) fn find(bytes: &[u8]) -> Option<Message> {
    let Envelope { estop: Object(body), seq, session } = serde_json::from_slice(bytes).ok()?;
    if body.key != "latch" {
        return None;
    }
    let number = |seq: Option<Value>| seq.as_ref().and_then(Value::as_u64);
    let name = |session: Option<Value>| session.as_ref().and_then(Value::as_str).and_then(Session::new);
    Some(Message {
        command: Command::EStop(EStop::Latch),
        // Of two the later: what is said before it must not lift it.
        seq: number(seq).max(number(body.seq)),
        session: name(session).or(name(body.session)),
    })
}
