//! One value, from TOML or from text, as the type that its key must have.

use config::{Value, ValueKind};
use toml_edit::Item;

use super::schema::Kind;

/// A TOML value of this kind, or what it is instead.
///
/// # Errors
/// "a string", "a table", … for the message.
pub(super) fn from_item(item: &Item, kind: Kind) -> Result<ValueKind, &'static str> {
    use toml_edit::Value as Toml;
    let found = describe(item);
    if kind == Kind::Assignments
        && let Some(table) = item.as_table_like()
    {
        let assignment = |(name, value): (&str, &Item)| Some(format!("{name}={}", value.as_integer()?));
        let assignments = table.iter().map(assignment).collect::<Option<Vec<_>>>();
        return assignments.map(|assignments| assignments.join(",").into()).ok_or("a table of something else");
    }
    let Some(value) = item.as_value() else { return Err(found) };
    match (kind, value) {
        (Kind::Integer, Toml::Integer(n)) => Ok((*n.value()).into()),
        (Kind::Decimal, Toml::Float(n)) => Ok((*n.value()).into()),
        #[expect(clippy::cast_precision_loss, reason = "the ranges of decimal keys end far below 2^53")]
        (Kind::Decimal, Toml::Integer(n)) => Ok((*n.value() as f64).into()),
        (Kind::Boolean, Toml::Boolean(yes)) => Ok((*yes.value()).into()),
        (Kind::Text | Kind::Secret | Kind::Assignments, Toml::String(text)) => Ok(text.value().as_str().into()),
        (Kind::Integers, Toml::Array(elements)) => {
            let integers = elements.iter().map(toml_edit::Value::as_integer);
            integers.collect::<Option<Vec<_>>>().map(list).ok_or("an array of something else")
        }
        (Kind::Texts, Toml::Array(elements)) => {
            let texts = elements.iter().map(toml_edit::Value::as_str);
            texts.collect::<Option<Vec<_>>>().map(list).ok_or("an array of something else")
        }
        _ => Err(found),
    }
}

/// Text as a value of this kind.
///
/// # Errors
/// The remedy, when it is not one.
pub(super) fn from_text(text: &str, kind: Kind) -> Result<ValueKind, String> {
    let refused = || format!("must be {}", kind.expected());
    match kind {
        Kind::Integer => integer(text).map(Into::into),
        Kind::Decimal => text.trim().parse::<f64>().map(Into::into).map_err(|_| refused()),
        Kind::Boolean => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true.into()),
            "false" | "no" | "off" | "0" => Ok(false.into()),
            _ => Err(refused()),
        },
        Kind::Text | Kind::Secret | Kind::Assignments => Ok(text.into()),
        Kind::Integers => {
            inner(text).split(',').map(integer).collect::<Result<Vec<_>, _>>().map(list).map_err(|_| refused())
        }
        Kind::Texts => {
            let elements = inner(text).split(',').map(|element| element.trim().trim_matches('"'));
            Ok(list(elements.filter(|element| !element.is_empty()).collect()))
        }
        Kind::Tables => Err(refused()),
    }
}

/// Decimal, or hexadecimal as `0x40`.
fn integer(text: &str) -> Result<i64, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let text = text.trim();
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| match error.kind() {
        PosOverflow | NegOverflow => "is an integer beyond every range".to_owned(),
        _ => format!("must be {}", Kind::Integer.expected()),
    })
}

/// What stands between the brackets of an array, which may be left out.
fn inner(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

fn list<T: Into<ValueKind>>(elements: Vec<T>) -> ValueKind {
    ValueKind::Array(elements.into_iter().map(|element| Value::new(None, element)).collect())
}

fn describe(item: &Item) -> &'static str {
    use toml_edit::Value as Toml;
    match item {
        Item::None => "nothing",
        Item::Table(_) | Item::Value(Toml::InlineTable(_)) => "a table",
        Item::ArrayOfTables(_) => "an array of tables",
        Item::Value(Toml::String(_)) => "a string",
        Item::Value(Toml::Integer(_)) => "an integer",
        Item::Value(Toml::Float(_)) => "a number with a fraction",
        Item::Value(Toml::Boolean(_)) => "true or false",
        Item::Value(Toml::Datetime(_)) => "a date or time",
        Item::Value(Toml::Array(_)) => "an array",
    }
}
