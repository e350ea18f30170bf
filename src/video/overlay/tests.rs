use super::*;

fn size(width: u32, height: u32) -> Size {
    Size::new(width, height).expect("a valid size")
}

fn drawn(size: Size, frame: u32, state: OverlayState) -> Vec<u8> {
    let picture = TestPicture::new(size);
    let mut buffer = vec![0; picture.buffer_size()];
    picture.draw(
        &mut buffer,
        Stamp { frame, drawn_at: Duration::from_micros(1_763_683_200_123_456) },
        &Drawing::Test(OverlaySource::new(move || state)),
    );
    buffer
}

#[test]
fn the_time_of_day_is_written_to_the_millisecond() {
    let cases = [
        (Duration::ZERO, "00:00:00.000"),
        (Duration::from_micros(86_399_999_999), "23:59:59.999"),
        (Duration::from_micros(1_763_683_296_007_999), "00:01:36.007"),
    ];
    for (time, text) in cases {
        assert_eq!(TimeOfDay(time).to_string(), text);
    }
}

#[test]
fn every_size_that_settings_allow_can_be_drawn() {
    for (width, height) in [(16, 16), (18, 18), (130, 122), (320, 240), (640, 360), (8192, 16), (16, 8192)] {
        let buffer = drawn(size(width, height), u32::MAX, OverlayState { throttle: f32::NAN, ..OverlayState::PARKED });
        assert!(buffer.len() >= (width * height * 3 / 2) as usize);
    }
}

#[test]
fn the_layout_is_gstreamers_for_widths_that_need_padding() {
    // gst_video_info_set_format(I420, 18, 18): strides 20 and 12, size 20·18 + 2·12·9.
    assert_eq!(TestPicture::new(size(18, 18)).buffer_size(), 576);
    assert_eq!(TestPicture::new(size(320, 240)).buffer_size(), 115_200);
}

#[test]
fn the_strip_can_be_read_from_320x240_up() {
    for (width, height) in [(320, 240), (640, 360), (640, 480), (1280, 720), (1920, 1080)] {
        let buffer = drawn(size(width, height), 7, OverlayState::PARKED);
        let (width, height) = (width as usize, height as usize);
        let stamp = Stamp::read(&buffer, width, height, width);
        assert_eq!(stamp, Some(Stamp { frame: 7, drawn_at: Duration::from_micros(1_763_683_200_123_456) }));
    }
}

/// Columns of the bar in `line` that are white, relative to the bar's middle.
fn bar_extent(state: OverlayState, line: usize) -> (isize, isize) {
    const WIDTH: usize = 320;
    let buffer = drawn(size(320, 240), 0, state);
    // At 320x240 a dot is two pixels; the bar's top row is one row below its line's start.
    let y = 4 + (1 + line * 10) * 2;
    let (left, right) = (4 + 10 * ADVANCE * 2, 4 + 10 * ADVANCE * 2 + 15 * ADVANCE * 2 - 4);
    let white: Vec<_> = (left..right).filter(|x| buffer[y * WIDTH + x] == WHITE).collect();
    let middle = (left + (right - left) / 2) as isize;
    (white[0] as isize - middle, white[white.len() - 1] as isize - middle)
}

#[test]
fn throttle_grows_to_the_right_and_steering_to_the_side_the_car_turns() {
    let state = |throttle, steering| OverlayState { throttle, steering, state: "armed" };
    let (throttle, steering) = (2, 3);
    assert_eq!(bar_extent(state(0.0, 0.0), throttle), (0, 1), "the mark in the middle");
    assert_eq!(bar_extent(state(1.0, 0.0), throttle), (0, 87));
    assert_eq!(bar_extent(state(-0.5, 0.0), throttle), (-44, 1));
    assert_eq!(bar_extent(state(0.0, 1.0), steering), (-88, 1), "left");
    assert_eq!(bar_extent(state(0.0, -1.0), steering), (0, 87), "right");
    assert_eq!(bar_extent(state(9.0, 0.0), throttle), (0, 87), "never beyond the trough");
    assert_eq!(bar_extent(state(f32::NAN, 0.0), throttle), (0, 1));
}

#[test]
fn the_bands_move_from_frame_to_frame() {
    let of_frame = |frame| drawn(size(320, 240), frame, OverlayState::PARKED);
    // Below the panel (it ends at row 104) and above the strip (it begins at row 216).
    let moving = |buffer: &[u8]| buffer[110 * 320..210 * 320].to_vec();
    let pictures: Vec<_> = (0..4).map(|frame| moving(&of_frame(frame))).collect();
    for (earlier, later) in pictures.iter().zip(&pictures[1..]) {
        let changed = earlier.iter().zip(later).filter(|(a, b)| a != b).count();
        assert!(changed > earlier.len() / 2, "{changed} of {} pixels changed", earlier.len());
    }
}

#[test]
fn the_panel_shows_number_time_and_state_as_text() {
    let read = |state| {
        let buffer = drawn(size(320, 240), 42, state);
        (0..5).map(|line| read_text(&buffer, line)).collect::<Vec<_>>()
    };
    let lines = read(OverlayState { throttle: 0.5, steering: -0.25, state: "armed" });
    assert_eq!(lines[0].trim(), "FRAME 000042");
    assert_eq!(lines[1].trim(), "00:00:00.123 UTC");
    assert_eq!(&lines[2][..9], "THR +0.50");
    assert_eq!(&lines[3][..9], "STR -0.25");
    assert_eq!(lines[4].trim(), "ARMED");
}

/// Reads a line of text back from the pixels of a 320x240 picture by comparing each cell with the font.
fn read_text(buffer: &[u8], line: usize) -> String {
    const DOT: usize = 2;
    const CHARACTERS: &str = " ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:.,+-_/%()";
    let at = |column: usize, x: usize, y: usize| {
        let (x, y) = (4 + (column * ADVANCE + x) * DOT, 4 + (1 + line * 10 + y) * DOT);
        buffer[y * 320 + x] == WHITE && buffer[(y + 1) * 320 + x + 1] == WHITE
    };
    let rows = |column| -> [u8; 7] {
        std::array::from_fn(|y| (0..5).fold(0, |bits, x| bits << 1 | u8::from(at(column, x, y))))
    };
    (0..25).map(|column| CHARACTERS.chars().find(|&c| font::glyph(c) == rows(column)).unwrap_or('?')).collect()
}
