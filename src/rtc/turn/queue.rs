//! What waits for a stream to a TURN server that does not take it at once. Pure.
//!
//! A stream delivers everything, in order, however late. Media is worth nothing late: what cannot leave in time is
//! dropped here, oldest first, and the peer connection sees it as the loss it would have been on UDP.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::framing::Framed;

/// Relayed data that may wait, in bytes: at 2 Mbit/s a third of a second. Full: the oldest is dropped.
const DATA_CAPACITY_BYTES: usize = 96 * 1024;
/// Relayed data older than this is dropped unsent.
const MAX_AGE: Duration = Duration::from_millis(250);
/// TURN requests that may wait. Full: the newest is dropped; it is sent again anyway.
const CONTROL_CAPACITY: usize = 32;
/// What is handed to the stream in one write, in bytes: one TLS record.
const WRITE_BYTES: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    control: VecDeque<Vec<u8>>,
    data: VecDeque<Waiting>,
    data_bytes: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    bytes: Vec<u8>,
}

impl SendQueue {
    pub(crate) fn push(&mut self, framed: Framed<'_>, now: Instant) {
        let mut bytes = Vec::with_capacity(framed.message.len() + framed.padding);
        framed.append_to(&mut bytes);
        if !carries_data(framed.message) {
            // The peer connection repeats a request that is not answered; the first will do.
            if !self.control.contains(&bytes) && self.control.len() < CONTROL_CAPACITY {
                self.control.push_back(bytes);
            }
            return;
        }
        self.data_bytes += bytes.len();
        self.data.push_back(Waiting { since: now, bytes });
        self.drop_late(now);
        while self.data_bytes > DATA_CAPACITY_BYTES {
            self.drop_oldest();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.data.is_empty()
    }

    /// Moves what is to be written next to the end of `stream`: requests first, then data that is not too old.
    pub(crate) fn fill(&mut self, stream: &mut Vec<u8>, now: Instant) {
        self.drop_late(now);
        while stream.len() < WRITE_BYTES {
            if let Some(bytes) = self.control.pop_front() {
                stream.extend_from_slice(&bytes);
            } else if let Some(Waiting { bytes, .. }) = self.data.pop_front() {
                self.data_bytes -= bytes.len();
                stream.extend_from_slice(&bytes);
            } else {
                return;
            }
        }
    }

    /// Messages dropped since this was last asked.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn drop_late(&mut self, now: Instant) {
        while self.data.front().is_some_and(|oldest| now.saturating_duration_since(oldest.since) > MAX_AGE) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.data.pop_front() {
            self.data_bytes -= oldest.bytes.len();
            self.dropped += 1;
        }
    }
}

/// ChannelData (RFC 8656 §12) and Send and Data indications (RFC 8656 §11; RFC 8489 §5 for the class bits).
pub(crate) fn carries_data(message: &[u8]) -> bool {
    const SEND_INDICATION: [u8; 2] = [0x00, 0x16];
    const DATA_INDICATION: [u8; 2] = [0x00, 0x17];
    match message.first_chunk() {
        Some(kind) => kind[0] >> 6 == 1 || [SEND_INDICATION, DATA_INDICATION].contains(kind),
        None => false,
    }
}

/// Whether it is ChannelData with something else in it than STUN (RFC 7983 §7): ICE checks every way there is, but media
/// and data channels go the selected way only.
pub(crate) fn carries_media(message: &[u8]) -> bool {
    message.first().is_some_and(|first| first >> 6 == 1) && message.get(4).is_some_and(|first| *first > 3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    fn data(number: u8, payload: usize) -> Vec<u8> {
        let mut message = vec![0x40, number];
        message.extend_from_slice(&u16::try_from(payload).expect("a length").to_be_bytes());
        message.resize(4 + payload, number);
        message
    }

    fn request(number: u8) -> Vec<u8> {
        let mut message = vec![0, 4, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        message.resize(20, number);
        message
    }

    fn push(queue: &mut SendQueue, message: &[u8], now: Instant) {
        queue.push(Framed::of(message).expect("a message"), now);
    }

    fn written(queue: &mut SendQueue, now: Instant) -> Vec<u8> {
        let mut stream = Vec::new();
        queue.fill(&mut stream, now);
        stream
    }

    #[test]
    fn a_relayed_connectivity_check_is_data_and_no_media() {
        let check = [&[0x40, 0, 0, 20][..], &request(1)].concat();
        assert!(carries_data(&check) && !carries_media(&check));
        let rtp = data(0x80, 12);
        assert!(carries_data(&rtp) && carries_media(&rtp));
        assert!(!carries_data(&request(1)) && !carries_media(&request(1)));
        assert!(!carries_media(&data(1, 0)) && !carries_media(&[]));
    }

    #[test]
    fn requests_overtake_data_and_data_keeps_its_order() {
        let (mut queue, now) = (SendQueue::default(), start());
        push(&mut queue, &data(1, 4), now);
        push(&mut queue, &data(2, 3), now);
        push(&mut queue, &request(9), now);
        let expected = [request(9), data(1, 4), data(2, 3), vec![0]].concat();
        assert_eq!(written(&mut queue, now), expected, "with the padding of the second");
        assert!(written(&mut queue, now).is_empty());
    }

    #[test]
    fn a_repeated_request_waits_once() {
        let (mut queue, now) = (SendQueue::default(), start());
        for _ in 0..7 {
            push(&mut queue, &request(1), now);
        }
        push(&mut queue, &request(2), now);
        assert_eq!(written(&mut queue, now), [request(1), request(2)].concat());
    }

    #[test]
    fn data_that_waited_too_long_is_dropped_and_requests_are_not() {
        let (mut queue, now) = (SendQueue::default(), start());
        push(&mut queue, &data(1, 4), now);
        push(&mut queue, &request(9), now);
        push(&mut queue, &data(2, 4), now + MAX_AGE);
        let later = now + MAX_AGE + Duration::from_millis(1);
        assert_eq!(written(&mut queue, later), [request(9), data(2, 4)].concat());
        assert_eq!(queue.take_dropped(), 1);
    }

    #[test]
    fn a_stalled_stream_keeps_the_newest_data() {
        let (mut queue, now) = (SendQueue::default(), start());
        for number in 0..200 {
            push(&mut queue, &data(number, 1196), now);
        }
        let kept = DATA_CAPACITY_BYTES / 1200;
        assert_eq!(queue.take_dropped(), 200 - kept as u64);
        let first = written(&mut queue, now)[1];
        assert_eq!(usize::from(first), 200 - kept, "the oldest went first");
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_it_may(messages in prop::collection::vec((any::<bool>(), 0..1500_usize, 0..100_u64), 0..500)) {
            let mut queue = SendQueue::default();
            let mut now = start();
            for (number, (is_data, payload, ms)) in messages.into_iter().enumerate() {
                now += Duration::from_millis(ms);
                let message = if is_data { data(number as u8, payload) } else { request(number as u8) };
                push(&mut queue, &message, now);
                prop_assert!(queue.data_bytes <= DATA_CAPACITY_BYTES);
                prop_assert!(queue.control.len() <= CONTROL_CAPACITY);
                prop_assert_eq!(queue.data_bytes, queue.data.iter().map(|waiting| waiting.bytes.len()).sum::<usize>());
            }
            while !written(&mut queue, now).is_empty() {}
            prop_assert_eq!(queue.data_bytes, 0);
        }
    }
}
