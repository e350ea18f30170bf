//! TURN long-term credentials (RFC 8656 §5), fixed or time-limited. Pure.

use std::time::Duration;

use ring::hmac;

use crate::secret::Secret;

/// How we prove to a TURN server who we are.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnCredential {
    /// A user name and a password that hold until they are changed.
    Static {
        /// User name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// Made anew for each session out of a secret shared with the server ("A REST API For Access To TURN Services",
    /// draft-uberti-behave-turn-rest-00; coturn's `static-auth-secret`).
    Rest {
        /// Follows the expiry time in the user name, for the server's log; may be empty.
        user: String,
        /// Shared with the server.
        secret: Secret,
        /// How long a credential holds from when it is made.
        ttl: Duration,
    },
}

/// A user name and its password, as the wire needs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPassword {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
}

impl TurnCredential {
    /// What must never be shown of it.
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Static { password, .. } => password,
            Self::Rest { secret, .. } => secret,
        }
    }

    /// The credential to use now; `unix_time` is the time since 1970.
    pub fn at(&self, unix_time: Duration) -> UserPassword {
        match self {
            Self::Static { username, password } => {
                UserPassword { username: username.clone(), password: password.clone() }
            }
            Self::Rest { user, secret, ttl } => time_limited(user, secret, unix_time + *ttl),
        }
    }
}

/// `username = expiry[:user]`, `password = base64(HMAC-SHA1(secret, username))`.
fn time_limited(user: &str, secret: &Secret, expires: Duration) -> UserPassword {
    let expires = expires.as_secs();
    let username = if user.is_empty() { expires.to_string() } else { format!("{expires}:{user}") };
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose().as_bytes());
    let password = Secret::new(base64(hmac::sign(&key, username.as_bytes()).as_ref()));
    UserPassword { username, password }
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32, shift: u32| char::from(ALPHABET[(bits >> shift & 0x3f) as usize]);
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        text.push(digit(bits, 18));
        text.push(digit(bits, 12));
        text.push(if group.len() > 1 { digit(bits, 6) } else { '=' });
        text.push(if group.len() > 2 { digit(bits, 0) } else { '=' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_in_rfc_4648() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (plain, text) in vectors {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn a_time_limited_credential_is_what_openssl_computes() {
        // printf %s 1433895918:user4 | openssl dgst -sha1 -hmac north-star -binary | base64
        let credential = TurnCredential::Rest {
            user: "user4".into(),
            secret: Secret::new("north-star"),
            ttl: Duration::from_secs(3600),
        };
        let made = credential.at(Duration::from_millis(1_433_892_318_999));
        assert_eq!(made.username, "1433895918:user4");
        assert_eq!(made.password.expose(), "KbSkM6o0+lp4jiQiA3Bdn1IpZdE=");
        let later = credential.at(Duration::from_secs(1_433_892_400));
        assert_ne!(made, later, "a later session gets a later expiry");
    }

    #[test]
    fn an_empty_user_leaves_the_expiry_alone() {
        let credential =
            TurnCredential::Rest { user: String::new(), secret: Secret::new("s"), ttl: Duration::from_secs(10) };
        assert_eq!(credential.at(Duration::from_secs(90)).username, "100");
    }
}
