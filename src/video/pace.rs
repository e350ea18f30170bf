//! Fewer pictures than the camera makes: which to leave out. Pure.

use std::time::Duration;

use super::settings::Framerate;

/// Lets pictures through at a lower rate, evenly, by their own time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    due: Option<Duration>,
}

impl Pace {
    /// Whether the picture of this time is to be coded when `rate` pictures a second are wanted of the camera's `full`.
    pub fn admit(&mut self, pts: Duration, rate: Framerate, full: Framerate) -> bool {
        if rate >= full {
            self.due = None;
            return true;
        }
        // Pictures are never exactly on time: half of the camera's interval decides which is nearest.
        let tolerance = full.interval() / 2;
        // A camera with another idea of the time has taken this one's place where the next picture would not be due for
        // longer than it ever is.
        let due = self.due.filter(|due| *due <= pts + rate.interval() + full.interval());
        if due.is_some_and(|due| pts + tolerance < due) {
            return false;
        }
        // One that is later than the camera's next would have been has lost its place in the row.
        let on_time = due.filter(|due| pts < *due + tolerance * 2);
        self.due = Some(on_time.unwrap_or(pts) + rate.interval());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: u32) -> Framerate {
        Framerate::new(per_second).expect("a valid rate")
    }

    fn admitted(pace: &mut Pace, millis: impl IntoIterator<Item = u64>, wanted: u32) -> Vec<u64> {
        let pictures = millis.into_iter();
        pictures.filter(|ms| pace.admit(Duration::from_millis(*ms), rate(wanted), rate(30))).collect()
    }

    #[test]
    fn a_lower_rate_leaves_out_evenly() {
        let second = || (0..30).map(|number| number * 1000 / 30);
        assert_eq!(admitted(&mut Pace::default(), second(), 30).len(), 30);
        for (wanted, expected) in [(15, 15), (10, 10), (20, 20), (1, 1)] {
            let admitted = admitted(&mut Pace::default(), second(), wanted);
            assert_eq!(admitted.len(), expected, "{wanted}: {admitted:?}");
            let longest = admitted.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
            assert!(longest <= 1000 / u64::from(wanted) + 34, "{wanted}: {admitted:?}");
        }
    }

    #[test]
    fn jitter_and_gaps_cost_no_picture_more() {
        let jittery = [0, 40, 61, 105, 130, 170, 201, 240];
        assert_eq!(admitted(&mut Pace::default(), jittery, 15), [0, 61, 130, 201]);
        assert_eq!(admitted(&mut Pace::default(), [0, 33, 100, 133, 166], 15), [0, 100, 166], "one was lost before");
        let mut pace = Pace::default();
        assert_eq!(admitted(&mut pace, [0, 33, 66, 5000, 5033, 5066], 15), [0, 66, 5000, 5066]);
        assert_eq!(admitted(&mut pace, [5100, 5133, 5166], 30), [5100, 5133, 5166], "the full rate needs no waiting");
    }

    #[test]
    fn a_time_that_goes_back_begins_anew() {
        let mut pace = Pace::default();
        assert_eq!(admitted(&mut pace, [5000, 5033, 5066, 5100], 15), [5000, 5066]);
        assert_eq!(admitted(&mut pace, [300, 333, 366, 400], 15), [300, 366]);
    }
}
