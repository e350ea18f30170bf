//! `channel`, `[server]` and `[server.query]`

use url::{Host, Url};

use super::tls;
use crate::config::Origin;
use crate::config::reader::{Read, Reader};
use crate::config::secrets;
use crate::signal::settings::{ChannelId, SignalConfig, Trickle};

/// The pub port of a Spider server (`shared/reference/spider-protocol.md`).
const DEFAULT_PORT: u16 = 8267;

/// The channel's id: the key, else the file's name.
pub(super) fn channel(reader: &mut Reader<'_>) -> Read<ChannelId> {
    let remedy = "must be the channel's id: 1 to 256 bytes without control characters";
    let given = reader.parsed("channel", |text| ChannelId::new(text).ok_or_else(|| remedy.to_owned()))?;
    let id = match (given, reader.facts.file_stem()) {
        (Some(id), _) => id,
        (None, Some(stem)) => {
            reader.derive("channel", stem, Origin::Derived("the file's name"));
            ChannelId::new(stem)
                .ok_or_else(|| reader.problem("channel", "missing, and the file's name is not an id"))?
        }
        (None, None) => return Err(reader.problem("channel", "missing: give the channel's id")),
    };
    if !id.looks_like_an_id() {
        let advice =
            format!("\"{id}\" does not look like the id of a Spider channel, which is 20 characters of 0-9 and a-v");
        reader.warn("channel", advice);
    }
    Ok(id)
}

pub(super) fn read(reader: &mut Reader<'_>, channel: Read<ChannelId>) -> Read<SignalConfig> {
    let server = url(reader);
    let token = token(reader);
    let trickle = reader.choice(
        "server.trickle",
        &[("candidate2", Trickle::Candidate2), ("candidate", Trickle::Candidate), ("none", Trickle::None)],
    );
    let ping_interval = reader.millis("server.ping_interval_ms", 100..=600_000, 30_000);
    let answer_timeout = reader.millis("server.answer_timeout_ms", 100..=600_000, 10_000);
    let silence_timeout = reader.millis("server.silence_timeout_ms", 100..=3_600_000, 90_000);
    let retry_min = reader.millis("server.retry_min_ms", 10..=600_000, 500);
    let retry_max = reader.millis("server.retry_max_ms", 10..=3_600_000, 15_000);
    let query = query(reader);
    let tls = tls::read(reader, server.as_ref().ok());

    let silence_fits = match (ping_interval, silence_timeout) {
        (Ok(ping), Ok(silence)) if silence <= ping => {
            let remedy = "must be longer than server.ping_interval_ms, or every quiet connection is given up";
            Err(reader.problem("server.silence_timeout_ms", remedy))
        }
        _ => Ok(()),
    };
    let retries_fit = match (retry_min, retry_max) {
        (Ok(min), Ok(max)) if max < min => {
            Err(reader.problem("server.retry_max_ms", "must not be less than server.retry_min_ms"))
        }
        _ => Ok(()),
    };
    silence_fits?;
    retries_fit?;
    Ok(SignalConfig {
        server: server?,
        channel: channel?,
        query: query?,
        token: token?,
        trickle: trickle?,
        tls: tls?,
        ping_interval: ping_interval?,
        answer_timeout: answer_timeout?,
        silence_timeout: silence_timeout?,
        retry_min: retry_min?,
        retry_max: retry_max?,
    })
}

/// Whether a URL's host is this machine itself.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn url(reader: &mut Reader<'_>) -> Read<Url> {
    let Some(url) = reader.parsed("server.url", parse_url)? else {
        return Err(reader.problem("server.url", "missing: give the pub server, such as \"wss://host:8267\""));
    };
    if url.scheme() == "ws" && !is_loopback(&url) {
        reader.warn("server.url", "ws:// is not encrypted: whoever shares the network can read and drive; use wss://");
    }
    Ok(url)
}

fn parse_url(text: &str) -> Result<Url, String> {
    const FORM: &str = "must be wss://HOST or wss://HOST:PORT (ws:// on a trusted wire)";
    let text = text.trim();
    let mut url = Url::parse(text).map_err(|error| format!("{FORM}: {error}"))?;
    if !matches!(url.scheme(), "ws" | "wss") || url.host_str().is_none_or(str::is_empty) {
        return Err(FORM.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{FORM}; a user or password has no place here: use server.token_file"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{FORM}, with no path or query: those of the protocol are added ([server.query])"));
    }
    match written_port(text) {
        Some(0) => return Err(format!("{FORM}; port 0 cannot be connected to")),
        Some(_) => {}
        None => url.set_port(Some(DEFAULT_PORT)).map_err(|()| FORM.to_owned())?,
    }
    Ok(url)
}

/// The port as written. `Url` drops it where it is the scheme's own (443), which is not our default; it keeps the ports
/// of schemes that it does not know.
fn written_port(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once(':')?;
    Url::parse(&format!("unknown:{rest}")).ok()?.port()
}

/// A hub's bearer token: what may stand in an `Authorization` header (RFC 6750 §2.1 `b64token`, a little wider).
fn token(reader: &mut Reader<'_>) -> Read<Option<crate::secret::Secret>> {
    let token = secrets::read(reader, "server.token")?;
    if token.as_ref().is_some_and(|token| !token.expose().bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(reader.problem("server.token", "must be letters, digits and signs of ASCII, without spaces"));
    }
    Ok(token)
}

/// Parameters passed on to the server. An empty `vcodec` is left out.
fn query(reader: &mut Reader<'_>) -> Read<Vec<(String, String)>> {
    let vcodec = reader.text("server.query.vcodec", "h264");
    let brate = reader.integer_if_given("server.query.brate", 1..=1_000_000_u32);
    let ktime = reader.integer_if_given("server.query.ktime", 0..=u32::MAX);
    let vcodec = vcodec?;
    if vcodec.len() > 64 || vcodec.chars().any(char::is_control) {
        return Err(reader.problem("server.query.vcodec", "must be the name of a codec, such as \"h264\""));
    }
    let vcodec = (!vcodec.is_empty()).then_some(vcodec);
    let [brate, ktime] = [brate?, ktime?].map(|number| number.map(|number| number.to_string()));
    let parameters = [("vcodec", vcodec), ("brate", brate), ("ktime", ktime)];
    Ok(parameters.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_url_gets_our_port_unless_it_names_one() {
        let rows = [
            ("wss://host", "host", 8267),
            ("wss://host/", "host", 8267),
            ("WSS://Host:", "host", 8267),
            ("wss://host:443", "host", 443),
            ("ws://host:80", "host", 80),
            ("ws://10.0.0.1:8000", "10.0.0.1", 8000),
            ("wss://[::1]", "[::1]", 8267),
            ("wss://[fe80::1]:443/", "[fe80::1]", 443),
        ];
        for (text, host, port) in rows {
            let url = parse_url(text).expect(text);
            assert_eq!((url.host_str(), url.port_or_known_default()), (Some(host), Some(port)), "{text}");
        }
    }

    #[test]
    fn a_server_url_of_another_form_is_refused() {
        let rows = [
            "",
            "host",
            "host:8267",
            "https://host",
            "wss://",
            "wss:",
            "wss://host:0",
            "wss://host:70000",
            "wss://u:p@host",
            "wss://host/live",
            "wss://host?channel=x",
            "wss://host#x",
            "wss://ho st",
            "file:///etc",
        ];
        for text in rows {
            let remedy = parse_url(text).expect_err(text);
            assert!(remedy.contains("wss://HOST"), "{text}: {remedy}");
        }
    }
}
