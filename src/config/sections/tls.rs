//! `[tls]`, and `tls_…` of each of `[[ice.servers]]`

use url::Url;

use crate::config::layers::MAX_FILE_BYTES;
use crate::config::reader::{Read, Reader};
use crate::signal::settings::TlsConfig;
use crate::signal::tls::{CA_FILE_REMEDY, roots};

pub(super) fn read(reader: &mut Reader<'_>, server: Option<&Url>) -> Read<TlsConfig> {
    let Some(tls) = way(reader, "tls.")? else { return Ok(TlsConfig::SystemRoots) };
    if server.is_some_and(|url| url.scheme() == "ws") {
        let key = match tls {
            TlsConfig::CaFile(_) => "tls.ca_file",
            TlsConfig::Pin(_) => "tls.pin_sha256",
            TlsConfig::Insecure | TlsConfig::SystemRoots => "tls.insecure",
        };
        reader.warn(key, "has no effect: server.url is ws://, which has no certificate");
        return Ok(tls);
    }
    usable(reader, "tls.", tls)
}

/// The one way of judging a certificate that the keys with this prefix name, if they name one.
pub(super) fn judgement(reader: &mut Reader<'_>, prefix: &str) -> Read<Option<TlsConfig>> {
    way(reader, prefix)?.map(|tls| usable(reader, prefix, tls)).transpose()
}

/// Holds that a CA file can be used. It is read for the connection once more, for it may be replaced; that it is usable now
/// shows a wrong path at once.
fn usable(reader: &mut Reader<'_>, prefix: &str, tls: TlsConfig) -> Read<TlsConfig> {
    let TlsConfig::CaFile(path) = &tls else { return Ok(tls) };
    let read = (reader.facts.read)(path).map_err(|error| format!("cannot be read ({error})"));
    // Of a longer one, a whole system's bundle, this is not all, and its end may be a torn certificate.
    let whole = read.map(|content| Some(content.bytes).filter(|bytes| bytes.len() <= MAX_FILE_BYTES));
    whole
        .and_then(|bytes| bytes.map_or(Ok(()), |bytes| roots(&bytes).map(drop)))
        .map_err(|reason| reader.problem(&format!("{prefix}ca_file"), format!("{reason}; {CA_FILE_REMEDY}")))?;
    Ok(tls)
}

fn way(reader: &mut Reader<'_>, prefix: &str) -> Read<Option<TlsConfig>> {
    let [ca_key, pin_key, insecure_key] = ["ca_file", "pin_sha256", "insecure"].map(|name| format!("{prefix}{name}"));
    let ca_file = reader.file_if_given(&ca_key);
    let pin = reader.parsed(&pin_key, parse_pin);
    let insecure = reader.boolean(&insecure_key, false);

    let ways = [
        (&ca_key, reader.is_given(&ca_key)),
        (&pin_key, reader.is_given(&pin_key)),
        (&insecure_key, matches!(insecure, Ok(true))),
    ];
    let chosen: Vec<_> = ways.iter().filter(|(_, chosen)| *chosen).map(|(key, _)| key.as_str()).collect();
    if let [_, .., last] = chosen[..] {
        return Err(reader.problem(last, format!("only one of {} can decide about a certificate", chosen.join(", "))));
    }
    Ok(match (ca_file?, pin?, insecure?) {
        (Some(path), ..) => Some(TlsConfig::CaFile(path)),
        (_, Some(pin), _) => Some(TlsConfig::Pin(pin)),
        (.., true) => {
            let advice = format!("anyone on the way can pose as the server; use {pin_key}");
            reader.warn(&insecure_key, advice);
            Some(TlsConfig::Insecure)
        }
        (.., false) => None,
    })
}

/// 64 hexadecimal digits, as `openssl x509 -fingerprint -sha256` prints them (with colons) or without.
fn parse_pin(text: &str) -> Result<[u8; 32], String> {
    let remedy = || {
        "must be the SHA-256 of the server's certificate, 64 hexadecimal digits: \
         openssl x509 -in CERT -noout -fingerprint -sha256"
            .to_owned()
    };
    let digits: Option<Vec<u8>> =
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.ok_or_else(remedy)?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    bytes.try_into().ok().filter(|_| digits.len() == 64).ok_or_else(remedy)
}
