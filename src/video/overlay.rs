//! The test picture: moving bands, and drawn over them the frame number, the wall clock, the car's throttle, steering and
//! state, and a strip that programs can read ([`Stamp`]).
//!
//! Pure: pixels from a frame number, a time and a state. Everything is written straight into the I420 planes, so a frame
//! costs about as much as copying it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::settings::Size;

mod canvas;
mod font;
pub mod stamp;

use canvas::{ADVANCE, BLACK, Luma, Rect, WHITE};
pub use stamp::Stamp;

/// What the test picture shows of the car.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OverlayState {
    /// -1 (full speed backward) … 1 (full speed forward).
    pub throttle: f32,
    /// -1 (right) … 1 (left).
    pub steering: f32,
    /// The gate's state in a word, for example `parked`.
    pub state: &'static str,
}

impl OverlayState {
    /// A car that does nothing.
    pub const PARKED: Self = Self { throttle: 0.0, steering: 0.0, state: "parked" };
}

/// Where the test picture reads the car's state from, once a frame, on the camera's thread: it must not block.
#[derive(Clone)]
pub struct OverlaySource(Arc<dyn Fn() -> OverlayState + Send + Sync>);

impl OverlaySource {
    /// Reads with `read`.
    pub fn new(read: impl Fn() -> OverlayState + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The state now.
    pub fn read(&self) -> OverlayState {
        (self.0)()
    }
}

impl fmt::Debug for OverlaySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OverlaySource")
    }
}

/// What is drawn.
#[derive(Debug)]
pub enum Drawing {
    /// The test picture.
    Test(OverlaySource),
    /// In place of a camera: that it is lost.
    CameraLost {
        /// Since when, as a time after 1970.
        since: Duration,
    },
}

/// Draws test pictures of one size.
#[derive(Debug)]
pub struct TestPicture {
    planes: I420,
    /// Pixels to a dot of text: 2 at 320x240, 6 at 1280x720.
    dot: usize,
    /// One row of the pattern, a period longer than the picture is wide, so that every row of every frame is a piece of it.
    pattern: Vec<u8>,
}

/// Length of the pattern, in pixels.
const PERIOD: usize = 128;

/// Each band of the picture moves by so many pixels a frame: near things run past faster than far ones.
const BAND_SPEEDS: [usize; 4] = [1, 2, 3, 5];

/// Blue-difference and red-difference of each band.
const BAND_CHROMA: [(u8, u8); 4] = [(150, 118), (138, 112), (112, 122), (108, 142)];

impl TestPicture {
    /// A picture of `size`.
    pub fn new(size: Size) -> Self {
        let planes = I420::new(size);
        let triangle = |x: usize| (x % PERIOD).min(PERIOD - x % PERIOD);
        Self {
            dot: (planes.width / 160).min(planes.height / 120).max(1),
            pattern: (0..planes.width + PERIOD).map(|x| 64 + 2 * triangle(x) as u8).collect(),
            planes,
        }
    }

    /// Bytes a picture takes, in GStreamer's default layout for I420.
    pub fn buffer_size(&self) -> usize {
        self.planes.bytes()
    }

    /// Draws one picture into `buffer`, which holds [`TestPicture::buffer_size`] bytes; whatever was in it is gone.
    pub fn draw(&self, buffer: &mut [u8], stamp: Stamp, drawing: &Drawing) {
        let (luma, chroma) = buffer.split_at_mut(self.planes.luma_bytes());
        let I420 { width, height, stride, .. } = self.planes;
        let mut luma = Luma { pixels: luma, width, height, stride };
        match drawing {
            Drawing::Test(overlay) => {
                self.draw_chroma(chroma);
                self.draw_bands(&mut luma, stamp.frame);
                self.draw_panel(&mut luma, stamp, overlay.read());
                stamp.draw(&mut luma);
            }
            Drawing::CameraLost { since } => {
                const NO_COLOUR: u8 = 128;
                chroma.fill(NO_COLOUR);
                self.draw_loss(&mut luma, *since, stamp.drawn_at);
            }
        }
    }

    fn draw_loss(&self, luma: &mut Luma<'_>, since: Duration, now: Duration) {
        luma.pixels.fill(BLACK);
        let (dot, left) = (self.dot, 8 * self.dot);
        let line = |index: usize| self.planes.height / 2 + index * 10 * dot;
        luma.text(left, line(0).saturating_sub(20 * dot), dot, format_args!("camera lost"));
        luma.text(left, line(0), dot, format_args!("since {:.8} utc", TimeOfDay(since).to_string()));
        luma.text(left, line(1), dot, format_args!("{} s", now.saturating_sub(since).as_secs()));
    }

    fn draw_bands(&self, luma: &mut Luma<'_>, frame: u32) {
        for (y, row) in luma.pixels.chunks_exact_mut(luma.stride).enumerate() {
            let speed = BAND_SPEEDS[self.band(y)];
            // Slanted by one pixel a row, so that there are edges in both directions.
            let offset = (frame as usize % PERIOD * speed + y) % PERIOD;
            row[..luma.width].copy_from_slice(&self.pattern[offset..offset + luma.width]);
        }
    }

    fn draw_chroma(&self, chroma: &mut [u8]) {
        let (blue, red) = chroma.split_at_mut(self.planes.chroma_bytes());
        let rows = |plane| <[u8]>::chunks_exact_mut(plane, self.planes.chroma_stride).enumerate();
        for ((y, blue), (_, red)) in rows(blue).zip(rows(red)) {
            let (blue_difference, red_difference) = BAND_CHROMA[self.band(2 * y)];
            blue.fill(blue_difference);
            red.fill(red_difference);
        }
    }

    fn band(&self, y: usize) -> usize {
        (y * BAND_SPEEDS.len() / self.planes.height).min(BAND_SPEEDS.len() - 1)
    }

    fn draw_panel(&self, luma: &mut Luma<'_>, stamp: Stamp, state: OverlayState) {
        const LINES: usize = 5;
        const LINE_DOTS: usize = 10;
        const PANEL_COLUMNS: usize = 25;
        const BAR_COLUMN: usize = 10;
        let dot = self.dot;
        let left = 2 * dot;
        let line = |index: usize| left + (1 + index * LINE_DOTS) * dot;
        let bar = |index: usize| Rect {
            x: left + BAR_COLUMN * ADVANCE * dot,
            y: line(index),
            width: (PANEL_COLUMNS - BAR_COLUMN) * ADVANCE * dot - 2 * dot,
            height: 7 * dot,
        };
        let panel =
            Rect { x: dot, y: dot, width: PANEL_COLUMNS * ADVANCE * dot + dot, height: (LINES * LINE_DOTS + 1) * dot };
        luma.fill(panel, BLACK);
        luma.text(left, line(0), dot, format_args!("frame {:06}", stamp.frame));
        luma.text(left, line(1), dot, format_args!("{} UTC", TimeOfDay(stamp.drawn_at)));
        luma.text(left, line(2), dot, format_args!("thr {:+.2}", state.throttle));
        self.draw_bar(luma, bar(2), state.throttle);
        luma.text(left, line(3), dot, format_args!("str {:+.2}", state.steering));
        // Steering is positive to the left, and so is its bar.
        self.draw_bar(luma, bar(3), -state.steering);
        luma.text(left, line(4), dot, format_args!("{}", state.state));
    }

    /// A bar from the middle of `frame` to the right for `value` 1, to the left for -1.
    fn draw_bar(&self, luma: &mut Luma<'_>, frame: Rect, value: f32) {
        const TROUGH: u8 = 64;
        luma.fill(frame, TROUGH);
        let half = frame.width / 2;
        // A value that is not a number has no length.
        let length = (value.abs().clamp(0.0, 1.0) * half as f32) as usize;
        let middle = frame.x + half;
        let start = if value < 0.0 { middle - length } else { middle };
        luma.fill(Rect { x: start, width: length, ..frame }, WHITE);
        luma.fill(Rect { x: middle, width: self.dot, ..frame }, WHITE);
    }
}

/// GStreamer's default layout of I420 (`gst_video_info_set_format`): rows padded to four bytes, planes without gaps.
#[derive(Clone, Copy, Debug)]
struct I420 {
    width: usize,
    height: usize,
    stride: usize,
    chroma_stride: usize,
}

impl I420 {
    fn new(size: Size) -> Self {
        let (width, height) = (size.width() as usize, size.height() as usize);
        Self { width, height, stride: width.next_multiple_of(4), chroma_stride: (width / 2).next_multiple_of(4) }
    }

    fn luma_bytes(self) -> usize {
        self.stride * self.height
    }

    fn chroma_bytes(self) -> usize {
        self.chroma_stride * self.height / 2
    }

    fn bytes(self) -> usize {
        self.luma_bytes() + 2 * self.chroma_bytes()
    }
}

/// Writes the time of day of a time since 1970, to the millisecond.
struct TimeOfDay(Duration);

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{hour:02}:{minute:02}:{second:02}.{:03}", self.0.subsec_millis())
    }
}

#[cfg(test)]
mod tests;
