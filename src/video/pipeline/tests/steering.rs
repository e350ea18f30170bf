//! Key frames and bit rate while the pipeline runs, and what happens when nobody takes the access units.

use super::*;
use crate::video::key_frames::QUIET_WINDOW;
use crate::video::rate::{Rung, Scale};
use crate::video::settings::Framerate;

impl Running {
    /// Access units up to and with the next IDR.
    async fn up_to_idr(&mut self) -> u64 {
        let mut count = 1;
        while !self.take(1).await[0].idr {
            count += 1;
        }
        count
    }
}

#[tokio::test]
async fn a_requested_key_frame_is_the_next_frame_that_enters_the_encoder() {
    for element in ["x264enc", "openh264enc"] {
        let mut running = Running::start(&with_encoder(element, config(Source::Test, 320, 240)));
        let taken = running.take(5).await.len() as u64;
        let control = running.pipeline.control();
        let entered_before = control.stats().frames_in;
        control.request_idr();
        let entered_after = control.stats().frames_in;
        let idr = taken + running.up_to_idr().await;
        // Frames leave the encoder one by one in the order they entered, so both are counted alike.
        assert!(idr > entered_before, "{element}: frame {idr} entered before frame {entered_before}");
        assert!(idr <= entered_after + 1, "{element}: frame {idr}, though only {entered_after} had entered");
        assert_eq!(control.stats().key_frames, 2, "{element}: the first and the one asked for");
    }
}

#[tokio::test]
async fn a_peer_that_asks_with_every_frame_gets_a_key_frame_a_window() {
    for element in ["x264enc", "openh264enc"] {
        let mut running = Running::start(&with_encoder(element, config(Source::Test, 320, 240)));
        let control = running.pipeline.control();
        let mut units = Vec::new();
        for _ in 0..45 {
            control.request_idr();
            units.extend(running.take(1).await);
        }
        let idrs: Vec<_> = units.iter().filter(|unit| unit.idr).map(|unit| unit.encoded_at).collect();
        let span = *idrs.last().expect("the first one") - idrs[0];
        let most = 2 + span.as_millis() / QUIET_WINDOW.as_millis();
        assert!(idrs.len() >= 3 && idrs.len() as u128 <= most, "{element}: {} IDRs in {span:?}", idrs.len());
        assert!(units.iter().filter(|unit| unit.idr).all(|unit| ProfileLevel::of(&unit.data).is_some()), "{element}");
    }
}

/// The rate of what comes out once it has settled, in kbit/s on the pipeline's own clock.
async fn output_kbps(running: &mut Running) -> usize {
    const SETTLE: usize = 15;
    const MEASURE: usize = 30;
    running.take(SETTLE).await;
    let units = running.take(MEASURE).await;
    let bytes: usize = units[1..].iter().map(|unit| unit.data.len()).sum();
    bytes * 8 / (units[MEASURE - 1].pts - units[0].pts).as_millis() as usize
}

/// Small and slow enough for a busy machine to drop no frames, with detail enough to use any of these rates.
async fn assert_bit_rate_follows_the_control(element: &str) {
    let source = "videotestsrc is-live=true pattern=zone-plate kx2=20 ky2=20 kt=3 ! video/x-raw,framerate=15/1";
    let mut config = with_encoder(element, config(pipeline(source), 160, 120));
    config.encoder.bitrate = kbps(250);
    let mut running = Running::start(&config);
    let high = output_kbps(&mut running).await;
    running.pipeline.control().set_bitrate(kbps(50));
    let low = output_kbps(&mut running).await;
    running.pipeline.control().set_bitrate(kbps(250));
    let again = output_kbps(&mut running).await;
    assert!(high > 3 * low && again > 3 * low, "{element}: {high}, then {low}, then {again} kbit/s");
    assert_eq!(running.pipeline.control().stats().bitrate, kbps(250));
}

#[tokio::test]
async fn the_bit_rate_of_x264enc_follows_the_control_while_playing() {
    assert_bit_rate_follows_the_control("x264enc").await;
}

#[tokio::test]
async fn the_bit_rate_of_openh264enc_follows_the_control_while_playing() {
    assert_bit_rate_follows_the_control("openh264enc").await;
}

#[tokio::test]
async fn a_full_queue_drops_to_the_next_key_frame_and_asks_for_it() {
    let mut running = Running::start(&config(Source::Test, 320, 240));
    let control = running.pipeline.control();
    let overflow = async {
        while control.stats().units_dropped < 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, overflow).await.expect("a queue that nobody drains overflows");
    assert_eq!(control.stats().key_frames, 1, "no key frame is made while there is no room for it");
    let units = running.take(ACCESS_UNIT_CAPACITY + 10).await;
    let resumed = &units[ACCESS_UNIT_CAPACITY..];
    assert!(resumed[0].idr, "after the gap a decoder can start");
    assert_eq!(decode::decode(&units).len(), units.len(), "and nothing in between is missed by it");
    let gap = resumed[0].pts - units[ACCESS_UNIT_CAPACITY - 1].pts;
    assert!(gap > 5 * Duration::from_millis(33), "the dropped ones are missing: {gap:?}");
}

#[tokio::test]
async fn a_frame_that_waits_for_a_slow_encoder_gives_way_to_a_newer_one() {
    // An encoder that takes 100 ms a frame, at 30 frames a second.
    let source = "videotestsrc is-live=true ! video/x-raw,framerate=30/1";
    let mut running = Running::start(&config(pipeline(source), 320, 240));
    let encoder = running.pipeline.running.as_ref().and_then(|pipeline| pipeline.by_name(encoder::ENCODER_NAME));
    let entry = encoder.and_then(|encoder| encoder.static_pad("sink")).expect("an encoder");
    entry.add_probe(gst::PadProbeType::BUFFER, |_, _| {
        thread::sleep(Duration::from_millis(100));
        gst::PadProbeReturn::Ok
    });
    running.take(10).await;
    let stats = running.pipeline.control().stats();
    assert!(stats.frames_dropped >= stats.frames_in, "two of three are dropped: {stats:?}");
    assert_eq!(stats.units_dropped, 0, "and none behind the encoder: {stats:?}");
}

#[tokio::test]
async fn fewer_pictures_get_more_bits_each_and_need_no_key_frame() {
    let source = "videotestsrc is-live=true pattern=smpte horizontal-speed=8 ! video/x-raw,framerate=30/1";
    for element in ["x264enc", "openh264enc"] {
        let mut config = with_encoder(element, config(pipeline(source), 320, 240));
        config.encoder.bitrate = kbps(400);
        let mut running = Running::start(&config);
        running.take(30).await;
        let full = bytes(&running.take(30).await);
        running.pipeline.control().set_rung(Rung { framerate: rate(15), scale: Scale::Full });
        running.take(30).await;
        let units = running.take(30).await;
        let slow = bytes(&units);
        assert!(slow * 5 > full * 6 && slow < full * 3, "{element}: {full}, then {slow} bytes for as many pictures");
        // A busy machine leaves out more of them, never fewer.
        let closest = units.windows(2).map(|pair| pair[1].pts - pair[0].pts).min().expect("pictures");
        assert!(closest >= Duration::from_millis(50), "{element}: {closest:?}");
        assert_eq!(running.pipeline.control().stats().key_frames, 1, "{element}");
    }
}

fn bytes(units: &[AccessUnit]) -> usize {
    units.iter().map(|unit| unit.data.len()).sum()
}

#[tokio::test]
async fn another_size_starts_with_a_key_frame_and_can_be_decoded() {
    for element in ["x264enc", "openh264enc"] {
        let mut running = Running::start(&with_encoder(element, config(Source::Test, 640, 480)));
        let mut units = running.take(5).await;
        for (scale, width) in [(Scale::ThreeQuarters, 480), (Scale::Half, 320), (Scale::Full, 640)] {
            running.pipeline.control().set_rung(Rung { framerate: rate(30), scale });
            let before = units.len();
            while !units[before..].iter().any(|unit| unit.idr) {
                units.extend(running.take(1).await);
            }
            units.extend(running.take(5).await);
            let pictures = decode::decode(&units);
            assert_eq!(pictures.len(), units.len(), "{element}: nothing is lost");
            assert_eq!(pictures.last().map(|picture| picture.width), Some(width), "{element}: {scale:?}");
        }
    }
}

fn rate(per_second: u32) -> Framerate {
    Framerate::new(per_second).expect("a valid rate")
}
