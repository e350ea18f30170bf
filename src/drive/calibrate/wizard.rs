//! What is asked in which order, and what each key does. Pure.

use super::keys::Key;
use crate::drive::actuator::Pulses;
use crate::drive::calibration_file;
use crate::drive::settings::{Calibration, CalibrationProblem, Pulse, RawCalibration};

/// What the left and right keys change a pulse by, in ticks; and the up and down keys.
const FINE: i32 = 1;
const COARSE: i32 = 5;

/// Shortest and longest pulse that is tried, in microseconds: what servos and ESCs take at the very most. Beyond it a
/// servo may run against its stop and burn.
const PULSE_US: (u64, u64) = (500, 2500);

/// What has to be typed before anything moves.
const CONFIRMATION: &str = "yes";

/// One pulse to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    ThrottleZero,
    ForwardZero,
    ThrottleMax,
    ThrottleMin,
    SteeringZero,
    SteeringMax,
    SteeringMin,
}

impl Point {
    /// In the order in which they are asked for.
    const ALL: [Self; 7] = [
        Self::ThrottleZero,
        Self::ForwardZero,
        Self::ThrottleMax,
        Self::ThrottleMin,
        Self::SteeringZero,
        Self::SteeringMax,
        Self::SteeringMin,
    ];

    /// The key in the channel file, and what to look for.
    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::ThrottleZero => ("throttle_zero", "The wheels stand still, in the middle of where they do."),
            Self::ForwardZero => ("forward_zero", "The wheels just begin to turn forward."),
            Self::ThrottleMax => {
                ("throttle_max", "Forward, as fast as anybody may ever drive. The first key goes there at once!")
            }
            Self::ThrottleMin => {
                ("throttle_min", "Backwards, as fast as allowed. An ESC brakes first: let go, then press again.")
            }
            Self::SteeringZero => ("steering_zero", "The wheels point straight ahead."),
            Self::SteeringMax => {
                ("steering_max", "Full left (a longer pulse), just before the servo runs against its stop.")
            }
            Self::SteeringMin => {
                ("steering_min", "Full right (a shorter pulse), just before the servo runs against its stop.")
            }
        }
    }

    fn is_throttle(self) -> bool {
        (self as usize) < (Self::SteeringZero as usize)
    }
}

/// What a key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing moves because of it.
    None,
    /// Begin to drive the board: the warning is confirmed.
    Begin,
    /// Put these pulses out, by way of the gate.
    Test(Pulses),
    /// To neutral now.
    Rest,
    /// Write this to the file.
    Write(Calibration),
    /// End without writing.
    Leave,
}

/// The dialogue.
#[derive(Clone, Debug)]
pub(super) struct Wizard {
    stage: Stage,
    found: RawCalibration,
    before: RawCalibration,
    range: (u16, u16),
}

#[derive(Clone, Debug)]
enum Stage {
    Warning { typed: String },
    Finding { point: Point, pulse: u16 },
    Summary,
}

impl Wizard {
    /// A dialogue that begins with what the car has now, for a board of this frequency.
    pub(super) fn new(before: RawCalibration, frequency_hz: u16) -> Self {
        let ticks = |us: u64| (us * u64::from(frequency_hz) * 4096 / 1_000_000).min(Pulse::MAX.into());
        let ticks = |us| u16::try_from(ticks(us)).expect("not above Pulse::MAX");
        let range = (ticks(PULSE_US.0), ticks(PULSE_US.1));
        Self { stage: Stage::Warning { typed: String::new() }, found: before, before, range }
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: Key) -> Effect {
        if key == Key::End {
            return Effect::Leave;
        }
        match &mut self.stage {
            Stage::Warning { typed } => match key {
                Key::Letter(letter) if typed.len() < CONFIRMATION.len() => {
                    typed.push(letter);
                    Effect::None
                }
                Key::Backspace => {
                    typed.pop();
                    Effect::None
                }
                Key::Enter if typed == CONFIRMATION => {
                    self.find(Point::ALL[0]);
                    Effect::Begin
                }
                Key::Enter => Effect::Leave,
                _ => Effect::None,
            },
            Stage::Finding { point, pulse } => {
                let (point, pulse) = (*point, *pulse);
                self.finding(point, pulse, key)
            }
            Stage::Summary => self.summary(key),
        }
    }

    /// What stands for neutral: the zeros found so far, but for one that is sought (anew), which is the file's.
    pub(super) fn neutral(&self) -> Pulses {
        let zeros = |raw: &RawCalibration| Pulses { throttle: raw.throttle_zero, steering: raw.steering_zero };
        let (found, before) = (zeros(&self.found), zeros(&self.before));
        match self.stage {
            Stage::Finding { point: Point::ThrottleZero, .. } => Pulses { throttle: before.throttle, ..found },
            Stage::Finding { point: Point::SteeringZero, .. } => Pulses { steering: before.steering, ..found },
            _ => found,
        }
    }

    /// Whether the pulse under test is the throttle's.
    pub(super) fn is_throttle(&self) -> bool {
        matches!(self.stage, Stage::Finding { point, .. } if point.is_throttle())
    }

    fn finding(&mut self, point: Point, pulse: u16, key: Key) -> Effect {
        let step = match key {
            Key::Right => FINE,
            Key::Left => -FINE,
            Key::Up => COARSE,
            Key::Down => -COARSE,
            Key::Letter('.') => 0,
            Key::Enter => {
                *self.slot(point) = Pulse::new(pulse).expect("it is kept in range");
                match Point::ALL.get(point as usize + 1) {
                    Some(next) => self.find(*next),
                    None => self.stage = Stage::Summary,
                }
                return Effect::Rest;
            }
            Key::Backspace => {
                let index = (point as usize).saturating_sub(1);
                self.find(Point::ALL[index]);
                return Effect::Rest;
            }
            Key::Letter(' ') => return Effect::Rest,
            Key::Letter('q') => return Effect::Leave,
            Key::Letter(_) | Key::End => return Effect::None,
        };
        let (lowest, highest) = self.range;
        let moved = (i32::from(pulse) + step).clamp(lowest.into(), highest.into());
        let pulse = u16::try_from(moved).expect("it is kept in range");
        self.stage = Stage::Finding { point, pulse };
        let pulse = Pulse::new(pulse).expect("it is kept in range");
        let neutral = self.neutral();
        Effect::Test(if point.is_throttle() {
            Pulses { throttle: pulse, ..neutral }
        } else {
            Pulses { steering: pulse, ..neutral }
        })
    }

    fn summary(&mut self, key: Key) -> Effect {
        match key {
            Key::Letter('y') => Calibration::new(self.found).map_or(Effect::None, Effect::Write),
            Key::Letter(digit @ '1'..='7') => {
                self.find(Point::ALL[usize::from(digit as u8 - b'1')]);
                Effect::Rest
            }
            Key::Backspace => {
                self.find(Point::SteeringMin);
                Effect::Rest
            }
            Key::Letter('q' | 'n') => Effect::Leave,
            _ => Effect::None,
        }
    }

    fn find(&mut self, point: Point) {
        let pulse = self.slot(point).ticks();
        self.stage = Stage::Finding { point, pulse };
    }

    fn slot(&mut self, point: Point) -> &mut Pulse {
        match point {
            Point::ThrottleZero => &mut self.found.throttle_zero,
            Point::ForwardZero => &mut self.found.forward_zero,
            Point::ThrottleMax => &mut self.found.throttle_max,
            Point::ThrottleMin => &mut self.found.throttle_min,
            Point::SteeringZero => &mut self.found.steering_zero,
            Point::SteeringMax => &mut self.found.steering_max,
            Point::SteeringMin => &mut self.found.steering_min,
        }
    }

    /// What stands on the screen.
    pub(super) fn screen(&self, file: &str) -> String {
        match &self.stage {
            Stage::Warning { typed } => format!(
                "CALIBRATION: THE WHEELS WILL TURN.\n\n\
                 Lift the car so that no wheel touches anything, and keep fingers, hair and\n\
                 cables away. The daemon of this channel must not run meanwhile.\n\n\
                 A key moves a wheel for a moment; without keys the car goes to neutral. So it\n\
                 does on Ctrl-C and when this window is closed. Have the battery switch at hand\n\
                 all the same.\n\n\
                 Changed at the end only, when you say so:\n{file}\n\n\
                 Type {CONFIRMATION} and Enter when the wheels are off the ground; Enter alone leaves: {typed}"
            ),
            Stage::Finding { point, pulse } => {
                let (name, text) = point.texts();
                let Pulses { throttle, steering } = self.neutral();
                format!(
                    "{} of {}: {name}\n\n{text}\n\n    {pulse} ticks\n\n\
                     left, right      {FINE} less, more\n\
                     down, up         {COARSE} less, more\n\
                     .                the same again\n\
                     space            neutral: throttle {}, steering {}\n\
                     Enter            this is it: to the next\n\
                     Backspace        to the one before\n\
                     q                leave without writing, at the file's neutral\n\n\
                     Without keys the car goes to neutral: hold one down, or press it again.",
                    *point as usize + 1,
                    Point::ALL.len(),
                    throttle.ticks(),
                    steering.ticks(),
                )
            }
            Stage::Summary => self.summary_screen(file),
        }
    }

    fn summary_screen(&self, file: &str) -> String {
        let mut text = String::from("Found:\n\n");
        text.push_str(&calibration_file::lines(&self.found));
        if self.found == self.before {
            text.push_str("\nThat is what the file says already.\n");
        }
        match Calibration::new(self.found) {
            Ok(_) => text.push_str(&format!("\ny        write this to {file}\n")),
            Err(problems) => {
                text.push_str("\nThis cannot be:\n");
                let line = |CalibrationProblem { key, value, remedy }: CalibrationProblem| {
                    format!("  {key} = {value}: {remedy}\n")
                };
                text.extend(problems.into_iter().map(line));
                text.push('\n');
            }
        }
        text.push_str("1 … 7    find one of the pulses anew\nq        leave without writing, at the file's neutral");
        text
    }
}

#[cfg(test)]
mod tests;
