//! File, environment and flags, each checked against the schema, then laid over each other by the `config` crate.

use std::ffi::OsString;
use std::path::Path;

use config::builder::DefaultState;
use config::{Config, ConfigBuilder, Map, Source as ConfigSource, Value};

use super::document::{self, SyntaxError};
use super::intake::{ENVIRONMENT_PREFIX, Intake, variable_of};
use super::origin::Origin;
use super::problem::{Collector, REDACTED};
use super::scalar;
use super::schema::{Kind, Node, Schema};
use super::values::Values;
use super::walk::{Source, Walk};
use super::{ChannelFile, Setting};

/// A channel file is a page of text; whatever is bigger than this is something else.
pub(in crate::config) const MAX_FILE_BYTES: usize = 256 * 1024;

/// Takes in the layers, lowest first.
pub(super) struct Layers<'a> {
    intake: Intake<'a>,
    builder: ConfigBuilder<DefaultState>,
}

/// One layer's keys in full (`camera.width`), as the `config` crate takes them.
#[derive(Clone, Debug)]
struct Layer(Map<String, Value>);

impl ConfigSource for Layer {
    fn clone_into_box(&self) -> Box<dyn ConfigSource + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

impl<'a> Layers<'a> {
    pub(super) fn new(schema: &'a Schema, problems: &'a mut Collector) -> Self {
        Self { intake: Intake::new(schema, problems), builder: Config::builder() }
    }

    /// Takes in a channel file.
    pub(super) fn file(mut self, file: &ChannelFile) -> Self {
        if file.content.bytes.len() > MAX_FILE_BYTES {
            let origin = Origin::File { path: file.path.clone(), position: None };
            let remedy = format!("bigger than {} KiB: this is not a channel file", MAX_FILE_BYTES / 1024);
            self.intake.report(origin, "", None, remedy);
            self.intake.spoil_everything();
            return self;
        }
        let text = document::parse(&file.content.bytes);
        for error in text.errors {
            self.syntax_error(&file.path, error);
        }
        let Some(document) = text.document else {
            self.intake.spoil_everything();
            return self;
        };
        let source = Source::File { path: &file.path, places: &text.places };
        let mut walk = Walk { intake: &mut self.intake, text: document.raw(), source };
        let known = walk.table("", document.as_table());
        self.add(known)
    }

    /// Takes in the environment.
    pub(super) fn environment(self, variables: &[(OsString, OsString)]) -> Self {
        variables.iter().fold(self, |layers, (name, value)| {
            let Some(name) = name.to_str() else { return layers };
            let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) else { return layers };
            let key = path.replace("__", ".").to_lowercase();
            layers.text(&key, value.to_str(), Origin::Environment(name.to_owned()))
        })
    }

    /// Takes in the flags.
    pub(super) fn flags(self, settings: &[Setting]) -> Self {
        settings.iter().fold(self, |layers, Setting { flag, key, value }| {
            layers.text(key, Some(value), Origin::Flag(flag.clone()))
        })
    }

    /// Lays the layers over each other.
    pub(super) fn merge(self) -> Values {
        let Intake { origins, opened, spoilt, .. } = self.intake;
        let merged = self.builder.build().expect("layers that lie in memory can be collected");
        Values { root: merged.cache, origins, opened, spoilt }
    }

    fn add(mut self, known: Map<String, Value>) -> Self {
        self.builder = self.builder.add_source(Layer(known));
        self
    }

    /// One key of a layer that is all text; `None` is text that is not UTF-8.
    fn text(mut self, key: &str, text: Option<&str>, origin: Origin) -> Self {
        let kind = match self.intake.schema.node(key) {
            Some(_) if key.contains('[') => {
                let remedy = "the elements of an array cannot be given one by one: give the whole array".to_owned();
                self.intake.report(origin, key, Some(REDACTED), remedy);
                return self;
            }
            Some(Node::Key(kind)) => kind,
            Some(Node::Table) => {
                self.intake.report(origin, key, text, "this is a table: name one of its keys".to_owned());
                return self;
            }
            None => {
                self.intake.unknown(origin, key, text);
                return self;
            }
        };
        self.intake.opened.extend(key.match_indices('.').map(|(at, _)| key[..at].to_owned()));
        match self.value_in_text(key, kind, text, &origin) {
            Ok(Some(value)) => self.add(Map::from_iter([(key.to_owned(), value)])),
            Ok(None) => self,
            Err(remedy) => {
                let shown = if kind.holds_secrets() { REDACTED } else { text.unwrap_or("\u{fffd}") };
                self.intake.spoil(origin, key, Some(shown), remedy);
                self
            }
        }
    }

    /// Text as a value of the right kind; `None` when its problems have been reported. The error is a remedy.
    fn value_in_text(
        &mut self,
        key: &str,
        kind: Kind,
        text: Option<&str>,
        origin: &Origin,
    ) -> Result<Option<Value>, String> {
        if self.intake.schema.holds_secrets(key) && matches!(origin, Origin::Flag(_)) {
            return Err(secret_on_command_line(key, kind));
        }
        let text = text.ok_or_else(|| "must be UTF-8".to_owned())?;
        if kind != Kind::Tables {
            return Ok(Some(self.intake.value(scalar::from_text(text, kind)?, origin.clone())));
        }
        // Written as in TOML: [{ url = "stun:host" }]
        let assignment = format!("tables = {text}");
        let parsed = document::parse(assignment.as_bytes());
        let document = parsed.document.filter(|document| parsed.errors.is_empty() && document.len() == 1);
        let tables = document.as_ref().and_then(|document| document.get("tables"));
        let tables = tables
            .ok_or_else(|| format!("must be {} as TOML writes it: [{{ key = \"value\" }}, …]", kind.expected()))?;
        let source = Source::Variable(origin.clone());
        Ok(Walk { intake: &mut self.intake, text: &assignment, source }.tables(key, tables, origin.clone()))
    }

    fn syntax_error(&mut self, path: &Path, error: SyntaxError) {
        let origin = Origin::File { path: path.to_owned(), position: Some(error.position) };
        let key = error.key.unwrap_or_default();
        // What follows an unknown key may be a secret under a misspelt name.
        let harmless = matches!(self.intake.schema.node(&key), Some(Node::Key(kind)) if !kind.holds_secrets());
        let value = (!key.is_empty()).then_some(if harmless { error.value.as_str() } else { REDACTED });
        self.intake.spoilt.extend(key.split_once("[]").map(|(table, _)| table.to_owned()));
        self.intake.spoil(origin, &key, value, format!("not valid TOML: {}", error.message));
    }
}

fn secret_on_command_line(key: &str, kind: Kind) -> String {
    let instead = if kind == Kind::Secret { format!("{key}_file") } else { "the channel file".to_owned() };
    format!("every user can read a command line: use {instead} or the environment variable {}", variable_of(key))
}
