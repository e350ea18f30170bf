//! Who may come in: names the hub answers to, origins a browser may come from, tokens.
//!
//! A page anywhere on the internet can make a browser on this network open a WebSocket to an address of this network
//! (browsers do not stop that), and can give its own name this machine's address (DNS rebinding), so that the browser
//! takes the hub for part of that page. The first is stopped by the `Origin` a browser always sends, the second by the
//! name in `Host`.

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use ring::hmac;
use ring::rand::SystemRandom;
use url::{Host, Url};

use crate::secret::Secret;

/// The WebSocket subprotocol a browser asks for, beside the one that carries its token.
pub const SUBPROTOCOL: &str = "rtcpub";
/// What a subprotocol that carries a token starts with; the token follows as hexadecimal UTF-8. A browser can set no
/// other header, and an address or a cookie would end up in logs.
const TOKEN_SUBPROTOCOL: &str = "rtcpub.token.";

/// Why a request is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request names no host, or nonsense.
    #[error("the request has no usable Host")]
    NoHost,
    /// The host is none of ours: perhaps a rebound name.
    #[error(
        "this hub does not answer to the name {0:?}; open it by its address or its own name, or allow the name when \
         starting it"
    )]
    ForeignHost(String),
    /// A page of another origin.
    #[error("a page of another origin ({0}) may not use this hub")]
    ForeignOrigin(String),
    /// No token, or not the right one.
    #[error("a valid token is needed")]
    Token,
}

/// The names this hub answers to, beside IP addresses (which nobody can rebind) and `localhost`.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// This machine's name, with and without `.local`, and those the owner allows.
    pub fn new(machine: Option<&str>, allowed: &[String]) -> Self {
        let machine = machine.into_iter().flat_map(|name| [name.to_owned(), format!("{name}.local")]);
        Self(
            machine
                .chain(allowed.iter().cloned())
                .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
                .collect(),
        )
    }

    /// The names themselves.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn include(&self, host: &Host<&str>) -> bool {
        match host {
            Host::Ipv4(_) | Host::Ipv6(_) => true,
            Host::Domain(name) => {
                let name = name.trim_end_matches('.');
                name == "localhost" || self.iter().any(|own| own == name)
            }
        }
    }
}

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Over TLS.
    Https,
    /// In the clear.
    Http,
}

/// The host and port a request was sent to, when the hub answers to it.
///
/// # Errors
/// [`Refusal::NoHost`], [`Refusal::ForeignHost`].
pub fn check_host(headers: &HeaderMap, names: &Names) -> Result<String, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(Refusal::NoHost) };
    let host = host.to_str().map_err(|_| Refusal::NoHost)?;
    let url = Url::parse(&format!("http://{host}/")).map_err(|_| Refusal::NoHost)?;
    let plain = url.path() == "/" && url.username().is_empty() && url.password().is_none() && url.query().is_none();
    match url.host() {
        Some(name) if plain && names.include(&name) => Ok(host.to_owned()),
        Some(name) if plain => Err(Refusal::ForeignHost(name.to_string())),
        _ => Err(Refusal::NoHost),
    }
}

/// Whether a request may open a socket: one without `Origin` comes from no browser and may; a browser's page must be
/// our own.
///
/// # Errors
/// [`Refusal::ForeignOrigin`], and those of [`check_host`] for browsers.
pub fn check_origin(headers: &HeaderMap, names: &Names, scheme: Scheme) -> Result<(), Refusal> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(()) };
    let shown = String::from_utf8_lossy(origin.as_bytes()).into_owned();
    let host = check_host(headers, names)?;
    let same = origins.next().is_none() && is_same_origin(&shown, &host, scheme);
    if same { Ok(()) } else { Err(Refusal::ForeignOrigin(shown)) }
}

/// A page that came over TLS may use the plain port of the same name and port (a proxy in front of it); never the other
/// way round.
fn is_same_origin(origin: &str, host: &str, scheme: Scheme) -> bool {
    let Ok(page) = Url::parse(origin) else { return false };
    let scheme_fits = match scheme {
        Scheme::Https => page.scheme() == "https",
        Scheme::Http => matches!(page.scheme(), "http" | "https"),
    };
    let Ok(own) = Url::parse(&format!("{}://{host}/", page.scheme())) else { return false };
    scheme_fits && page.origin() == own.origin()
}

/// Compares tokens without telling by its time how much of one was right.
pub struct TokenJudge {
    key: hmac::Key,
}

impl std::fmt::Debug for TokenJudge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenJudge")
    }
}

impl TokenJudge {
    /// A judge with a random key.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new() -> Result<Self, ring::error::Unspecified> {
        Ok(Self { key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())? })
    }

    /// Whether the request presents `expected`; everything passes when nothing is expected.
    ///
    /// # Errors
    /// [`Refusal::Token`].
    pub fn check(&self, headers: &HeaderMap, expected: Option<&Secret>) -> Result<(), Refusal> {
        let Some(expected) = expected else { return Ok(()) };
        let presented = presented_token(headers).ok_or(Refusal::Token)?;
        let tag = hmac::sign(&self.key, expected.expose().as_bytes());
        hmac::verify(&self.key, presented.expose().as_bytes(), tag.as_ref()).map_err(|_| Refusal::Token)
    }
}

/// The token of `Authorization: Bearer …`, or of the subprotocol list.
fn presented_token(headers: &HeaderMap) -> Option<Secret> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    let bearer = authorization.and_then(|value| value.strip_prefix("Bearer "));
    if let Some(token) = bearer {
        return Some(Secret::new(token.trim()));
    }
    let hex = subprotocols(headers).find_map(|protocol| protocol.strip_prefix(TOKEN_SUBPROTOCOL))?;
    String::from_utf8(unhex(hex)?).ok().map(Secret::new)
}

/// Whether the client speaks our subprotocol: then the answer must choose it.
pub fn offers_subprotocol(headers: &HeaderMap) -> bool {
    subprotocols(headers).any(|protocol| protocol == SUBPROTOCOL)
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let list: &HeaderName = &SEC_WEBSOCKET_PROTOCOL;
    headers.get_all(list).iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',').map(str::trim))
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
