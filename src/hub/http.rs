//! What a request gets: a file of the page, the list of channels, a socket, or a refusal that says why.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

use super::channels::{Channels, PublisherSeat, ViewerInbox, ViewerSeat};
use super::guard::{self, Names, Refusal, Scheme, TokenJudge};
use super::page;
use super::settings::HubConfig;
use crate::signal::settings::ChannelId;
use crate::signal::socket;
use crate::signal::spider::Role;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// What requests are judged by.
#[derive(Debug)]
pub struct Gatekeeper {
    pub(super) config: HubConfig,
    pub(super) names: Names,
    pub(super) judge: TokenJudge,
}

/// Where a request came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// How.
    pub scheme: Scheme,
    /// From where.
    pub peer: SocketAddr,
}

/// A socket that was granted: the upgrade follows. Its place is taken already.
#[derive(Debug)]
pub enum Grant {
    /// For a publisher.
    Publisher(PublisherSeat),
    /// For a viewer.
    Viewer(ViewerSeat, ViewerInbox),
}

type Reply = Response<Full<Bytes>>;

/// Answers one request; a [`Grant`] comes with the response that starts the upgrade.
pub fn respond<B>(
    request: &Request<B>,
    arrival: Arrival,
    gate: &Gatekeeper,
    channels: &Arc<Channels>,
) -> (Reply, Option<Grant>) {
    let path = request.uri().path();
    let role = [Role::Publisher, Role::Viewer].into_iter().find(|role| role.path() == path);
    if let Some(role) = role {
        return match grant(request, role, arrival, gate, channels) {
            Ok(grant) => (upgrade(request.headers()), Some(grant)),
            Err(denial) => (denial.reply(), None),
        };
    }
    let reply = match serve(request, gate, channels) {
        Ok(reply) => reply,
        Err(denial) => denial.reply(),
    };
    (reply, None)
}

/// A refusal with its status.
#[derive(Debug)]
struct Denial {
    status: StatusCode,
    reason: String,
}

impl Denial {
    fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }

    fn reply(self) -> Reply {
        let mut reply = body(format!("{}\n", self.reason).into(), page::headers(TEXT, "localhost"));
        *reply.status_mut() = self.status;
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            reply.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        reply
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::NoHost => StatusCode::BAD_REQUEST,
            Refusal::ForeignHost(_) => StatusCode::MISDIRECTED_REQUEST,
            Refusal::ForeignOrigin(_) => StatusCode::FORBIDDEN,
            Refusal::Token => StatusCode::UNAUTHORIZED,
        };
        Self::new(status, refusal.to_string())
    }
}

fn serve<B>(request: &Request<B>, gate: &Gatekeeper, channels: &Channels) -> Result<Reply, Denial> {
    let host = guard::check_host(request.headers(), &gate.names)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Denial::new(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are understood here"));
    }
    if request.uri().path() == "/channels" {
        gate.judge.check(request.headers(), gate.config.viewer_token.as_ref())?;
        let list = serde_json::to_string(&channels.live()).expect("strings and numbers always serialise");
        return Ok(body(list.into(), page::headers(JSON, &host)));
    }
    let asset = page::asset(request.uri().path());
    let asset =
        asset.ok_or_else(|| Denial::new(StatusCode::NOT_FOUND, "there is nothing here; the viewer page is at /"))?;
    Ok(body(asset.body(), page::headers(asset.media_type, &host)))
}

fn grant<B>(
    request: &Request<B>,
    role: Role,
    arrival: Arrival,
    gate: &Gatekeeper,
    channels: &Arc<Channels>,
) -> Result<Grant, Denial> {
    let headers = request.headers();
    guard::check_origin(headers, &gate.names, arrival.scheme)?;
    let token = match role {
        Role::Publisher => &gate.config.publisher_token,
        Role::Viewer => &gate.config.viewer_token,
    };
    gate.judge.check(headers, token.as_ref())?;
    if role == Role::Publisher && arrival.scheme == Scheme::Http && !arrival.peer.ip().to_canonical().is_loopback() {
        let port = gate.config.secure.port();
        let reason = format!("publishers from other machines connect over TLS: wss://…:{port}{}", role.path());
        return Err(Denial::new(StatusCode::FORBIDDEN, reason));
    }
    let channel = channel_of(request.uri().query())?;
    if !is_upgrade(request) {
        return Err(Denial::new(StatusCode::UPGRADE_REQUIRED, "this address is a WebSocket (version 13)"));
    }
    let seated = match role {
        Role::Publisher => channels.seat_publisher(&channel).map(Grant::Publisher),
        Role::Viewer => channels.seat_viewer(&channel).map(|(seat, inbox)| Grant::Viewer(seat, inbox)),
    };
    seated.map_err(|full| Denial::new(StatusCode::SERVICE_UNAVAILABLE, full.to_string()))
}

fn channel_of(query: Option<&str>) -> Result<ChannelId, Denial> {
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut channels = pairs.filter(|(key, _)| key == "channel").map(|(_, value)| value.into_owned());
    let missing = || Denial::new(StatusCode::BAD_REQUEST, "the query needs a channel: …?channel=ID");
    let channel = channels.next().ok_or_else(missing)?;
    if channels.next().is_some() {
        return Err(Denial::new(StatusCode::BAD_REQUEST, "the query names more than one channel"));
    }
    ChannelId::new(channel).ok_or_else(|| {
        Denial::new(StatusCode::BAD_REQUEST, "a channel id is 1 to 256 bytes without control characters")
    })
}

/// RFC 6455 §4.2.1.
fn is_upgrade<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let has = |name, wanted: &str| {
        let values = headers.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
        values.flat_map(|list| list.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    request.method() == Method::GET
        && has(UPGRADE, "websocket")
        && has(CONNECTION, "upgrade")
        && has(SEC_WEBSOCKET_VERSION, "13")
        && headers.contains_key(SEC_WEBSOCKET_KEY)
}

fn upgrade(headers: &HeaderMap) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    let accept = HeaderValue::from_str(&socket::accept_key(key)).expect("base64 is a header value");
    let answers = reply.headers_mut();
    answers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if guard::offers_subprotocol(headers) {
        answers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(guard::SUBPROTOCOL));
    }
    reply
}

fn body(content: Bytes, headers: HeaderMap) -> Reply {
    let mut reply = Response::new(Full::new(content));
    *reply.headers_mut() = headers;
    reply
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
