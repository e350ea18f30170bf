//! TURN messages on a stream (RFC 8656 §3.1, §12.5; RFC 8489 §6.2.2): each says its own length, and ChannelData is
//! padded to a multiple of four bytes. Pure.

/// Largest message passed on, in bytes: more than any relayed datagram of a WebRTC peer. Larger ones are skipped, so
/// that a stranger's jumbo datagram costs itself and not the stream.
pub(crate) const MAX_MESSAGE_BYTES: usize = 2048;
/// What is read from the stream at once, in bytes: some messages more than the largest.
const BUFFER_BYTES: usize = 16 * 1024;
/// RFC 8489 §5.
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const STUN_HEADER_BYTES: usize = 20;
const CHANNEL_HEADER_BYTES: usize = 4;

/// The bytes are neither STUN nor ChannelData: the other end is no TURN server, or the stream is out of step for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sends what is not TURN")]
pub(crate) struct NotTurn;

/// A message without padding, and the padding it gets on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Framed<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) padding: usize,
}

impl<'a> Framed<'a> {
    /// What of a datagram goes onto the stream. On UDP the padding of ChannelData may be there or not.
    ///
    /// # Errors
    /// [`NotTurn`] when the datagram is not exactly one TURN message.
    pub(crate) fn of(datagram: &'a [u8]) -> Result<Self, NotTurn> {
        let header = datagram.first_chunk().ok_or(NotTurn)?;
        let Lengths { message, padding } = lengths(*header)?;
        let rest = datagram.len().checked_sub(message).ok_or(NotTurn)?;
        if rest != 0 && rest != padding {
            return Err(NotTurn);
        }
        Ok(Self { message: &datagram[..message], padding })
    }

    pub(crate) fn append_to(self, stream: &mut Vec<u8>) {
        stream.extend_from_slice(self.message);
        stream.extend_from_slice(&[0; 3][..self.padding]);
    }
}

struct Lengths {
    message: usize,
    padding: usize,
}

/// RFC 8656 §12: the two most significant bits tell STUN (00) from ChannelData (01).
fn lengths(header: [u8; 4]) -> Result<Lengths, NotTurn> {
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    match header[0] >> 6 {
        0 if length.is_multiple_of(4) => Ok(Lengths { message: STUN_HEADER_BYTES + length, padding: 0 }),
        1 => {
            let message = CHANNEL_HEADER_BYTES + length;
            Ok(Lengths { message, padding: message.next_multiple_of(4) - message })
        }
        _ => Err(NotTurn),
    }
}

/// Cuts a stream into messages, whatever pieces it arrives in.
#[derive(Debug)]
pub(crate) struct Decoder {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes still to come of a message that is too large.
    skip: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { buffer: vec![0; BUFFER_BYTES].into_boxed_slice(), start: 0, end: 0, skip: 0 }
    }
}

impl Decoder {
    /// Where to read to; never empty once [`Decoder::next`] has returned `None`.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.buffer[self.end..]
    }

    /// So many bytes of [`Decoder::space`] have been read.
    pub(crate) fn filled(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.buffer.len());
    }

    /// The next whole message, without its padding; `None` until more has been read.
    ///
    /// # Errors
    /// [`NotTurn`], for good.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, NotTurn> {
        loop {
            let skipped = self.skip.min(self.end - self.start);
            self.start += skipped;
            self.skip -= skipped;
            let waiting = &self.buffer[self.start..self.end];
            let Some(header) = waiting.first_chunk() else { return Ok(None) };
            let Lengths { message, padding } = lengths(*header)?;
            if header[0] >> 6 == 0 {
                let Some(cookie) = waiting.get(4..8) else { return Ok(None) };
                if cookie != MAGIC_COOKIE {
                    return Err(NotTurn);
                }
            }
            if message > MAX_MESSAGE_BYTES {
                self.skip = message + padding;
                continue;
            }
            if waiting.len() < message + padding {
                return Ok(None);
            }
            let start = self.start;
            self.start += message + padding;
            return Ok(Some(&self.buffer[start..start + message]));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn stun(attributes: usize) -> Vec<u8> {
        let mut message = vec![0, 1];
        message.extend_from_slice(&u16::try_from(attributes).expect("a length").to_be_bytes());
        message.extend_from_slice(&MAGIC_COOKIE);
        message.resize(STUN_HEADER_BYTES + attributes, 7);
        message
    }

    fn channel_data(payload: usize) -> Vec<u8> {
        let mut message = vec![0x40, 1];
        message.extend_from_slice(&u16::try_from(payload).expect("a length").to_be_bytes());
        message.resize(CHANNEL_HEADER_BYTES + payload, 9);
        message
    }

    fn decode(stream: &[u8], pieces: &[usize]) -> Result<Vec<Vec<u8>>, NotTurn> {
        let mut decoder = Decoder::default();
        let mut messages = Vec::new();
        let mut rest = stream;
        let mut pieces = pieces.iter().copied().cycle();
        while !rest.is_empty() {
            while let Some(message) = decoder.next()? {
                messages.push(message.to_vec());
            }
            let space = decoder.space();
            assert!(!space.is_empty(), "there is always room for more");
            let piece = pieces.next().unwrap_or(usize::MAX).clamp(1, rest.len().min(space.len()));
            space[..piece].copy_from_slice(&rest[..piece]);
            decoder.filled(piece);
            rest = &rest[piece..];
        }
        while let Some(message) = decoder.next()? {
            messages.push(message.to_vec());
        }
        Ok(messages)
    }

    #[test]
    fn channel_data_is_padded_on_a_stream_and_stun_never_needs_it() {
        for (payload, padding) in [(0, 0), (1, 3), (2, 2), (3, 1), (4, 0), (1200, 0), (1201, 3)] {
            let message = channel_data(payload);
            assert_eq!(Framed::of(&message), Ok(Framed { message: &message, padding }), "{payload}");
            let mut padded = message.clone();
            padded.resize(message.len() + padding, 0);
            assert_eq!(Framed::of(&padded), Ok(Framed { message: &message, padding }), "padded already: {payload}");
        }
        let message = stun(36);
        assert_eq!(Framed::of(&message), Ok(Framed { message: &message, padding: 0 }));
    }

    #[test]
    fn what_is_not_exactly_one_message_never_reaches_the_stream() {
        let rtp = [0x80, 96, 0, 0, 1, 2, 3, 4];
        let torn = &channel_data(8)[..11];
        let long = [channel_data(8), vec![0; 4]].concat();
        let crooked = [0, 1, 0, 3, 0x21, 0x12, 0xa4, 0x42];
        for datagram in [&rtp[..], torn, &long, &crooked, &[], &[0x40, 0, 0]] {
            assert_eq!(Framed::of(datagram), Err(NotTurn), "{datagram:?}");
        }
    }

    #[test]
    fn a_jumbo_message_is_skipped_and_the_stream_goes_on() {
        let mut stream = Vec::new();
        for message in [channel_data(5), channel_data(65_535), stun(8)] {
            Framed::of(&message).expect("a message").append_to(&mut stream);
        }
        assert_eq!(decode(&stream, &[1400]), Ok(vec![channel_data(5), stun(8)]));
    }

    #[test]
    fn a_stream_that_is_not_turn_is_found_out() {
        let mut cookieless = stun(4);
        cookieless[4] = 0;
        for junk in [b"220 mail.example.org ESMTP\r\n".as_slice(), &[0x80, 0, 0, 0], &cookieless, &[0, 1, 0, 2]] {
            assert_eq!(decode(junk, &[3]), Err(NotTurn));
        }
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_the_stream_is_torn(
            sizes in prop::collection::vec((any::<bool>(), 0..1500_usize), 0..40),
            pieces in prop::collection::vec(1..4000_usize, 1..20),
        ) {
            let sent: Vec<_> =
                sizes.into_iter().map(|(data, size)| if data { channel_data(size) } else { stun(size & !3) }).collect();
            let mut stream = Vec::new();
            for message in &sent {
                Framed::of(message).expect("a message").append_to(&mut stream);
            }
            prop_assert_eq!(decode(&stream, &pieces), Ok(sent));
        }

        #[test]
        fn no_bytes_break_the_decoder(
            stream in prop::collection::vec(any::<u8>(), 0..100_000),
            pieces in prop::collection::vec(1..4000_usize, 1..20),
        ) {
            // Whatever comes of it, it ends, and nothing larger than the limit comes out.
            if let Ok(messages) = decode(&stream, &pieces) {
                prop_assert!(messages.iter().all(|message| message.len() <= MAX_MESSAGE_BYTES));
            }
        }
    }
}
