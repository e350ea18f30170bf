//! How a link's budget is shared out among the pictures it carries.
//!
//! In proportion to what each is configured to take, and to none more than that but the first: whatever is left is the
//! first one's. It is what the driver drives by, so where the link is short of bits the others give way to it: it is not
//! brought below half of its configured rate as long as there is anything to be taken from them.

use crate::video::further::MOST_FURTHER;
use crate::video::settings::RateConfig;

/// The first picture keeps this share of its configured rate before the others keep more than their least.
const FIRST_KEEPS: f64 = 0.5;

/// What one picture may take of the link, in bit/s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Claim {
    configured: f64,
    least: f64,
}

impl Claim {
    pub(super) fn of(config: &RateConfig) -> Self {
        Self { configured: f64::from(config.start().bps()), least: f64::from(config.min().bps()) }
    }
}

/// What each further picture gets of `bps`; the rest is the first one's. A picture without a claim gets nothing.
pub(super) fn shares(bps: f64, first: Claim, further: [Option<Claim>; MOST_FURTHER]) -> [f64; MOST_FURTHER] {
    let configured: f64 = further.iter().flatten().map(|claim| claim.configured).sum();
    let in_proportion = bps / (first.configured + configured);
    let kept = (first.configured * FIRST_KEEPS).max(first.least);
    // What the others may take together, as a share of what they are configured to take.
    let affordable = ((bps - kept) / configured).max(0.0);
    let share = in_proportion.min(1.0).min(affordable);
    further.map(|claim| claim.map_or(0.0, |claim| (claim.configured * share).max(claim.least)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Claim = Claim { configured: 800.0, least: 150.0 };

    fn claim(configured: f64) -> Option<Claim> {
        Some(Claim { configured, least: 50.0 })
    }

    #[test]
    fn a_budget_is_shared_in_proportion_and_the_first_picture_goes_first() {
        let (one, three) = ([claim(400.0), None, None], [claim(400.0), claim(200.0), claim(200.0)]);
        let table = [
            ("what is configured", 1200.0, one, [400.0, 0.0, 0.0]),
            ("in proportion", 900.0, one, [300.0, 0.0, 0.0]),
            ("the first one would fall below its half", 560.0, one, [160.0, 0.0, 0.0]),
            ("only the least is left", 430.0, one, [50.0, 0.0, 0.0]),
            ("not even the first one's least", 100.0, one, [50.0, 0.0, 0.0]),
            ("more than is configured is the first one's", 5000.0, one, [400.0, 0.0, 0.0]),
            ("three of them", 1200.0, three, [300.0, 150.0, 150.0]),
            ("three that give way", 500.0, three, [50.0, 50.0, 50.0]),
            ("those that are there", 1000.0, [None, claim(200.0), None], [0.0, 200.0, 0.0]),
            ("none is there", 900.0, [None; MOST_FURTHER], [0.0; MOST_FURTHER]),
        ];
        for (what, bps, further, expected) in table {
            assert_eq!(shares(bps, FIRST, further), expected, "{what}");
        }
    }

    #[test]
    fn a_first_picture_whose_rate_is_fixed_keeps_it() {
        let fixed = Claim { configured: 800.0, least: 800.0 };
        for bps in [1200.0, 1000.0, 900.0, 850.0] {
            let [further, ..] = shares(bps, fixed, [claim(400.0), None, None]);
            assert!((bps - further - 800.0).abs() < 1e-9, "{bps}: {further}");
        }
    }
}
