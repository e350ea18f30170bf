//! What taking in a layer comes to: values with their origins, tables that were opened, keys that are spoilt, problems.

use std::collections::BTreeSet;

use config::{Value, ValueKind};

use super::origin::Origin;
use super::problem::{Collector, Problem, REDACTED};
use super::schema::{Kind, Node, Schema};

/// How the name of an environment variable begins that sets a key: `RTCPUB__CAMERA__WIDTH`.
pub(super) const ENVIRONMENT_PREFIX: &str = "RTCPUB__";

/// Gathers over all layers.
pub(super) struct Intake<'a> {
    pub(super) schema: &'a Schema,
    pub(super) problems: &'a mut Collector,
    /// What the origin of a merged [`Value`] refers to, by index: the `config` crate carries an origin as text.
    pub(super) origins: Vec<Origin>,
    /// Tables that some layer opens, be they empty.
    pub(super) opened: BTreeSet<String>,
    /// Keys that some layer gives in a way that has been reported: reading them reports nothing more.
    pub(super) spoilt: BTreeSet<String>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(schema: &'a Schema, problems: &'a mut Collector) -> Self {
        Self { schema, problems, origins: Vec::new(), opened: BTreeSet::new(), spoilt: BTreeSet::new() }
    }

    pub(super) fn value(&mut self, value: impl Into<ValueKind>, origin: Origin) -> Value {
        self.origins.push(origin);
        Value::new(Some(&(self.origins.len() - 1).to_string()), value)
    }

    pub(super) fn report(&mut self, origin: Origin, key: &str, value: Option<&str>, remedy: String) {
        let value = value.map(str::to_owned);
        self.problems.add(Problem { origin, key: key.to_owned(), value, remedy });
    }

    pub(super) fn spoil(&mut self, origin: Origin, key: &str, value: Option<&str>, remedy: String) {
        self.spoilt.insert(key.to_owned());
        self.report(origin, key, value, remedy);
    }

    /// Nothing is known of a file's keys: reading them must not report them missing.
    pub(super) fn spoil_everything(&mut self) {
        self.spoilt.extend(self.schema.keys().map(|(key, _)| key.to_owned()));
    }

    pub(super) fn unknown(&mut self, origin: Origin, path: &str, value: Option<&str>) {
        if self.problems.is_full() {
            return self.report(origin, path, None, String::new());
        }
        let suggestion = self.schema.remedy_for_unknown(path);
        let harmless = suggestion.near.as_deref().is_some_and(|near| match self.schema.node(near) {
            Some(Node::Key(kind)) => !kind.holds_secrets(),
            _ => true,
        });
        let remedy = match suggestion.near {
            Some(near) => format!("unknown key; did you mean {}?", name_in_layer(&near, &origin)),
            None if suggestion.siblings.is_empty() => "unknown key; take it out".to_owned(),
            None => format!("unknown key; known here: {}", suggestion.siblings.join(", ")),
        };
        // A value that is near nothing we know, or near a secret, may be a secret.
        let value = value.map(|value| if harmless { value } else { REDACTED });
        self.report(origin, path, value, remedy);
    }
}

/// The environment variable that sets a key.
pub(super) fn variable_of(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// "must be an integer, not a string: write it without quotes".
pub(super) fn wrong_type(kind: Kind, found: &str) -> String {
    let hint = match (kind, found) {
        (Kind::Integer | Kind::Decimal | Kind::Boolean, "a string") => ": write it without quotes",
        (Kind::Text | Kind::Secret, "an array" | "a table") => "",
        (Kind::Text | Kind::Secret, _) => ": write it in quotes",
        _ => "",
    };
    format!("must be {}, not {found}{hint}", kind.expected())
}

fn name_in_layer(key: &str, origin: &Origin) -> String {
    match origin {
        Origin::Environment(_) => variable_of(key),
        _ => key.to_owned(),
    }
}
