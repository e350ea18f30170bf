//! What must not stand in a log: secrets at any level, and at `info` and above the addresses of people.
//!
//! Secrets are known in two ways: by value, for those of the configuration; by the form around them, for those that the
//! protocols make up (an SDP's `ice-pwd` and `ice-ufrag`, a `password: "…"` in a library's debug output). Frames written
//! as numbers, as some libraries do at `trace`, hide what is in them from both, so they are left out.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use tracing::Level;

use crate::secret::Secret;

const REDACTED: &str = "[redacted]";
const ADDRESS: &str = "[address]";

/// A secret shorter than this is not looked for by value: it would be found everywhere.
const SHORTEST_SECRET: usize = 4;

/// Bytes in a row, as hexadecimal digits or decimal numbers, from which on they may hold a secret.
const MANY_BYTES: usize = 16;

/// Names whose values are secrets, however the rest of the line is written.
const NAMES: [&str; 8] = ["password", "passwd", "passphrase", "-pw", "pwd", "ufrag", "credential", "secret"];

/// Those after whose colon no sentence begins.
const PASSWORDS: [&str; 6] = ["password", "passwd", "passphrase", "-pw", "pwd", "ufrag"];

/// What an SDP lets a peer in by (RFC 8839 §5.4).
const SDP_SECRETS: [&str; 2] = ["ice-pwd:", "ice-ufrag:"];

/// Makes lines fit to be shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Redactor {
    /// In every form in which they could be written, longest first.
    secrets: Vec<String>,
    /// Addresses that the operator wrote down himself.
    known: Vec<IpAddr>,
}

impl Redactor {
    /// From now on, and beside what is protected already.
    pub(super) fn protect<'s>(&mut self, secrets: impl IntoIterator<Item = &'s Secret>) {
        for secret in secrets {
            let secret = secret.expose();
            if secret.len() < SHORTEST_SECRET {
                continue;
            }
            let quoted = format!("{secret:?}");
            let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            self.secrets.extend([secret.to_owned(), quoted[1..quoted.len() - 1].to_owned(), encoded]);
        }
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        self.secrets.dedup();
    }

    pub(super) fn know(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.known.extend(addresses);
    }

    /// The text, fit for a line of this level.
    pub(super) fn redact<'t>(&self, text: &'t str, level: Level) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), REDACTED));
            }
        }
        for spans in [secrets_by_form, frames] {
            let spans = spans(&text);
            if !spans.is_empty() {
                text = Cow::Owned(replace(&text, &spans, REDACTED));
            }
        }
        if level <= Level::INFO {
            let spans = self.addresses(&text);
            if !spans.is_empty() {
                text = Cow::Owned(replace(&text, &spans, ADDRESS));
            }
        }
        text
    }

    /// Addresses that tell where someone is; ports stay.
    fn addresses(&self, text: &str) -> Vec<Span> {
        let mut spans = Vec::new();
        for (start, token) in tokens(text, |c| c.is_ascii_hexdigit() || c == ':' || c == '.') {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            if text[start + token.len()..].starts_with(word) {
                continue;
            }
            let alone = !without_colour(&text[..start]).ends_with(word);
            let starts = alone.then_some(0).into_iter().chain(behind_colons(token));
            let found =
                starts.filter_map(|at| leading_address(&token[at..]).map(|(ip, length)| (ip, at, length))).next();
            let Some((ip, at, length)) = found else { continue };
            let start = start + at;
            if !ip.is_loopback() && !ip.is_unspecified() && !self.known.contains(&ip) {
                spans.push((start, start + length));
            }
        }
        spans
    }
}

/// Start and end of a piece of text, in bytes.
type Span = (usize, usize);

/// What follows a single colon, as in "UDP:203.0.113.9:5000"; two of them stand in an address, or in the path of a module.
fn behind_colons(token: &str) -> impl Iterator<Item = usize> {
    let colon = |at: usize| token.as_bytes().get(at) == Some(&b':');
    (1..=token.len()).filter(move |at| colon(at - 1) && !colon(*at) && !(*at >= 2 && colon(at - 2)))
}

/// The address that a run of digits, dots and colons is, or is with a port or a full stop behind it; and its length.
fn leading_address(token: &str) -> Option<(IpAddr, usize)> {
    if let Ok(ip) = token.parse() {
        return Some((ip, token.len()));
    }
    let token = token.trim_end_matches(['.', ':']);
    if let Ok(SocketAddr::V4(address)) = token.parse() {
        return Some((IpAddr::V4(*address.ip()), token.find(':').unwrap_or(token.len())));
    }
    Some((token.parse().ok()?, token.len()))
}

fn secrets_by_form(text: &str) -> Vec<Span> {
    let lower = text.to_ascii_lowercase();
    let mut spans = Vec::new();
    for name in SDP_SECRETS {
        for (at, _) in lower.match_indices(name) {
            spans.push(run(text, at + name.len(), |c| !c.is_ascii_alphanumeric() && c != '+' && c != '/'));
        }
    }
    for (at, _) in lower.match_indices("bearer ") {
        spans.push(run(text, at + "bearer ".len(), |c| c.is_whitespace() || matches!(c, '"' | '\\' | '\'' | ',')));
    }
    for name in NAMES {
        for (at, _) in lower.match_indices(name) {
            spans.extend(assigned(text, at + name.len(), PASSWORDS.contains(&name)));
        }
    }
    spans.retain(|(start, end)| start < end && text[*start..*end] != *REDACTED);
    spans.sort_unstable();
    spans
}

/// `0x…` and `[1, 2, …]` of many bytes.
fn frames(text: &str) -> Vec<Span> {
    let mut spans: Vec<_> =
        text.match_indices("0x").map(|(at, _)| run(text, at + 2, |c| !c.is_ascii_hexdigit())).collect();
    spans.retain(|(start, end)| end - start >= 2 * MANY_BYTES);
    for (at, _) in text.match_indices('[') {
        let (start, end) = run(text, at + 1, |c| !(c.is_ascii_digit() || c == ',' || c == ' '));
        if text[start..end].split(',').count() >= MANY_BYTES {
            spans.push((start, end));
        }
    }
    spans.sort_unstable();
    spans
}

/// The value that a name's end is followed by: `: "…"`, `": "…"`, `= …`, `: Some("…")`; a `bare` one after a colon too.
fn assigned(text: &str, name_end: usize, bare: bool) -> Option<Span> {
    let rest = past_colour(&text[name_end..]).trim_start_matches(['\\', '"', ' ']);
    let value = rest.strip_prefix([':', '='])?;
    let equals = rest.starts_with('=');
    let value = past_colour(value).trim_start().trim_start_matches("Some(");
    let quoted = value.trim_start_matches('\\');
    let quote = quoted.chars().next().filter(|quote| matches!(quote, '"' | '\''));
    let start = |value: &str| text.len() - value.len();
    match quote {
        _ if value.starts_with(REDACTED) => None,
        Some(quote) => Some(run(text, start(&quoted[1..]), |c| c == quote || c == '\\')),
        None if equals || bare => Some(run(text, start(value), |c| {
            c.is_whitespace() || matches!(c, ',' | ';' | ')' | '}' | '&' | '"' | '\\')
        })),
        // "ice.credential: must be …" is a sentence.
        None => None,
    }
}

/// Past the escape sequences that colour a terminal (ECMA-48 SGR) at the start.
fn past_colour(mut text: &str) -> &str {
    while let Some((_, rest)) = text.strip_prefix("\u{1b}[").and_then(|rest| rest.split_once('m')) {
        text = rest;
    }
    text
}

/// Without such a sequence at the end.
fn without_colour(text: &str) -> &str {
    match text.rfind("\u{1b}[") {
        Some(start) if past_colour(&text[start..]).is_empty() => &text[..start],
        _ => text,
    }
}

fn run(text: &str, start: usize, ends: impl Fn(char) -> bool) -> Span {
    (start, text[start..].find(ends).map_or(text.len(), |length| start + length))
}

fn tokens(text: &str, belongs: impl Fn(char) -> bool + Copy) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(belongs)?;
        let (start, end) = run(text, start, |c| !belongs(c));
        rest = end;
        Some((start, &text[start..end]))
    })
}

/// `spans` are in order; those that lie within an earlier one are covered by it.
fn replace(text: &str, spans: &[Span], by: &str) -> String {
    let (mut shown, mut done) = (String::with_capacity(text.len()), 0);
    for (start, end) in spans {
        if *start < done {
            continue;
        }
        shown.push_str(&text[done..*start]);
        shown.push_str(by);
        done = *end;
    }
    shown + &text[done..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        let mut redactor = Redactor::default();
        redactor.protect([&Secret::new("hunter2"), &Secret::new("a \"b\"&c"), &Secret::new("abc")]);
        redactor.know(["198.51.100.7".parse().expect("an address")]);
        redactor
    }

    #[test]
    fn secrets_of_the_configuration_are_found_in_every_form() {
        let rows = [
            ("token hunter2, hunter2", "token [redacted], [redacted]"),
            ("said \"a \\\"b\\\"&c\"", "said \"[redacted]\""),
            ("?token=a+%22b%22%26c", "?token=[redacted]"),
            ("abc is too short to be looked for", "abc is too short to be looked for"),
        ];
        for (line, shown) in rows {
            assert_eq!(redactor().redact(line, Level::TRACE), shown);
        }
    }

    #[test]
    fn secrets_that_the_protocols_make_up_are_known_by_their_form() {
        let rows = [
            ("a=ice-pwd:aB+/9xyz\\r\\na=x", "a=ice-pwd:[redacted]\\r\\na=x"),
            ("a=ice-ufrag:aB+/\r\na=x", "a=ice-ufrag:[redacted]\r\na=x"),
            ("Authorization: Bearer abc.def-g\r\n", "Authorization: Bearer [redacted]\r\n"),
            ("\"authorization\": \"Bearer abc\"", "\"authorization\": \"Bearer [redacted]\""),
            ("Ice { local_pwd: \"xyz\", n: 1 }", "Ice { local_pwd: \"[redacted]\", n: 1 }"),
            ("credential: Some(\"xyz\")", "credential: Some(\"[redacted]\")"),
            ("{\\\"password\\\":\\\"xyz\\\"}", "{\\\"password\\\":\\\"[redacted]\\\"}"),
            ("remoteUfrag: abc, remotePwd: xyz", "remoteUfrag: [redacted], remotePwd: [redacted]"),
            (
                "rtspsrc user-id=a user-pw=xyz ! srtsrc passphrase='x y' !",
                "rtspsrc user-id=a user-pw=[redacted] ! srtsrc passphrase='[redacted]' !",
            ),
            ("pwd=xyz ufrag=abc", "pwd=[redacted] ufrag=[redacted]"),
            ("\u{1b}[3mpwd\u{1b}[0m\u{1b}[2m=\u{1b}[0mxyz", "\u{1b}[3mpwd\u{1b}[0m\u{1b}[2m=\u{1b}[0m[redacted]"),
            ("payload: 0x00112233445566778899aabbccddeeff.", "payload: 0x[redacted]."),
            ("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] n", "[[redacted]] n"),
            ("[1, 2, 3] at 0x7ffe12345678", "[1, 2, 3] at 0x7ffe12345678"),
            ("password: [redacted], ice-pwd:", "password: [redacted], ice-pwd:"),
            ("ice.credential: every user can read it", "ice.credential: every user can read it"),
            ("", ""),
        ];
        for (line, shown) in rows {
            assert_eq!(redactor().redact(line, Level::TRACE), shown);
            assert_eq!(redactor().redact(shown, Level::TRACE), shown, "what is redacted stays as it is");
        }
    }

    #[test]
    fn addresses_of_people_are_not_told_at_info_but_for_debugging() {
        let rows = [
            ("peer 203.0.113.9:5000 is gone", "peer [address]:5000 is gone"),
            ("no answer from 203.0.113.9.", "no answer from [address]."),
            ("peer\u{1b}[2m=\u{1b}[0m203.0.113.9", "peer\u{1b}[2m=\u{1b}[0m[address]"),
            ("203.0.113.9: refused", "[address]: refused"),
            (
                "not a valid local candidate from UDP:203.0.113.9:5000",
                "not a valid local candidate from UDP:[address]:5000",
            ),
            ("interface:203.0.113.9, node:2001:db8::1", "interface:[address], node:[address]"),
            ("TCP:[2001:db8::1]:443", "TCP:[[address]]:443"),
            ("candidate (2001:db8::1)", "candidate ([address])"),
            ("[2001:db8::1]:443", "[[address]]:443"),
            (
                "page at http://127.0.0.1:8080, [::1]:1 and 0.0.0.0",
                "page at http://127.0.0.1:8080, [::1]:1 and 0.0.0.0",
            ),
            ("to 198.51.100.7:3478, as configured", "to 198.51.100.7:3478, as configured"),
        ];
        for (line, shown) in rows {
            assert_eq!(redactor().redact(line, Level::INFO), shown);
            assert_eq!(redactor().redact(line, Level::DEBUG), line);
        }
        let plain =
            "2026-11-21T01:23:42.5Z rtcpub::drive::ab: at 12:30 v1.2.3 src/a.rs:1:2 02:42:ac:11:00:02 x::face::bad::1";
        assert_eq!(redactor().redact(plain, Level::ERROR), plain);
    }
}
