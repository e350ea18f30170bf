//! Two cameras, one stream: the pictures of one are white, of the other black.

use super::*;
use crate::video::pipeline::tests::decode::decode;
use crate::video::settings::{Idle, Orientation, RearConfig, View};
use crate::video::views::IDLE_RETRY;

const WHITE: &str = "videotestsrc is-live=true pattern=white ! video/x-raw,framerate=30/1";
const BLACK: &str = "videotestsrc is-live=true pattern=black ! video/x-raw,framerate=30/1";
/// The longest gap at a change, at 30 frames a second.
const GAP: Duration = Duration::from_millis(70);

fn rear(source: &str, idle: Idle) -> Option<RearConfig> {
    let source = Source::Pipeline(source.to_owned());
    Some(RearConfig { source, orientation: Orientation::default(), idle, on_reverse: true })
}

impl Kept {
    /// Selects a camera; access units up to and with the first of it.
    async fn switch_to(&mut self, view: View) -> Vec<AccessUnit> {
        while self.units.try_recv().is_some() {}
        self.control.views().select(view);
        let mut units = vec![self.unit().await];
        while !units.last().expect("at least one").idr {
            units.push(self.unit().await);
        }
        units
    }
}

/// Whether each picture is white, in a stream that begins with an IDR.
fn whiteness(units: &[AccessUnit]) -> Vec<bool> {
    let mean = |luma: &[u8]| luma.iter().map(|sample| u64::from(*sample)).sum::<u64>() / luma.len() as u64;
    decode(units).iter().map(|picture| mean(&picture.luma) > 128).collect()
}

#[tokio::test]
async fn a_switch_is_one_key_frame_with_nothing_of_the_old_camera_behind_it_and_a_short_gap() {
    let mut kept = Kept::start_pair(WHITE, rear(BLACK, Idle::Warm));
    let mut stream = vec![kept.unit().await];
    let mut gaps = Vec::new();
    for change in 1..=10 {
        for _ in 0..5 {
            stream.push(kept.unit().await);
        }
        kept.control.views().select(if change % 2 == 1 { View::Rear } else { View::Front });
        loop {
            let unit = kept.unit().await;
            let gap = unit.pts - stream.last().expect("not empty").pts;
            stream.push(unit);
            if stream.last().expect("just pushed").idr {
                gaps.push(gap);
                break;
            }
        }
    }
    let white = whiteness(&stream);
    assert_eq!(white.len(), stream.len(), "every frame can be decoded");
    let mut expected = false;
    for (index, unit) in stream.iter().enumerate() {
        expected ^= unit.idr;
        assert_eq!(white[index], expected, "frame {index}");
    }
    assert_eq!(stream.iter().filter(|unit| unit.idr).count(), 11, "one key frame a change");
    assert!(stream.is_sorted_by(|a, b| a.pts < b.pts), "time goes on");
    // The first change may have had to wait for the rear camera to open. A busy machine may drop a frame now and then.
    gaps.remove(0);
    gaps.sort();
    assert!(gaps[gaps.len() / 2] <= GAP, "{gaps:?}");
    kept.stop().await;
}

#[tokio::test]
async fn a_stopped_camera_is_opened_when_it_is_selected_and_the_other_closed() {
    let mut kept = Kept::start_pair(WHITE, rear(BLACK, Idle::Stopped));
    assert_eq!(whiteness(&[kept.unit().await]), [true]);
    for (view, white) in [(View::Rear, false), (View::Front, true), (View::Rear, false)] {
        let units = kept.switch_to(view).await;
        assert_eq!(whiteness(&units[units.len() - 1..]), [white]);
        let mut shown = kept.control.views().shown();
        let told = tokio::time::timeout(PATIENCE, shown.wait_for(|shown| *shown == view)).await;
        told.expect("in time").expect("it is told");
        // Long enough for the other to be closed: the picture goes on without it.
        for _ in 0..10 {
            assert!(!kept.unit().await.idr);
        }
    }
    assert_eq!(kept.state.borrow().name(), "playing");
    kept.stop().await;
}

#[tokio::test]
async fn a_camera_that_is_lost_while_it_is_not_shown_does_not_disturb_the_picture() {
    let ends = BLACK.replace("is-live", "num-buffers=5 is-live");
    let mut kept = Kept::start_pair(WHITE, rear(&ends, Idle::Warm));
    let first = kept.unit().await;
    assert!(first.idr);
    loop {
        let unit = kept.unit().await;
        assert!(!unit.idr, "the encoder goes on");
        // Lost, closed, and opened again.
        if unit.pts - first.pts > IDLE_RETRY + Duration::from_secs(1) {
            break;
        }
    }
    assert!(!kept.state.has_changed().expect("it is kept") || kept.state.borrow().name() == "playing");
    let black = kept.switch_to(View::Rear).await;
    assert_eq!(whiteness(&black[black.len() - 1..]), [false]);
    kept.stop().await;
}

#[tokio::test]
async fn a_selected_camera_that_is_missing_is_lost_and_the_other_is_back_as_soon_as_it_is_selected() {
    let missing = "filesrc location=/nonexistent ! pngdec ! imagefreeze is-live=true";
    let mut kept = Kept::start_pair(WHITE, rear(missing, Idle::Warm));
    kept.until("playing").await;
    kept.control.views().select(View::Rear);
    let lost = kept.until("lost").await;
    assert_eq!(lost.cause(), Some(LossCause::Missing), "{lost:?}");
    let CameraState::Lost { message, .. } = &lost else { panic!("{lost:?}") };
    assert!(message.contains("camera.rear.pipeline"), "{message}");
    let units = kept.switch_to(View::Front).await;
    assert_eq!(whiteness(&units[units.len() - 1..]), [true]);
    kept.until("playing").await;
    kept.stop().await;
}

#[tokio::test]
async fn a_selected_camera_that_gives_nothing_is_lost_and_its_place_is_not_taken_for_long() {
    let silent = format!("{BLACK} ! valve drop=true");
    let mut kept = Kept::start_pair(WHITE, rear(&silent, Idle::Warm));
    kept.until("playing").await;
    kept.control.views().select(View::Rear);
    assert_eq!(kept.until("lost").await.cause(), Some(LossCause::Stalled));
    kept.stop().await;
}
