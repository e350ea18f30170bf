//! `[ice]` and `[[ice.servers]]`

use std::net::Ipv6Addr;

use url::Url;

use super::server::is_loopback;
use crate::config::Origin;
use crate::config::reader::{Read, Reader};
use crate::config::secrets;
use crate::rtc::settings::{IceConfig, IceCredential, IcePolicy, IceServer};

/// The port of STUN and TURN (RFC 8489 §8.1).
const DEFAULT_PORT: u16 = 3478;

pub(super) fn read(reader: &mut Reader<'_>, server: Option<&Url>) -> Read<IceConfig> {
    let policy = reader.choice("ice.policy", &[("all", IcePolicy::All), ("relay", IcePolicy::Relay)]);
    let host = host(reader, server);
    let port = reader.integer("ice.port", 1..=u16::MAX, DEFAULT_PORT);
    let credential = credential(reader, "ice");
    let listed = reader.tables("ice.servers", listed_server);

    let (policy, host, port, credential, listed) = (policy?, host?, port?, credential?, listed?);
    if listed.is_some() {
        for key in ["ice.host", "ice.port", "ice.username"] {
            if reader.is_given(key) {
                reader.warn(key, "has no effect: [[ice.servers]] takes its place");
            }
        }
    }
    let servers = listed.unwrap_or_else(|| host.map_or_else(Vec::new, |host| expand(&host, port, credential)));
    if policy == IcePolicy::Relay && !servers.iter().any(|server| server.url.starts_with("turn")) {
        let remedy = "needs a TURN server: give ice.username and ice.credential_file, or [[ice.servers]]";
        return Err(reader.problem("ice.policy", remedy));
    }
    Ok(IceConfig { servers, policy })
}

/// The host of the three servers; `None` when there are none.
fn host(reader: &mut Reader<'_>, server: Option<&Url>) -> Read<Option<String>> {
    if let Some(host) = reader.parsed("ice.host", parse_host)? {
        return Ok(host);
    }
    let from_server = server.filter(|url| !is_loopback(url)).and_then(|url| url.host_str()).map(str::to_owned);
    reader.derive("ice.host", from_server.as_deref().unwrap_or_default(), Origin::Derived("server.url"));
    Ok(from_server)
}

/// A name or address; empty means no servers.
fn parse_host(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let bracketed = if text.parse::<Ipv6Addr>().is_ok() { format!("[{text}]") } else { text.to_owned() };
    url::Host::parse(&bracketed)
        .map(|host| Some(host.to_string()))
        .map_err(|_| "must be a host name or an address, without a port (ice.port); \"\" for no servers".to_owned())
}

/// The reference's three servers, in its order; those of TURN only when there is a credential for them.
fn expand(host: &str, port: u16, credential: Option<IceCredential>) -> Vec<IceServer> {
    let mut servers = vec![IceServer { url: format!("stun:{host}:{port}"), credential: None }];
    if let Some(credential) = credential {
        servers.extend(["udp", "tcp"].map(|transport| IceServer {
            url: format!("turn:{host}:{port}?transport={transport}"),
            credential: Some(credential.clone()),
        }));
    }
    servers
}

fn listed_server(reader: &mut Reader<'_>, element: &str) -> Read<IceServer> {
    let url_key = format!("{element}.url");
    let url = reader.parsed(&url_key, parse_ice_url);
    let credential = credential(reader, element);
    let Some(url) = url? else {
        return Err(reader.problem(&url_key, "missing: give it, such as \"turn:host:3478?transport=udp\""));
    };
    let credential = credential?;
    if url.starts_with("turn") && credential.is_none() {
        return Err(reader.problem(&url_key, "a TURN server needs username and credential (or credential_file)"));
    }
    Ok(IceServer { url, credential })
}

/// `username` with `credential` or `credential_file`: both or none.
fn credential(reader: &mut Reader<'_>, table: &str) -> Read<Option<IceCredential>> {
    let (username_key, credential_key) = (format!("{table}.username"), format!("{table}.credential"));
    let username = reader.parsed(&username_key, |text| match text.len() {
        // RFC 8489 §14.3 has the upper bound.
        1..=508 => Ok(text.to_owned()),
        _ => Err("must be 1 to 508 bytes long".to_owned()),
    });
    let password = secrets::read(reader, &credential_key);
    match (username?, password?) {
        (Some(username), Some(password)) => Ok(Some(IceCredential { username, password })),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(reader.problem(&username_key, format!("needs {credential_key}_file (or {credential_key}) beside it")))
        }
        (None, Some(_)) => Err(reader.problem(&credential_key, format!("needs {username_key} beside it"))),
    }
}

/// A STUN or TURN URI (RFC 7064, RFC 7065), as given.
fn parse_ice_url(text: &str) -> Result<String, String> {
    const FORM: &str = "must be stun:HOST[:PORT], turn:HOST[:PORT][?transport=udp|tcp] or turns:HOST[:PORT]";
    let refuse = || FORM.to_owned();
    let (scheme, rest) = text.split_once(':').ok_or_else(refuse)?;
    let (address, query) = rest.split_once('?').map_or((rest, None), |(address, query)| (address, Some(query)));
    let query_fits = match scheme {
        "stun" | "stuns" => query.is_none(),
        "turn" => matches!(query, None | Some("transport=udp" | "transport=tcp")),
        "turns" => matches!(query, None | Some("transport=tcp")),
        _ => false,
    };
    // Borrow the grammar of `host:port` from a URL of a scheme that means nothing.
    let authority = Url::parse(&format!("unknown://{address}")).map_err(|_| refuse())?;
    let plain = authority.path().is_empty() && authority.username().is_empty() && authority.password().is_none();
    let host_fits = authority.host_str().is_some_and(|host| url::Host::parse(host).is_ok());
    if query_fits && plain && host_fits && authority.port() != Some(0) && authority.fragment().is_none() {
        return Ok(text.to_owned());
    }
    Err(refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_urls_are_accepted_by_their_grammar() {
        for url in [
            "stun:host",
            "stun:host:3478",
            "stuns:host",
            "turn:host:3478?transport=udp",
            "turn:host?transport=tcp",
            "turns:host:5349",
            "turns:host?transport=tcp",
            "turn:10.0.0.1",
            "turn:[2001:db8::1]:3478",
        ] {
            assert_eq!(parse_ice_url(url).as_deref(), Ok(url));
        }
        for url in [
            "",
            "host",
            "http://host",
            "stun:",
            "stun:host:0",
            "stun:host:70000",
            "stun:host?transport=udp",
            "turn:host?transport=sctp",
            "turn:user@host",
            "turn:ho st",
            "turn:host/path",
            "turn:host#x",
            "turns:host?x",
            "turn:2001:db8::1",
            "stun:host:port",
            "turn://host",
        ] {
            assert!(parse_ice_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn an_ipv6_host_is_bracketed_once() {
        assert_eq!(parse_host("2001:db8::1"), Ok(Some("[2001:db8::1]".to_owned())));
        assert_eq!(parse_host("[2001:db8::1]"), Ok(Some("[2001:db8::1]".to_owned())));
        assert_eq!(parse_host(""), Ok(None));
        assert!(parse_host("host:3478").is_err());
    }
}
