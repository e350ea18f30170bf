//! How the server's certificate is judged: system roots, one CA file, a pinned leaf, or not at all.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::settings::TlsConfig;

/// What the keys of the server's [`TlsConfig`] begin with.
pub(super) const TLS_KEYS: &str = "tls.";

/// What to do about a CA file that cannot be used.
pub(crate) const CA_FILE_REMEDY: &str = "give a PEM file with the certificate of the server's issuer";

/// Why no TLS client could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA file cannot be read or holds no certificate.
    #[error("{key} {path}: {reason}; {CA_FILE_REMEDY}")]
    CaFile {
        /// The key that names it.
        key: String,
        /// The file named in the configuration.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no root certificates.
    #[error(
        "no system root certificates found ({reasons}); install the package ca-certificates, or set {keys}ca_file or \
         {keys}pin_sha256"
    )]
    NoSystemRoots {
        /// What their keys begin with.
        keys: String,
        /// What the system says.
        reasons: String,
    },
    /// The TLS library refused its own parameters.
    #[error("TLS set-up: {0}")]
    Library(#[from] rustls::Error),
}

/// SHA-256 of a certificate in DER form, as `tls.pin_sha256` names it.
pub fn certificate_sha256(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// A TLS client that judges servers as `config` says, whose keys begin with `keys`: `tls.`, `ice.servers[0].tls_`.
///
/// # Errors
/// [`TlsError`] when the CA file or the system's roots cannot be used.
pub fn client_config(config: &TlsConfig, keys: &str) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let client = match config {
        TlsConfig::SystemRoots => builder.with_root_certificates(system_roots(keys)?).with_no_client_auth(),
        TlsConfig::CaFile(path) => {
            let wrong = |reason| TlsError::CaFile { key: format!("{keys}ca_file"), path: path.clone(), reason };
            let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            builder.with_root_certificates(roots(&pem).map_err(wrong)?).with_no_client_auth()
        }
        TlsConfig::Pin(pin) => {
            let judgement = Judgement::Pin { pin: *pin, key: format!("{keys}pin_sha256") };
            dangerous(builder, judgement, provider)
        }
        TlsConfig::Insecure => dangerous(builder, Judgement::Anything, provider),
    };
    Ok(Arc::new(client))
}

fn dangerous(
    builder: rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>,
    judgement: Judgement,
    provider: Arc<CryptoProvider>,
) -> ClientConfig {
    builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(LeafVerifier { judgement, provider }))
        .with_no_client_auth()
}

fn system_roots(keys: &str) -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoSystemRoots { keys: keys.to_owned(), reasons: reasons.join(", ") });
    }
    Ok(roots)
}

/// The root certificates of a CA file with this content.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(roots) }
}

/// Judges the leaf certificate alone; the handshake's signature is still checked, so the peer must own the key.
#[derive(Debug)]
struct LeafVerifier {
    judgement: Judgement,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Judgement {
    Pin {
        pin: [u8; 32],
        /// Its key, for messages.
        key: String,
    },
    Anything,
}

impl ServerCertVerifier for LeafVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.judgement {
            Judgement::Pin { pin, key } if *pin != certificate_sha256(end_entity) => {
                let shown = hex(&certificate_sha256(end_entity));
                Err(rustls::Error::General(format!("the certificate's SHA-256 is {shown}, not {key}")))
            }
            Judgement::Pin { .. } | Judgement::Anything => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Lower-case hexadecimal, as pins are written.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
