//! `[tls]`

use url::Url;

use crate::config::reader::{Read, Reader};
use crate::signal::settings::TlsConfig;

pub(super) fn read(reader: &mut Reader<'_>, server: Option<&Url>) -> Read<TlsConfig> {
    let ca_file = reader.file_if_given("tls.ca_file");
    let pin = reader.parsed("tls.pin_sha256", parse_pin);
    let insecure = reader.boolean("tls.insecure", false);

    let ways = [
        ("tls.ca_file", reader.is_given("tls.ca_file")),
        ("tls.pin_sha256", reader.is_given("tls.pin_sha256")),
        ("tls.insecure", matches!(insecure, Ok(true))),
    ];
    let chosen: Vec<_> = ways.iter().filter(|(_, chosen)| *chosen).map(|(key, _)| *key).collect();
    if let [_, .., last] = chosen[..] {
        return Err(reader.problem(last, format!("only one of {} can decide about a certificate", chosen.join(", "))));
    }
    let (ca_file, pin, insecure) = (ca_file?, pin?, insecure?);
    if let (Some(url), [key]) = (server, &chosen[..])
        && url.scheme() == "ws"
    {
        reader.warn(key, "has no effect: server.url is ws://, which has no certificate");
    }
    Ok(match (ca_file, pin) {
        (Some(path), _) => TlsConfig::CaFile(path),
        (_, Some(pin)) => TlsConfig::Pin(pin),
        _ if insecure => {
            reader.warn("tls.insecure", "anyone on the way can pose as the server and drive; use tls.pin_sha256");
            TlsConfig::Insecure
        }
        _ => TlsConfig::SystemRoots,
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
