//! The driver against a model of the chip that behaves as the data sheet says where the lab's register file does not:
//! PRE_SCALE is blocked while awake, bytes after the first need auto-increment, EXTCLK is sticky, sleep stops pulses.

mod hanging;

use std::io;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::board::Board;
use super::registers::{Channel, Layout, Prescale, Update};
use super::{Driver, Pca9685Config, REFRESH};
use crate::drive::actuator::{Actuator, Output, Pulses};
use crate::drive::gate::SafeDrive;
use crate::drive::settings::Pulse;

const SLEEP: u8 = 0x10;
const AUTO_INCREMENT: u8 = 0x20;
const EXTCLK: u8 = 0x40;
const FULL_OFF: u8 = 0x10;
const PRE_SCALE: usize = 0xFE;
const PRESCALE_60_HZ: u8 = 101;

/// What one output does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Silent,
    /// A pulse this long, in units of 40 ns (one cycle of the oscillator).
    Pulse(u32),
    /// A pulse of unknown length: the clock is not the chip's own.
    Unknown,
}

struct Chip {
    registers: [u8; 256],
    /// Whether channels written while asleep start by themselves on waking: the data sheet leaves it open.
    starts_by_itself: bool,
    /// Channels that put nothing out until they are written, after a sleep.
    held: [bool; 16],
    open: bool,
    /// Which transactions fail, by their number from the start.
    failing: Box<dyn FnMut(usize) -> bool + Send>,
    transactions: usize,
    /// A failing transaction costs the kernel's timeout.
    hangs: bool,
    written: Vec<Vec<u8>>,
    output_enable: Option<bool>,
    /// By another process.
    taken: bool,
    /// Every different state of throttle (channel 0) and steering (channel 1) there has been.
    history: Vec<[Signal; 2]>,
}

impl Chip {
    fn new(registers: [u8; 256]) -> Self {
        let mut chip = Self {
            registers,
            starts_by_itself: false,
            held: [false; 16],
            open: false,
            failing: Box::new(|_| false),
            transactions: 0,
            hangs: false,
            written: Vec::new(),
            output_enable: None,
            taken: false,
            history: Vec::new(),
        };
        chip.observe();
        chip
    }

    /// As after power-on (data sheet §7.3): asleep, ALLCALL, prescale 0x1E, every channel full off.
    fn powered_on() -> Self {
        let mut registers = [0; 256];
        registers[0] = SLEEP | 0x01;
        registers[1] = 0x04;
        registers[PRE_SCALE] = 0x1E;
        for channel in 0..16 {
            registers[0x09 + 4 * channel] = FULL_OFF;
        }
        Self::new(registers)
    }

    /// As a killed daemon left it.
    fn running_with(throttle: u16, prescale: u8) -> Self {
        let mut registers = Self::powered_on().registers;
        registers[0] = AUTO_INCREMENT;
        registers[PRE_SCALE] = prescale;
        for (channel, pulse) in [throttle, 399].into_iter().enumerate() {
            registers[0x08 + 4 * channel] = pulse.to_le_bytes()[0];
            registers[0x09 + 4 * channel] = pulse.to_le_bytes()[1];
        }
        Self::new(registers)
    }

    fn is_awake(&self) -> bool {
        self.registers[0] & SLEEP == 0
    }

    fn signal(&self, channel: usize) -> Signal {
        let counts = &self.registers[0x06 + 4 * channel..0x0A + 4 * channel];
        if !self.is_awake() || counts[3] & FULL_OFF != 0 || self.held[channel] || self.output_enable == Some(false) {
            return Signal::Silent;
        }
        if self.registers[0] & EXTCLK != 0 {
            return Signal::Unknown;
        }
        let ticks = u32::from(u16::from_le_bytes([counts[2], counts[3]]));
        Signal::Pulse(ticks * (u32::from(self.registers[PRE_SCALE]) + 1))
    }

    fn signals(&self) -> [Signal; 2] {
        [self.signal(0), self.signal(1)]
    }

    fn observe(&mut self) {
        let signals = self.signals();
        if self.history.last() != Some(&signals) {
            self.history.push(signals);
        }
    }

    fn transact(&mut self) -> io::Result<()> {
        if !self.open {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let number = self.transactions;
        self.transactions += 1;
        let (remote_io, timed_out) = (121, 110);
        let error = if self.hangs { timed_out } else { remote_io };
        if (self.failing)(number) { Err(io::Error::from_raw_os_error(error)) } else { Ok(()) }
    }

    fn set(&mut self, register: usize, byte: u8) {
        match register {
            0 => {
                let was_awake = self.is_awake();
                // EXTCLK is sticky, RESTART is not stored.
                self.registers[0] = byte & 0x7F | self.registers[0] & EXTCLK;
                if was_awake && !self.is_awake() && !self.starts_by_itself {
                    self.held = [true; 16];
                }
            }
            PRE_SCALE if self.is_awake() => {}
            _ => self.registers[register] = byte,
        }
        if let Some(channel) = register.checked_sub(6).map(|offset| offset / 4).filter(|channel| *channel < 16) {
            // Only a write while the oscillator runs starts a channel for certain.
            self.held[channel] &= !self.is_awake();
        }
    }
}

impl Board for Chip {
    fn take_outputs(&mut self) -> io::Result<()> {
        if self.taken { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(()) }
    }

    fn outputs_are_taken(&self) -> bool {
        self.taken
    }

    fn open(&mut self) -> io::Result<()> {
        self.open = true;
        Ok(())
    }

    fn close(&mut self) {
        self.open = false;
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.transact()?;
        self.written.push(bytes.to_vec());
        let mut register = usize::from(bytes[0]);
        for byte in &bytes[1..] {
            self.set(register, *byte);
            register += usize::from(self.registers[0] & AUTO_INCREMENT != 0);
        }
        self.observe();
        Ok(())
    }

    fn read(&mut self, register: u8) -> io::Result<u8> {
        self.transact()?;
        Ok(self.registers[usize::from(register)])
    }

    fn enable_outputs(&mut self, enabled: bool) -> io::Result<()> {
        if let Some(output_enable) = &mut self.output_enable {
            *output_enable = enabled;
        }
        self.observe();
        Ok(())
    }

    fn has_output_enable(&self) -> bool {
        self.output_enable.is_some()
    }

    fn await_oscillator(&mut self) {}
}

#[expect(clippy::disallowed_methods, reason = "a starting point for virtual time")]
fn epoch() -> Instant {
    Instant::now()
}

pub(super) fn config() -> Pca9685Config {
    Pca9685Config {
        bus: "/dev/i2c-1".into(),
        address: 0x40,
        frequency_hz: 60,
        throttle_channel: 0,
        steering_channel: 1,
        arming: Duration::from_secs(2),
        output_enable: None,
    }
}

fn driver(chip: Chip) -> Driver<Chip> {
    Driver::new(chip, &config()).unwrap()
}

fn pulses(throttle: u16, steering: u16) -> Pulses {
    Pulses { throttle: Pulse::new(throttle).unwrap(), steering: Pulse::new(steering).unwrap() }
}

fn output(throttle: u16, steering: u16, at: Instant) -> Output {
    Output::new(SafeDrive::NEUTRAL, pulses(throttle, steering), at)
}

const NEUTRAL: [Signal; 2] = [Signal::Pulse(375 * 102), Signal::Pulse(399 * 102)];

#[test]
fn the_prescale_follows_the_data_sheets_formula() {
    // round(25 MHz / (4096 × rate)) − 1
    let table = [
        (24, Some(253)),
        (50, Some(121)),
        (60, Some(101)),
        (100, Some(60)),
        (200, Some(30)),
        (1000, Some(5)),
        (1526, Some(3)),
        (23, None),
        (1527, None),
        (0, None),
    ];
    for (hz, expected) in table {
        let update = Prescale::for_frequency(hz).map(|prescale| format!("{prescale:?}"));
        assert_eq!(update, expected.map(|value: u8| format!("Prescale({value})")), "{hz} Hz");
    }
}

#[test]
fn an_update_is_one_transaction_when_the_channels_are_neighbours() {
    let layout = |throttle, steering| Layout {
        throttle: Channel::new(throttle).unwrap(),
        steering: Channel::new(steering).unwrap(),
    };
    let table: [(u8, u8, &[&[u8]]); 4] = [
        (0, 1, &[&[0x06, 0, 0, 0xB8, 0x01, 0, 0, 0x3F, 0x01]]),
        (8, 7, &[&[0x22, 0, 0, 0x3F, 0x01, 0, 0, 0xB8, 0x01]]),
        (14, 15, &[&[0x3E, 0, 0, 0xB8, 0x01, 0, 0, 0x3F, 0x01]]),
        (0, 2, &[&[0x06, 0, 0, 0xB8, 0x01], &[0x0E, 0, 0, 0x3F, 0x01]]),
    ];
    for (throttle, steering, expected) in table {
        let update: Update = layout(throttle, steering).update(pulses(440, 319));
        let bytes: Vec<&[u8]> = update.transactions().iter().map(|transaction| transaction.bytes()).collect();
        assert_eq!(bytes, expected, "channels {throttle} and {steering}");
    }
}

#[test]
fn settings_that_no_board_could_follow_are_refused_by_name() {
    type Spoil = fn(&mut Pca9685Config);
    let table: [(&str, Spoil); 4] = [
        ("frequency_hz", |config| config.frequency_hz = 5000),
        ("throttle_channel", |config| config.throttle_channel = 16),
        ("steering_channel", |config| config.steering_channel = 200),
        ("steering_channel", |config| config.steering_channel = config.throttle_channel),
    ];
    for (key, break_it) in table {
        let mut config = config();
        break_it(&mut config);
        let error = Driver::new(Chip::powered_on(), &config).err().unwrap();
        assert_eq!(error.key, key, "{error}");
    }
}

#[test]
fn a_board_just_powered_on_wakes_at_neutral_and_arms() {
    let now = epoch();
    let mut driver = driver(Chip::powered_on());
    assert_eq!(driver.start(&output(375, 399, now)).unwrap(), Duration::from_secs(2));
    assert_eq!(driver.board.history, [[Signal::Silent; 2], NEUTRAL]);
    assert_eq!(driver.board.registers[..2], [AUTO_INCREMENT, 0x04]);
}

#[test]
fn the_pulse_of_a_killed_daemon_becomes_neutral_without_a_gap() {
    let mut driver = driver(Chip::running_with(440, PRESCALE_60_HZ));
    driver.start(&output(375, 399, epoch())).unwrap();
    let full_throttle = [Signal::Pulse(440 * 102), Signal::Pulse(399 * 102)];
    assert_eq!(driver.board.history, [full_throttle, NEUTRAL]);
}

#[test]
fn a_board_left_at_another_frequency_never_puts_out_our_neutral_at_that_frequency() {
    // 375 ticks at 200 Hz would be 0.46 ms: full reverse.
    let mut driver = driver(Chip::running_with(1200, 30));
    driver.start(&output(375, 399, epoch())).unwrap();
    let before = [Signal::Pulse(1200 * 31), Signal::Pulse(399 * 31)];
    let throttle_silent = [Signal::Silent, Signal::Pulse(399 * 31)];
    assert_eq!(driver.board.history, [before, throttle_silent, [Signal::Silent; 2], NEUTRAL]);
}

#[test]
fn a_board_on_an_external_clock_is_silenced_and_refused() {
    let mut chip = Chip::running_with(440, PRESCALE_60_HZ);
    chip.registers[0] |= EXTCLK;
    let mut driver = driver(chip);
    let error = driver.start(&output(375, 399, epoch())).unwrap_err();
    assert!(error.to_string().contains("cut its power"), "{error}");
    assert_eq!(driver.board.signals(), [Signal::Silent; 2]);
}

#[test]
fn a_board_that_another_process_moves_is_left_alone_until_that_has_ended() {
    let now = epoch();
    let mut driver = driver(Chip { taken: true, output_enable: Some(true), ..Chip::running_with(420, PRESCALE_60_HZ) });
    let before = driver.board.signals();
    let error = driver.start(&output(375, 399, now)).unwrap_err();
    assert!(error.to_string().contains("could not take the outputs for itself"), "{error}");
    assert_eq!((driver.board.transactions, driver.board.signals()), (0, before), "nor its OE");
    driver.board.taken = false;
    driver.start(&output(375, 399, now)).unwrap();
    assert_eq!(driver.board.signals(), NEUTRAL);
}

#[test]
fn a_failed_write_is_an_error_and_the_next_start_finds_the_board_armed() {
    let now = epoch();
    let mut driver = driver(Chip::powered_on());
    driver.start(&output(375, 399, now)).unwrap();
    let later = now + Duration::from_secs(3);

    driver.board.failing = Box::new(|_| true);
    assert!(driver.apply(&output(420, 399, later)).is_err());
    let error = driver.apply(&output(420, 399, later)).unwrap_err();
    assert_eq!(error.failures().len(), 3, "both channels and the state: {error}");
    assert!(driver.start(&output(375, 399, later)).is_err());

    driver.board.failing = Box::new(|_| false);
    assert_eq!(driver.start(&output(375, 399, later)).unwrap(), Duration::ZERO, "the ESC never lost its pulse");
    assert_eq!(driver.board.signals(), NEUTRAL);
}

#[test]
fn a_start_repeated_while_arming_asks_for_the_rest_only() {
    let now = epoch();
    let mut driver = driver(Chip::powered_on());
    driver.start(&output(375, 399, now)).unwrap();
    let rest = driver.start(&output(375, 399, now + Duration::from_millis(1500))).unwrap();
    assert_eq!(rest, Duration::from_millis(500));
}

#[test]
fn a_channel_that_fails_does_not_keep_the_other_from_stopping() {
    let now = epoch();
    for (failing, stopped) in [(0x06, 1), (0x0A, 0)] {
        let mut driver = driver(Chip::powered_on());
        driver.start(&output(375, 399, now)).unwrap();
        driver.apply(&output(440, 450, now)).unwrap();
        // Number 0 is both together, then throttle, then steering.
        let first = driver.board.transactions;
        let broken = if failing == 0x06 { first + 1 } else { first + 2 };
        driver.board.failing = Box::new(move |number| number == first || number == broken);
        let error = driver.apply(&output(375, 399, now)).unwrap_err();
        assert_eq!(error.failures().len(), 1, "{error}");
        assert_eq!(driver.board.signals()[stopped], NEUTRAL[stopped]);
    }
}

#[test]
fn a_board_that_lost_its_power_is_noticed_within_the_refresh_and_arms_again() {
    let now = epoch();
    let mut driver = driver(Chip::powered_on());
    driver.start(&output(375, 399, now)).unwrap();
    let reset = Chip::powered_on();
    driver.board.registers = reset.registers;

    assert!(driver.apply(&output(400, 399, now + REFRESH / 2)).is_ok(), "not asked before the refresh");
    let error = driver.apply(&output(400, 399, now + REFRESH)).unwrap_err();
    assert!(error.to_string().contains("check its supply"), "{error}");
    let later = now + Duration::from_secs(9);
    assert_eq!(driver.start(&output(375, 399, later)).unwrap(), Duration::from_secs(2));
    assert_eq!(driver.board.signals(), NEUTRAL);
}

#[test]
fn oe_goes_off_on_the_second_failure_and_on_again_with_neutral_and_the_arming_time() {
    let now = epoch();
    let mut chip = Chip::running_with(440, PRESCALE_60_HZ);
    chip.output_enable = Some(true);
    let mut driver = driver(chip);
    assert_eq!(driver.start(&output(375, 399, now)).unwrap(), Duration::from_secs(2));
    let full_throttle = [Signal::Pulse(440 * 102), Signal::Pulse(399 * 102)];
    assert_eq!(driver.board.history, [full_throttle, [Signal::Silent; 2], NEUTRAL], "OE ended the old pulse first");

    driver.board.failing = Box::new(|_| true);
    let later = now + Duration::from_secs(3);
    driver.apply(&output(420, 399, later)).unwrap_err();
    assert_eq!(driver.board.output_enable, Some(true), "one failure is retried");
    driver.apply(&output(420, 399, later)).unwrap_err();
    assert_eq!(driver.board.output_enable, Some(false));

    driver.board.failing = Box::new(|_| false);
    assert_eq!(driver.start(&output(375, 399, later)).unwrap(), Duration::from_secs(2), "the ESC had no pulses");
    assert_eq!(driver.board.signals(), NEUTRAL);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the board held, and whichever transactions fail: until the start has succeeded, an output does what it
    /// did before, or nothing, or neutral. The car never moves because a daemon starts.
    #[test]
    fn starting_never_moves_the_car(
        mode1 in any::<u8>(),
        prescale in prop_oneof![Just(PRESCALE_60_HZ), 3_u8..],
        channels in prop::array::uniform8(any::<u8>()),
        starts_by_itself in any::<bool>(),
        failing in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut registers = Chip::powered_on().registers;
        registers[0] = mode1;
        registers[PRE_SCALE] = prescale;
        registers[6..14].copy_from_slice(&channels);
        // Bits 5 to 7 of the high bytes are not there.
        for high in [7, 9, 11, 13] {
            registers[high] &= 0x1F;
        }
        let external_clock = mode1 & EXTCLK != 0;
        let mut chip = Chip::new(registers);
        chip.starts_by_itself = starts_by_itself;
        chip.failing = Box::new(move |number| failing.get(number).copied().unwrap_or(false));
        let before = chip.signals();

        let mut driver = driver(chip);
        let now = epoch();
        let attempts = (0..60).take_while(|_| driver.start(&output(375, 399, now)).is_err()).count();

        for signals in &driver.board.history {
            for axis in 0..2 {
                let allowed = [before[axis], Signal::Silent, NEUTRAL[axis]];
                prop_assert!(allowed.contains(&signals[axis]), "{signals:?} after {before:?}");
            }
        }
        if external_clock {
            prop_assert_eq!(attempts, 60, "an external clock is never accepted");
            prop_assert_eq!(driver.board.signals(), [Signal::Silent; 2]);
        } else {
            prop_assert!(attempts < 60, "the failures end after 40 transactions");
            prop_assert_eq!(driver.board.signals(), NEUTRAL);
        }
    }
}
