//! The requests and answers between one socket and one TURN server, watched as they pass. Pure.
//!
//! Two things the crate's TURN client leaves open are seen to here:
//! - A server changes its nonce every few minutes (coturn: 600 s) and answers 438 until it is used (RFC 8656 §5). The
//!   client would wait for its next refresh, and give up a channel binding, which the server still holds: from then on
//!   nothing of the peer arrives. Here the 438 is kept from it, and the repetition of the request that follows after
//!   200 ms is signed anew with the new nonce.
//! - A server that refuses to refresh an allocation has lost it, or will: the session must know.

use std::sync::Arc;

use rtc::crypto::RTCCryptoProvider;
use rtc::stun::attributes::{
    ATTR_FINGERPRINT, ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, RawAttribute,
};
use rtc::stun::error_code::{CODE_STALE_NONCE, ErrorCodeAttribute};
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{Getter, METHOD_ALLOCATE, METHOD_REFRESH, Message, MessageType, Setter, TransactionId};
use rtc::stun::textattrs::TextAttribute;

use crate::rtc::ice::credential::UserPassword;
use crate::secret::Secret;

/// A Binding indication (RFC 8489 §5): valid, and of no consequence to anyone.
const BINDING_INDICATION: [u8; 2] = [0x00, 0x11];

/// What an incoming message turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing of interest here.
    Ordinary,
    /// A stale nonce: the message has been made meaningless.
    StaleNonce,
    /// The server will not give us an allocation.
    AllocationRefused(String),
    /// The server will not keep our allocation.
    RefreshRefused(String),
}

pub(crate) struct Exchange {
    crypto: Arc<dyn RTCCryptoProvider>,
    credential: UserPassword,
    nonce: Option<String>,
    /// The request for an allocation that carried a credential; the one before it is always refused.
    allocate: Option<TransactionId>,
}

impl Exchange {
    pub(crate) fn new(credential: UserPassword, crypto: Arc<dyn RTCCryptoProvider>) -> Self {
        Self { crypto, credential, nonce: None, allocate: None }
    }

    /// The same request with the server's newest nonce, when the request has an old one.
    pub(crate) fn outgoing(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let message = parse(datagram, Class::Request)?;
        if !message.contains(ATTR_MESSAGE_INTEGRITY) {
            return None;
        }
        if message.typ.method == METHOD_ALLOCATE {
            self.allocate = Some(message.transaction_id);
        }
        let nonce =
            self.nonce.as_ref().filter(|nonce| message.get(ATTR_NONCE).is_ok_and(|old| old != nonce.as_bytes()))?;
        let username = String::from_utf8(message.get(ATTR_USERNAME).ok()?).ok()?;
        if username != self.credential.username {
            return None;
        }
        sign(&message, nonce, username, &self.credential.password, self.crypto.as_ref())
    }

    /// Looks at a message of the server's, and takes the sting out of a stale nonce.
    pub(crate) fn incoming(&mut self, datagram: &mut [u8]) -> Seen {
        let Some(message) = parse(datagram, Class::ErrorResponse) else { return Seen::Ordinary };
        if let Ok(nonce) = TextAttribute::get_from_as(&message, ATTR_NONCE) {
            self.nonce = Some(nonce.text);
        }
        let mut error = ErrorCodeAttribute::default();
        if error.get_from(&message).is_err() {
            return Seen::Ordinary;
        }
        if error.code == CODE_STALE_NONCE {
            if let Some(kind) = datagram.first_chunk_mut() {
                *kind = BINDING_INDICATION;
            }
            return Seen::StaleNonce;
        }
        let reason = || format!("{} {}", error.code.0, String::from_utf8_lossy(&error.reason)).trim_end().to_owned();
        match message.typ.method {
            METHOD_REFRESH => Seen::RefreshRefused(reason()),
            METHOD_ALLOCATE if self.allocate == Some(message.transaction_id) => Seen::AllocationRefused(reason()),
            _ => Seen::Ordinary,
        }
    }
}

/// The class of a STUN message: bits 8 and 4 of its type (RFC 8489 §5).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    Request = 0b00,
    ErrorResponse = 0b11,
}

/// The message, when it is of this class. Media is told apart by its first two bytes.
fn parse(datagram: &[u8], class: Class) -> Option<Message> {
    let kind: [u8; 2] = *datagram.first_chunk()?;
    if kind[0] >> 6 != 0 || (kind[0] & 1) << 1 | (kind[1] >> 4 & 1) != class as u8 {
        return None;
    }
    let mut message = Message::new();
    message.raw = datagram.to_vec();
    message.decode().ok()?;
    Some(message)
}

fn sign(
    message: &Message,
    nonce: &str,
    username: String,
    password: &Secret,
    crypto: &dyn RTCCryptoProvider,
) -> Option<Vec<u8>> {
    let realm = String::from_utf8(message.get(ATTR_REALM).ok()?).ok()?;
    let password = password.expose().to_owned();
    let integrity =
        MessageIntegrity::new_long_term_integrity_with_provider(username, realm, password, crypto.crypto()).ok()?;
    let kind: MessageType = message.typ;
    let mut setters: Vec<Box<dyn Setter + '_>> = vec![Box::new(message.transaction_id), Box::new(kind)];
    for attribute in &message.attributes.0 {
        match attribute.typ {
            ATTR_MESSAGE_INTEGRITY | ATTR_FINGERPRINT => {}
            ATTR_NONCE => setters.push(Box::new(TextAttribute::new(ATTR_NONCE, nonce.to_owned()))),
            _ => setters.push(Box::new(Copied(attribute))),
        }
    }
    setters.push(Box::new(integrity));
    setters.push(Box::new(FINGERPRINT));
    let mut signed = Message::new();
    signed.build(&setters).ok()?;
    Some(signed.raw)
}

struct Copied<'a>(&'a RawAttribute);

impl Setter for Copied<'_> {
    fn add_to(&self, message: &mut Message) -> rtc::shared::error::Result<()> {
        message.add(self.0.typ, &self.0.value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc::stun::attributes::ATTR_CHANNEL_NUMBER;
    use rtc::stun::error_code::{CODE_UNAUTHORIZED, ErrorCode};
    use rtc::stun::message::{CLASS_ERROR_RESPONSE, CLASS_REQUEST, METHOD_CHANNEL_BIND, Method};
    use rtc::stun::textattrs::{Nonce, Realm, Username};

    use super::*;

    fn crypto() -> Arc<dyn RTCCryptoProvider> {
        rtc::crypto::default_provider().expect("ring")
    }

    fn credential() -> UserPassword {
        UserPassword { username: "driver".into(), password: Secret::new("hunter2") }
    }

    fn integrity(crypto: &dyn RTCCryptoProvider) -> MessageIntegrity<'_> {
        let text = |text: &str| text.to_owned();
        MessageIntegrity::new_long_term_integrity_with_provider(
            text("driver"),
            text("realm"),
            text("hunter2"),
            crypto.crypto(),
        )
        .expect("a key")
    }

    fn request(method: Method, nonce: &str, transaction: u8) -> Vec<u8> {
        let crypto = crypto();
        let channel = RawAttribute { typ: ATTR_CHANNEL_NUMBER, length: 4, value: vec![0x40, 1, 0, 0] };
        let mut message = Message::new();
        let setters: [Box<dyn Setter + '_>; 8] = [
            Box::new(TransactionId([transaction; 12])),
            Box::new(MessageType::new(method, CLASS_REQUEST)),
            Box::new(Copied(&channel)),
            Box::new(Username::new(ATTR_USERNAME, "driver".into())),
            Box::new(Realm::new(ATTR_REALM, "realm".into())),
            Box::new(Nonce::new(ATTR_NONCE, nonce.into())),
            Box::new(integrity(crypto.as_ref())),
            Box::new(FINGERPRINT),
        ];
        message.build(&setters).expect("a message");
        message.raw
    }

    fn refusal(method: Method, code: ErrorCode, nonce: Option<&str>, transaction: u8) -> Vec<u8> {
        let mut message = Message::new();
        let mut setters: Vec<Box<dyn Setter + '_>> = vec![
            Box::new(TransactionId([transaction; 12])),
            Box::new(MessageType::new(method, CLASS_ERROR_RESPONSE)),
            Box::new(ErrorCodeAttribute { code, reason: b"because".to_vec() }),
        ];
        setters.extend(nonce.map(|nonce| Box::new(Nonce::new(ATTR_NONCE, nonce.into())) as Box<dyn Setter>));
        message.build(&setters).expect("a message");
        message.raw
    }

    #[test]
    fn a_request_with_a_stale_nonce_goes_out_again_signed_with_the_new_one() {
        let mut exchange = Exchange::new(credential(), crypto());
        let old = request(METHOD_CHANNEL_BIND, "old", 1);
        assert_eq!(exchange.outgoing(&old), None, "nothing newer is known");
        let mut answer = refusal(METHOD_CHANNEL_BIND, CODE_STALE_NONCE, Some("new"), 1);
        assert_eq!(exchange.incoming(&mut answer), Seen::StaleNonce);
        assert_eq!(answer[..2], BINDING_INDICATION, "the client does not learn of it");

        let again = exchange.outgoing(&old).expect("signed anew");
        assert_eq!(again, request(METHOD_CHANNEL_BIND, "new", 1), "to the last byte what the client would have made");
        assert_eq!(exchange.outgoing(&again), None);
    }

    #[test]
    fn the_first_refusal_of_an_allocation_is_how_it_works_and_the_second_is_news() {
        let mut exchange = Exchange::new(credential(), crypto());
        let mut first = refusal(METHOD_ALLOCATE, CODE_UNAUTHORIZED, Some("n"), 1);
        assert_eq!(exchange.incoming(&mut first), Seen::Ordinary);
        assert_eq!(exchange.outgoing(&request(METHOD_ALLOCATE, "n", 2)), None);
        let mut second = refusal(METHOD_ALLOCATE, CODE_UNAUTHORIZED, Some("n"), 2);
        assert_eq!(exchange.incoming(&mut second), Seen::AllocationRefused("401 because".into()));
        assert_eq!(second, refusal(METHOD_ALLOCATE, CODE_UNAUTHORIZED, Some("n"), 2), "the client learns of it too");
    }

    #[test]
    fn a_refused_refresh_is_news() {
        let mut exchange = Exchange::new(credential(), crypto());
        let mut answer = refusal(METHOD_REFRESH, ErrorCode(437), None, 3);
        assert_eq!(exchange.incoming(&mut answer), Seen::RefreshRefused("437 because".into()));
    }

    #[test]
    fn somebody_elses_request_is_left_alone() {
        let other = UserPassword { username: "other".into(), password: Secret::new("x") };
        let mut exchange = Exchange::new(other, crypto());
        exchange.incoming(&mut refusal(METHOD_REFRESH, CODE_STALE_NONCE, Some("new"), 1));
        assert_eq!(exchange.outgoing(&request(METHOD_REFRESH, "old", 2)), None);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(mut datagram in prop::collection::vec(any::<u8>(), 0..200), stun in any::<bool>()) {
            if stun && datagram.len() >= 20 {
                datagram[..2].copy_from_slice(&[0x01, 0x14]);
                let length = u16::try_from(datagram.len() - 20).expect("short") & !3;
                datagram[2..4].copy_from_slice(&length.to_be_bytes());
                datagram[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
            }
            let mut exchange = Exchange::new(credential(), crypto());
            exchange.outgoing(&datagram);
            exchange.incoming(&mut datagram);
        }
    }
}
