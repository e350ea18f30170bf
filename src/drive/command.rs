//! Bytes of a `stream` message → a typed command. Pure.
//!
//! # What is understood
//! Every message is one JSON object with one topic (`shared/reference/spider-protocol.md`); V counts the user
//! interface's steps, fractions allowed, and a V past the step count means full:
//!
//! | message | meaning |
//! |---|---|
//! | `{"motion":{"key":"forward","value":V}}` | throttle forward; V ≤ 0 stops |
//! | `{"motion":{"key":"back","value":V}}` | reverse; V ≤ 0 stops |
//! | `{"motion":{"key":"left","value":V}}`, `"right"` | steering; V ≤ 0 is straight ahead |
//! | either with V ≤ 0 and `"gone":1` beside it | ours, the hub's in a driver's name: he is gone or out of reach. Stop; what his stick does is not known |
//! | `{"speed":{"key":"maxSpeed","value":N}}` | the highest forward pulse, a whole number of ticks |
//! | `{"estop":{"key":"latch","value":1}}` | ours: stop and stay stopped until cleared, whatever the value, and whatever else is said |
//! | `{"estop":{"key":"clear","value":1}}` | ours: the driver lifts the emergency stop |
//!
//! Any of them may carry two more fields, ours, beside `key` and `value` or beside the topic:
//! - `"seq": n` (0 … 2⁶⁴−1): counts a session's messages up, so that one which comes late or twice is dropped;
//! - `"session": "id"` (1 … 32 visible ASCII characters): the driver's own random name, so that two never drive at once.
//!
//! Everything else is a [`Rejection`] or, with a topic that is not the drive's, [`Parsed::NotForDrive`].

mod latch;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

/// Longest message that is looked at, in bytes.
pub const MESSAGE_LIMIT: usize = 4 * 1024;

/// Largest value taken as a number of steps or ticks, either way from 0: more than any step count (they are 16-bit).
/// What lies beyond is a fault of the sender, not a wish to go fast.
pub const VALUE_LIMIT: f64 = u16::MAX as f64;

/// A message of the `stream` channel.
#[derive(Clone, Debug, PartialEq)]
pub enum Parsed {
    /// For the drive.
    Drive(Message),
    /// A well-formed message with another topic, for whoever else knows it.
    NotForDrive(Topic),
}

/// One command, and who says so in which order, where the sender tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Message {
    /// What is asked for.
    pub command: Command,
    /// Its place among the session's messages.
    pub seq: Option<u64>,
    /// The driver; `None` is the one anonymous driver.
    pub session: Option<Session>,
}

impl Message {
    /// Whether nothing is lost when the earlier of two messages is left out: it is the same driver's, on the same matter.
    pub(super) fn makes_void(&self, earlier: &Self) -> bool {
        let same_matter = match (self.command, earlier.command) {
            (Command::Motion(Motion::Throttle(_)), Command::Motion(Motion::Throttle(_)))
            | (Command::Motion(Motion::Steering(_)), Command::Motion(Motion::Steering(_)))
            | (Command::MaxSpeed(_), Command::MaxSpeed(_)) => true,
            (Command::EStop(later), Command::EStop(earlier)) => later == earlier,
            (Command::Gone, Command::Gone) => true,
            _ => false,
        };
        same_matter && self.session == earlier.session && self.seq >= earlier.seq
    }

    /// Whether what its driver said before must not be made void by what he says after: whether he held his stick when he
    /// was lost decides what moves the car next.
    pub(super) fn divides(&self, earlier: &Self) -> bool {
        self.command == Command::Gone && self.session == earlier.session
    }
}

/// What a driver may ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command {
    /// Move, turn, or stop doing so.
    Motion(Motion),
    /// Make this the highest forward pulse, in ticks.
    MaxSpeed(u16),
    /// Latch or lift the emergency stop.
    EStop(EStop),
    /// Stop, for the driver is gone or out of reach. Unlike a [`Throttle::Stop`] it does not come from his stick.
    Gone,
}

/// A command for one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Motion {
    /// Along.
    Throttle(Throttle),
    /// Around.
    Steering(Steering),
}

/// Where the throttle stick is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Throttle {
    /// Ahead by so many steps.
    Forward(Steps),
    /// Backwards by so many steps.
    Back(Steps),
    /// At neutral.
    Stop,
}

/// Where the steering is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Steering {
    /// To the left by so many steps.
    Left(Steps),
    /// To the right by so many steps.
    Right(Steps),
    /// Straight ahead.
    Centre,
}

/// The emergency stop's two messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EStop {
    /// Stop, and stay stopped.
    Latch,
    /// Allow driving again.
    Clear,
}

/// A deflection on the user interface's scale: above 0, at most [`VALUE_LIMIT`].
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Steps(f64);

impl Steps {
    /// So many steps; `None` for what is no deflection (0, less, or not a number) and for what is beyond all scales.
    pub fn new(steps: f64) -> Option<Self> {
        (steps > 0.0 && steps <= VALUE_LIMIT).then_some(Self(steps))
    }

    /// The number of steps.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// A driver's name for himself: 1 … [`Session::LIMIT`] visible ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Session {
    bytes: [u8; Self::LIMIT],
    length: u8,
}

impl Session {
    /// Longest session id, in characters.
    pub const LIMIT: usize = 32;

    /// A session id, or `None` when it is empty, too long or holds anything but visible ASCII.
    pub fn new(id: &str) -> Option<Self> {
        if id.is_empty() || id.len() > Self::LIMIT || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut bytes = [0; Self::LIMIT];
        bytes[..id.len()].copy_from_slice(id.as_bytes());
        Some(Self { bytes, length: u8::try_from(id.len()).ok()? })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bytes[..usize::from(self.length)].escape_ascii())
    }
}

/// A topic that is not the drive's, as written but for what is past 32 characters or would upset a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic(String);

impl Topic {
    fn new(name: &str) -> Self {
        Self(name.chars().take(32).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a message is not obeyed. What it says cannot be trusted, so it neither moves the car nor keeps it moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    /// Longer than [`MESSAGE_LIMIT`].
    #[error("longer than {MESSAGE_LIMIT} bytes")]
    TooLong,
    /// Not JSON, or numbers too large for it.
    #[error("not JSON")]
    Malformed,
    /// JSON of another form: a field missing, of the wrong type, twice, or unknown.
    #[error("not of the form {{\"<topic>\":{{\"key\":\"<name>\",\"value\":<number>}}}}")]
    Shape,
    /// A key the topic does not have.
    #[error("an unknown key")]
    UnknownKey,
    /// A value nobody means.
    #[error("a value out of range")]
    OutOfRange,
    /// A session id that is empty, too long or unprintable.
    #[error("a bad session id")]
    BadSession,
    /// A topic nobody wanted: see [`Parsed::NotForDrive`].
    #[error("an unknown topic")]
    UnknownTopic,
}

impl Rejection {
    /// Every kind, in the order of the enum.
    pub const ALL: [Self; 7] = [
        Self::TooLong,
        Self::Malformed,
        Self::Shape,
        Self::UnknownKey,
        Self::OutOfRange,
        Self::BadSession,
        Self::UnknownTopic,
    ];
}

/// Understands one message.
///
/// # Errors
/// A [`Rejection`] for whatever is not one of the messages above. An emergency stop is not rejected for its form.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Rejection> {
    if bytes.len() > MESSAGE_LIMIT {
        return Err(Rejection::TooLong);
    }
    parse_in_form(bytes).or_else(|rejection| latch::find(bytes).map(Parsed::Drive).ok_or(rejection))
}

fn parse_in_form(bytes: &[u8]) -> Result<Parsed, Rejection> {
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Rejection::Shape,
        _ => Rejection::Malformed,
    })?;
    let (topic, body) = match envelope.content {
        Content::Foreign(name) => return Ok(Parsed::NotForDrive(Topic::new(&name))),
        Content::Drive(topic, body) => (topic, body),
    };
    let command = unless_gone(command(topic, &body.key, body.value)?, body.gone)?;
    let session = only_one(envelope.session, body.session)?
        .map(|id| Session::new(&id).ok_or(Rejection::BadSession))
        .transpose()?;
    let seq = only_one(envelope.seq, body.seq)?;
    Ok(Parsed::Drive(Message { command, seq, session }))
}

fn command(topic: DriveTopic, key: &str, value: f64) -> Result<Command, Rejection> {
    if !value.is_finite() || value.abs() > VALUE_LIMIT {
        return Err(Rejection::OutOfRange);
    }
    let steps = Steps::new(value);
    let throttle = |to: fn(Steps) -> Throttle| Command::Motion(Motion::Throttle(steps.map_or(Throttle::Stop, to)));
    let steering = |to: fn(Steps) -> Steering| Command::Motion(Motion::Steering(steps.map_or(Steering::Centre, to)));
    match (topic, key) {
        (DriveTopic::Motion, "forward") => Ok(throttle(Throttle::Forward)),
        (DriveTopic::Motion, "back") => Ok(throttle(Throttle::Back)),
        (DriveTopic::Motion, "left") => Ok(steering(Steering::Left)),
        (DriveTopic::Motion, "right") => Ok(steering(Steering::Right)),
        (DriveTopic::Speed, "maxSpeed") => whole(value).map(Command::MaxSpeed),
        (DriveTopic::EStop, "latch") => Ok(Command::EStop(EStop::Latch)),
        (DriveTopic::EStop, "clear") if value == 1.0 => Ok(Command::EStop(EStop::Clear)),
        (DriveTopic::EStop, "clear") => Err(Rejection::OutOfRange),
        _ => Err(Rejection::UnknownKey),
    }
}

/// What the field `gone` makes of a command.
fn unless_gone(command: Command, gone: Option<u64>) -> Result<Command, Rejection> {
    match (gone, command) {
        (None, command) => Ok(command),
        (Some(_), Command::MaxSpeed(_) | Command::EStop(_)) => Err(Rejection::Shape),
        (Some(0), motion) => Ok(motion),
        (Some(1), Command::Motion(Motion::Throttle(Throttle::Stop) | Motion::Steering(Steering::Centre))) => {
            Ok(Command::Gone)
        }
        (Some(_), _) => Err(Rejection::OutOfRange),
    }
}

fn whole(value: f64) -> Result<u16, Rejection> {
    if value < 0.0 || value.fract() != 0.0 {
        return Err(Rejection::OutOfRange);
    }
    // Exact: whole, and within 0 … 65535 by the range check before.
    Ok(value as u16)
}

/// The two places of an extension field; a message that fills both is ambiguous.
fn only_one<T>(outer: Option<T>, inner: Option<T>) -> Result<Option<T>, Rejection> {
    match (outer, inner) {
        (Some(_), Some(_)) => Err(Rejection::Shape),
        (outer, inner) => Ok(outer.or(inner)),
    }
}

#[derive(Clone, Copy)]
enum DriveTopic {
    Motion,
    Speed,
    EStop,
}

struct Envelope<'a> {
    content: Content<'a>,
    seq: Option<u64>,
    session: Option<Cow<'a, str>>,
}

enum Content<'a> {
    Drive(DriveTopic, Body<'a>),
    Foreign(Cow<'a, str>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    value: f64,
    gone: Option<u64>,
    seq: Option<u64>,
    #[serde(borrow)]
    session: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A value that must be written as an object: serde's derive alone would take an array of the fields in order as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one topic")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut content, mut seq, mut session) = (None, None, None);
        while let Some(Text(name)) = map.next_key()? {
            match name.as_ref() {
                "seq" => set_once(&mut seq, map.next_value::<u64>()?)?,
                "session" => set_once(&mut session, map.next_value::<Text<'de>>()?.0)?,
                "motion" => {
                    set_once(&mut content, Content::Drive(DriveTopic::Motion, map.next_value::<Object<_>>()?.0))?
                }
                "speed" => set_once(&mut content, Content::Drive(DriveTopic::Speed, map.next_value::<Object<_>>()?.0))?,
                "estop" => set_once(&mut content, Content::Drive(DriveTopic::EStop, map.next_value::<Object<_>>()?.0))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    set_once(&mut content, Content::Foreign(name))?;
                }
            }
        }
        let content = content.ok_or_else(|| A::Error::custom("no topic"))?;
        Ok(Envelope { content, seq, session })
    }
}

fn set_once<T, E: serde::de::Error>(slot: &mut Option<T>, value: T) -> Result<(), E> {
    if slot.replace(value).is_some() {
        return Err(E::custom("more than one topic, or a field twice"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
