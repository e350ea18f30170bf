//! The old all-cars file (`calib_param.json`, `shared/reference/vehicle.md`) → calibrations. Pure.
//!
//! ```json
//! {"SpiderCar6": {"CAR_NAME": "…", "ChannelID": "…",
//!   "Calibration": {"THROTTLE_ZERO": 375, "FORWARD_ZERO": 399, "THROTTLE_MIN": 300, "THROTTLE_MAX": 440,
//!                   "STEERING_ZERO": 399, "STEERING_MIN": 319, "STEERING_MAX": 479},
//!   "UI": {"THROTTLE_STEP": 20, "STEERING_STEP": 20}}}
//! ```

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::drive::calibration_file::{KEYS, Key, pulse};
use crate::drive::settings::{Calibration, Pulse, RawCalibration};

/// Highest step count taken; what a channel file may say.
const MAX_STEPS: u16 = 1000;

/// Longest channel id taken for a file's name.
const MAX_ID: usize = 64;

/// One car of the old file, known to make sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Car {
    pub(super) name: String,
    pub(super) channel: String,
    pub(super) calibration: Calibration,
}

/// One thing wrong in the old file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportProblem {
    /// The car, as the file names it.
    pub car: String,
    /// The key, e.g. `Calibration.THROTTLE_ZERO`.
    pub key: String,
    /// What stands there; `None` when nothing does.
    pub value: Option<String>,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for ImportProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_deref().unwrap_or("(missing)");
        write!(f, "{}: {} = {value}: {}", self.car, self.key, self.remedy)
    }
}

/// What was read out of the old file.
#[derive(Debug, Default)]
pub(super) struct OldFile {
    pub(super) cars: Vec<Car>,
    pub(super) problems: Vec<ImportProblem>,
    /// Keys that mean nothing to us, as `car: key`.
    pub(super) ignored: Vec<String>,
}

/// Reads the old file. When there are problems, all of them are told, of all cars.
///
/// # Errors
/// It is no JSON.
pub(super) fn parse(text: &str) -> Result<OldFile, serde_json::Error> {
    let mut file = OldFile::default();
    match serde_json::from_str(text)? {
        Node::Object(cars) if !cars.is_empty() => file.read_cars(&cars),
        other => {
            let remedy = "must be an object of cars: {\"NAME\": {\"ChannelID\": …, \"Calibration\": {…}, \"UI\": {…}}}";
            file.problem("(file)", "(all)", Some(&other), remedy);
        }
    }
    Ok(file)
}

impl OldFile {
    fn read_cars(&mut self, cars: &[(String, Node)]) {
        let mut channels: Vec<(&str, String)> = Vec::new();
        for (index, (name, node)) in cars.iter().enumerate() {
            if cars[..index].iter().any(|(other, _)| other == name) {
                self.problem(name, "(name)", None, "two cars have this name: rename one");
            }
            let Node::Object(car) = node else {
                self.problem(
                    name,
                    "(all)",
                    Some(node),
                    "must be an object: {\"ChannelID\": …, \"Calibration\": {…}, \"UI\": {…}}",
                );
                continue;
            };
            let channel = self.channel(name, car);
            if let Some(channel) = &channel {
                if let Some((other, _)) = channels.iter().find(|(_, taken)| taken == channel) {
                    let remedy = format!("{other} has the same: each car needs a channel of its own");
                    self.problem(name, "ChannelID", find(car, "ChannelID"), &remedy);
                }
                channels.push((name, channel.clone()));
            }
            let calibration = self.calibration(name, car);
            if let (Some(channel), Some(calibration)) = (channel, calibration) {
                self.cars.push(Car { name: name.clone(), channel, calibration });
            }
        }
    }

    fn channel(&mut self, name: &str, car: &[(String, Node)]) -> Option<String> {
        self.check_keys(name, "", car, &["CAR_NAME", "ChannelID", "Calibration", "UI"]);
        match find(car, "ChannelID") {
            Some(Node::Scalar(Value::String(id))) if is_file_name(id) => Some(id.clone()),
            other => {
                let remedy = "must be the channel's id, a string such as \"c40hipepjh65aeq6ndj0\" (it names the file: \
                              letters, digits, - and _)";
                self.problem(name, "ChannelID", other, remedy);
                None
            }
        }
    }

    fn calibration(&mut self, name: &str, car: &[(String, Node)]) -> Option<Calibration> {
        let problems_before = self.problems.len();
        let pulses = self.section(name, car, "Calibration", &KEYS[..7]);
        let steps = self.section(name, car, "UI", &KEYS[7..]);
        let pulses: Vec<Option<Pulse>> = KEYS[..7].iter().map(|key| self.pulse(name, pulses, key)).collect();
        let steps: Vec<Option<u16>> = KEYS[7..].iter().map(|key| self.steps(name, steps, key)).collect();

        // An axis whose pulses are not all there is left out of the comparison: its problems are told already.
        let complete = |axis: &[Option<Pulse>]| axis.iter().copied().collect::<Option<Vec<_>>>();
        let throttle = complete(&pulses[..4]).unwrap_or_else(|| plausible([1, 1, 0, 2]));
        let steering = complete(&pulses[4..]).unwrap_or_else(|| plausible([1, 0, 2]));
        let raw = RawCalibration {
            throttle_zero: throttle[0],
            forward_zero: throttle[1],
            throttle_min: throttle[2],
            throttle_max: throttle[3],
            steering_zero: steering[0],
            steering_min: steering[1],
            steering_max: steering[2],
            throttle_steps: steps[0].unwrap_or(1),
            steering_steps: steps[1].unwrap_or(1),
        };
        match Calibration::new(raw) {
            Ok(calibration) => (self.problems.len() == problems_before).then_some(calibration),
            Err(problems) => {
                for problem in problems {
                    let key = KEYS.iter().find(|key| key.name == problem.key).map_or(problem.key, |key| key.old);
                    let value = Some(problem.value.to_string());
                    let remedy = in_old_names(&problem.remedy);
                    self.problems.push(ImportProblem {
                        car: name.into(),
                        key: format!("Calibration.{key}"),
                        value,
                        remedy,
                    });
                }
                None
            }
        }
    }

    /// The keys of one of a car's objects.
    fn section<'a>(
        &mut self,
        name: &str,
        car: &'a [(String, Node)],
        section: &str,
        keys: &[Key],
    ) -> Option<&'a [(String, Node)]> {
        match find(car, section) {
            Some(Node::Object(entries)) => {
                let known: Vec<&str> = keys.iter().map(|key| key.old).collect();
                self.check_keys(name, section, entries, &known);
                Some(entries)
            }
            other => {
                let known: Vec<&str> = keys.iter().map(|key| key.old).collect();
                self.problem(name, section, other, &format!("must be an object with {}", known.join(", ")));
                None
            }
        }
    }

    fn check_keys(&mut self, name: &str, section: &str, entries: &[(String, Node)], known: &[&str]) {
        for (index, (key, node)) in entries.iter().enumerate() {
            let path = join(section, key);
            if entries[..index].iter().any(|(other, _)| other == key) {
                self.problem(name, &path, Some(node), "stands there twice: keep one");
            } else if !known.contains(&key.as_str()) {
                self.ignored.push(format!("{name}: {path}"));
            }
        }
    }

    fn pulse(&mut self, name: &str, entries: Option<&[(String, Node)]>, key: &Key) -> Option<Pulse> {
        let node = find(entries?, key.old);
        let pulse = node.and_then(Node::integer).and_then(pulse);
        if pulse.is_none() {
            let remedy = format!("must be a whole number of ticks, 0 … {} ({})", Pulse::MAX, key.meaning);
            self.problem(name, &join("Calibration", key.old), node, &remedy);
        }
        pulse
    }

    fn steps(&mut self, name: &str, entries: Option<&[(String, Node)]>, key: &Key) -> Option<u16> {
        let node = find(entries?, key.old);
        let steps = node.and_then(Node::integer).and_then(|steps| u16::try_from(steps).ok());
        let steps = steps.filter(|steps| (1..=MAX_STEPS).contains(steps));
        if steps.is_none() {
            let remedy = format!("must be a whole number of steps, 1 … {MAX_STEPS} ({})", key.meaning);
            self.problem(name, &join("UI", key.old), node, &remedy);
        }
        steps
    }

    fn problem(&mut self, car: &str, key: &str, value: Option<&Node>, remedy: &str) {
        let (car, key) = (car.to_owned(), key.to_owned());
        self.problems.push(ImportProblem { car, key, value: value.map(Node::shown), remedy: remedy.to_owned() });
    }
}

/// Some pulses that make sense together.
fn plausible<const N: usize>(ticks: [u16; N]) -> Vec<Pulse> {
    ticks.map(|ticks| Pulse::new(ticks).expect("small numbers are pulses")).to_vec()
}

/// A remedy speaks of the channel file's keys; here the old file's are meant.
fn in_old_names(remedy: &str) -> String {
    KEYS.iter().fold(remedy.to_owned(), |text, key| text.replace(key.name, key.old))
}

fn is_file_name(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(plain)
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

fn find<'a>(entries: &'a [(String, Node)], key: &str) -> Option<&'a Node> {
    entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
}

/// JSON with the order and the repetitions of an object's keys, which `serde_json::Value` forgets.
#[derive(Debug)]
enum Node {
    Object(Vec<(String, Node)>),
    Array,
    Scalar(Value),
}

impl Node {
    fn integer(&self) -> Option<i64> {
        match self {
            Self::Scalar(value) => value.as_i64(),
            Self::Object(_) | Self::Array => None,
        }
    }

    /// For a message; the insides of objects and arrays say nothing there.
    fn shown(&self) -> String {
        match self {
            Self::Object(_) => "{…}".to_owned(),
            Self::Array => "[…]".to_owned(),
            Self::Scalar(value) => value.to_string(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Object(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Node, A::Error> {
        while elements.next_element::<Node>()?.is_some() {}
        Ok(Node::Array)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }
}
