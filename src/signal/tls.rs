//! How the server's certificate is judged: system roots, one CA file, a pinned leaf, or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::settings::TlsConfig;

/// Why no TLS client could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA file cannot be read or holds no certificate.
    #[error("tls.ca_file {path}: {reason}; give a PEM file with the certificate of the server's issuer")]
    CaFile {
        /// The file named in the configuration.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no root certificates.
    #[error(
        "no system root certificates found ({0}); install the package ca-certificates, or set tls.ca_file or tls.pin_sha256"
    )]
    NoSystemRoots(String),
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

/// A TLS client that judges servers as `config` says.
///
/// # Errors
/// [`TlsError`] when the CA file or the system's roots cannot be used.
pub fn client_config(config: &TlsConfig) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let client = match config {
        TlsConfig::SystemRoots => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
        TlsConfig::CaFile(path) => builder.with_root_certificates(roots_of_file(path)?).with_no_client_auth(),
        TlsConfig::Pin(pin) => dangerous(builder, Judgement::Pin(*pin), provider),
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

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoSystemRoots(reasons.join(", ")));
    }
    Ok(roots)
}

fn roots_of_file(path: &Path) -> Result<RootCertStore, TlsError> {
    let wrong = |reason: String| TlsError::CaFile { path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// Judges the leaf certificate alone; the handshake's signature is still checked, so the peer must own the key.
#[derive(Debug)]
struct LeafVerifier {
    judgement: Judgement,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Judgement {
    Pin([u8; 32]),
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
            Judgement::Pin(pin) if *pin != certificate_sha256(end_entity) => {
                let shown = hex(&certificate_sha256(end_entity));
                Err(rustls::Error::General(format!("the certificate's SHA-256 is {shown}, not tls.pin_sha256")))
            }
            Judgement::Pin(_) | Judgement::Anything => Ok(ServerCertVerified::assertion()),
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
