//! `[ice]` and `[[ice.servers]]`

use std::net::Ipv6Addr;
use std::time::Duration;

use url::{Host, Url};

use super::server::is_loopback;
use super::tls;
use crate::config::Origin;
use crate::config::reader::{Read, Reader};
use crate::config::secrets;
use crate::rtc::settings::{
    IceConfig, IcePolicy, IceServer, IceUrl, InterfaceFilter, InterfacePattern, ServerAddress, TurnCredential,
    TurnServer, TurnTransport,
};

/// The port of STUN and TURN (RFC 8489 §8.1).
const DEFAULT_PORT: u16 = 3478;

pub(super) fn read(reader: &mut Reader<'_>, server: Option<&Url>) -> Read<IceConfig> {
    let policy = reader.choice("ice.policy", &[("all", IcePolicy::All), ("relay", IcePolicy::Relay)]);
    let host = host(reader, server);
    let port = reader.integer("ice.port", 1..=u16::MAX, DEFAULT_PORT);
    let credential = credential(reader, "ice");
    let interfaces = interfaces(reader);
    let listed = reader.tables("ice.servers", listed_server);

    let (policy, host, port, credential, interfaces, listed) =
        (policy?, host?, port?, credential?, interfaces?, listed?);
    if listed.is_some() {
        for key in ["ice.host", "ice.port", "ice.username"] {
            if reader.is_given(key) {
                reader.warn(key, "has no effect: [[ice.servers]] takes its place");
            }
        }
    }
    let servers = listed.unwrap_or_else(|| host.map_or_else(Vec::new, |host| expand(host, port, credential)));
    let config = IceConfig { servers, policy, interfaces };
    if policy == IcePolicy::Relay && !config.has_relay() {
        let remedy = "needs a TURN server: give ice.username and ice.credential_file, or [[ice.servers]]";
        return Err(reader.problem("ice.policy", remedy));
    }
    Ok(config)
}

/// The host of the three servers; `None` when there are none.
fn host(reader: &mut Reader<'_>, server: Option<&Url>) -> Read<Option<Host>> {
    if let Some(host) = reader.parsed("ice.host", parse_host)? {
        return Ok(host);
    }
    let from_server = server.filter(|url| !is_loopback(url)).and_then(Url::host).map(|host| host.to_owned());
    let shown = from_server.as_ref().map(ToString::to_string).unwrap_or_default();
    reader.derive("ice.host", shown, Origin::Derived("server.url"));
    Ok(from_server)
}

/// A name or address; empty means no servers.
fn parse_host(text: &str) -> Result<Option<Host>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let bracketed = if text.parse::<Ipv6Addr>().is_ok() { format!("[{text}]") } else { text.to_owned() };
    Host::parse(&bracketed)
        .map(Some)
        .map_err(|_| "must be a host name or an address, without a port (ice.port); \"\" for no servers".to_owned())
}

fn interfaces(reader: &mut Reader<'_>) -> Read<InterfaceFilter> {
    let pattern = |text: &str| {
        InterfacePattern::new(text)
            .ok_or_else(|| "each must be an interface's name, or the beginning of some and a *: \"wlan*\"".to_owned())
    };
    let all = InterfaceFilter::default();
    let include = reader.list("ice.include_interfaces", all.include, pattern);
    let exclude = reader.list("ice.exclude_interfaces", all.exclude, pattern);
    Ok(InterfaceFilter { include: include?, exclude: exclude? })
}

/// The reference's three servers, in its order; those of TURN only when there is a credential for them.
fn expand(host: Host, port: u16, credential: Option<TurnCredential>) -> Vec<IceServer> {
    let address = ServerAddress { host, port };
    let mut servers = vec![IceServer::Stun(address.clone())];
    if let Some(credential) = credential {
        servers.extend([TurnTransport::Udp, TurnTransport::Tcp].map(|transport| {
            IceServer::Turn(TurnServer { address: address.clone(), transport, credential: credential.clone() })
        }));
    }
    servers
}

fn listed_server(reader: &mut Reader<'_>, element: &str) -> Read<IceServer> {
    let url_key = format!("{element}.url");
    let url = reader.parsed(&url_key, |text| text.parse::<IceUrl>().map_err(|error| error.to_string()));
    let credential = credential(reader, element);
    let tls = tls::judgement(reader, &format!("{element}.tls_"));
    let Some(url) = url? else {
        return Err(reader.problem(&url_key, "missing: give it, such as \"turn:host:3478?transport=udp\""));
    };
    let (credential, tls) = (credential?, tls?);
    IceServer::new(url, credential, tls).map_err(|error| reader.problem(&url_key, error.to_string()))
}

/// `username` with `credential` or `credential_file`, or `rest_secret` for credentials that are made anew: one or none.
fn credential(reader: &mut Reader<'_>, table: &str) -> Read<Option<TurnCredential>> {
    let key = |name: &str| format!("{table}.{name}");
    let (username_key, credential_key, rest_key) = (key("username"), key("credential"), key("rest_secret"));
    let username = reader.parsed(&username_key, |text| match text.len() {
        // RFC 8489 §14.3 has the upper bound.
        1..=508 => Ok(text.to_owned()),
        _ => Err("must be 1 to 508 bytes long".to_owned()),
    });
    let password = secrets::read(reader, &credential_key);
    let rest = secrets::read(reader, &rest_key);
    let ttl = reader.integer(&key("rest_ttl_s"), 60..=604_800_u32, 86_400);
    match (username?, password?, rest?, ttl?) {
        (Some(username), Some(password), None, _) => Ok(Some(TurnCredential::Static { username, password })),
        (user, None, Some(secret), ttl) => {
            let (user, ttl) = (user.unwrap_or_default(), Duration::from_secs(ttl.into()));
            Ok(Some(TurnCredential::Rest { user, secret, ttl }))
        }
        (None, None, None, _) => Ok(None),
        (_, Some(_), Some(_), _) => {
            Err(reader.problem(&rest_key, format!("takes the place of {credential_key}: keep one")))
        }
        (Some(_), None, None, _) => Err(reader.problem(
            &username_key,
            format!("needs {credential_key}_file (or {credential_key}), or {rest_key}_file, beside it"),
        )),
        (None, Some(_), None, _) => Err(reader.problem(&credential_key, format!("needs {username_key} beside it"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_host_is_bracketed_once() {
        for text in ["2001:db8::1", "[2001:db8::1]"] {
            let host = parse_host(text).expect("an address").expect("a host");
            assert_eq!(host.to_string(), "[2001:db8::1]");
        }
        assert_eq!(parse_host(""), Ok(None));
        assert!(parse_host("host:3478").is_err());
    }
}
