//! The hub's self-signed certificate: made on first start, kept, and named by its SHA-256 so that publishers can pin
//! it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::signal::tls;

/// The certificate's file in the state directory.
const CERTIFICATE_FILE: &str = "hub-certificate.pem";
/// The key's file in the state directory, mode 0600.
const KEY_FILE: &str = "hub-key.pem";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error("{path}: {source}; the hub keeps its certificate there: give it a state directory it can write to")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is there but cannot be used.
    #[error(
        "{path}: {reason}; delete {CERTIFICATE_FILE} and {KEY_FILE} to have new ones made (publishers that pin the old \
         one must be told)"
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// A certificate and its key, ready to serve.
#[derive(Clone, Debug)]
pub struct Identity {
    /// SHA-256 of the certificate, as `tls.pin_sha256` names it.
    pub pin: [u8; 32],
    /// TLS with this certificate, for HTTP/1.1.
    pub config: Arc<ServerConfig>,
}

/// Loads the certificate of this state directory, or makes one for these names (host names and IP addresses).
///
/// A certificate that exists is kept even when the names have changed: publishers pin it.
///
/// # Errors
/// [`CertificateError`].
pub fn load_or_make(state_dir: &Path, names: &[String]) -> Result<Identity, CertificateError> {
    let (certificate, key) = (state_dir.join(CERTIFICATE_FILE), state_dir.join(KEY_FILE));
    match (exists(&certificate)?, exists(&key)?) {
        (true, true) => {}
        (false, false) => make(state_dir, &certificate, &key, names)?,
        (true, false) => return Err(unusable(&key, "missing beside its certificate")),
        (false, true) => return Err(unusable(&certificate, "missing beside its key")),
    }
    load(&certificate, &key)
}

fn load(certificate_file: &Path, key_file: &Path) -> Result<Identity, CertificateError> {
    let certificate = read_pem(certificate_file, CertificateDer::from_pem_slice)?;
    let key = read_pem(key_file, PrivateKeyDer::from_pem_slice)?;
    let pin = tls::certificate_sha256(&certificate);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
        .map_err(|error| unusable(key_file, &error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Identity { pin, config: Arc::new(config) })
}

fn read_pem<T>(
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, rustls::pki_types::pem::Error>,
) -> Result<T, CertificateError> {
    let pem = fs::read(path).map_err(file_error(path))?;
    parse(&pem).map_err(|error| unusable(path, &error.to_string()))
}

fn make(state_dir: &Path, certificate: &Path, key: &Path, names: &[String]) -> Result<(), CertificateError> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "rtcpub hub");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // A car's clock may be years off until it has met a network: a pin, not a date, is what is trusted.
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
    let made = params.self_signed(&pair)?;
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(file_error(state_dir))?;
    // The key first: a certificate without one would have to be explained, a key without a certificate too, but nothing
    // is pinned yet.
    write_whole(key, pair.serialize_pem().as_bytes(), 0o600)?;
    write_whole(certificate, made.pem().as_bytes(), 0o644)?;
    File::open(state_dir).and_then(|directory| directory.sync_all()).map_err(file_error(state_dir))
}

/// Writes a file under another name first, so that it is there whole or not at all.
fn write_whole(path: &Path, content: &[u8], mode: u32) -> Result<(), CertificateError> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(file_error(path))
}

fn exists(path: &Path) -> Result<bool, CertificateError> {
    path.try_exists().map_err(file_error(path))
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> CertificateError {
    move |source| CertificateError::File { path: path.to_owned(), source }
}

fn unusable(path: &Path, reason: &str) -> CertificateError {
    CertificateError::Unusable { path: path.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names() -> Vec<String> {
        vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]
    }

    #[test]
    fn a_certificate_is_made_once_and_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("new/state");
        let first = load_or_make(&state, &names()).expect("made");
        let again = load_or_make(&state, &["other".to_owned()]).expect("loaded");
        assert_eq!(first.pin, again.pin);
        let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
        assert_eq!(mode(&state.join(KEY_FILE)), 0o600);
        assert_eq!(mode(&state), 0o700);
    }

    #[test]
    fn two_hubs_have_two_certificates() {
        let make = || {
            let directory = tempfile::tempdir().expect("a directory");
            load_or_make(directory.path(), &names()).expect("made").pin
        };
        assert_ne!(make(), make());
    }

    #[test]
    fn a_spoilt_or_missing_half_is_named_and_nothing_is_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let pin = load_or_make(directory.path(), &names()).expect("made").pin;
        let key = directory.path().join(KEY_FILE);
        let kept = fs::read(&key).expect("a key");
        fs::write(&key, "not a key").expect("written");
        let error = load_or_make(directory.path(), &names()).expect_err("spoilt").to_string();
        assert!(error.contains(KEY_FILE) && error.contains("delete"), "{error}");
        fs::remove_file(&key).expect("removed");
        let error = load_or_make(directory.path(), &names()).expect_err("missing").to_string();
        assert!(error.contains("missing beside its certificate"), "{error}");
        fs::write(&key, kept).expect("restored");
        assert_eq!(load_or_make(directory.path(), &names()).expect("whole again").pin, pin);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let error = load_or_make(Path::new("/proc/rtcpub"), &names()).expect_err("not there").to_string();
        assert!(error.contains("/proc/rtcpub"), "{error}");
    }
}
