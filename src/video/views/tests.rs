use super::*;
use View::{Front, Rear};

const STALL: Duration = Duration::from_secs(2);

#[expect(clippy::disallowed_methods, reason = "an arbitrary origin; everything after it is virtual")]
fn origin() -> Instant {
    Instant::now()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_message_selects_a_camera_by_its_number_and_nothing_else_does() {
    let table: [(&str, Option<View>); 10] = [
        (r#"{"camera":{"key":"select","value":0}}"#, Some(Front)),
        (r#"{"camera":{"key":"select","value":1}}"#, Some(Rear)),
        (r#"{"camera":{"key":"select","value":1},"seq":4,"session":"me"}"#, Some(Rear)),
        (r#"{"camera":{"key":"select","value":1,"seq":4,"session":"me"}}"#, Some(Rear)),
        (r#"{"camera":{"key":"select","value":2}}"#, None),
        (r#"{"camera":{"key":"select","value":0.5}}"#, None),
        (r#"{"camera":{"key":"select","value":"1"}}"#, None),
        (r#"{"camera":{"key":"shown","value":1}}"#, None),
        (r#"{"motion":{"key":"back","value":1}}"#, None),
        ("junk", None),
    ];
    for (message, expected) in table {
        assert_eq!(selection_in(message.as_bytes()), expected, "{message}");
    }
}

#[test]
fn the_newest_wish_wins_and_is_told_once() {
    let views = Views::default();
    let mut selection = views.selection();
    assert_eq!(views.selected(), Front);
    views.select(Front);
    assert!(!selection.has_changed().expect("it is there"), "nothing has changed");
    views.select(Rear);
    views.clone().select(Front);
    views.select(Rear);
    assert_eq!(*selection.borrow_and_update(), Rear);
    assert_eq!(*views.shown().borrow(), Front, "a wish is not yet a picture");
    views.show(Rear);
    assert_eq!(*views.shown().borrow(), Rear);
}

#[test]
fn a_warm_camera_is_opened_beside_the_shown_one_and_stays() {
    let now = origin();
    let mut seats = Seats::new(Idle::Warm, Front, now);
    assert_eq!(seats.chore(Front, Front, now), Some(Chore::Open(Rear)));
    seats.opened(Rear, now);
    for (selected, shown) in [(Front, Front), (Rear, Front), (Rear, Rear), (Front, Rear)] {
        assert_eq!(seats.chore(selected, shown, now), None, "{selected:?} {shown:?}");
    }
}

#[test]
fn a_camera_to_be_stopped_is_closed_only_once_the_other_is_shown() {
    let now = origin();
    let mut seats = Seats::new(Idle::Stopped, Front, now);
    assert_eq!(seats.chore(Front, Front, now), None);
    assert_eq!(seats.chore(Rear, Front, now), Some(Chore::Open(Rear)));
    seats.opened(Rear, now);
    assert_eq!(seats.chore(Rear, Front, now), None, "it has not shown anything yet");
    assert_eq!(seats.chore(Rear, Rear, now), Some(Chore::Close(Front)));
    seats.closed(Front, now);
    assert_eq!(seats.chore(Rear, Rear, now), None);
}

#[test]
fn an_unselected_camera_that_fails_is_closed_and_opened_again_after_a_while() {
    let now = origin();
    let mut seats = Seats::new(Idle::Warm, Front, now);
    seats.opened(Rear, now);
    seats.broke(Rear);
    assert_eq!(seats.chore(Front, Front, now), Some(Chore::Close(Rear)));
    seats.closed(Rear, now);
    assert_eq!(seats.chore(Front, Front, now), None);
    assert_eq!(seats.poll_timeout(Front, STALL), Some(now + IDLE_RETRY));
    assert_eq!(seats.chore(Front, Front, now + IDLE_RETRY), Some(Chore::Open(Rear)));
    seats.failed(Rear, now + IDLE_RETRY);
    assert_eq!(seats.chore(Front, Front, now + IDLE_RETRY), None);
    assert_eq!(seats.chore(Rear, Front, now + IDLE_RETRY), Some(Chore::Open(Rear)), "at once when it is selected");
}

#[test]
fn a_selected_camera_that_shows_nothing_is_waited_for_as_long_as_any_other() {
    let now = origin();
    let mut seats = Seats::new(Idle::Warm, Front, now);
    seats.opened(Rear, now);
    let later = now + seconds(60);
    assert!(!seats.is_overdue(Rear, Front, STALL, later), "it was only just selected");
    assert_eq!(seats.poll_timeout(Rear, STALL), Some(later + STALL));
    assert!(!seats.is_overdue(Rear, Front, STALL, later + seconds(1)));
    assert!(seats.is_overdue(Rear, Front, STALL, later + STALL));
    assert!(!seats.is_overdue(Rear, Rear, STALL, later + STALL), "it is shown");
    assert!(!seats.is_overdue(Front, Rear, STALL, later + seconds(9)), "and each wish has its own time");
}

#[test]
fn a_camera_that_was_only_just_opened_has_longer() {
    let now = origin();
    let mut seats = Seats::new(Idle::Stopped, Front, now);
    seats.opened(Rear, now);
    assert!(!seats.is_overdue(Rear, Front, STALL, now));
    assert!(!seats.is_overdue(Rear, Front, STALL, now + STALL));
    assert!(seats.is_overdue(Rear, Front, STALL, now + START_PATIENCE));
}
