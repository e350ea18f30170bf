//! What a server's certificate says of itself, for a person to read.

use std::io;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::settings::TlsConfig;
use super::tls::{TLS_KEYS, certificate_sha256, client_config, hex};

/// A leaf certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafCertificate {
    /// The subject's distinguished name; may be empty where only alternative names are used.
    pub subject: String,
    /// The issuer's distinguished name; the same as the subject's when self-signed.
    pub issuer: String,
    /// When it expires, in seconds since 1970.
    pub not_after: i64,
    /// What `tls.pin_sha256` would be.
    pub sha256: [u8; 32],
}

impl LeafCertificate {
    /// Reads a certificate in DER form; `None` when it is none.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            not_after: certificate.validity().not_after.timestamp(),
            sha256: certificate_sha256(der),
        })
    }

    /// In words: whose it is, how long it holds from `unix_time` on, and its pin.
    pub fn describe(&self, unix_time: Duration) -> String {
        let subject = if self.subject.is_empty() { "(no subject)" } else { &self.subject };
        let issuer = if self.issuer == self.subject { "self-signed" } else { &self.issuer };
        let date = time::OffsetDateTime::from_unix_timestamp(self.not_after).map(|end| end.date().to_string());
        let date = date.unwrap_or_else(|_| "never".to_owned());
        let now = i64::try_from(unix_time.as_secs()).unwrap_or(i64::MAX);
        let days = self.not_after.saturating_sub(now).div_euclid(86_400);
        let term = if self.not_after < now { "expired".to_owned() } else { format!("{days} days left") };
        format!("{subject} ({issuer}), until {date} ({term}), sha256 {}", hex(&self.sha256))
    }
}

/// The certificate a server shows, whatever it is worth: for a person who is to judge it.
///
/// # Errors
/// When there is no TLS at the other end.
pub async fn peek(tcp: TcpStream, name: ServerName<'static>) -> io::Result<LeafCertificate> {
    let connector = TlsConnector::from(client_config(&TlsConfig::Insecure, TLS_KEYS).map_err(io::Error::other)?);
    let stream = connector.connect(name, tcp).await?;
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(<[_]>::first).and_then(LeafCertificate::read);
    leaf.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the server shows no readable certificate"))
}

/// What to do about a TLS handshake that failed, in terms of the `tls` keys of the same table.
pub fn remedy(error: &io::Error, leaf: Option<&LeafCertificate>) -> String {
    use rustls::CertificateError as Bad;
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let pin = leaf.map(|leaf| hex(&leaf.sha256)).unwrap_or_default();
    match error {
        Some(rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. })) => {
            "renew it, or set this machine's clock".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. })) => {
            "set this machine's clock".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. })) => {
            format!("use the name it is for, or trust exactly this one: tls.pin_sha256 = \"{pin}\"")
        }
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::General(_)) => {
            format!("if it is the right one: tls.pin_sha256 = \"{pin}\", or tls.ca_file with its issuer's certificate")
        }
        _ => "is this a TLS port?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_described_in_words() {
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".into()]).expect("names");
        parameters.not_after = rcgen::date_time_ymd(2030, 1, 2);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "spider");
        let key = rcgen::KeyPair::generate().expect("a key");
        let der = parameters.self_signed(&key).expect("a certificate");
        let leaf = LeafCertificate::read(der.der()).expect("readable");
        let text = leaf.describe(Duration::from_secs(1_893_369_600));
        assert!(text.contains("CN=spider"), "{text}");
        assert!(text.contains("(self-signed), until 2030-01-02 (2 days left), sha256 "), "{text}");
        assert!(leaf.describe(Duration::from_secs(1_900_000_000)).contains("(expired)"));
        assert_eq!(LeafCertificate::read(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
