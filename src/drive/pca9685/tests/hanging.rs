//! A bus on which each transfer costs a second before it fails, while the board goes on with its last pulse.

use super::*;

/// A board with OE at full throttle, on a bus that is about to hang.
fn driving() -> (Driver<Chip>, Instant) {
    let now = epoch();
    let mut driver = driver(Chip { output_enable: Some(true), ..Chip::powered_on() });
    driver.start(&output(375, 399, now)).unwrap();
    driver.apply(&output(440, 399, now)).unwrap();
    driver.board.transactions = 0;
    driver.board.hangs = true;
    (driver, now)
}

/// How many transfers were tried, now that the outputs are off.
fn cost(driver: &Driver<Chip>) -> usize {
    assert_eq!(driver.board.output_enable, Some(false));
    assert_eq!(driver.board.signals(), [Signal::Silent; 2]);
    driver.board.transactions
}

#[test]
fn the_first_transfer_that_times_out_is_the_last_before_oe() {
    // Both channels in one; then the two registers by which the board is known.
    for first in 0..3 {
        let (mut driver, now) = driving();
        driver.board.failing = Box::new(move |number| number >= first);
        let error = driver.apply(&output(440, 399, now + REFRESH)).unwrap_err();
        assert!(error.hangs() && error.failures().len() == 1, "{error}");
        assert_eq!(cost(&driver), first + 1);
        driver.apply(&output(440, 399, now + REFRESH)).unwrap_err();
        assert_eq!(cost(&driver), first + 1, "a retry finds the bus closed and costs nothing");
    }
}

#[test]
fn a_start_on_a_bus_that_hangs_ends_at_the_first_transfer_that_times_out() {
    // The two registers of the state, the modes, the pulses.
    for first in 0..4 {
        let mut driver = driver(Chip { output_enable: Some(true), ..Chip::running_with(440, PRESCALE_60_HZ) });
        driver.board.failing = Box::new(move |number| number >= first);
        driver.board.hangs = true;
        assert!(driver.start(&output(375, 399, epoch())).unwrap_err().hangs());
        assert_eq!(cost(&driver), first + 1);
    }
}

#[test]
fn parking_switches_the_outputs_off_after_its_first_attempt_and_goes_on_trying() {
    let (mut driver, _) = driving();
    driver.board.failing = Box::new(|number| number == 0);
    let mut pauses = 0;
    driver.park_in_attempts(pulses(375, 399), || pauses += 1).unwrap();
    assert_eq!(pauses, 1);
    let full_throttle = [Signal::Pulse(440 * 102), Signal::Pulse(399 * 102)];
    assert_eq!(driver.board.history.last_chunk(), Some(&[full_throttle, [Signal::Silent; 2]]), "no neutral came first");
    driver.board.output_enable = Some(true);
    assert_eq!(driver.board.signals(), NEUTRAL, "which is written all the same");
}

#[test]
fn parking_on_a_bus_that_hangs_ends_before_systemd_ends_it() {
    let (mut driver, _) = driving();
    driver.board.failing = Box::new(|_| true);
    assert!(driver.park_in_attempts(pulses(375, 399), || {}).unwrap_err().hangs());
    assert_eq!(cost(&driver), 3, "a second each, of TimeoutStopSec=5s");
    driver.board.hangs = false;
    driver.park_in_attempts(pulses(375, 399), || {}).unwrap_err();
    assert_eq!(cost(&driver), 3 + 5);
}
