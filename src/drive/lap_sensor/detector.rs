//! Edges of the two lines → passes. Pure: times are the kernel's, counted from any common zero.

use std::time::Duration;

/// One of the two lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    First,
    Second,
}

/// Decides when the car has passed.
///
/// ```text
///          both detected              both clear
/// Apart ─────────────────▶ Over ──────────────────▶ Apart, and one pass
/// ```
///
/// The pass is timed by the edge that left both lines clear. One line alone never makes a pass, whatever it does.
///
/// Edges closer together than the debounce time are one, with the time of the first of them. (The kernel's own
/// debouncer stamps the moment at which the line had come to rest, by the tick of its timer: late by the debounce time
/// and a few milliseconds more or less, which is what laps are won by. So it is not used.)
#[derive(Clone, Debug)]
pub(super) struct LapDetector {
    lines: [Debounced; 2],
    over: bool,
    /// The latest edge that left a line clear.
    cleared_at: Duration,
}

/// A line's level once its contact has come to rest.
#[derive(Clone, Copy, Debug)]
struct Debounced {
    debounce: Duration,
    detected: bool,
    bouncing: Option<Bouncing>,
}

#[derive(Clone, Copy, Debug)]
struct Bouncing {
    first_edge: Duration,
    last_edge: Duration,
    detected: bool,
}

impl LapDetector {
    /// A detector whose lines stand at these levels: a car may be waiting over the magnet.
    pub(super) fn new(debounce: Duration, detected: [bool; 2]) -> Self {
        let lines = detected.map(|detected| Debounced { debounce, detected, bouncing: None });
        Self { lines, over: detected == [true; 2], cleared_at: Duration::ZERO }
    }

    /// Takes an edge at `at`, after which the line reads `detected`. Returns the time of a pass, should this edge show
    /// that the lines had come to rest before it.
    pub(super) fn edge(&mut self, line: Line, detected: bool, at: Duration) -> Option<Duration> {
        let pass = self.poll(at);
        self.lines[line as usize].edge(detected, at);
        // Without a debounce time an edge counts at once.
        pass.or_else(|| self.poll(at))
    }

    /// Takes the time. Returns the time of a pass when the lines have come to rest clear.
    pub(super) fn poll(&mut self, now: Duration) -> Option<Duration> {
        let mut pass = None;
        while let Some(line) = self.next_at_rest(now) {
            let Some(changed_at) = line.settle() else { continue };
            if !line.detected {
                self.cleared_at = self.cleared_at.max(changed_at);
            }
            match self.lines.map(|line| line.detected) {
                [true, true] => self.over = true,
                [false, false] if self.over => {
                    self.over = false;
                    pass = Some(self.cleared_at);
                }
                _ => {}
            }
        }
        pass
    }

    /// When [`LapDetector::poll`] has something to do, if no edge comes before.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.lines.iter().filter_map(Debounced::rests_at).min()
    }

    /// The line that came to rest first: the other may be what completes a pass.
    fn next_at_rest(&mut self, now: Duration) -> Option<&mut Debounced> {
        let at_rest = self.lines.iter_mut().filter(|line| line.rests_at().is_some_and(|at| at <= now));
        at_rest.min_by_key(|line| line.rests_at())
    }
}

impl Debounced {
    fn edge(&mut self, detected: bool, at: Duration) {
        let first_edge = self.bouncing.map_or(at, |bouncing| bouncing.first_edge);
        self.bouncing = Some(Bouncing { first_edge, last_edge: at, detected });
    }

    fn rests_at(&self) -> Option<Duration> {
        self.bouncing.map(|bouncing| bouncing.last_edge + self.debounce)
    }

    /// The line has come to rest: when it changed, if it did.
    fn settle(&mut self) -> Option<Duration> {
        let bouncing = self.bouncing.take()?;
        let before = std::mem::replace(&mut self.detected, bouncing.detected);
        (before != self.detected).then_some(bouncing.first_edge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBOUNCE: Duration = Duration::from_millis(2);

    /// What happens to the lines, at times in tenths of a millisecond.
    enum Event {
        First(u64, bool),
        Second(u64, bool),
    }
    use Event::{First, Second};

    fn tenths(tenths: u64) -> Duration {
        Duration::from_micros(100 * tenths)
    }

    /// The times of all passes, with the detector asked again whenever it wants to be.
    fn passes(detector: &mut LapDetector, events: &[Event]) -> Vec<Duration> {
        let mut passes = Vec::new();
        for event in events {
            let (line, at, detected) = match *event {
                First(at, detected) => (Line::First, tenths(at), detected),
                Second(at, detected) => (Line::Second, tenths(at), detected),
            };
            let due =
                std::iter::from_fn(|| detector.poll_timeout().filter(|due| *due < at).map(|due| detector.poll(due)));
            passes.extend(due.take(9).flatten().collect::<Vec<_>>());
            passes.extend(detector.edge(line, detected, at));
        }
        for _ in 0..2 {
            passes.extend(detector.poll_timeout().and_then(|due| detector.poll(due)));
        }
        assert_eq!(detector.poll_timeout(), None, "nothing is left to wait for");
        passes
    }

    #[test]
    fn a_pass_is_both_lines_detected_then_both_clear_timed_by_the_last_to_clear() {
        let table: [(&str, &[Event], &[u64]); 7] = [
            ("together", &[First(0, true), Second(0, true), First(500, false), Second(500, false)], &[500]),
            ("one after the other", &[First(0, true), Second(90, true), First(500, false), Second(620, false)], &[620]),
            ("the other order", &[Second(0, true), First(90, true), Second(500, false), First(620, false)], &[620]),
            ("one line alone, twice", &[First(0, true), First(100, false), First(200, true), First(300, false)], &[]),
            ("never both at once", &[First(0, true), First(100, false), Second(200, true), Second(300, false)], &[]),
            (
                "one line comes back before the other has cleared",
                &[
                    First(0, true),
                    Second(0, true),
                    First(100, false),
                    First(200, true),
                    First(300, false),
                    Second(400, false),
                ],
                &[400],
            ),
            (
                "two laps",
                &[
                    First(0, true),
                    Second(0, true),
                    First(100, false),
                    Second(100, false),
                    First(5000, true),
                    Second(5000, true),
                    Second(5100, false),
                    First(5150, false),
                ],
                &[100, 5150],
            ),
        ];
        for (name, events, expected) in table {
            let mut detector = LapDetector::new(DEBOUNCE, [false; 2]);
            let expected: Vec<_> = expected.iter().copied().map(tenths).collect();
            assert_eq!(passes(&mut detector, events), expected, "{name}");
        }
    }

    #[test]
    fn bouncing_contacts_are_one_edge_with_the_time_of_its_first() {
        let mut events = vec![First(0, true), Second(0, true)];
        // Ten edges of 0.5 ms each on both lines, which end clear.
        for edge in 0..=10 {
            events.push(First(1000 + 5 * edge, edge % 2 == 1));
            events.push(Second(1001 + 5 * edge, edge % 2 == 1));
        }
        let mut detector = LapDetector::new(DEBOUNCE, [false; 2]);
        assert_eq!(passes(&mut detector, &events), [tenths(1001)]);
    }

    #[test]
    fn a_spike_shorter_than_the_debounce_time_is_nothing() {
        let over = [
            First(0, true),
            Second(0, true),
            First(500, false),
            First(510, true),
            Second(520, false),
            Second(535, true),
        ];
        let mut detector = LapDetector::new(DEBOUNCE, [false; 2]);
        assert_eq!(passes(&mut detector, &over), Vec::<Duration>::new());
        assert_eq!(passes(&mut detector, &[First(900, false), Second(900, false)]), [tenths(900)]);
    }

    #[test]
    fn a_car_that_waits_over_the_magnet_passes_when_it_leaves() {
        let mut detector = LapDetector::new(DEBOUNCE, [true; 2]);
        assert_eq!(passes(&mut detector, &[First(10, false), Second(11, false)]), [tenths(11)]);
    }

    #[test]
    fn without_a_debounce_time_each_edge_counts_at_once() {
        let mut detector = LapDetector::new(Duration::ZERO, [true; 2]);
        assert_eq!(detector.edge(Line::First, false, tenths(1)), None);
        assert_eq!(detector.edge(Line::Second, false, tenths(2)), Some(tenths(2)));
    }
}
