//! One RTP packet on its way from the publisher to every viewer, and what is read from it once for all of them.

use bytes::Bytes;

use super::room::PublisherId;

/// One RTP packet of H.264 (RFC 6184), without what a hop may change: SSRC, payload type, sequence number, extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it; later arrivals have higher numbers.
    pub source: PublisherId,
    /// Its sequence number, extended so that it never wraps. Comparable within one source only.
    pub index: u64,
    /// RTP timestamp, 90 kHz.
    pub timestamp: u32,
    /// Last packet of its access unit.
    pub marker: bool,
    /// How decoding can start here, if it can.
    pub entry: Option<Entry>,
    /// The payload, shared by all viewers.
    pub payload: Bytes,
}

/// How decoding can start at a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It carries a sequence parameter set: the IDR follows.
    ParameterSets,
    /// It starts the first slice of an IDR; the parameter sets, if there are any in band, came before.
    Idr,
}

/// How decoding can start at this RTP payload.
pub fn entry_point(payload: &[u8]) -> Option<Entry> {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    const FU_START: u8 = 0x80;
    let unit_type = |header: u8| header & 0x1f;
    let whole = |unit: &[u8]| match unit_type(*unit.first()?) {
        SPS => Some(Entry::ParameterSets),
        IDR if is_first_slice(&unit[1..]) => Some(Entry::Idr),
        _ => None,
    };
    match unit_type(*payload.first()?) {
        STAP_A => aggregated(&payload[1..]).find_map(whole),
        FU_A => {
            let fragment = *payload.get(1)?;
            let starts = fragment & FU_START != 0 && unit_type(fragment) == IDR && is_first_slice(&payload[2..]);
            starts.then_some(Entry::Idr)
        }
        _ => whole(payload),
    }
}

/// Whether a slice is the first of its picture: `first_mb_in_slice` is 0, the one number that ue(v) codes by a leading 1
/// (H.264 §7.3.3, §9.1). An encoder with several threads makes several slices.
fn is_first_slice(slice_header: &[u8]) -> bool {
    const LEADING_ONE: u8 = 0x80;
    slice_header.first().is_some_and(|byte| byte & LEADING_ONE != 0)
}

/// The NAL units of a STAP-A body (RFC 6184 §5.7.1: 16-bit size, then the unit); ends at the first that is cut short.
fn aggregated(mut body: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (size, rest) = body.split_first_chunk::<2>()?;
        let (unit, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
        body = rest;
        Some(unit)
    })
}

/// How far back a late packet is still told from a duplicate, in packets: 3 s of 1500 kbit/s, and as much as the
/// publisher can be asked to repeat.
const WINDOW: usize = 512;

/// Extends the sequence numbers of one source and drops what has been seen.
#[derive(Debug, Default)]
pub struct SequenceWindow {
    newest: Option<u64>,
    /// Bit `index % WINDOW`: seen.
    seen: [u64; WINDOW / 64],
}

impl SequenceWindow {
    /// The extended number of a packet, or `None` for a duplicate or one too late to tell.
    pub fn accept(&mut self, sequence: u16) -> Option<u64> {
        let Some(newest) = self.newest else {
            // Room below the first, for packets that were sent before it and arrive after it.
            let index = (1 << 16) + u64::from(sequence);
            self.newest = Some(index);
            self.mark(index);
            return Some(index);
        };
        // The nearest number, above or below, that ends in this sequence number (RFC 3550 §A.1).
        let ahead = sequence.wrapping_sub(newest as u16) as i16;
        let index = newest.checked_add_signed(i64::from(ahead))?;
        if index > newest {
            (newest + 1..index).rev().take(WINDOW).for_each(|skipped| self.unmark(skipped));
            self.newest = Some(index);
        } else if newest - index >= WINDOW as u64 || self.is_marked(index) {
            return None;
        }
        self.mark(index);
        Some(index)
    }

    fn mark(&mut self, index: u64) {
        let (word, bit) = Self::place(index);
        self.seen[word] |= bit;
    }

    fn unmark(&mut self, index: u64) {
        let (word, bit) = Self::place(index);
        self.seen[word] &= !bit;
    }

    fn is_marked(&self, index: u64) -> bool {
        let (word, bit) = Self::place(index);
        self.seen[word] & bit != 0
    }

    fn place(index: u64) -> (usize, u64) {
        let slot = (index % WINDOW as u64) as usize;
        (slot / 64, 1 << (slot % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_points_are_found_in_every_packing() {
        let rows: [(&[u8], Option<Entry>); 18] = [
            (&[], None),
            (&[0x67, 0x42], Some(Entry::ParameterSets)),
            (&[0x65, 0x88], Some(Entry::Idr)),
            (&[0x41, 0x9a], None),
            (&[0x68, 0xce], None),
            (&[0x78, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xce], Some(Entry::ParameterSets)),
            (&[0x78, 0, 2, 0x09, 0x10, 0, 2, 0x67, 0x42], Some(Entry::ParameterSets)),
            (&[0x78, 0, 2, 0x06, 0x05, 0, 2, 0x65, 0x88], Some(Entry::Idr)),
            (&[0x78, 0, 2, 0x06, 0x05, 0, 9, 0x67], None),
            (&[0x78, 0, 0, 0, 0], None),
            (&[0x78], None),
            (&[0x7c, 0x85, 0x88], Some(Entry::Idr)),
            (&[0x7c, 0x05, 0x88], None),
            (&[0x7c, 0x81, 0x88], None),
            // Further slices of the same IDR.
            (&[0x65, 0x0a], None),
            (&[0x65], None),
            (&[0x7c, 0x85, 0x0a], None),
            (&[0x78, 0, 2, 0x06, 0x05, 0, 2, 0x65, 0x0a], None),
        ];
        for (payload, expected) in rows {
            assert_eq!(entry_point(payload), expected, "{payload:x?}");
        }
        assert_eq!(entry_point(&[0x7c]), None, "a torn fragment");
    }

    fn indices(sequence_numbers: impl IntoIterator<Item = u16>) -> Vec<Option<i64>> {
        let mut window = SequenceWindow::default();
        let mut first = None;
        let mut relative = |index: u64| index as i64 - *first.get_or_insert(index as i64);
        sequence_numbers.into_iter().map(|number| window.accept(number).map(&mut relative)).collect()
    }

    #[test]
    fn numbers_go_on_counting_over_the_wrap() {
        assert_eq!(indices([65534, 65535, 0, 1]), [Some(0), Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn a_late_packet_gets_its_own_place_and_a_repeated_one_none() {
        assert_eq!(indices([10, 12, 11, 11, 12, 13, 10]), [Some(0), Some(2), Some(1), None, None, Some(3), None]);
        assert_eq!(indices([0, 65535]), [Some(0), Some(-1)], "sent before the first, arrived after it");
    }

    #[test]
    fn what_is_too_late_to_tell_is_dropped() {
        assert_eq!(indices([1000, 1000 - 511, 1000 - 512]), [Some(0), Some(-511), None]);
    }

    #[test]
    fn a_long_gap_leaves_no_stale_marks() {
        let mut window = SequenceWindow::default();
        (0..600).for_each(|number| assert!(window.accept(number).is_some()));
        assert!(window.accept(5000).is_some());
        for number in 5000 - 511..5000 {
            assert!(window.accept(number).is_some(), "{number} was never seen");
        }
    }
}
