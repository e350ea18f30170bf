//! Which keys exist and of what type each is.
//!
//! Nobody writes this down: a schema is what the sections ask for when they read an empty configuration
//! ([`Schema::with_actuators`]). So a key cannot be read and unknown, or known and unread.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::reader::Reader;
use super::sections;
use crate::drive::actuator::kind::ActuatorKind;

/// The type a key must have in a file. Environment variables and flags are text and are converted to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Decimal,
    Boolean,
    Text,
    /// Text that must not be shown, nor be given on the command line.
    Secret,
    Integers,
    /// A table of integers whose keys nobody knows beforehand; as text: `a=1,b=2`.
    Assignments,
    Texts,
    /// An array of tables, whose own keys follow under `key[]`.
    Tables,
}

impl Kind {
    /// Whether a value of this kind must not be shown.
    pub(super) fn holds_secrets(self) -> bool {
        matches!(self, Self::Secret | Self::Tables)
    }

    /// In a sentence: "must be …".
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Integer => "an integer",
            Self::Decimal => "a number",
            Self::Boolean => "true or false",
            Self::Text | Self::Secret => "a string",
            Self::Integers => "an array of integers",
            Self::Assignments => "a table of integers, such as { gain = 20 }",
            Self::Texts => "an array of strings",
            Self::Tables => "an array of tables",
        }
    }
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Key(Kind),
    Table,
}

/// Every known key. Elements of an array of tables are written `[]`: `ice.servers[].url`.
#[derive(Clone, Debug, Default)]
pub(super) struct Schema {
    keys: BTreeMap<String, Kind>,
}

/// Names longer than this are junk, not typing mistakes; comparing them would only cost time.
const LONGEST_TYPO: usize = 64;

/// Least similarity (0 … 1) of a name to the one suggested for it: one letter in two may be wrong.
const LEAST_SIMILARITY: f64 = 0.5;

impl Schema {
    /// That of the sections, with these actuators.
    pub(super) fn with_actuators(kinds: &[&ActuatorKind]) -> Self {
        Reader::keys_asked_by(|reader| {
            sections::read(reader, kinds);
        })
    }

    /// That of the sections as they are.
    #[cfg(test)]
    pub(super) fn of_sections() -> Self {
        Self::with_actuators(&crate::drive::KINDS)
    }

    /// `None` for an unknown path.
    pub(super) fn node(&self, path: &str) -> Option<Node> {
        let path = without_indices(path);
        if let Some(kind) = self.keys.get(&path) {
            return Some(Node::Key(*kind));
        }
        let is_table = !path.is_empty() && self.below(&path).next().is_some();
        is_table.then_some(Node::Table)
    }

    /// What is known near an unknown path. Where a table in it is unknown already, that is what is looked for.
    pub(super) fn remedy_for_unknown(&self, path: &str) -> Suggestion {
        let path = without_indices(path);
        let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
        let wrong = ends.map(|end| &path[..end]).find(|part| self.node(part).is_none()).unwrap_or(&path);
        let (table, name) = wrong.rsplit_once('.').unwrap_or(("", wrong));
        let siblings = self.children(table);
        let beside = nearest(name, siblings.iter().map(|sibling| (*sibling, *sibling)));
        let near = match beside {
            Some((_, sibling)) => Some(join(table, sibling)),
            None => self.elsewhere(name),
        };
        let rest = &path[wrong.len()..];
        let near = near.map(|near| match format!("{near}{rest}") {
            whole if self.node(&whole).is_some() => whole,
            _ => near,
        });
        Suggestion { near, siblings: siblings.into_iter().map(str::to_owned).collect() }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, Kind)> {
        self.keys.iter().map(|(key, kind)| (key.as_str(), *kind))
    }

    pub(super) fn kind(&self, key: &str) -> Option<Kind> {
        self.keys.get(key).copied()
    }

    /// Whether a value of this key, or of a table's in it, must not be shown.
    pub(super) fn holds_secrets(&self, key: &str) -> bool {
        match self.kind(key) {
            Some(Kind::Tables) => self.below(&format!("{key}[]")).any(|key| self.kind(key) == Some(Kind::Secret)),
            kind => kind == Some(Kind::Secret),
        }
    }

    pub(super) fn insert(&mut self, key: &str, kind: Kind) {
        self.keys.insert(key.to_owned(), kind);
    }

    /// The key of another table with (almost) this name: right key, wrong section.
    fn elsewhere(&self, name: &str) -> Option<String> {
        let near = |in_array: bool| {
            let keys = self.keys.keys().filter(|key| key.contains('[') == in_array).map(|key| (last(key), key));
            nearest(name, keys).filter(|(similarity, _)| *similarity >= 0.8).map(|(_, key)| key.clone())
        };
        near(false).or_else(|| near(true))
    }

    fn children(&self, table: &str) -> Vec<&str> {
        let skip = if table.is_empty() { 0 } else { table.len() + 1 };
        let mut names: Vec<_> = self
            .below(table)
            .map(|key| &key[skip..])
            .map(|rest| rest.split(['.', '[']).next().unwrap_or(rest))
            .collect();
        names.dedup();
        names
    }

    fn below(&self, table: &str) -> impl Iterator<Item = &String> {
        let prefix = if table.is_empty() { String::new() } else { format!("{table}.") };
        let from = (Bound::Included(prefix.clone()), Bound::Unbounded);
        self.keys.range(from).map(|(key, _)| key).take_while(move |key| key.starts_with(&prefix))
    }
}

/// What is known near an unknown path.
#[derive(Debug)]
pub(super) struct Suggestion {
    /// The nearest known path, when one is near.
    pub(super) near: Option<String>,
    /// The names that its table takes.
    pub(super) siblings: Vec<String>,
}

/// `table.key`, or `key` alone at the top.
pub(super) fn join(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// A key as it appears in a path. Quoted when it has characters that none of ours has, so that it cannot be taken
/// for a path of several keys.
pub(super) fn bare(name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if plain { name.to_owned() } else { format!("{name:?}") }
}

/// The last name of a path.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The nearest of `candidates` (name, payload), when any is near.
pub(super) fn nearest<'a, T>(name: &str, candidates: impl Iterator<Item = (&'a str, T)>) -> Option<(f64, T)> {
    if name.len() > LONGEST_TYPO {
        return None;
    }
    candidates
        .map(|(candidate, payload)| (strsim::normalized_damerau_levenshtein(name, candidate), payload))
        .filter(|(similarity, _)| *similarity >= LEAST_SIMILARITY)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
}

/// `ice.servers[3].url` → `ice.servers[].url`.
fn without_indices(path: &str) -> String {
    let mut parts = path.split('[');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push('[');
        plain.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_path_leads_to_its_nearest_neighbour_or_its_right_section() {
        let schema = Schema::of_sections();
        let rows = [
            ("camera.widht", Some("camera.width")),
            ("camra", Some("camera")),
            ("camra.width", Some("camera.width")),
            ("camra.zzz", Some("camera")),
            ("server.querry", Some("server.query")),
            ("server.query.brat", Some("server.query.brate")),
            ("ice.servers[1].crednetial", Some("ice.servers[].credential")),
            ("width", Some("camera.width")),
            ("camera.bitrate_kbps", Some("encoder.bitrate_kbps")),
            ("camera.zzz", None),
        ];
        for (wrong, right) in rows {
            assert_eq!(schema.node(wrong), None, "{wrong}");
            assert_eq!(schema.remedy_for_unknown(wrong).near.as_deref(), right, "{wrong}");
        }
        assert!(schema.remedy_for_unknown("camera.zzz").siblings.contains(&"framerate".to_owned()));
    }

    #[test]
    fn paths_lead_to_keys_and_tables() {
        let schema = Schema::of_sections();
        assert_eq!(schema.node("camera"), Some(Node::Table));
        assert_eq!(schema.node("camera.width"), Some(Node::Key(Kind::Integer)));
        assert_eq!(schema.node("ice.servers"), Some(Node::Key(Kind::Tables)));
        assert_eq!(schema.node("ice.servers[7].credential"), Some(Node::Key(Kind::Secret)));
        assert_eq!(schema.node("cam"), None);
    }
}
