//! The Spider wire format: JSON text frames `{"type": "<t>", "data": "<string>"}` (`shared/reference/spider-protocol.md`).
//!
//! Both ends use it: the daemon as a client, the hub as the server. Nothing a peer sends is an error here: a frame is a
//! [`Message`], an answer that cannot be used, or [`Junk`] to be counted and ignored.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use super::settings::ChannelId;

/// Largest signalling frame accepted, in bytes.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;

/// One signalling message, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// An SDP offer: ours opens the session, the server's renegotiates it.
    Offer(String),
    /// An SDP answer.
    Answer(String),
    /// Trickle, old style: a bare candidate line without a mid; it applies to the bundle.
    Candidate(String),
    /// Trickle, standard style.
    Candidate2(CandidateInit),
    /// Keep-alive; needs no reply.
    Ping,
    /// Someone joined or left; informational.
    Joins(String),
    /// The bare text `close`: the session is over.
    Close,
}

/// The wire form of `RTCIceCandidateInit` (W3C WebRTC §4.8.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateInit {
    /// `candidate:…`, or empty for "no more candidates".
    pub candidate: String,
    /// The media section it belongs to, by name …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    /// … or by index.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "sdpMLineIndex")]
    pub sdp_m_line_index: Option<u16>,
    /// The ICE generation it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_fragment: Option<String>,
}

impl CandidateInit {
    /// A candidate that names no media section: it applies to the bundle, which the first section carries.
    pub fn for_bundle(line: &str) -> Self {
        let candidate = normalise_candidate(line);
        Self { candidate, sdp_mid: None, sdp_m_line_index: Some(0), username_fragment: None }
    }

    /// Whether this says "no more candidates" rather than naming one.
    pub fn is_end(&self) -> bool {
        self.candidate.trim().is_empty()
    }
}

/// What a frame turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message of the protocol.
    Message(Message),
    /// An `answer` without a usable SDP: the attempt cannot succeed and is made again.
    UnusableAnswer,
    /// Anything else: ignored, with a bounded log.
    Junk(Junk),
}

/// Why a frame was ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Junk {
    /// Not a JSON document.
    NotJson,
    /// JSON, but no object.
    NotAnObject,
    /// No `type`, or one that is no string.
    NoType,
    /// A type this protocol does not know.
    UnknownType(String),
    /// `data` is missing or no string where the type needs one.
    BadData(&'static str),
    /// A binary frame.
    Binary,
}

impl fmt::Display for Junk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => f.write_str("not JSON"),
            Self::NotAnObject => f.write_str("JSON, but not an object"),
            Self::NoType => f.write_str("no \"type\" string"),
            Self::UnknownType(kind) => write!(f, "unknown type {kind:?}"),
            Self::BadData(kind) => write!(f, "a {kind:?} without usable \"data\""),
            Self::Binary => f.write_str("a binary frame"),
        }
    }
}

/// Longest unknown `type` kept for the log, in characters.
const LOGGED_TYPE_CHARS: usize = 32;

/// Reads one text frame.
pub fn parse(text: &str) -> Incoming {
    if text.trim() == "close" {
        return Incoming::Message(Message::Close);
    }
    let Ok(document) = serde_json::from_str::<serde_json::Value>(text) else {
        return Incoming::Junk(Junk::NotJson);
    };
    let Some(envelope) = document.as_object() else {
        return Incoming::Junk(Junk::NotAnObject);
    };
    let Some(kind) = envelope.get("type").and_then(|kind| kind.as_str()) else {
        return Incoming::Junk(Junk::NoType);
    };
    let data = envelope.get("data").and_then(|data| data.as_str());
    match (kind, data) {
        ("offer", Some(sdp)) if is_sdp(sdp) => Incoming::Message(Message::Offer(sdp.to_owned())),
        ("answer", Some(sdp)) if is_sdp(sdp) => Incoming::Message(Message::Answer(sdp.to_owned())),
        ("answer", _) => Incoming::UnusableAnswer,
        ("candidate", Some(line)) => Incoming::Message(Message::Candidate(line.to_owned())),
        ("candidate2", Some(init)) => parse_candidate2(init),
        ("ping", _) => Incoming::Message(Message::Ping),
        ("joins" | "join", data) => Incoming::Message(Message::Joins(data.unwrap_or_default().to_owned())),
        ("offer", _) => Incoming::Junk(Junk::BadData("offer")),
        ("candidate", None) => Incoming::Junk(Junk::BadData("candidate")),
        ("candidate2", None) => Incoming::Junk(Junk::BadData("candidate2")),
        (other, _) => Incoming::Junk(Junk::UnknownType(other.chars().take(LOGGED_TYPE_CHARS).collect())),
    }
}

impl Message {
    /// The text frame that carries this message.
    pub fn to_text(&self) -> String {
        let (kind, data) = match self {
            Self::Offer(sdp) => ("offer", Some(sdp.as_str().into())),
            Self::Answer(sdp) => ("answer", Some(sdp.as_str().into())),
            Self::Candidate(line) => ("candidate", Some(line.as_str().into())),
            Self::Candidate2(init) => ("candidate2", Some(to_json(init).into())),
            Self::Ping => ("ping", None),
            Self::Joins(who) => ("joins", Some(who.as_str().into())),
            Self::Close => return "close".to_owned(),
        };
        to_json(&Envelope { kind, data })
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Cow<'a, str>>,
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and integers under string keys always serialise")
}

/// Which side of a channel a socket speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `/live/ws/pub`.
    Publisher,
    /// `/live/ws/sub`.
    Viewer,
}

impl Role {
    /// The path of the socket.
    pub fn path(self) -> &'static str {
        match self {
            Self::Publisher => "/live/ws/pub",
            Self::Viewer => "/live/ws/sub",
        }
    }
}

/// The address of a signalling socket: path, `channel`, then the extra query parameters in their order.
pub fn socket_url(server: &Url, role: Role, channel: &ChannelId, query: &[(String, String)]) -> Url {
    let mut url = server.clone();
    url.set_path(role.path());
    url.query_pairs_mut().clear().append_pair("channel", channel.as_str()).extend_pairs(query);
    url
}

/// Lower-cases the transport of a candidate line (some peers write `UDP`) and strips an `a=` prefix.
fn normalise_candidate(line: &str) -> String {
    let line = line.trim();
    let line = line.strip_prefix("a=").unwrap_or(line);
    // candidate:<foundation> <component> <transport> … (RFC 8839 §5.1)
    let mut words: Vec<&str> = line.split(' ').collect();
    let transport = words.get(2).map(|word| word.to_ascii_lowercase());
    if let (Some(slot), Some(transport)) = (words.get_mut(2), &transport) {
        *slot = transport;
    }
    words.join(" ")
}

fn parse_candidate2(init: &str) -> Incoming {
    match serde_json::from_str::<CandidateInit>(init) {
        Ok(mut init) => {
            init.candidate = normalise_candidate(&init.candidate);
            Incoming::Message(Message::Candidate2(init))
        }
        Err(_) => Incoming::Junk(Junk::BadData("candidate2")),
    }
}

/// Whether this can be an SDP at all (RFC 8866 §5: `v=0` comes first); its content is judged by the peer connection.
fn is_sdp(data: &str) -> bool {
    data.trim_start().starts_with("v=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n";

    #[test]
    fn every_message_survives_the_wire() {
        let candidate = CandidateInit {
            candidate: "candidate:1 1 udp 2130706431 192.0.2.1 40000 typ host".into(),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: Some(0),
            username_fragment: Some("abcd".into()),
        };
        let messages = [
            Message::Offer(SDP.into()),
            Message::Answer(SDP.into()),
            Message::Candidate("candidate:1 1 udp 1 192.0.2.1 4 typ host".into()),
            Message::Candidate2(candidate),
            Message::Ping,
            Message::Joins("2".into()),
            Message::Close,
        ];
        for message in messages {
            assert_eq!(parse(&message.to_text()), Incoming::Message(message.clone()), "{message:?}");
        }
    }

    #[test]
    fn the_wire_form_is_the_references() {
        assert_eq!(Message::Ping.to_text(), r#"{"type":"ping"}"#);
        assert_eq!(Message::Close.to_text(), "close");
        let init = CandidateInit {
            candidate: "candidate:1".into(),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: Some(0),
            username_fragment: None,
        };
        assert_eq!(
            Message::Candidate2(init).to_text(),
            r#"{"type":"candidate2","data":"{\"candidate\":\"candidate:1\",\"sdpMid\":\"0\",\"sdpMLineIndex\":0}"}"#
        );
    }

    #[test]
    fn junk_is_named_and_never_an_error() {
        let rows = [
            ("", Junk::NotJson),
            ("{", Junk::NotJson),
            ("hello", Junk::NotJson),
            ("[]", Junk::NotAnObject),
            ("[{\"type\":\"ping\"}]", Junk::NotAnObject),
            ("5", Junk::NotAnObject),
            ("\"close\"", Junk::NotAnObject),
            ("null", Junk::NotAnObject),
            ("{}", Junk::NoType),
            (r#"{"type":5}"#, Junk::NoType),
            (r#"{"type":null,"data":"x"}"#, Junk::NoType),
            (r#"{"type":"quit"}"#, Junk::UnknownType("quit".into())),
            (r#"{"type":"offer"}"#, Junk::BadData("offer")),
            (r#"{"type":"offer","data":"not an sdp"}"#, Junk::BadData("offer")),
            (r#"{"type":"candidate"}"#, Junk::BadData("candidate")),
            (r#"{"type":"candidate","data":7}"#, Junk::BadData("candidate")),
            (r#"{"type":"candidate2","data":"candidate:1"}"#, Junk::BadData("candidate2")),
            (r#"{"type":"candidate2","data":{"candidate":"x"}}"#, Junk::BadData("candidate2")),
        ];
        for (text, junk) in rows {
            assert_eq!(parse(text), Incoming::Junk(junk), "{text}");
        }
    }

    #[test]
    fn an_unknown_type_cannot_flood_the_log() {
        let text = format!(r#"{{"type":"{}"}}"#, "x".repeat(100_000));
        let Incoming::Junk(Junk::UnknownType(kept)) = parse(&text) else { panic!("an unknown type") };
        assert_eq!(kept.len(), LOGGED_TYPE_CHARS);
    }

    #[test]
    fn an_answer_without_a_usable_sdp_ends_the_attempt() {
        for text in [
            r#"{"type":"answer"}"#,
            r#"{"type":"answer","data":5}"#,
            r#"{"type":"answer","data":null}"#,
            r#"{"type":"answer","data":""}"#,
            r#"{"type":"answer","data":"sorry"}"#,
        ] {
            assert_eq!(parse(text), Incoming::UnusableAnswer, "{text}");
        }
    }

    #[test]
    fn lenient_forms_are_accepted() {
        assert_eq!(parse(" close\n"), Incoming::Message(Message::Close));
        assert_eq!(parse(r#"{"type":"join"}"#), Incoming::Message(Message::Joins(String::new())));
        assert_eq!(parse(r#"{"type":"ping","data":{"any":1}}"#), Incoming::Message(Message::Ping));
        assert_eq!(parse(r#"{"type":"ping","more":true}"#), Incoming::Message(Message::Ping));
    }

    #[test]
    fn a_candidate_in_upper_case_or_with_a_prefix_is_understood() {
        let init = CandidateInit::for_bundle("a=candidate:1 1 UDP 1 192.0.2.1 4 typ host");
        assert_eq!(init.candidate, "candidate:1 1 udp 1 192.0.2.1 4 typ host");
        assert_eq!((init.sdp_mid, init.sdp_m_line_index), (None, Some(0)));
        assert!(CandidateInit::for_bundle("").is_end());
    }

    #[test]
    fn the_socket_url_is_the_references() {
        let server = Url::parse("wss://example.org:8267").expect("a URL");
        let channel = ChannelId::new("c40hipepjh65aeq6ndj0").expect("an id");
        let query = [("vcodec", "h264"), ("brate", "800"), ("ktime", "100")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(
            socket_url(&server, Role::Publisher, &channel, &query).as_str(),
            "wss://example.org:8267/live/ws/pub?channel=c40hipepjh65aeq6ndj0&vcodec=h264&brate=800&ktime=100"
        );
        let odd = ChannelId::new("a b&c").expect("an id");
        assert_eq!(
            socket_url(&server, Role::Viewer, &odd, &[]).as_str(),
            "wss://example.org:8267/live/ws/sub?channel=a+b%26c"
        );
    }
}
