use super::Key::{Backspace, Down, End, Enter, Left, Letter, Right, Up};
use super::*;

fn pulse(ticks: u16) -> Pulse {
    Pulse::new(ticks).unwrap()
}

fn test(throttle: u16, steering: u16) -> Effect {
    Effect::Test(Pulses { throttle: pulse(throttle), steering: pulse(steering) })
}

fn keys(wizard: &mut Wizard, keys: &[Key]) -> Effect {
    keys.iter().fold(Effect::None, |_, key| wizard.key(*key))
}

/// A wizard whose warning is confirmed.
fn confirmed() -> Wizard {
    let mut wizard = Wizard::new(RawCalibration::example(), 60);
    assert_eq!(keys(&mut wizard, &[Letter('y'), Letter('e'), Letter('s'), Enter]), Effect::Begin);
    wizard
}

#[test]
fn nothing_moves_before_the_warning_is_confirmed_in_full() {
    let table: [(&[Key], Effect); 7] = [
        (&[Up, Down, Left, Right, Letter('.')], Effect::None),
        (&[Enter], Effect::Leave),
        (&[Letter('y'), Enter], Effect::Leave),
        (&[Letter('n'), Letter('o'), Enter], Effect::Leave),
        (&[Letter('y'), Letter('x'), Backspace, Letter('e'), Letter('s'), Enter], Effect::Begin),
        (&[Letter('y'), Letter('e'), Letter('s'), Letter('!'), Enter], Effect::Begin),
        (&[Letter('y'), Letter('e'), Letter('s'), End], Effect::Leave),
    ];
    for (typed, expected) in table {
        assert_eq!(keys(&mut Wizard::new(RawCalibration::example(), 60), typed), expected, "{typed:?}");
    }
}

#[test]
fn keys_move_the_pulse_under_test_and_only_that_axis() {
    let mut wizard = confirmed();
    assert_eq!(wizard.key(Letter('.')), test(375, 399));
    assert_eq!(wizard.key(Right), test(376, 399));
    assert_eq!(wizard.key(Up), test(381, 399));
    assert_eq!(keys(&mut wizard, &[Left, Down]), test(375, 399));
    assert_eq!(keys(&mut wizard, &[Enter; 4]), Effect::Rest);
    assert!(!wizard.is_throttle());
    assert_eq!(wizard.key(Left), test(375, 398));
}

#[test]
fn neutral_is_the_zero_that_was_accepted_not_the_one_under_test() {
    let mut wizard = confirmed();
    let neutral = |wizard: &Wizard| (wizard.neutral().throttle.ticks(), wizard.neutral().steering.ticks());
    keys(&mut wizard, &[Down, Down]);
    assert_eq!(neutral(&wizard), (375, 399));
    assert_eq!(wizard.key(Letter(' ')), Effect::Rest);
    assert_eq!(neutral(&wizard), (375, 399));
    assert_eq!(wizard.key(Enter), Effect::Rest);
    assert_eq!(neutral(&wizard), (365, 399));
    assert!(wizard.screen("car.toml").contains("neutral: throttle 365, steering 399"));
}

#[test]
fn a_zero_that_turns_the_wheels_is_left_by_going_back_to_it() {
    let mut wizard = confirmed();
    keys(&mut wizard, &[Up; 10]);
    assert_eq!(wizard.key(Enter), Effect::Rest);
    assert_eq!(wizard.neutral().throttle, pulse(425));
    assert_eq!(wizard.key(Backspace), Effect::Rest);
    assert_eq!(wizard.neutral().throttle, pulse(375), "the file's, until another is accepted");
    assert_eq!(wizard.key(Letter('.')), test(425, 399));
}

#[test]
fn a_pulse_stays_within_what_a_servo_takes() {
    // 0.5 … 2.5 ms at 60 Hz.
    let mut wizard = confirmed();
    assert_eq!(keys(&mut wizard, &[Up; 100]), test(614, 399));
    assert_eq!(keys(&mut wizard, &[Down; 200]), test(122, 399));
    let mut fast = Wizard::new(RawCalibration::example(), 1526);
    assert_eq!(fast.range, (3125, 4095));
    keys(&mut fast, &[Letter('y'), Letter('e'), Letter('s'), Enter]);
    assert_eq!(fast.key(Letter('.')), test(3125, 399));
}

#[test]
fn what_was_found_is_written_when_it_makes_sense_and_is_confirmed() {
    let mut wizard = confirmed();
    for steps in [&[Right][..], &[Right, Right], &[Up], &[Down], &[], &[Up, Up], &[Left]] {
        keys(&mut wizard, steps);
        assert_eq!(wizard.key(Enter), Effect::Rest);
    }
    let found = RawCalibration {
        throttle_zero: pulse(376),
        forward_zero: pulse(401),
        throttle_max: pulse(445),
        throttle_min: pulse(295),
        steering_max: pulse(489),
        steering_min: pulse(318),
        ..RawCalibration::example()
    };
    assert_eq!(wizard.key(Enter), Effect::None, "Enter alone writes nothing");
    assert_eq!(wizard.key(Letter('y')), Effect::Write(Calibration::new(found).unwrap()));
}

#[test]
fn nonsense_cannot_be_written_and_leads_back_to_where_it_came_from() {
    let mut wizard = confirmed();
    keys(&mut wizard, &[Enter, Enter]);
    // Full forward below where it starts to roll.
    keys(&mut wizard, &[Down; 20]);
    keys(&mut wizard, &[Enter; 5]);
    assert_eq!(wizard.key(Letter('y')), Effect::None);
    assert!(wizard.screen("car.toml").contains("throttle_max = 340: must be above throttle_zero"));
    assert_eq!(wizard.key(Letter('3')), Effect::Rest);
    assert_eq!(keys(&mut wizard, &[Up; 20]), test(440, 399));
    keys(&mut wizard, &[Enter; 5]);
    assert_eq!(wizard.key(Letter('y')), Effect::Write(Calibration::new(RawCalibration::example()).unwrap()));
}

#[test]
fn one_can_go_back_and_leave_from_everywhere() {
    let mut wizard = confirmed();
    assert_eq!(wizard.key(Backspace), Effect::Rest, "before the first there is none");
    keys(&mut wizard, &[Right, Enter]);
    assert_eq!(wizard.key(Backspace), Effect::Rest);
    assert_eq!(wizard.key(Letter('.')), test(376, 399), "what was accepted is where it begins again");
    for length in 0..8 {
        for leave in [End, Letter('q')] {
            let mut wizard = confirmed();
            keys(&mut wizard, &vec![Enter; length]);
            assert_eq!(wizard.key(leave), Effect::Leave, "after {length} points");
        }
    }
}

#[test]
fn every_screen_fits_a_terminal_of_24_by_80() {
    let mut wizard = Wizard::new(RawCalibration::example(), 60);
    let mut keys = vec![Letter('y'), Letter('e'), Letter('s')];
    keys.extend([Enter; 9]);
    for key in keys {
        wizard.key(key);
        let screen = wizard.screen("/etc/rtcpub/c40hipepjh65aeq6ndj0.toml");
        // Below it stand the gate and a fault of the board.
        assert!(screen.lines().count() <= 20, "{screen}");
        assert!(screen.lines().all(|line| line.chars().count() < 80), "{screen}");
    }
}
