//! The strip of black and white cells at the foot of the test picture: which frame this is and when it was drawn, for
//! programs that measure latency from decoded pixels.
//!
//! # Layout
//! - [`ROWS`] rows of [`COLUMNS`] cells over the full width, in the lowest tenth of the picture.
//! - Column `c` spans pixels `width · c / 32` up to `width · (c + 1) / 32`, row `r` spans
//!   `height − height / 10 + (height / 10) · r / 3` up to the same with `r + 1`, all divisions rounded down. So the strip
//!   can be read from a scaled picture too.
//! - White is 1, black is 0. Bits run from left to right, then from top to bottom, highest bit first:
//!   32 bits frame number, 56 bits microseconds since 1970-01-01T00:00:00Z, 8 bits CRC (polynomial 0x07, initial value 0,
//!   not reflected) over the 11 bytes before it.
//! - A reader takes the mean luma of the middle half of each cell (both ways): above 128 is white. Near 128 the picture has
//!   no strip, or the encoder had too few bits for it.

use std::time::Duration;

use super::canvas::{BLACK, Luma, Rect, WHITE};

/// Cells in a row.
pub const COLUMNS: usize = 32;
/// Rows of cells.
pub const ROWS: usize = 3;

const BYTES: usize = COLUMNS * ROWS / 8;
const CRC_AT: usize = BYTES - 1;
const TIME_BYTES: usize = 7;

/// Least side of a cell, in pixels: smaller ones drown in what a low bit rate does to edges.
const LEAST_CELL: usize = 4;

/// How far from the middle of the luma range a cell must be to count as black or white.
const DECISIVE: usize = 32;

/// What the strip says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Frames drawn before this one since the source started; wraps.
    pub frame: u32,
    /// When it was drawn, by the wall clock: time since 1970-01-01T00:00:00Z, in whole microseconds.
    pub drawn_at: Duration,
}

impl Stamp {
    /// Draws the strip. A picture too small for cells of four pixels is left without.
    pub(super) fn draw(self, luma: &mut Luma<'_>) {
        let bytes = self.to_bytes();
        let Some(cells) = cells(luma.width, luma.height) else { return };
        for (index, cell) in cells.enumerate() {
            let white = bytes[index / 8] & (0x80 >> (index % 8)) != 0;
            luma.fill(cell, if white { WHITE } else { BLACK });
        }
    }

    /// Reads the strip from the luma plane of a decoded picture, `stride` bytes from row to row. `None` when the picture
    /// has no strip, or one that is not legible.
    pub fn read(luma: &[u8], width: usize, height: usize, stride: usize) -> Option<Self> {
        let mut bytes = [0; BYTES];
        for (index, cell) in cells(width, height)?.enumerate() {
            let mean = middle_mean(luma, stride, cell)?;
            if mean.abs_diff(128) < DECISIVE {
                return None;
            }
            if mean > 128 {
                bytes[index / 8] |= 0x80 >> (index % 8);
            }
        }
        Self::from_bytes(bytes)
    }

    fn to_bytes(self) -> [u8; BYTES] {
        let micros = (self.drawn_at.as_micros() as u64).to_be_bytes();
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&self.frame.to_be_bytes());
        bytes[4..CRC_AT].copy_from_slice(&micros[micros.len() - TIME_BYTES..]);
        bytes[CRC_AT] = crc8(&bytes[..CRC_AT]);
        bytes
    }

    fn from_bytes(bytes: [u8; BYTES]) -> Option<Self> {
        let [a, b, c, d, time @ .., crc] = bytes;
        let micros = time.into_iter().fold(0, |micros, byte| micros << 8 | u64::from(byte));
        let stamp = Self { frame: u32::from_be_bytes([a, b, c, d]), drawn_at: Duration::from_micros(micros) };
        (crc == crc8(&bytes[..CRC_AT])).then_some(stamp)
    }
}

/// The cells from left to right, then from top to bottom.
fn cells(width: usize, height: usize) -> Option<impl Iterator<Item = Rect>> {
    let strip = height / 10;
    let fits = width / COLUMNS >= LEAST_CELL && strip / ROWS >= LEAST_CELL;
    let cell = move |row: usize, column: usize| {
        let (left, right) = (width * column / COLUMNS, width * (column + 1) / COLUMNS);
        let (top, bottom) = (strip * row / ROWS, strip * (row + 1) / ROWS);
        Rect { x: left, y: height - strip + top, width: right - left, height: bottom - top }
    };
    fits.then(|| (0..ROWS).flat_map(move |row| (0..COLUMNS).map(move |column| cell(row, column))))
}

fn middle_mean(luma: &[u8], stride: usize, cell: Rect) -> Option<usize> {
    let (left, right) = (cell.x + cell.width / 4, cell.x + cell.width - cell.width / 4);
    let (top, bottom) = (cell.y + cell.height / 4, cell.y + cell.height - cell.height / 4);
    let mut sum = 0;
    for y in top..bottom {
        let row = luma.get(y * stride + left..y * stride + right)?;
        sum += row.iter().map(|&pixel| usize::from(pixel)).sum::<usize>();
    }
    Some(sum / ((right - left) * (bottom - top)))
}

fn crc8(bytes: &[u8]) -> u8 {
    const POLYNOMIAL: u8 = 0x07;
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 != 0 { crc << 1 ^ POLYNOMIAL } else { crc << 1 })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drawn(stamp: Stamp, width: usize, height: usize, stride: usize) -> Vec<u8> {
        let mut pixels = vec![128; stride * height];
        stamp.draw(&mut Luma { pixels: &mut pixels, width, height, stride });
        pixels
    }

    const STAMP: Stamp = Stamp { frame: 123_456, drawn_at: Duration::from_micros(1_763_683_200_123_456) };

    #[test]
    fn the_checksum_is_the_documented_one() {
        assert_eq!(crc8(b"123456789"), 0xf4, "the check value of CRC-8/SMBUS");
    }

    #[test]
    fn cells_lie_where_the_documentation_says() {
        let pixels = drawn(Stamp { frame: 0x8000_0001, drawn_at: Duration::ZERO }, 320, 240, 320);
        let at = |x: usize, y: usize| pixels[y * 320 + x];
        assert_eq!((at(0, 215), at(0, 216), at(9, 223), at(10, 216)), (128, WHITE, WHITE, BLACK));
        assert_eq!((at(309, 216), at(310, 216), at(319, 223), at(319, 224)), (BLACK, WHITE, WHITE, BLACK));
    }

    #[test]
    fn a_picture_without_a_legible_strip_reads_as_none() {
        assert_eq!(Stamp::read(&[128; 320 * 240], 320, 240, 320), None, "grey");
        assert_eq!(Stamp::read(&[WHITE; 320 * 240], 320, 240, 320), None, "white");
        assert_eq!(Stamp::read(&[], 320, 240, 320), None, "a plane that is not there");
        assert_eq!(Stamp::read(&drawn(STAMP, 64, 64, 64), 64, 64, 64), None, "too small for a strip");
        let mut flipped = drawn(STAMP, 320, 240, 320);
        (216..224).for_each(|y| flipped[y * 320..y * 320 + 10].fill(WHITE));
        assert_eq!(Stamp::read(&flipped, 320, 240, 320), None, "one cell wrong");
    }

    #[test]
    fn a_scaled_picture_is_still_legible() {
        let large = drawn(STAMP, 1280, 720, 1280);
        let small: Vec<u8> = (0..360 * 640).map(|at| large[at / 640 * 2 * 1280 + at % 640 * 2]).collect();
        assert_eq!(Stamp::read(&small, 640, 360, 640), Some(STAMP));
    }

    proptest! {
        #[test]
        fn what_is_drawn_is_read_back_at_any_size(
            frame: u32,
            micros in 0..1_u64 << 56,
            width in 128..800_usize,
            height in 120..600_usize,
            padding in 0..16_usize,
            noise in proptest::collection::vec(0..70_u8, 97),
        ) {
            let stamp = Stamp { frame, drawn_at: Duration::from_micros(micros) };
            let mut pixels = drawn(stamp, width, height, width + padding);
            for (pixel, noise) in pixels.iter_mut().zip(noise.iter().cycle()) {
                *pixel = if *pixel > 128 { *pixel - noise } else { *pixel + noise };
            }
            prop_assert_eq!(Stamp::read(&pixels, width, height, width + padding), Some(stamp));
        }
    }
}
