//! The little of H.264 that publishing needs to read: NAL units of an Annex B byte stream, and what an SPS promises.
//!
//! Sources: ITU-T H.264 Annex B (start codes), table 7-1 (`nal_unit_type`), 7.3.2.1.1 (the SPS begins with profile,
//! constraint flags and level), table A-1 (levels).

/// `nal_unit_type` of a slice of a picture that is not IDR.
pub const NON_IDR_SLICE: u8 = 1;
/// `nal_unit_type` of a slice of an IDR picture.
pub const IDR_SLICE: u8 = 5;
/// `nal_unit_type` of a sequence parameter set.
pub const SPS: u8 = 7;
/// `nal_unit_type` of a picture parameter set.
pub const PPS: u8 = 8;

const START_CODE: [u8; 3] = [0, 0, 1];

/// One NAL unit, header byte first.
#[derive(Clone, Copy, Debug)]
pub struct NalUnit<'a> {
    // Everything up to the end of the access unit: where this unit ends is only looked for when somebody asks, because
    // an access unit is told from its first bytes and a slice is thousands of them.
    from_here: &'a [u8],
}

impl<'a> NalUnit<'a> {
    /// Its `nal_unit_type`, 0 … 31.
    pub fn kind(self) -> u8 {
        self.from_here[0] & 0x1f
    }

    /// Its bytes, start code excluded, emulation prevention still in place.
    pub fn bytes(self) -> &'a [u8] {
        let end = find_start_code(self.from_here).unwrap_or(self.from_here.len());
        // The zero byte of a four-byte start code, and trailing zeros, belong to the byte stream and not to the unit.
        let last = self.from_here[..end].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        &self.from_here[..last]
    }
}

/// The NAL units of an Annex B byte stream, found one by one as they are asked for.
pub fn nal_units(annex_b: &[u8]) -> impl Iterator<Item = NalUnit<'_>> {
    let mut rest = annex_b;
    std::iter::from_fn(move || {
        let start = find_start_code(rest)? + START_CODE.len();
        rest = &rest[start..];
        Some(rest)
    })
    .filter(|unit| !unit.is_empty())
    .map(|from_here| NalUnit { from_here })
}

/// True when a decoder that knows nothing yet can start at this access unit: SPS and PPS, then an IDR slice.
pub fn starts_decoding(annex_b: &[u8]) -> bool {
    let (mut sps, mut pps) = (false, false);
    for unit in nal_units(annex_b) {
        match unit.kind() {
            SPS => sps = true,
            PPS => pps = true,
            IDR_SLICE => return sps && pps,
            NON_IDR_SLICE..IDR_SLICE => return false,
            _ => {}
        }
    }
    false
}

/// What a sequence parameter set promises: the three bytes of SDP's `profile-level-id` (RFC 6184 §8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileLevel {
    /// `profile_idc`: 66 is baseline.
    pub profile: u8,
    /// The `constraint_set` flags, set 0 in the highest bit. Baseline with set 1 is constrained baseline.
    pub constraints: u8,
    /// `level_idc`: ten times the level, 31 for level 3.1.
    pub level: u8,
}

impl ProfileLevel {
    /// Reads it from the first SPS of an access unit, or `None` when there is none.
    pub fn of(annex_b: &[u8]) -> Option<Self> {
        let sps = nal_units(annex_b).find(|unit| unit.kind() == SPS)?;
        let &[_, profile, constraints, level, ..] = sps.bytes() else { return None };
        Some(Self { profile, constraints, level })
    }

    /// True for constrained baseline: what every WebRTC peer decodes.
    pub fn is_constrained_baseline(self) -> bool {
        const BASELINE: u8 = 66;
        const CONSTRAINT_SET_1: u8 = 0x40;
        self.profile == BASELINE && self.constraints & CONSTRAINT_SET_1 != 0
    }
}

fn find_start_code(bytes: &[u8]) -> Option<usize> {
    bytes.windows(START_CODE.len()).position(|window| window == START_CODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDR_UNIT: &[u8] = &[
        0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f, 0xda, 0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80, 0, 0, 1, 0x06, 5, 1, 0, 0, 1,
        0x65, 0x88, 0x84,
    ];
    const P_UNIT: &[u8] = &[0, 0, 0, 1, 0x41, 0x9a, 0x24];

    fn kinds(annex_b: &[u8]) -> Vec<u8> {
        nal_units(annex_b).map(NalUnit::kind).collect()
    }

    #[test]
    fn units_are_found_after_three_and_four_byte_start_codes() {
        assert_eq!(kinds(IDR_UNIT), [SPS, PPS, 6, IDR_SLICE]);
        assert_eq!(kinds(P_UNIT), [NON_IDR_SLICE]);
    }

    #[test]
    fn a_unit_ends_before_the_next_start_code_and_its_extra_zero() {
        let units: Vec<_> = nal_units(IDR_UNIT).map(NalUnit::bytes).collect();
        assert_eq!(
            units,
            [&[0x67, 0x42, 0xc0, 0x1f, 0xda][..], &[0x68, 0xce, 0x3c, 0x80], &[6, 5, 1], &[0x65, 0x88, 0x84]]
        );
    }

    #[test]
    fn decoding_starts_only_at_an_idr_with_both_parameter_sets() {
        let with = |units: &[u8]| units.iter().flat_map(|&header| [0, 0, 1, header, 0xff]).collect::<Vec<u8>>();
        let cases: [(&str, &[u8], bool); 8] = [
            ("SPS, PPS, IDR", &[0x67, 0x68, 0x65], true),
            ("AUD, SPS, PPS, SEI, IDR", &[0x09, 0x67, 0x68, 0x06, 0x65], true),
            ("IDR alone", &[0x65], false),
            ("no PPS", &[0x67, 0x65], false),
            ("no SPS", &[0x68, 0x65], false),
            ("P", &[0x41], false),
            ("parameter sets before a P", &[0x67, 0x68, 0x41], false),
            ("parameter sets alone", &[0x67, 0x68], false),
        ];
        for (name, units, expected) in cases {
            assert_eq!(starts_decoding(&with(units)), expected, "{name}");
        }
    }

    #[test]
    fn profile_and_level_are_read_from_the_sps() {
        let found = ProfileLevel::of(IDR_UNIT);
        assert_eq!(found, Some(ProfileLevel { profile: 66, constraints: 0xc0, level: 31 }));
        assert!(found.is_some_and(ProfileLevel::is_constrained_baseline));
        assert_eq!(ProfileLevel::of(P_UNIT), None);
        assert_eq!(ProfileLevel::of(&[0, 0, 1, 0x67, 0x42]), None, "a cut-off SPS");
    }

    #[test]
    fn junk_has_no_units() {
        for junk in [&[][..], &[0], &[0, 0, 1], &[0, 0, 0, 1], &[0, 0, 1, 0, 0, 1], &[1, 2, 3, 4, 5]] {
            assert!(nal_units(junk).all(|unit| unit.kind() == 0), "{junk:?}");
            assert!(!starts_decoding(junk), "{junk:?}");
        }
    }
}
