//! What a viewer sends on `stream`: what the hub must know of a message to decide, and the text to pass on unchanged.
//!
//! Beside the reference's `{"<topic>":{"key":"<name>","value":<number>}}` there are two extension fields, beside the
//! topic (as our viewer has them) or beside the value: `seq` (integer, counting up within a session) and `session`
//! (string of at most 64 characters, new for each page load); and the topics `estop` (`latch`, `clear`) and `wheel`
//! (`take`, `release`; for the hub alone).

use serde_json::{Map, Value};

/// Largest message passed on, in bytes; the daemon's own limit.
pub const MAX_BYTES: usize = 4 * 1024;
/// Longest `session` kept, in characters.
const MAX_SESSION_CHARS: usize = 64;
/// Longest topic or key kept, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// One message of a viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamMessage {
    /// As received.
    pub text: String,
    /// What it asks for.
    pub kind: Kind,
    /// Which driver sent it and in which order, when it says so.
    pub stamp: Stamp,
}

/// The extension fields that tell drivers and their messages apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The driver's page load.
    pub session: Option<String>,
    /// Counts up within a session.
    pub seq: Option<u64>,
}

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The wheel: the hub's own business, never passed on.
    Wheel(WheelRequest),
    /// The emergency stop: anyone may ask for it.
    EmergencyStop,
    /// Motion on one axis.
    Motion {
        /// Which axis.
        axis: Axis,
        /// Whether it asks for standstill or centre.
        neutral: bool,
    },
    /// Anything else, by topic and key.
    Other {
        /// The topic.
        topic: String,
        /// The key.
        key: String,
    },
}

/// The two axes of motion: within one, a newer command replaces an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// `forward` and `back`.
    Throttle,
    /// `left` and `right`.
    Steering,
}

/// What a viewer wants of the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WheelRequest {
    /// To drive.
    Take,
    /// To let someone else drive.
    Release,
}

/// Why a message is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamMessageError {
    /// Longer than [`MAX_BYTES`].
    #[error("longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Not a JSON object.
    #[error("not a JSON object")]
    NotAnObject,
    /// No topic, several, or one that is no `{"key":…,"value":…}`.
    #[error("not one topic with a key and a value")]
    NoTopic,
}

impl StreamMessage {
    /// Reads one message.
    ///
    /// # Errors
    /// [`StreamMessageError`] for what no car could understand; the message is then dropped.
    pub fn parse(text: String) -> Result<Self, StreamMessageError> {
        if text.len() > MAX_BYTES {
            return Err(StreamMessageError::TooLong);
        }
        let Ok(Value::Object(fields)) = serde_json::from_str(&text) else {
            return Err(StreamMessageError::NotAnObject);
        };
        let asked = emergency_stop(&fields).or_else(|| only_topic(&fields));
        let (kind, body) = asked.ok_or(StreamMessageError::NoTopic)?;
        Ok(Self { kind, stamp: Stamp::of(&fields, body), text })
    }
}

impl Stamp {
    /// Takes over what a newer message says of its sender; one that says nothing changes nothing.
    pub fn go_on_with(&mut self, newer: &Self) {
        if newer.session.is_some() || newer.seq.is_some() {
            self.clone_from(newer);
        }
    }

    fn of(fields: &Map<String, Value>, body: &Value) -> Self {
        let field = |name| fields.get(name).or_else(|| body.get(name));
        let session = field("session").and_then(Value::as_str);
        let session = session.filter(|session| session.chars().count() <= MAX_SESSION_CHARS).map(str::to_owned);
        Self { session, seq: field("seq").and_then(Value::as_u64) }
    }
}

/// The two messages that stop a car on behalf of a driver who has gone: throttle first, then steering. They carry on
/// that driver's count, so a car that drops repeated or foreign messages takes them for the driver's own. `gone` tells
/// rtcpub's own car that nobody has let go of the stick: what is held all the while must not start it again.
pub fn neutral(stamp: &Stamp) -> [StreamMessage; 2] {
    [("forward", Axis::Throttle, 1), ("left", Axis::Steering, 2)].map(|(key, axis, step)| {
        let stamp = Stamp { session: stamp.session.clone(), seq: stamp.seq.map(|seq| seq.saturating_add(step)) };
        let mut fields = Map::new();
        fields.insert("motion".to_owned(), serde_json::json!({"key": key, "value": 0, "gone": 1}));
        if let Some(seq) = stamp.seq {
            fields.insert("seq".to_owned(), seq.into());
        }
        if let Some(session) = &stamp.session {
            fields.insert("session".to_owned(), session.as_str().into());
        }
        let text = Value::Object(fields).to_string();
        StreamMessage { text, kind: Kind::Motion { axis, neutral: true }, stamp }
    })
}

/// An emergency stop, whatever is said beside it.
fn emergency_stop(fields: &Map<String, Value>) -> Option<(Kind, &Value)> {
    let body = fields.get("estop")?;
    (body.get("key")? == "latch").then_some((Kind::EmergencyStop, body))
}

/// What the only topic asks for, and its body.
fn only_topic(fields: &Map<String, Value>) -> Option<(Kind, &Value)> {
    let mut topics = fields.iter().filter(|(name, _)| !matches!(name.as_str(), "seq" | "session"));
    let (topic, body) = topics.next()?;
    if topics.next().is_some() {
        return None;
    }
    kind_of(topic, body).map(|kind| (kind, body))
}

fn kind_of(topic: &str, body: &Value) -> Option<Kind> {
    let key = body.get("key")?.as_str()?;
    let value = body.get("value")?;
    if topic.len() > MAX_NAME_BYTES || key.len() > MAX_NAME_BYTES {
        return None;
    }
    let motion = |axis| Kind::Motion { axis, neutral: value.as_f64().is_some_and(|value| value <= 0.0) };
    Some(match (topic, key) {
        ("wheel", "take") => Kind::Wheel(WheelRequest::Take),
        ("wheel", "release") => Kind::Wheel(WheelRequest::Release),
        ("wheel", _) => return None,
        ("motion", "forward" | "back") => motion(Axis::Throttle),
        ("motion", "left" | "right") => motion(Axis::Steering),
        _ => Kind::Other { topic: topic.to_owned(), key: key.to_owned() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Result<Kind, StreamMessageError> {
        StreamMessage::parse(text.to_owned()).map(|message| message.kind)
    }

    #[test]
    fn messages_are_told_apart() {
        let other = |topic: &str, key: &str| Kind::Other { topic: topic.into(), key: key.into() };
        let motion = |axis, neutral| Kind::Motion { axis, neutral };
        let rows = [
            (r#"{"motion":{"key":"forward","value":12}}"#, motion(Axis::Throttle, false)),
            (r#"{"motion":{"key":"back","value":0.5}}"#, motion(Axis::Throttle, false)),
            (r#"{"motion":{"key":"forward","value":0}}"#, motion(Axis::Throttle, true)),
            (r#"{"motion":{"key":"left","value":-3}}"#, motion(Axis::Steering, true)),
            (r#"{"motion":{"key":"right","value":20},"seq":1,"session":"a"}"#, motion(Axis::Steering, false)),
            (r#"{"seq":1,"motion":{"key":"right","value":"20"}}"#, motion(Axis::Steering, false)),
            (r#"{"motion":{"key":"sideways","value":1}}"#, other("motion", "sideways")),
            (r#"{"speed":{"key":"maxSpeed","value":420}}"#, other("speed", "maxSpeed")),
            (r#"{"estop":{"key":"latch","value":1}}"#, Kind::EmergencyStop),
            (r#"{"estop":{"key":"latch","because":"dog"},"light":{"key":"on","value":1}}"#, Kind::EmergencyStop),
            (r#"{"estop":{"key":"clear","value":1}}"#, other("estop", "clear")),
            (r#"{"wheel":{"key":"take","value":1}}"#, Kind::Wheel(WheelRequest::Take)),
            (r#"{"wheel":{"key":"release","value":1}}"#, Kind::Wheel(WheelRequest::Release)),
        ];
        for (text, expected) in rows {
            assert_eq!(kind(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_no_car_understands_is_refused() {
        let rows = [
            ("", StreamMessageError::NotAnObject),
            ("[1]", StreamMessageError::NotAnObject),
            ("{", StreamMessageError::NotAnObject),
            ("{}", StreamMessageError::NoTopic),
            (r#"{"seq":1,"session":"a"}"#, StreamMessageError::NoTopic),
            (r#"{"motion":5}"#, StreamMessageError::NoTopic),
            (r#"{"motion":{"key":5,"value":1}}"#, StreamMessageError::NoTopic),
            (r#"{"motion":{"key":"forward"}}"#, StreamMessageError::NoTopic),
            (r#"{"wheel":{"key":"steal","value":1}}"#, StreamMessageError::NoTopic),
            (
                r#"{"motion":{"key":"left","value":1},"speed":{"key":"maxSpeed","value":1}}"#,
                StreamMessageError::NoTopic,
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(kind(text), Err(expected), "{text}");
        }
        let long = format!(r#"{{"x":{{"key":"{}","value":1}}}}"#, "k".repeat(MAX_BYTES));
        assert_eq!(kind(&long), Err(StreamMessageError::TooLong));
        let long_key = format!(r#"{{"x":{{"key":"{}","value":1}}}}"#, "k".repeat(MAX_NAME_BYTES + 1));
        assert_eq!(kind(&long_key), Err(StreamMessageError::NoTopic));
    }

    #[test]
    fn stamps_are_read_and_nonsense_in_them_is_no_stamp() {
        let stamp = |text: &str| StreamMessage::parse(text.to_owned()).expect("a message").stamp;
        let body = r#""motion":{"key":"left","value":1}"#;
        assert_eq!(
            stamp(&format!(r#"{{{body},"seq":17,"session":"k3"}}"#)),
            Stamp { session: Some("k3".into()), seq: Some(17) }
        );
        assert_eq!(
            stamp(r#"{"motion":{"key":"left","value":1,"seq":17,"session":"k3"}}"#),
            Stamp { session: Some("k3".into()), seq: Some(17) },
            "beside the value"
        );
        assert_eq!(stamp(&format!(r#"{{{body},"seq":-1,"session":5}}"#)), Stamp::default());
        assert_eq!(stamp(&format!(r#"{{{body},"session":"{}"}}"#, "s".repeat(65))), Stamp::default());
    }

    #[test]
    fn a_departed_driver_is_stopped_under_their_own_name() {
        let stamp = Stamp { session: Some("k3".into()), seq: Some(17) };
        let texts = neutral(&stamp).map(|message| message.text);
        assert_eq!(texts[0], r#"{"motion":{"gone":1,"key":"forward","value":0},"seq":18,"session":"k3"}"#);
        assert_eq!(texts[1], r#"{"motion":{"gone":1,"key":"left","value":0},"seq":19,"session":"k3"}"#);
        let plain = neutral(&Stamp::default()).map(|message| message.text);
        assert_eq!(plain[0], r#"{"motion":{"gone":1,"key":"forward","value":0}}"#);
        for message in neutral(&stamp) {
            assert_eq!(StreamMessage::parse(message.text.clone()), Ok(message));
        }
    }
}
