//! The chip's registers and the order in which they are written. Pure: bytes in, bytes out.
//!
//! Section numbers are those of NXP's PCA9685 data sheet, Rev. 3 (2 September 2010) and later.

use crate::drive::actuator::Pulses;
use crate::drive::settings::Pulse;

/// MODE1 (§7.3.1); MODE2 (§7.3.2) follows it at 0x01.
const MODE1: u8 = 0x00;
/// LED0_ON_L (§7.3.3): four registers a channel from here, ON low and high, then OFF low and high.
const LED0_ON_L: u8 = 0x06;
/// PRE_SCALE (§7.3.5); writes to it are blocked while the chip is awake.
const PRE_SCALE: u8 = 0xFE;

/// MODE1: the chip runs on the EXTCLK pin. Sticky: writing 0 does not clear it, a power cycle does (§7.3.1).
const EXTCLK: u8 = 0x40;
/// MODE1: the register pointer moves on after each byte, so a channel is one transaction (§7.3.1).
const AUTO_INCREMENT: u8 = 0x20;
/// MODE1: oscillator off, no pulses.
const SLEEP: u8 = 0x10;
/// MODE2: totem-pole outputs, its power-up value (§7.3.2). All else 0: outputs change on the I2C STOP (OCH), so that a
/// transaction takes effect whole; not inverted (INVRT); low while OE is high (OUTNE, §7.4).
const OUTDRV: u8 = 0x04;
/// LEDn_OFF_H: no pulse at all, whatever the counts say (§7.3.3).
const FULL_OFF: u8 = 0x10;

/// MODE1 of a running board: auto-increment, awake, answering only to its own address (no ALLCALL, no sub-addresses).
/// RESTART is never written: pulses from before a sleep must not come back by themselves (§7.3.1.1).
const MODE1_RUNNING: u8 = AUTO_INCREMENT;

/// Frequency of the internal oscillator (§7.3.5).
const OSCILLATOR_HZ: u32 = 25_000_000;
/// Ticks in one period.
const TICKS: u32 = 4096;

/// Channels of the chip.
const CHANNELS: u8 = 16;

/// One of the chip's sixteen outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Channel(u8);

impl Channel {
    /// The channel, or `None` above 15.
    pub(super) const fn new(number: u8) -> Option<Self> {
        if number < CHANNELS { Some(Self(number)) } else { None }
    }

    /// Its first register, LEDn_ON_L.
    const fn register(self) -> u8 {
        LED0_ON_L + 4 * self.0
    }
}

/// A value of the PRE_SCALE register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prescale(u8);

impl Prescale {
    /// The prescale for a frequency: `round(25 MHz / (4096 × rate)) − 1` (§7.3.5, equation 1), or `None` outside
    /// 24 … 1526 Hz, where the register would leave its range of 0x03 … 0xFF.
    pub(super) fn for_frequency(hz: u16) -> Option<Self> {
        if !(24..=1526).contains(&hz) {
            return None;
        }
        let divisor = TICKS * u32::from(hz);
        let rounded = (OSCILLATOR_HZ + divisor / 2) / divisor;
        // 1526 Hz rounds to 4 and 24 Hz to 254, so neither bound is crossed inside the range accepted above.
        u8::try_from(rounded - 1).ok().map(Self)
    }
}

/// The two outputs that move the car.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) throttle: Channel,
    pub(super) steering: Channel,
}

/// One I2C write: the register, then its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Transaction {
    bytes: [u8; 9],
    length: usize,
}

impl Transaction {
    fn new(bytes: &[u8]) -> Self {
        let mut whole = [0; 9];
        whole[..bytes.len()].copy_from_slice(bytes);
        Self { bytes: whole, length: bytes.len() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x?}", self.bytes())
    }
}

/// The writes of one update. Both channels in one transaction when they are neighbours; else one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Update {
    Together(Transaction),
    Each([Transaction; 2]),
}

impl Update {
    pub(super) fn transactions(&self) -> &[Transaction] {
        match self {
            Self::Together(one) => std::slice::from_ref(one),
            Self::Each(both) => both,
        }
    }
}

impl Layout {
    /// The update that puts `pulses` out.
    pub(super) fn update(self, pulses: Pulses) -> Update {
        let (low, high) = self.by_number(pulses);
        if low.0.0 + 1 != high.0.0 {
            return Update::Each(self.each(pulses));
        }
        let (first, second) = (counts(low.1), counts(high.1));
        let mut bytes = [low.0.register(); 9];
        bytes[1..5].copy_from_slice(&first);
        bytes[5..].copy_from_slice(&second);
        Update::Together(Transaction::new(&bytes))
    }

    /// One transaction a channel, throttle first: for when writing both together has failed.
    pub(super) fn each(self, pulses: Pulses) -> [Transaction; 2] {
        [(self.throttle, pulses.throttle), (self.steering, pulses.steering)].map(|(channel, pulse)| {
            let [on_low, on_high, off_low, off_high] = counts(pulse);
            Transaction::new(&[channel.register(), on_low, on_high, off_low, off_high])
        })
    }

    /// Whether both channels hold `pulses`, by reading them back.
    ///
    /// # Errors
    /// The first register that could not be read.
    pub(super) fn holds<E>(self, pulses: Pulses, mut register: impl FnMut(u8) -> Result<u8, E>) -> Result<bool, E> {
        for transaction in self.each(pulses) {
            let (first, expected) = (transaction.bytes()[0], &transaction.bytes()[1..]);
            for (address, byte) in (first..).zip(expected) {
                if register(address)? != *byte {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Ends the pulses of both channels. One register a transaction: auto-increment may be off yet.
    fn off(self) -> [Transaction; 2] {
        [self.throttle, self.steering].map(|channel| Transaction::new(&[channel.register() + 3, FULL_OFF]))
    }

    fn by_number(self, pulses: Pulses) -> ((Channel, Pulse), (Channel, Pulse)) {
        let throttle = (self.throttle, pulses.throttle);
        let steering = (self.steering, pulses.steering);
        if self.throttle.0 < self.steering.0 { (throttle, steering) } else { (steering, throttle) }
    }
}

/// The four registers of one channel: on at tick 0, off at the pulse's end, both FULL bits clear (§7.3.3).
fn counts(pulse: Pulse) -> [u8; 4] {
    let [low, high] = pulse.ticks().to_le_bytes();
    // A pulse of 0 would be on = off = 0; FULL_OFF is the data sheet's way of saying "no pulse".
    if pulse.ticks() == 0 { [0, 0, 0, FULL_OFF] } else { [0, 0, low, high] }
}

/// What was read from the board before anything was written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    mode1: u8,
    prescale: u8,
}

impl Found {
    /// Reads what [`Plan::new`] has to know.
    ///
    /// # Errors
    /// The first register that could not be read.
    pub(super) fn read<E>(mut register: impl FnMut(u8) -> Result<u8, E>) -> Result<Self, E> {
        Ok(Self { mode1: register(MODE1)?, prescale: register(PRE_SCALE)? })
    }

    /// Whether pulses of the configured frequency may be going out.
    pub(super) fn is_running(self, prescale: Prescale) -> bool {
        self.mode1 & SLEEP == 0 && self.prescale == prescale.0
    }

    /// Whether a board that was brought up still is: after a dip of its supply it sleeps and acknowledges all writes.
    pub(super) fn is_as_left(self, prescale: Prescale) -> bool {
        self.mode1 == MODE1_RUNNING && self.prescale == prescale.0
    }

    /// Whether the board runs on its EXTCLK pin.
    pub(super) fn is_clocked_externally(self) -> bool {
        self.mode1 & EXTCLK != 0
    }
}

/// The writes that end with the board awake at the frequency and both outputs at neutral, without ever moving the car.
///
/// A daemon may start while the board still holds the pulse of its dead predecessor, or of another program at another
/// frequency, where our neutral would be full reverse. So:
/// - awake at our frequency: neutral at once, without a gap that would disarm the ESC;
/// - awake at another: no pulses at all, then asleep (PRE_SCALE takes writes only then), frequency, neutral, awake;
/// - asleep: frequency and neutral, then awake;
/// - on an external clock, whose frequency nobody knows: no pulses at all, and there it ends.
///
/// A write to the channels while asleep also clears a pending RESTART (§7.3.1.1), so that no pulse from before comes
/// back; they are written once more when the oscillator runs, since only that starts them for certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// All tried, going on past a failing one: each makes the car safer by itself.
    pub(super) at_once: Vec<Transaction>,
    /// Given up at the first that fails: after it, the next could move the car.
    pub(super) asleep: Vec<Transaction>,
    /// When `asleep` is not empty and was done, and the oscillator had its time (500 µs, §7.3.1.1).
    pub(super) awake: Vec<Transaction>,
}

impl Plan {
    /// The writes for a board in this state.
    pub(super) fn new(found: Found, prescale: Prescale, layout: Layout, neutral: Pulses) -> Self {
        let pulses = layout.update(neutral);
        if found.is_clocked_externally() {
            return Self { at_once: layout.off().to_vec(), asleep: Vec::new(), awake: Vec::new() };
        }
        if found.is_running(prescale) {
            let at_once = [&[modes(MODE1_RUNNING)], pulses.transactions()].concat();
            return Self { at_once, asleep: Vec::new(), awake: Vec::new() };
        }
        let frequency = Transaction::new(&[PRE_SCALE, prescale.0]);
        Self {
            at_once: layout.off().to_vec(),
            asleep: [&[modes(MODE1_RUNNING | SLEEP), frequency], pulses.transactions(), &[modes(MODE1_RUNNING)]]
                .concat(),
            awake: pulses.transactions().to_vec(),
        }
    }
}

/// MODE1 and MODE2 in one transaction: auto-increment, when it is switched on in MODE1, holds from the next byte on
/// (§9, "write to all registers using the Auto-Increment feature; AI initially clear").
fn modes(mode1: u8) -> Transaction {
    Transaction::new(&[MODE1, mode1, OUTDRV])
}
