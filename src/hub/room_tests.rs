use super::*;

const CAR: PublisherId = PublisherId(1);
const CAR_AGAIN: PublisherId = PublisherId(2);
const ANN: ViewerId = ViewerId(10);
const BEN: ViewerId = ViewerId(11);
const CAT: ViewerId = ViewerId(12);

fn message(text: &str) -> StreamMessage {
    StreamMessage::parse(text.to_owned()).expect("a message")
}

fn forward(value: u8, seq: u64, session: &str) -> StreamMessage {
    message(&format!(r#"{{"motion":{{"key":"forward","value":{value}}},"seq":{seq},"session":"{session}"}}"#))
}

const REAR: Picture = match Picture::at(1) {
    Some(rear) => rear,
    None => panic!("two pictures can be shown"),
};

fn pictures(names: &[&str]) -> Pictures {
    names.iter().map(|name| TrackIds { stream: "rtcpub".to_owned(), track: (*name).to_owned() }).collect()
}

/// A room with a live car and these viewers, in this order, each able to drive.
fn room_with(viewers: &[ViewerId]) -> Room {
    let mut room = Room::default();
    assert_eq!(room.publisher_arrived(CAR), []);
    room.publisher_offered(CAR, pictures(&["camera"]));
    assert_eq!(room.publisher_connected(CAR), [Effect::RequestKeyFrame(CAR, Picture::MAIN)]);
    for viewer in viewers {
        room.viewer_arrived(*viewer).expect("room");
        room.viewer_can_drive(*viewer);
    }
    room
}

fn controls(effects: Vec<Effect>) -> Vec<String> {
    let text = |effect| match effect {
        Effect::Control(CAR, message) => message.text,
        other => panic!("only control is expected here: {other:?}"),
    };
    effects.into_iter().map(text).collect()
}

const TAKE: &str = r#"{"wheel":{"key":"take","value":1}}"#;
const RELEASE: &str = r#"{"wheel":{"key":"release","value":1}}"#;

#[test]
fn the_first_viewer_drives_and_the_others_watch() {
    let mut room = room_with(&[ANN, BEN]);
    assert_eq!(
        room.view(ANN),
        View { wheel: WheelState::Held, live: true, viewers: 2, pictures: pictures(&["camera"]) }
    );
    assert_eq!(
        room.view(BEN),
        View { wheel: WheelState::Taken, live: true, viewers: 2, pictures: pictures(&["camera"]) }
    );
    let command = forward(5, 1, "ann");
    assert_eq!(room.viewer_sent(ANN, command.clone()), [Effect::Control(CAR, command)]);
    assert_eq!(room.viewer_sent(BEN, forward(9, 1, "ben")), []);
    assert_eq!(room.viewer_sent(BEN, message(TAKE)), []);
    assert_eq!(room.view(BEN).wheel, WheelState::Taken, "a held wheel cannot be taken");
}

#[test]
fn the_car_is_stopped_in_the_drivers_name_when_the_driver_leaves() {
    let mut room = room_with(&[ANN, BEN]);
    room.viewer_sent(ANN, forward(5, 41, "ann"));
    assert_eq!(
        controls(room.viewer_left(ANN)),
        [
            r#"{"motion":{"gone":1,"key":"forward","value":0},"seq":42,"session":"ann"}"#,
            r#"{"motion":{"gone":1,"key":"left","value":0},"seq":43,"session":"ann"}"#,
        ]
    );
    assert_eq!(
        room.view(BEN),
        View { wheel: WheelState::Free, live: true, viewers: 1, pictures: pictures(&["camera"]) }
    );
    assert_eq!(room.viewer_left(BEN), [], "a watcher who leaves changes nothing");
}

#[test]
fn a_released_wheel_is_free_and_stops_the_car() {
    let mut room = room_with(&[ANN, BEN]);
    room.viewer_sent(ANN, forward(5, 6, "ann"));
    let stop = controls(room.viewer_sent(ANN, message(RELEASE)));
    assert_eq!(
        stop[0], r#"{"motion":{"gone":1,"key":"forward","value":0},"seq":7,"session":"ann"}"#,
        "in the driver's name"
    );
    assert_eq!(room.view(ANN).wheel, WheelState::Free);
    assert_eq!(room.viewer_sent(ANN, message(RELEASE)), [], "nothing left to release");
    assert_eq!(room.viewer_sent(BEN, message(TAKE)), []);
    assert_eq!(room.view(BEN).wheel, WheelState::Held);
    assert_eq!(room.view(ANN).wheel, WheelState::Taken);
}

#[test]
fn a_free_wheel_goes_to_the_first_real_command_but_not_to_a_neutral_one() {
    let mut room = room_with(&[ANN, BEN, CAT]);
    room.viewer_sent(ANN, message(RELEASE));
    assert_eq!(room.viewer_sent(ANN, forward(0, 2, "ann")), []);
    assert_eq!(room.viewer_sent(CAT, message(r#"{"speed":{"key":"maxSpeed","value":420}}"#)), []);
    assert_eq!(room.view(BEN).wheel, WheelState::Free);
    let command = forward(3, 1, "ben");
    assert_eq!(room.viewer_sent(BEN, command.clone()), [Effect::Control(CAR, command)]);
    assert_eq!(room.view(BEN).wheel, WheelState::Held);
}

#[test]
fn a_watcher_may_stop_the_car_but_not_let_it_go() {
    let mut room = room_with(&[ANN, BEN]);
    let stop = message(r#"{"estop":{"key":"latch","value":1}}"#);
    assert_eq!(room.viewer_sent(BEN, stop.clone()), [Effect::Control(CAR, stop)]);
    assert_eq!(room.view(BEN).wheel, WheelState::Taken, "stopping is not driving");
    let clear = message(r#"{"estop":{"key":"clear","value":1}}"#);
    assert_eq!(room.viewer_sent(BEN, clear.clone()), []);
    assert_eq!(room.viewer_sent(ANN, clear.clone()), [Effect::Control(CAR, clear)]);
}

#[test]
fn a_driver_out_of_contact_stops_the_car_and_keeps_the_wheel() {
    let room = room_with(&[ANN, BEN]);
    assert_eq!(controls(room.viewer_unreachable(ANN)).len(), 2);
    assert_eq!(room.viewer_unreachable(BEN), []);
    assert_eq!(room.view(ANN).wheel, WheelState::Held);
}

#[test]
fn a_second_publisher_takes_over_when_its_picture_runs_and_not_before() {
    let mut room = room_with(&[ANN]);
    assert_eq!(room.publisher_arrived(CAR_AGAIN), []);
    room.publisher_offered(CAR_AGAIN, pictures(&["camera", "rear"]));
    assert_eq!(room.publisher_connected(CAR_AGAIN), []);
    assert_eq!(room.live(), Some(CAR));
    assert_eq!(room.view(ANN).pictures.len(), 1, "what is shown, not what waits");
    let key_frames = [Picture::MAIN, REAR].map(|picture| Effect::RequestKeyFrame(CAR_AGAIN, picture));
    let expected = [vec![Effect::Supersede(CAR)], key_frames.to_vec()].concat();
    assert_eq!(room.publisher_running(CAR_AGAIN), expected);
    assert_eq!(room.publisher_running(CAR_AGAIN), [], "once");
    assert_eq!(room.publisher_left(CAR), []);
    assert_eq!(room.live(), Some(CAR_AGAIN), "the old one's leaving changes nothing");
    assert_eq!(room.view(ANN).pictures, pictures(&["camera", "rear"]));
    assert_eq!(room.view(ANN).wheel, WheelState::Held, "the driver drives on");
}

#[test]
fn the_newest_of_several_waiting_publishers_counts() {
    let mut room = room_with(&[]);
    room.publisher_arrived(CAR_AGAIN);
    let newest = PublisherId(3);
    assert_eq!(room.publisher_arrived(newest), [Effect::Supersede(CAR_AGAIN)]);
    assert_eq!(room.publisher_running(CAR_AGAIN), [], "superseded before it ran");
    assert_eq!(room.publisher_running(newest)[0], Effect::Supersede(CAR));
}

#[test]
fn a_waiting_publisher_steps_in_when_the_live_one_leaves() {
    let mut room = room_with(&[ANN]);
    room.publisher_arrived(CAR_AGAIN);
    assert_eq!(room.publisher_left(CAR), [], "not connected yet");
    assert!(!room.view(ANN).live);
    room.publisher_offered(CAR_AGAIN, pictures(&["camera"]));
    assert_eq!(room.publisher_connected(CAR_AGAIN), [Effect::RequestKeyFrame(CAR_AGAIN, Picture::MAIN)]);
    assert!(room.view(ANN).live);

    let mut room = room_with(&[ANN]);
    room.publisher_arrived(CAR_AGAIN);
    room.publisher_offered(CAR_AGAIN, pictures(&["camera"]));
    room.publisher_connected(CAR_AGAIN);
    let key_frame = Effect::RequestKeyFrame(CAR_AGAIN, Picture::MAIN);
    assert_eq!(room.publisher_left(CAR), [key_frame], "connected, its camera still missing");
    assert_eq!(room.live(), Some(CAR_AGAIN));
}

#[test]
fn a_key_frame_is_asked_for_of_the_picture_that_lacks_it() {
    let room = room_with(&[ANN]);
    assert_eq!(room.key_frame_wanted(REAR), [Effect::RequestKeyFrame(CAR, REAR)]);
}

#[test]
fn commands_are_not_kept_for_a_car_that_is_not_there() {
    let mut room = room_with(&[ANN]);
    room.publisher_left(CAR);
    assert_eq!(room.viewer_sent(ANN, forward(5, 1, "ann")), []);
    assert_eq!(room.key_frame_wanted(Picture::MAIN), []);
    assert_eq!(room.viewer_left(ANN), []);
    assert!(room.is_empty());
}

#[test]
fn a_full_room_turns_the_next_viewer_away() {
    let mut room = Room::default();
    for id in 0..MAX_VIEWERS as u64 {
        room.viewer_arrived(ViewerId(id)).expect("room");
    }
    let late = ViewerId(1000);
    assert_eq!(room.viewer_arrived(late), Err(RoomFull));
    room.viewer_can_drive(late);
    assert_eq!(room.viewer_sent(late, forward(5, 1, "late")), []);
    assert_eq!(room.view(ViewerId(0)).wheel, WheelState::Free, "one who was turned away holds nothing");
    room.viewer_left(ViewerId(3));
    assert_eq!(room.viewer_arrived(late), Ok(()));
}
