//! Drawing into a luma plane. What lies outside the picture is not drawn.

use std::fmt;

use super::font::{self, GLYPH_HEIGHT, GLYPH_WIDTH};

/// Luma of black in video range (ITU-R BT.601 / BT.709).
pub(super) const BLACK: u8 = 16;
/// Luma of white in video range.
pub(super) const WHITE: u8 = 235;

/// Distance between the left edges of two glyphs, in dots.
pub(super) const ADVANCE: usize = GLYPH_WIDTH + 1;

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rect {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// The luma plane of a picture.
pub(super) struct Luma<'a> {
    pub(super) pixels: &'a mut [u8],
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) stride: usize,
}

impl Luma<'_> {
    pub(super) fn fill(&mut self, rect: Rect, luma: u8) {
        let (left, right) = (rect.x.min(self.width), (rect.x + rect.width).min(self.width));
        let (top, bottom) = (rect.y.min(self.height), (rect.y + rect.height).min(self.height));
        for y in top..bottom {
            self.pixels[y * self.stride + left..y * self.stride + right].fill(luma);
        }
    }

    /// A line of text whose first glyph has its upper left dot at `(x, y)`; a dot is a square of `dot` pixels.
    pub(super) fn text(&mut self, x: usize, y: usize, dot: usize, text: fmt::Arguments<'_>) {
        let mut pen = Pen { luma: self, x, y, dot };
        fmt::write(&mut pen, text).expect("a pen takes every text");
    }
}

/// Draws what is written to it, so that no text has to be put together first.
struct Pen<'a, 'b> {
    luma: &'a mut Luma<'b>,
    x: usize,
    y: usize,
    dot: usize,
}

impl fmt::Write for Pen<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.glyph(font::glyph(character));
            self.x += ADVANCE * self.dot;
        }
        Ok(())
    }
}

impl Pen<'_, '_> {
    fn glyph(&mut self, rows: [u8; GLYPH_HEIGHT]) {
        let dot = self.dot;
        for (row, bits) in rows.into_iter().enumerate() {
            for column in (0..GLYPH_WIDTH).filter(|column| bits & (1 << (GLYPH_WIDTH - 1 - column)) != 0) {
                let rect = Rect { x: self.x + column * dot, y: self.y + row * dot, width: dot, height: dot };
                self.luma.fill(rect, WHITE);
            }
        }
    }
}
