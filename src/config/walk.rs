//! Goes through a TOML document along the schema: known keys come out by their full names, the rest is reported.

use std::path::Path;

use config::{Map, Value};
use toml_edit::{Item, Key, TableLike};

use super::document::Places;
use super::intake::{Intake, wrong_type};
use super::origin::Origin;
use super::problem::REDACTED;
use super::scalar;
use super::schema::{Kind, Node, bare, join};

/// A walk through one document.
pub(super) struct Walk<'w, 'a> {
    pub(super) intake: &'w mut Intake<'a>,
    pub(super) text: &'w str,
    pub(super) source: Source<'w>,
}

/// What the document is.
pub(super) enum Source<'w> {
    File {
        path: &'w Path,
        places: &'w Places,
    },
    /// The value of an environment variable.
    Variable(Origin),
}

impl<'w> Walk<'w, '_> {
    /// The known keys below `table`.
    pub(super) fn table(&mut self, table: &str, entries: &dyn TableLike) -> Map<String, Value> {
        let mut known = Map::new();
        for (name, item) in entries.iter() {
            let path = join(table, &bare(name));
            let origin = self.origin(entries.key(name), item);
            match (self.intake.schema.node(&path), item.as_table_like()) {
                (None, _) => self.intake.unknown(origin, &path, self.written(item)),
                (Some(Node::Key(kind)), _) => {
                    let value = match kind {
                        Kind::Tables => self.tables(&path, item, origin),
                        kind => self.scalar(&path, item, kind, origin),
                    };
                    known.extend(value.map(|value| (path, value)));
                }
                (Some(Node::Table), Some(entries)) => {
                    known.extend(self.table(&path, entries));
                    self.intake.opened.insert(path);
                }
                (Some(Node::Table), None) => {
                    let remedy = format!("this is a table: write [{path}] and its keys below");
                    self.intake.report(origin, &path, self.written(item), remedy);
                }
            }
        }
        known
    }

    /// An array of tables.
    pub(super) fn tables(&mut self, path: &str, item: &Item, origin: Origin) -> Option<Value> {
        let Some(elements) = tables_of(item) else {
            let remedy = format!("must be {}: write [[{path}]] and the keys of each below", Kind::Tables.expected());
            self.intake.spoil(origin, path, Some(REDACTED), remedy);
            return None;
        };
        let mut values = Vec::new();
        for (index, entries) in elements.into_iter().enumerate() {
            let element = format!("{path}[{index}]");
            let known = self.table(&element, entries).into_iter();
            let known: Map<_, _> = known.map(|(key, value)| (key[element.len() + 1..].to_owned(), value)).collect();
            values.push(self.intake.value(known, origin.clone()));
        }
        Some(self.intake.value(values, origin))
    }

    fn scalar(&mut self, path: &str, item: &Item, kind: Kind, origin: Origin) -> Option<Value> {
        match scalar::from_item(item, kind) {
            Ok(value) => Some(self.intake.value(value, origin)),
            Err(found) => {
                let shown = if kind == Kind::Secret { Some(REDACTED) } else { self.written(item) };
                self.intake.spoil(origin, path, shown, wrong_type(kind, found));
                None
            }
        }
    }

    fn origin(&self, key: Option<&Key>, item: &Item) -> Origin {
        match &self.source {
            Source::Variable(origin) => origin.clone(),
            Source::File { path, places } => {
                let span = key.and_then(Key::span).or_else(|| item.span());
                let position = span.map(|span| places.position(self.text, span.start));
                Origin::File { path: (*path).to_owned(), position }
            }
        }
    }

    /// A value as it stands in the text. Tables are too long to repeat, and may hold secrets.
    fn written(&self, item: &Item) -> Option<&'w str> {
        let value = item.as_value().filter(|value| !value.is_inline_table());
        value.and_then(|value| self.text.get(value.span()?))
    }
}

/// The elements of `[[tables]]` or of `[{…}, {…}]`; `None` for anything else.
fn tables_of(item: &Item) -> Option<Vec<&dyn TableLike>> {
    if let Item::ArrayOfTables(tables) = item {
        return Some(tables.iter().map(|table| table as &dyn TableLike).collect());
    }
    let elements = item.as_array()?.iter();
    elements.map(|element| element.as_inline_table().map(|table| table as &dyn TableLike)).collect()
}
