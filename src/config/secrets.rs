//! Where secrets come from: the key itself, `…_file`, or systemd's credentials directory.

use std::io;
use std::path::Path;

use super::facts::{FileContent, ReadFile};
use super::origin::Origin;
use super::reader::{Read, Reader};
use crate::secret::Secret;

/// Longest secret accepted, in bytes: a token or password, not a key ring.
const MAX_SECRET_BYTES: usize = 4096;

/// Why a credential file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// It is not there.
    #[error("there is no such file: make it, or correct the path")]
    Missing,
    /// It is there and cannot be read.
    #[error("cannot be read ({0}): make it readable for the user that rtcpub runs as")]
    Unreadable(io::Error),
    /// It holds something else than one secret.
    #[error("must hold the secret and nothing else: one line of UTF-8 text of at most 4096 bytes, not empty")]
    Malformed,
}

/// A secret and whether every user of the machine may read the file it came from.
#[derive(Debug)]
pub struct FromFile {
    /// Without the newline at its end.
    pub secret: Secret,
    /// Worth a warning.
    pub world_readable: bool,
}

/// Reads a credential file by the given effect ([`super::read_file`] outside of tests).
///
/// # Errors
/// Missing, unreadable, empty, longer than one line or 4096 bytes, or not UTF-8.
pub fn read_credential(path: &Path, read: ReadFile<'_>) -> Result<FromFile, CredentialError> {
    let FileContent { bytes, world_readable } = read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => CredentialError::Missing,
        _ => CredentialError::Unreadable(error),
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| CredentialError::Malformed)?;
    let secret = parse(text.trim_end_matches(['\r', '\n'])).ok_or(CredentialError::Malformed)?;
    Ok(FromFile { secret, world_readable })
}

/// Reads the secret of `key` (`server.token`): inline, from the file that `server.token_file` names, or from the file
/// `server.token` in `$CREDENTIALS_DIRECTORY` (`ice.servers.0.credential` for an element). The higher layer wins; systemd's directory is below the channel file.
pub(super) fn read(reader: &mut Reader<'_>, key: &str) -> Read<Option<Secret>> {
    let file_key = format!("{key}_file");
    let inline = reader.secret_if_given(key);
    let file = reader.file_if_given(&file_key);
    let (inline, file) = (inline?, file?);
    let layer_of = |key: &str| reader.origin(key).layer();
    match (inline, file) {
        (Some(_), Some(_)) if layer_of(key) == layer_of(&file_key) => {
            Err(reader.problem(&file_key, format!("{key} is given as well: keep one of the two")))
        }
        (Some(text), file) if file.is_none() || layer_of(key) > layer_of(&file_key) => from_key(reader, key, &text),
        (_, Some(path)) => from_file(reader, key, &file_key, &path),
        (_, None) => from_credentials_directory(reader, key),
    }
}

fn from_key(reader: &mut Reader<'_>, key: &str, text: &str) -> Read<Option<Secret>> {
    let Some(secret) = parse(text) else {
        return Err(reader.problem(key, "must be one line of text of at most 4096 bytes, not empty"));
    };
    let in_file = matches!(reader.origin(key), Origin::File { .. });
    if in_file && reader.facts.file.is_some_and(|file| file.content.world_readable) {
        reader
            .warn(key, format!("every user can read this file and the secret in it: chmod o-r it, or use {key}_file"));
    }
    Ok(Some(secret))
}

fn from_file(reader: &mut Reader<'_>, key: &str, file_key: &str, path: &Path) -> Read<Option<Secret>> {
    let found =
        read_credential(path, reader.facts.read).map_err(|error| reader.problem(file_key, error.to_string()))?;
    if found.world_readable {
        reader.warn(file_key, format!("every user can read {}: chmod o-r it", path.display()));
    }
    reader.derive_secret(key, reader.origin(file_key));
    Ok(Some(found.secret))
}

fn from_credentials_directory(reader: &mut Reader<'_>, key: &str) -> Read<Option<Secret>> {
    let Some(folder) = reader.facts.folder("CREDENTIALS_DIRECTORY") else { return Ok(None) };
    let path = folder.join(key.replace('[', ".").replace(']', ""));
    match read_credential(&path, reader.facts.read) {
        Ok(found) => {
            reader.derive_secret(key, Origin::Credential(path));
            Ok(Some(found.secret))
        }
        Err(CredentialError::Missing) => Ok(None),
        Err(error) => Err(reader.problem(key, format!("systemd credential {}: {error}", path.display()))),
    }
}

fn parse(text: &str) -> Option<Secret> {
    let fits = !text.is_empty() && text.len() <= MAX_SECRET_BYTES && !text.contains(['\n', '\r', '\0']);
    fits.then(|| Secret::new(text))
}
