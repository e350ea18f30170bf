//! Lines in and out: their JSON forms, and what is kept of them for one program. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use crate::drive::actuator::Output;
use crate::drive::command::MESSAGE_LIMIT;
use crate::drive::gate::{State, StopCause};

/// A line as it goes out, with its end; shared by all programs.
pub(super) type Line = Arc<[u8]>;

/// Longest line taken from a program, without its end: that of a `stream` message.
pub(super) const LINE_LIMIT: usize = MESSAGE_LIMIT;

/// Lines kept for a program that does not read. The next one disconnects it: what it would read then is past.
pub(super) const OUTGOING_LINES: usize = 64;

/// The topic of the gate's own words on `metric`; a program must not put words in its mouth.
const RESERVED_TOPIC: &str = "drive";

/// What a program asks of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BridgeRequest {
    /// Send this JSON object on `metric`.
    Metric(String),
    /// Show the rear camera, or the front one.
    SelectCamera {
        /// Which.
        rear: bool,
    },
}

/// What a program's line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Ask(BridgeRequest),
    /// Whether the program moves the car.
    Moves(bool),
}

/// Why a line of a program was not taken. Goes back to it as `{"error":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineProblem {
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("unknown line: send {{\"metric\":{{\"<topic>\":{{\"key\":\"…\",\"value\":…}}}}}}")]
    Unknown,
    #[error("unknown camera: send {{\"camera\":{{\"key\":\"select\",\"value\":0}}}}, or 1 for the rear one")]
    UnknownCamera,
    #[error("the topic \"{RESERVED_TOPIC}\" is the gate's own")]
    Reserved,
    #[error("longer than {LINE_LIMIT} bytes")]
    TooLong,
}

/// `{"hello":{…}}`, the first line a program gets.
pub(super) fn hello(pulses: Option<Output>) -> Line {
    let mut hello = json!({ "protocol": 1, "actuator": pulses.is_some() });
    if let Some(neutral) = pulses {
        hello["neutral"] = pulses_of(&neutral);
    }
    line(&json!({ "hello": hello }))
}

/// `{"stream":<message>}`, or `None` for what is not JSON or too long for a message. The message goes out as it came, but on one line.
pub(super) fn stream(message: &[u8]) -> Option<Line> {
    if message.len() > MESSAGE_LIMIT {
        return None;
    }
    serde_json::from_slice::<IgnoredAny>(message).ok()?;
    let mut bytes = Vec::with_capacity(message.len() + 12);
    bytes.extend_from_slice(b"{\"stream\":");
    // Outside strings line ends are only space; inside them JSON has none.
    bytes.extend(message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    bytes.extend_from_slice(b"}\n");
    Some(bytes.into())
}

/// `{"gate":{"state":…,"cause":…}}`.
pub(super) fn gate(state: State) -> Line {
    line(&json!({ "gate": { "state": state.name(), "cause": state.cause().map(StopCause::name) } }))
}

/// `{"output":{…}}`, with the time in seconds of `CLOCK_MONOTONIC`.
pub(super) fn output(output: &Output, monotonic: f64) -> Line {
    let safe = output.safe();
    line(&json!({ "output": {
        "throttle": safe.throttle(),
        "steering": safe.steering(),
        "brake": safe.is_brake(),
        "pulses": pulses_of(output),
        "at": monotonic,
    } }))
}

/// `{"error":"…"}`.
pub(super) fn error(problem: &str) -> Line {
    line(&json!({ "error": problem }))
}

/// What a program's line says.
pub(super) fn word(line: &[u8]) -> Result<Word, LineProblem> {
    let value: Value = serde_json::from_slice(line).map_err(|error| LineProblem::NotJson(error.to_string()))?;
    if let Some(camera) = value.get("camera") {
        return select_camera(camera).map(Word::Ask).ok_or(LineProblem::UnknownCamera);
    }
    let message = value.as_object().filter(|object| object.len() == 1);
    if let Some(moves) = message.and_then(|object| object.get("moves")) {
        return moves.as_bool().map(Word::Moves).ok_or(LineProblem::Unknown);
    }
    let message = message.and_then(|object| object.get("metric"));
    let metric: &Map<String, Value> = message.and_then(Value::as_object).ok_or(LineProblem::Unknown)?;
    if metric.contains_key(RESERVED_TOPIC) {
        return Err(LineProblem::Reserved);
    }
    Ok(Word::Ask(BridgeRequest::Metric(Value::from(metric.clone()).to_string())))
}

fn select_camera(camera: &Value) -> Option<BridgeRequest> {
    let rear = match (camera.get("key")?.as_str()?, camera.get("value")?.as_f64()?) {
        ("select", 0.0) => false,
        ("select", 1.0) => true,
        _ => return None,
    };
    Some(BridgeRequest::SelectCamera { rear })
}

fn pulses_of(output: &Output) -> Value {
    let pulses = output.pulses();
    json!({ "throttle": pulses.throttle.ticks(), "steering": pulses.steering.ticks() })
}

fn line(value: &Value) -> Line {
    format!("{value}\n").into_bytes().into()
}

/// Bytes of one program until they are lines.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    partial: Vec<u8>,
}

impl Incoming {
    /// Takes bytes as they were read, and hands each whole line to `take`. Empty lines are nothing.
    ///
    /// # Errors
    /// [`LineProblem::TooLong`]: where the next line begins is not known any more.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), LineProblem> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = (&bytes[..end], &bytes[end + 1..]);
            self.keep(head)?;
            if !self.partial.trim_ascii().is_empty() {
                take(&self.partial);
            }
            self.partial.clear();
            bytes = tail;
        }
        self.keep(bytes)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), LineProblem> {
        if self.partial.len() + bytes.len() > LINE_LIMIT {
            return Err(LineProblem::TooLong);
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

/// A program did not read for so long that its queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSlow;

/// What is still to be written to one program. Of the gate's outputs only the newest is kept: an old one must not move
/// anything.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    begun: Option<(Line, usize)>,
    lines: VecDeque<Line>,
    output: Option<Line>,
}

impl Outgoing {
    /// Adds a line.
    ///
    /// # Errors
    /// [`TooSlow`] when [`OUTGOING_LINES`] are waiting.
    pub(super) fn push(&mut self, line: Line) -> Result<(), TooSlow> {
        if self.lines.len() == OUTGOING_LINES {
            return Err(TooSlow);
        }
        self.lines.push_back(line);
        Ok(())
    }

    /// Takes the place of an output that is still waiting, and says whether one was.
    pub(super) fn set_output(&mut self, line: Line) -> bool {
        self.output.replace(line).is_some()
    }

    /// What to write next.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        if self.begun.is_none() {
            // What the gate says goes before what it lets through: a stop is known with its cause.
            self.begun = self.lines.pop_front().or_else(|| self.output.take()).map(|line| (line, 0));
        }
        self.begun.as_ref().map(|(line, written)| &line[*written..])
    }

    /// This much of [`Outgoing::next`] was written.
    pub(super) fn written(&mut self, bytes: usize) {
        if let Some((line, written)) = &mut self.begun {
            *written += bytes;
            if *written >= line.len() {
                self.begun = None;
            }
        }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.begun.is_none() && self.lines.is_empty() && self.output.is_none()
    }
}
