//! What the sections read with: asks the effective values for a key, checks it, and remembers everything asked.
//!
//! A section reads **all** its keys before it returns, whatever is wrong with any of them: what is asked is what is
//! known (see [`Schema`]), and every problem of a run is reported.

use std::fmt::{Display, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use config::{Value, ValueKind};

use super::facts::Facts;
use super::origin::Origin;
use super::problem::{Collector, Problem, Warning};
use super::schema::{Kind, Schema, join, nearest};
use super::show::{Effective, Shown};
use super::values::Values;
pub(super) use crate::drive::actuator::kind::{Read, Reported};

/// Most elements that an array of tables may have.
const MAX_ELEMENTS: usize = 64;

/// Reads the effective values.
pub(super) struct Reader<'a> {
    values: &'a Values,
    pub(super) facts: &'a Facts<'a>,
    problems: &'a mut Collector,
    asked: Schema,
    effective: Vec<Effective>,
    warnings: Vec<Warning>,
}

/// What one element of an array of tables is read by; its second argument is the element's path.
pub(super) type ReadElement<T> = fn(&mut Reader<'_>, &str) -> Read<T>;

impl<'a> Reader<'a> {
    pub(super) fn new(values: &'a Values, facts: &'a Facts<'a>, problems: &'a mut Collector) -> Self {
        Self { values, facts, problems, asked: Schema::default(), effective: Vec::new(), warnings: Vec::new() }
    }

    /// Every key that `read` asks for.
    pub(super) fn keys_asked_by(read: impl FnOnce(&mut Reader<'_>)) -> Schema {
        let (values, mut problems) = (Values::none(), Collector::default());
        let facts = Facts::none();
        let mut reader = Reader::new(&values, &facts, &mut problems);
        read(&mut reader);
        reader.asked
    }

    /// Every key asked for so far.
    #[cfg(test)]
    pub(super) fn asked(&self) -> &Schema {
        &self.asked
    }

    /// The effective values in reading order, and the warnings.
    pub(super) fn finish(self) -> (Vec<Effective>, Vec<Warning>) {
        (self.effective, self.warnings)
    }

    /// An integer within `range`.
    pub(super) fn integer<T>(&mut self, key: &str, range: RangeInclusive<T>, default: T) -> Read<T>
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let given = self.integer_if_given(key, range)?;
        Ok(given.unwrap_or_else(|| self.fall_back(key, default)))
    }

    /// An integer within `range`, or nothing.
    pub(super) fn integer_if_given<T>(&mut self, key: &str, range: RangeInclusive<T>) -> Read<Option<T>>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let Some(ValueKind::I64(found)) = self.ask(key, Kind::Integer)? else { return Ok(None) };
        let fits = T::try_from(*found).ok().filter(|n| range.contains(n));
        fits.map(Some)
            .ok_or_else(|| self.problem(key, format!("must be an integer from {} to {}", range.start(), range.end())))
    }

    /// A time in whole milliseconds.
    pub(super) fn millis(&mut self, key: &str, range: RangeInclusive<u32>, default: u32) -> Read<Duration> {
        Ok(Duration::from_millis(self.integer(key, range, default)?.into()))
    }

    /// A number within `range`.
    pub(super) fn decimal(&mut self, key: &str, range: RangeInclusive<f64>, default: f64) -> Read<f64> {
        let given = self.decimal_if_given(key, range)?;
        Ok(given.unwrap_or_else(|| {
            self.settle(key, Shown::Plain(format!("{default:?}")), Origin::Default);
            default
        }))
    }

    /// A number within `range`, or nothing.
    pub(super) fn decimal_if_given(&mut self, key: &str, range: RangeInclusive<f64>) -> Read<Option<f64>> {
        let Some(ValueKind::Float(found)) = self.ask(key, Kind::Decimal)? else { return Ok(None) };
        if range.contains(found) {
            return Ok(Some(*found));
        }
        Err(self.problem(key, format!("must be a number from {} to {}", range.start(), range.end())))
    }

    /// True or false.
    pub(super) fn boolean(&mut self, key: &str, default: bool) -> Read<bool> {
        match self.ask(key, Kind::Boolean)? {
            Some(ValueKind::Boolean(found)) => Ok(*found),
            _ => Ok(self.fall_back(key, default)),
        }
    }

    /// One word of a few; the first is the default.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, options: &[(&str, T)]) -> Read<T> {
        let Some(found) = self.text_if_given(key)? else {
            let (word, default) = options[0];
            self.derive(key, word, Origin::Default);
            return Ok(default);
        };
        if let Some((_, choice)) = options.iter().find(|(word, _)| *word == found) {
            return Ok(*choice);
        }
        let words: Vec<_> = options.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let mut remedy = format!("must be {}", words.join(" or "));
        if let Some((_, near)) = nearest(&found.to_lowercase(), options.iter().map(|(word, _)| (*word, *word))) {
            let _ = write!(remedy, "; did you mean \"{near}\"?");
        }
        Err(self.problem(key, remedy))
    }

    /// Any number of a few words, each taken once; all of them by default.
    pub(super) fn choices<T: Copy + PartialEq>(&mut self, key: &str, options: &[(&str, T)]) -> Read<Vec<T>> {
        let Some(ValueKind::Array(found)) = self.ask(key, Kind::Texts)? else {
            let words: Vec<_> = options.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.settle(key, Shown::Plain(format!("[{}]", words.join(", "))), Origin::Default);
            return Ok(options.iter().map(|(_, choice)| *choice).collect());
        };
        let mut chosen = Vec::new();
        for element in found {
            let ValueKind::String(word) = &element.kind else { continue };
            match options.iter().find(|(option, _)| option == word) {
                Some((_, choice)) if chosen.contains(choice) => {}
                Some((_, choice)) => chosen.push(*choice),
                None => {
                    let words: Vec<_> = options.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                    return Err(self.problem(key, format!("each must be one of {}", words.join(", "))));
                }
            }
        }
        Ok(chosen)
    }

    /// A list of what `parse` makes of each text.
    pub(super) fn list<T: Display>(
        &mut self,
        key: &str,
        default: Vec<T>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Read<Vec<T>> {
        let Some(ValueKind::Array(found)) = self.ask(key, Kind::Texts)? else {
            let shown: Vec<_> = default.iter().map(|element| format!("\"{element}\"")).collect();
            self.settle(key, Shown::Plain(format!("[{}]", shown.join(", "))), Origin::Default);
            return Ok(default);
        };
        let texts = found.iter().filter_map(|element| match &element.kind {
            ValueKind::String(text) => Some(text),
            _ => None,
        });
        texts.map(|text| parse(text)).collect::<Result<_, _>>().map_err(|remedy| self.problem(key, remedy))
    }

    /// Any text.
    pub(super) fn text(&mut self, key: &str, default: &str) -> Read<String> {
        let given = self.text_if_given(key)?;
        Ok(given.unwrap_or_else(|| {
            self.derive(key, default, Origin::Default);
            default.to_owned()
        }))
    }

    /// Any text, or nothing.
    pub(super) fn text_if_given(&mut self, key: &str) -> Read<Option<String>> {
        match self.ask(key, Kind::Text)? {
            Some(ValueKind::String(found)) => Ok(Some(found.clone())),
            _ => Ok(None),
        }
    }

    /// Text that `parse` makes a `T` of, or nothing.
    pub(super) fn parsed<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Read<Option<T>> {
        let Some(text) = self.text_if_given(key)? else { return Ok(None) };
        parse(&text).map(Some).map_err(|remedy| self.problem(key, remedy))
    }

    /// The path of a device or socket.
    pub(super) fn path(&mut self, key: &str, default: &str) -> Read<PathBuf> {
        let given = self.path_if_given(key)?;
        Ok(given.unwrap_or_else(|| {
            self.derive(key, default, Origin::Default);
            default.into()
        }))
    }

    /// The path of a device or socket, or nothing.
    pub(super) fn path_if_given(&mut self, key: &str) -> Read<Option<PathBuf>> {
        self.parsed(key, |path| {
            let fits = !path.is_empty() && !path.contains('\0');
            fits.then(|| path.into()).ok_or_else(|| "must be a path".to_owned())
        })
    }

    /// The path of a file that belongs to the configuration; a relative one starts at the channel file's folder.
    pub(super) fn file_if_given(&mut self, key: &str) -> Read<Option<PathBuf>> {
        let path = self.path_if_given(key)?;
        Ok(path.map(|path| self.facts.beside_the_file(&path)))
    }

    /// Secret text, or nothing, with its origin. Only `secrets` asks for these.
    pub(super) fn secret_if_given(&mut self, key: &str) -> Read<Option<String>> {
        match self.ask(key, Kind::Secret)? {
            Some(ValueKind::String(found)) => Ok(Some(found.clone())),
            _ => Ok(None),
        }
    }

    /// A list of integers, each within `range`.
    pub(super) fn integers<T>(&mut self, key: &str, range: RangeInclusive<T>, default: &[T]) -> Read<Vec<T>>
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let Some(ValueKind::Array(found)) = self.ask(key, Kind::Integers)? else {
            let shown: Vec<_> = default.iter().map(T::to_string).collect();
            self.settle(key, Shown::Plain(format!("[{}]", shown.join(", "))), Origin::Default);
            return Ok(default.to_vec());
        };
        let fit = |value: &Value| match value.kind {
            ValueKind::I64(n) => T::try_from(n).ok().filter(|n| range.contains(n)),
            _ => None,
        };
        found.iter().map(fit).collect::<Option<Vec<_>>>().ok_or_else(|| {
            self.problem(key, format!("each must be an integer from {} to {}", range.start(), range.end()))
        })
    }

    /// Names and integers, in the order given.
    pub(super) fn assignments(&mut self, key: &str) -> Read<Vec<(String, i32)>> {
        let Some(ValueKind::String(found)) = self.ask(key, Kind::Assignments)? else { return Ok(Vec::new()) };
        let assignment = |text: &str| {
            let (name, value) = text.split_once('=')?;
            let name = name.trim();
            let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            plain.then_some((name.to_owned(), value.trim().parse().ok()?))
        };
        let given = found.split(',').filter(|text| !text.trim().is_empty()).map(assignment);
        given
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| self.problem(key, "must be names and integers, such as { exposure_auto = 1, gain = 20 }"))
    }

    /// The elements of an array of tables, or nothing.
    pub(super) fn tables<T>(&mut self, key: &str, read: ReadElement<T>) -> Read<Option<Vec<T>>> {
        let any_element = Reader::keys_asked_by(|reader| {
            let _ = read(reader, &format!("{key}[]"));
        });
        for (element_key, kind) in any_element.keys() {
            self.asked.insert(element_key, kind);
        }
        let Some(ValueKind::Array(elements)) = self.ask(key, Kind::Tables)? else { return Ok(None) };
        if elements.len() > MAX_ELEMENTS {
            return Err(self.problem(key, format!("must not have more than {MAX_ELEMENTS} elements")));
        }
        let elements: Vec<_> = (0..elements.len()).map(|index| read(self, &format!("{key}[{index}]"))).collect();
        elements.into_iter().collect::<Read<_>>().map(Some)
    }

    /// Whether any layer gives this key a value of the right type.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.values.get(key).is_some()
    }

    /// Whether no layer gives this key at all.
    pub(super) fn is_missing(&self, key: &str) -> bool {
        !self.is_given(key) && !self.values.is_spoilt(key)
    }

    /// Where a key's effective value comes from; the channel file (or the defaults, when there is none) for a key that
    /// nobody gives.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.values.get(key).map_or_else(|| self.facts.file_as_a_whole(), |(_, origin)| origin.clone())
    }

    /// Whether a table that is switched on by its presence is there, be it empty. When it is not, its keys are no
    /// effective values; so ask after reading them.
    pub(super) fn is_switched_on(&mut self, table: &str) -> bool {
        let on = self.values.opens(table);
        if !on {
            self.effective.retain(|effective| !effective.key.starts_with(&join(table, "")));
        }
        on
    }

    /// Records what an ungiven key amounts to.
    pub(super) fn derive(&mut self, key: &str, value: impl Display, origin: Origin) {
        self.settle(key, Shown::text(value.to_string()), origin);
    }

    /// As [`Reader::derive`], for integers.
    pub(super) fn derive_integer(&mut self, key: &str, value: impl Display, from: &'static str) {
        self.settle(key, Shown::Plain(value.to_string()), Origin::Derived(from));
    }

    /// Records that a secret has been found, and where.
    pub(super) fn derive_secret(&mut self, key: &str, origin: Origin) {
        self.settle(key, Shown::Secret, origin);
    }

    /// Reports what is wrong with a key's value, or that it is missing.
    pub(super) fn problem(&mut self, key: &str, remedy: impl Into<String>) -> Reported {
        let given = self.values.get(key).map(|(value, _)| Shown::of(value, self.asked.kind(key)));
        let default = || self.effective.iter().find(|effective| effective.key == key).map(|found| found.value.clone());
        let value = given.or_else(default).filter(|value| *value != Shown::Unset).map(|value| value.to_string());
        let origin = self.origin(key);
        self.problems.add(Problem { origin, key: key.to_owned(), value, remedy: remedy.into() });
        Reported
    }

    /// Reports what is unwise about a key's value.
    pub(super) fn warn(&mut self, key: &str, advice: impl Into<String>) {
        let origin = self.origin(key);
        self.warnings.push(Warning { origin, key: key.to_owned(), advice: advice.into() });
    }

    fn ask(&mut self, key: &str, kind: Kind) -> Read<Option<&'a ValueKind>> {
        self.asked.insert(key, kind);
        if self.values.is_spoilt(key) {
            return Err(Reported);
        }
        let given = self.values.get(key);
        let (value, origin) = match given {
            Some((value, origin)) => (Shown::of(value, Some(kind)), origin.clone()),
            None => (Shown::Unset, Origin::Default),
        };
        self.effective.push(Effective { key: key.to_owned(), value, origin });
        Ok(given.map(|(value, _)| value))
    }

    fn fall_back<T: Display>(&mut self, key: &str, default: T) -> T {
        self.settle(key, Shown::Plain(default.to_string()), Origin::Default);
        default
    }

    fn settle(&mut self, key: &str, value: Shown, origin: Origin) {
        if let Some(effective) = self.effective.iter_mut().rev().find(|effective| effective.key == key) {
            (effective.value, effective.origin) = (value, origin);
        }
    }
}
