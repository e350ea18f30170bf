use super::*;

fn size(width: u32, height: u32) -> Size {
    Size::new(width, height).expect("a valid size")
}

fn mode(format: Format, width: u32, height: u32, rates: &[u32]) -> Mode {
    let rates = rates.iter().map(|frames| Rate { frames: *frames, seconds: 1 }).collect();
    Mode { format, size: size(width, height), rates: Rates::Listed(rates) }
}

const YUY2: Format = Format::Raw("YUY2");

/// What webcams look like: raw pictures fast only when small, JPEG at every size.
fn webcam() -> Vec<Mode> {
    vec![
        mode(YUY2, 640, 480, &[30, 15, 5]),
        mode(YUY2, 640, 360, &[30, 15]),
        mode(YUY2, 1280, 720, &[10, 5]),
        mode(Format::Mjpeg, 640, 480, &[60, 30]),
        mode(Format::Mjpeg, 1280, 720, &[60, 30]),
        mode(Format::Mjpeg, 1920, 1080, &[30]),
        mode(Format::H264, 1280, 720, &[30]),
    ]
}

fn taken(format: PixelFormat, width: u32, height: u32, rate: u32) -> Option<String> {
    let framerate = Framerate::new(rate).expect("a valid rate");
    choose(Wanted { size: size(width, height), framerate, format }, &webcam()).map(|taken| taken.to_string())
}

#[test]
fn what_is_offered_is_taken_and_else_what_is_nearest() {
    use PixelFormat::{Auto, H264, Mjpeg, Raw};
    let table = [
        (Auto, 640, 480, 30, Some("YUY2 640x480 at 30")),
        (Auto, 640, 480, 20, Some("YUY2 640x480 at 30")),
        (Auto, 640, 480, 60, Some("MJPEG 640x480 at 60")),
        (Auto, 1280, 720, 30, Some("MJPEG 1280x720 at 30")),
        (Auto, 1280, 720, 10, Some("YUY2 1280x720 at 10")),
        (Auto, 1280, 960, 30, Some("MJPEG 1280x720 at 30")),
        (Auto, 654, 484, 30, Some("YUY2 640x480 at 30")),
        (Auto, 1920, 1080, 60, Some("MJPEG 1920x1080 at 30")),
        (Raw, 1280, 720, 30, Some("YUY2 640x480 at 30")),
        (Raw, 1280, 720, 12, Some("YUY2 1280x720 at 10")),
        (Mjpeg, 640, 360, 30, Some("MJPEG 640x480 at 30")),
        (H264, 1280, 720, 30, Some("H.264 1280x720 at 30")),
        (H264, 320, 240, 30, None),
        (Auto, 3840, 2160, 30, Some("MJPEG 1920x1080 at 30")),
        (Auto, 4000, 2250, 30, None),
        (Auto, 160, 120, 30, None),
    ];
    for (format, width, height, rate, expected) in table {
        assert_eq!(taken(format, width, height, rate).as_deref(), expected, "{format:?} {width}x{height} at {rate}");
    }
}

#[test]
fn a_camera_that_offers_nothing_gives_nothing() {
    let wanted = Wanted {
        size: size(640, 480),
        framerate: Framerate::new(30).expect("a valid rate"),
        format: PixelFormat::Auto,
    };
    assert_eq!(choose(wanted, &[]), None);
    assert_eq!(choose(wanted, &[mode(YUY2, 640, 480, &[])]), None, "a size without a rate");
}

#[test]
fn only_what_was_asked_for_is_exact_and_television_rates_are() {
    let wanted = Wanted {
        size: size(640, 480),
        framerate: Framerate::new(30).expect("a valid rate"),
        format: PixelFormat::Auto,
    };
    let table = [
        (640, 480, Rate { frames: 30, seconds: 1 }, true),
        (640, 480, Rate { frames: 30_000, seconds: 1001 }, true),
        (640, 480, Rate { frames: 60, seconds: 1 }, true),
        (640, 480, Rate { frames: 25, seconds: 1 }, false),
        (640, 360, Rate { frames: 30, seconds: 1 }, false),
    ];
    for (width, height, rate, exact) in table {
        let taken = Taken { format: YUY2, size: size(width, height), rate };
        assert_eq!(taken.is_exact(wanted), exact, "{taken}");
    }
}

#[test]
fn a_range_of_rates_gives_the_one_asked_for_or_its_end() {
    let range = Rates::Between(Rate { frames: 5, seconds: 1 }, Rate { frames: 60, seconds: 1 });
    let best = |rate| range.best_for(Framerate::new(rate).expect("a valid rate")).map(|rate| rate.to_string());
    assert_eq!([best(1), best(24), best(120)].map(Option::unwrap), ["5", "24", "60"]);
}

#[test]
fn steps_lead_to_even_sides_within_the_range() {
    let table = [
        (Steps { min: 16, max: 8192, step: 1 }, 641, 642),
        (Steps { min: 16, max: 8192, step: 16 }, 650, 656),
        (Steps { min: 48, max: 320, step: 16 }, 1000, 320),
        (Steps { min: 48, max: 320, step: 16 }, 2, 48),
        (Steps { min: 16, max: 101, step: 10 }, 101, 96),
        (Steps { min: 16, max: 16, step: 0 }, 99, 16),
    ];
    for (steps, wanted, expected) in table {
        assert_eq!(steps.nearest(wanted), expected, "{steps:?} for {wanted}");
    }
}

#[test]
fn the_kernels_names_lead_to_gstreamers() {
    assert_eq!(Format::from_fourcc(*b"YUYV"), Some(YUY2));
    assert_eq!(Format::from_fourcc(*b"MJPG"), Some(Format::Mjpeg));
    assert_eq!(Format::from_fourcc(*b"H264"), Some(Format::H264));
    assert_eq!(Format::from_fourcc(*b"pBAA"), None, "a raw Bayer sensor");
}
