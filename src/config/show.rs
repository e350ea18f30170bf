//! Effective values for people: what `print-config` prints.

use std::fmt;

use config::ValueKind;

use super::origin::Origin;
use super::problem::{REDACTED, printable, without_passwords};
use super::schema::Kind;

/// One key's effective value and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// In full: `camera.width`, `ice.servers[0].url`.
    pub key: String,
    /// Fit for printing.
    pub value: Shown,
    /// Where it comes from.
    pub origin: Origin,
}

/// A value fit for printing. Its `Display` is TOML, or empty when unset.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// Nobody gives it and it has no default.
    Unset,
    /// Not to be shown.
    Secret,
    /// A number, boolean or list as TOML writes it.
    Plain(String),
    /// A string, unquoted, without its passwords.
    Text(String),
}

impl Shown {
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self::Text(without_passwords(text.as_ref()))
    }

    /// A value of the given kind; of an unknown kind it is held to be a secret.
    pub(super) fn of(value: &ValueKind, kind: Option<Kind>) -> Self {
        match (kind, value) {
            (None, _) => Self::Secret,
            (Some(kind), _) if kind.holds_secrets() => Self::Secret,
            (_, ValueKind::String(text)) => Self::text(text),
            (_, ValueKind::Array(elements)) => {
                let elements: Vec<_> = elements.iter().map(|element| element_text(&element.kind)).collect();
                Self::Plain(format!("[{}]", elements.join(", ")))
            }
            (_, ValueKind::Float(number)) => Self::Plain(format!("{number:?}")),
            (_, plain) => Self::Plain(plain.to_string()),
        }
    }
}

fn element_text(element: &ValueKind) -> String {
    match element {
        ValueKind::String(text) => toml_edit::Value::from(text.as_str()).to_string(),
        plain => plain.to_string(),
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => Ok(()),
            Self::Secret => write!(f, "{}", toml_edit::Value::from(REDACTED)),
            Self::Plain(text) => f.write_str(text),
            Self::Text(text) => write!(f, "{}", toml_edit::Value::from(text.as_str())),
        }
    }
}

/// All effective values as a TOML document, each with its origin in a comment.
pub fn document(effective: &[Effective]) -> String {
    let mut document = String::new();
    let mut open = "";
    for (table, rows) in by_table(effective) {
        if table != open {
            document.push_str(&header(table));
            open = table;
        }
        let width = rows.iter().map(|row| assignment(row).chars().count()).max().unwrap_or(0);
        for row in rows {
            let assignment = assignment(row);
            let origin =
                if row.value == Shown::Unset { "unset".to_owned() } else { printable(&row.origin.to_string()) };
            document.push_str(&format!("{assignment:width$}  # {origin}\n"));
        }
    }
    document
}

/// Groups rows by table, in order of first appearance. Within TOML a table's own keys come before its subtables, which
/// this order keeps because every header is written in full.
fn by_table(effective: &[Effective]) -> Vec<(&str, Vec<&Effective>)> {
    let mut tables: Vec<(&str, Vec<&Effective>)> = Vec::new();
    // The key of an array of tables is shown by its elements' headers.
    let shown = effective.iter().filter(|row| !(row.value == Shown::Secret && has_elements(effective, &row.key)));
    for row in shown {
        let table = row.key.rsplit_once('.').map_or("", |(table, _)| table);
        match tables.iter_mut().find(|(name, _)| *name == table) {
            Some((_, rows)) => rows.push(row),
            None => tables.push((table, vec![row])),
        }
    }
    tables
}

fn has_elements(effective: &[Effective], key: &str) -> bool {
    effective.iter().any(|row| row.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('[')))
}

fn header(table: &str) -> String {
    match table.split_once('[') {
        Some((array, _)) => format!("\n[[{array}]]\n"),
        None => format!("\n[{table}]\n"),
    }
}

fn assignment(row: &Effective) -> String {
    let name = row.key.rsplit('.').next().unwrap_or(&row.key);
    match row.value {
        Shown::Unset => format!("# {name} ="),
        _ => format!("{name} = {}", row.value),
    }
}
