//! TOML text → document, with every syntax error and its place.

use toml_edit::Document;

use super::origin::Position;
use super::schema::join;

/// After this many broken lines the rest of the file is not looked at.
const MAX_BROKEN_LINES: usize = 20;

/// One place where the text is not TOML.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) position: Position,
    /// `camera.width`, when the broken line is a `key = value`.
    pub(super) key: Option<String>,
    /// What stands behind the `=`, as written.
    pub(super) value: String,
    pub(super) message: String,
}

/// What could be read of a text.
#[derive(Debug)]
pub(super) struct Text {
    /// The document without its broken lines; `None` when what is left says nothing about the rest.
    pub(super) document: Option<Document<String>>,
    pub(super) errors: Vec<SyntaxError>,
    pub(super) places: Places,
}

/// Parses a file's bytes. A broken `key = value` line is reported, blanked, and the rest read all the same, so that
/// one run shows every mistake; a broken table header makes the lines below it meaningless and ends the reading.
pub(super) fn parse(bytes: &[u8]) -> Text {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    let places = Places::of(&text);
    let mut errors: Vec<_> = not_utf8(bytes, &text, &places).into_iter().collect();
    loop {
        let error = match Document::parse(text.clone()) {
            Ok(document) => return Text { document: Some(document), errors, places },
            Err(error) => error,
        };
        let start = error.span().map_or(text.len(), |span| span.start);
        let line = places.line(start);
        let found = SyntaxError::at(&text, &places, start, error.message().to_owned());
        let readable = found.key.is_some() && errors.len() < MAX_BROKEN_LINES;
        errors.push(found);
        if !readable {
            return Text { document: None, errors, places };
        }
        let range = places.range(line, text.len());
        let blank = " ".repeat(range.len());
        text.replace_range(range, &blank);
    }
}

fn not_utf8(bytes: &[u8], text: &str, places: &Places) -> Option<SyntaxError> {
    let valid = std::str::from_utf8(bytes).err()?.valid_up_to();
    Some(SyntaxError::at(text, places, valid, "not UTF-8: save the file in UTF-8".to_owned()))
}

impl SyntaxError {
    fn at(text: &str, places: &Places, offset: usize, message: String) -> Self {
        let position = places.position(text, offset);
        let line = places.line(offset);
        let (key, value) = key_of_line(text, places, line).unzip();
        Self { position, key, value: value.unwrap_or_default(), message }
    }
}

/// The full key and the value of a `key = value` line.
fn key_of_line(text: &str, places: &Places, line: usize) -> Option<(String, String)> {
    let content = |line| text[places.range(line, text.len())].trim();
    let (key, value) = content(line).split_once('=')?;
    let key = key.trim();
    if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
        return None;
    }
    let header = (0..line).rev().map(content).find(|line| line.starts_with('['));
    let table = header.map_or("", |header| header.split(']').next().unwrap_or(header).trim_start_matches('['));
    let table = match header.is_some_and(|header| header.starts_with("[[")) {
        true => format!("{}[]", table.trim()),
        false => table.trim().to_owned(),
    };
    Some((join(&table, key), value.trim().to_owned()))
}

/// Where the lines of a text begin.
#[derive(Clone, Debug)]
pub(super) struct Places {
    starts: Vec<usize>,
}

impl Places {
    pub(super) fn of(text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { starts }
    }

    /// Line and column of a byte offset, for people.
    pub(super) fn position(&self, text: &str, offset: usize) -> Position {
        let line = self.line(offset);
        let before = text.get(self.starts[line]..offset).unwrap_or_default();
        Position { line: line + 1, column: before.chars().count() + 1 }
    }

    /// Index of the line that holds a byte offset.
    fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset) - 1
    }

    /// The bytes of a line, without its newline.
    fn range(&self, line: usize, text_len: usize) -> std::ops::Range<usize> {
        let end = self.starts.get(line + 1).map_or(text_len, |next| next - 1);
        self.starts[line]..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &[u8]) -> Vec<(usize, usize, Option<String>, String)> {
        let found = parse(text).errors.into_iter();
        found.map(|error| (error.position.line, error.position.column, error.key, error.value)).collect()
    }

    #[test]
    fn every_broken_line_is_found_in_one_run() {
        let text = b"[server]\nurl = wss://host\n[camera]\nkind = pipeline # no quotes\nwidth = 640\n[[ice.servers]]\nurl = stun:a\n";
        let keys: Vec<_> = errors(text).into_iter().map(|error| (error.0, error.2.expect("a key"), error.3)).collect();
        let expected = [
            (2, "server.url", "wss://host"),
            (4, "camera.kind", "pipeline # no quotes"),
            (7, "ice.servers[].url", "stun:a"),
        ];
        assert_eq!(keys, expected.map(|(line, key, value)| (line, key.to_owned(), value.to_owned())));
        assert!(parse(text).document.expect("the rest is read").get("camera").is_some());
    }

    #[test]
    fn a_broken_header_ends_the_reading() {
        let parsed = parse(b"[camera\nwidth = 640\n");
        assert!(parsed.document.is_none());
        assert_eq!(parsed.errors.len(), 1);
        assert_eq!(parsed.errors[0].position.line, 1);
    }

    #[test]
    fn bytes_that_are_not_utf8_have_a_place() {
        assert_eq!(errors(b"[camera]\nkind = \"\xff\"\n"), [(2, 9, Some("camera.kind".into()), "\"\u{fffd}\"".into())]);
    }

    #[test]
    fn the_number_of_broken_lines_looked_at_is_bounded() {
        let text = "a = b c\n".repeat(1000);
        assert_eq!(errors(text.as_bytes()).len(), MAX_BROKEN_LINES + 1);
    }
}
