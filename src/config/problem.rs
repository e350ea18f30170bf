//! What is wrong with a configuration, all of it at once, and what is merely unwise.

use std::fmt;

use super::origin::Origin;

/// At most this many problems of one run are listed; more would hide the first. The rest is counted.
pub(super) const MAX_PROBLEMS: usize = 100;

/// Longest piece of a value or key that a message repeats, in characters.
const MAX_SHOWN: usize = 80;

/// How the names of properties end that hold passwords.
const PASSWORD_PROPERTIES: [&str; 3] = ["-pw", "passphrase", "password"];

/// What stands in a message in place of a value that may be a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// One thing wrong: where, which key, what was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File with line and column, environment variable or flag.
    pub origin: Origin,
    /// The key at fault, in full: `camera.width`. Empty when the file as a whole is at fault.
    pub key: String,
    /// The value found, as written; `None` when the key is missing. Secrets are redacted.
    pub value: Option<String>,
    /// What is expected, or what to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.origin {
            Origin::Default => "configuration".to_owned(),
            origin => origin.to_string(),
        };
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", shorten(&self.key)) };
        let what = match (&self.value, self.key.as_str()) {
            (None, _) => key,
            (Some(value), "") => format!("{}: ", shorten(value)),
            (Some(value), key) => format!("{} = {}: ", shorten(key), shorten(value)),
        };
        f.write_str(&printable(&format!("{place}: {what}{}", self.remedy)))
    }
}

/// Everything wrong with one configuration: never empty, in the order of the file, then environment, then flags.
/// Its `Display` is one line a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    listed: Vec<Problem>,
    omitted: usize,
}

impl Problems {
    /// The problems, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.listed.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { listed: vec![problem], omitted: 0 }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.listed.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        if self.omitted > 0 {
            write!(f, "\n… and {} more problems", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Something unwise that does not stop the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it was said.
    pub origin: Origin,
    /// The key.
    pub key: String,
    /// What is unwise about it, and what to do.
    pub advice: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&format!("{}: {}: {}", self.origin, self.key, self.advice)))
    }
}

/// Gathers problems while a configuration is read.
#[derive(Debug, Default)]
pub(super) struct Collector {
    listed: Vec<Problem>,
    omitted: usize,
}

impl Collector {
    /// Whether another problem would only be counted: then its message need not be worked out.
    pub(super) fn is_full(&self) -> bool {
        self.listed.len() >= MAX_PROBLEMS
    }

    pub(super) fn add(&mut self, problem: Problem) {
        if self.is_full() {
            self.omitted += 1;
        } else {
            self.listed.push(problem);
        }
    }

    /// Takes out the listed problems of one kind.
    pub(super) fn take_out(&mut self, of_this_kind: impl Fn(&Problem) -> bool) -> Self {
        let (out, kept) = std::mem::take(&mut self.listed).into_iter().partition(of_this_kind);
        self.listed = kept;
        Self { listed: out, omitted: 0 }
    }

    /// `None` when nothing is wrong.
    pub(super) fn finish(mut self) -> Option<Problems> {
        if self.listed.is_empty() {
            return None;
        }
        self.listed.sort_by_key(|problem| problem.origin.reading_order());
        Some(Problems { listed: self.listed, omitted: self.omitted })
    }
}

/// A piece of someone's input that a message repeats: without its passwords, not longer than [`MAX_SHOWN`].
fn shorten(text: &str) -> String {
    let text = without_passwords(text);
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// As one line of a terminal or log: control characters escaped.
pub(crate) fn printable(text: &str) -> String {
    text.chars().flat_map(escape_control).collect()
}

/// Without the passwords that a camera's pipeline holds: those of its URLs and of its elements' properties.
pub(crate) fn without_passwords(text: &str) -> String {
    without_property_passwords(&without_url_passwords(text))
}

/// Blanks the value of each `name=value`, bare or quoted, whose name ends as those of GStreamer's passwords do
/// (`user-pw`, `proxy-pw`, `passphrase`).
fn without_property_passwords(text: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(equals) = rest.find('=') {
        let (name, value) = (rest[..equals].trim_end(), rest[equals + 1..].trim_start());
        shown.push_str(&rest[..rest.len() - value.len()]);
        rest = value;
        if PASSWORD_PROPERTIES.iter().any(|end| name.to_ascii_lowercase().ends_with(end)) {
            let within = open_quote(&shown);
            shown.push_str(REDACTED);
            rest = &value[value_length(value, within)..];
        }
    }
    shown + rest
}

/// How long the value is that a property's text begins with, in bytes, as gst_parse_launch reads it: `\` takes the next
/// character's meaning away. `within` a quote it is one of a URI's query, and ends with the quote or at the next one.
fn value_length(text: &str, within: Option<char>) -> usize {
    let quote = text.chars().next().filter(|first| within.is_none() && matches!(first, '"' | '\''));
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(usize::from(quote.is_some())) {
        match quote {
            _ if escaped => escaped = false,
            _ if c == '\\' => escaped = true,
            Some(quote) if c == quote => return at + c.len_utf8(),
            None if within == Some(c) || (within.is_some() && c == '&') => return at,
            None if c.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}

/// The quote that is open at the end of a text.
fn open_quote(text: &str) -> Option<char> {
    let mut escaped = false;
    text.chars().fold(None, |open, c| match open {
        _ if std::mem::take(&mut escaped) => open,
        _ if c == '\\' => {
            escaped = true;
            open
        }
        Some(quote) if c == quote => None,
        None if matches!(c, '"' | '\'') => Some(c),
        open => open,
    })
}

/// Blanks `user:password@` in every `scheme://user:password@host` of a text (camera pipelines hold such URLs).
fn without_url_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, authority) = rest.split_at(start + 3);
        shown.push_str(before);
        let end = authority.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(authority.len());
        rest = authority;
        if let Some(at) = authority[..end].rfind('@') {
            shown.push_str(REDACTED);
            rest = &authority[at..];
        }
    }
    shown + rest
}

fn escape_control(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = (!c.is_control()).then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_repeats_is_short_and_without_passwords() {
        let rows = [
            ("plain", "plain".to_owned()),
            ("rtsp://joe:pw@cam/1 rtsp://b:c@d", "rtsp://[redacted]@cam/1 rtsp://[redacted]@d".to_owned()),
            ("wss://p@ss@host", "wss://[redacted]@host".to_owned()),
            ("wss://host:1/@", "wss://host:1/@".to_owned()),
            ("s user-id=a user-pw=hunter2 ! t", "s user-id=a user-pw=[redacted] ! t".to_owned()),
            ("s user-pw = \"hun \\\"ter2\" x=1", "s user-pw = [redacted] x=1".to_owned()),
            ("s Passphrase='a b' password=a\\ b", "s Passphrase=[redacted] password=[redacted]".to_owned()),
            ("s user-pw=\"open", "s user-pw=[redacted]".to_owned()),
            ("s user-pw=", "s user-pw=[redacted]".to_owned()),
            (
                "s uri=\"srt://:7001?passphrase=x&mode=listener\" latency=1",
                "s uri=\"srt://:7001?passphrase=[redacted]&mode=listener\" latency=1".to_owned(),
            ),
            ("s uri='srt://a?passphrase=x' t=1", "s uri='srt://a?passphrase=[redacted]' t=1".to_owned()),
        ];
        for (text, shown) in rows {
            assert_eq!(shorten(text), shown);
        }
        assert_eq!(shorten(&"ä".repeat(500)).chars().count(), MAX_SHOWN + 1);
    }

    #[test]
    fn nobody_s_input_breaks_a_message_s_line() {
        let origin = Origin::Environment("RTCPUB__\n".to_owned());
        let problem =
            Problem { origin, key: "a\tb".into(), value: Some("\u{1b}[31m".into()), remedy: "c\u{7f}".into() };
        let line = "environment variable RTCPUB__\\n: a\\tb = \\u{1b}[31m: c\\u{7f}";
        assert_eq!(problem.to_string(), line);
    }

    #[test]
    fn problems_are_listed_down_the_file_and_counted_past_the_limit() {
        let at = |line| Origin::File { path: "x".into(), position: Some(crate::config::Position { line, column: 1 }) };
        let problem = |origin| Problem { origin, key: "k".into(), value: None, remedy: "r".into() };
        let mut collector = Collector::default();
        collector.add(problem(Origin::Flag("--set".into())));
        collector.add(problem(Origin::File { path: "x".into(), position: None }));
        (0..MAX_PROBLEMS).rev().for_each(|line| collector.add(problem(at(line + 1))));
        let problems = collector.finish().expect("there are problems");
        let text = problems.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "x:3:1: k: r");
        assert_eq!(lines[98..], ["x: k: r", "flag --set: k: r", "… and 2 more problems"]);
        assert_eq!(problems.iter().count(), MAX_PROBLEMS);
    }
}
