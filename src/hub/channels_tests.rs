use bytes::Bytes;

use super::*;
use crate::hub::room::WheelState;
use crate::rtc::relay::TrackIds;

fn channel(id: &str) -> ChannelId {
    ChannelId::new(id).expect("an id")
}

fn message(text: &str) -> StreamMessage {
    StreamMessage::parse(text.to_owned()).expect("a message")
}

async fn next_control(seat: &PublisherSeat) -> String {
    seat.link().control_waiting().await;
    seat.link().take_control().expect("one waits").text
}

fn live_publisher(channels: &Arc<Channels>) -> PublisherSeat {
    let seat = channels.seat_publisher(&channel("car")).expect("a seat");
    seat.offers(one_picture());
    seat.connected();
    seat
}

fn one_picture() -> Pictures {
    [TrackIds { stream: "rtcpub".to_owned(), track: "camera".to_owned() }].into()
}

fn packet(seat: &PublisherSeat, index: u64) -> Packet {
    Packet { source: seat.id(), index, timestamp: 0, marker: true, entry: None, payload: Bytes::from_static(b"x") }
}

#[tokio::test]
async fn a_driver_whose_session_dies_leaves_a_stopped_car_and_a_free_wheel() {
    let channels = Arc::new(Channels::default());
    let car = live_publisher(&channels);
    let (ann, _) = channels.seat_viewer(&channel("car")).expect("a seat");
    let (_ben, ben_sees) = channels.seat_viewer(&channel("car")).expect("a seat");
    ann.can_drive();
    assert_eq!(ben_sees.view.borrow().wheel, WheelState::Taken);
    ann.sent(message(r#"{"motion":{"key":"forward","value":9},"seq":4,"session":"a"}"#));
    assert!(next_control(&car).await.contains("\"value\":9"));

    let session = tokio::spawn(async move {
        let _seat = ann;
        panic!("a session that fails");
    });
    assert!(session.await.is_err());

    let stop = [next_control(&car).await, next_control(&car).await];
    assert_eq!(stop[0], r#"{"motion":{"gone":1,"key":"forward","value":0},"seq":5,"session":"a"}"#);
    assert_eq!(stop[1], r#"{"motion":{"gone":1,"key":"left","value":0},"seq":6,"session":"a"}"#);
    assert_eq!(
        *ben_sees.view.borrow(),
        View { wheel: WheelState::Free, live: true, viewers: 1, pictures: one_picture() }
    );
}

#[tokio::test]
async fn a_wish_for_a_key_frame_waits_for_the_publisher_to_hear_it() {
    let channels = Arc::new(Channels::default());
    let car = live_publisher(&channels);
    car.link().key_frame_wanted(Picture::MAIN).await;
    let (viewer, _) = channels.seat_viewer(&channel("car")).expect("a seat");
    for picture in Picture::first(2) {
        viewer.key_frame_wanted(picture);
        viewer.key_frame_wanted(picture);
        car.link().key_frame_wanted(picture).await;
    }
}

#[tokio::test]
async fn metric_reaches_every_viewer_and_a_viewer_that_does_not_read_costs_the_others_nothing() {
    let channels = Arc::new(Channels::default());
    let car = live_publisher(&channels);
    let (_slow, slow_inbox) = channels.seat_viewer(&channel("car")).expect("a seat");
    let (_quick, mut quick_inbox) = channels.seat_viewer(&channel("car")).expect("a seat");
    for number in 0..METRIC_CAPACITY + 10 {
        car.metric(number.to_string());
        assert_eq!(quick_inbox.metric.recv().await.as_deref(), Some(number.to_string().as_str()));
    }
    assert_eq!(slow_inbox.metric.len(), METRIC_CAPACITY);
}

#[tokio::test]
async fn a_publisher_that_is_not_live_is_neither_seen_nor_heard() {
    let channels = Arc::new(Channels::default());
    let car = live_publisher(&channels);
    let (_viewer, mut inbox) = channels.seat_viewer(&channel("car")).expect("a seat");
    let again = channels.seat_publisher(&channel("car")).expect("a seat");
    again.connected();
    again.metric("hello".to_owned());
    assert!(inbox.metric.try_recv().is_err());
    assert!(!again.link().is_live());
    again.running();
    assert!(again.link().is_live() && !car.link().is_live());
}

#[tokio::test]
async fn a_replaced_publisher_is_told_and_the_list_shows_one_channel() {
    let channels = Arc::new(Channels::default());
    let first = live_publisher(&channels);
    let second = channels.seat_publisher(&channel("car")).expect("a seat");
    second.running();
    first.link().superseded().await;
    drop(first);
    assert_eq!(channels.live(), [LiveChannel { id: "car".to_owned(), viewers: 0 }]);
    drop(second);
    assert_eq!(channels.live(), []);
    assert!(channels.lock().is_empty(), "an empty room is forgotten");
}

#[tokio::test]
async fn a_slow_viewer_loses_its_place_and_the_others_lose_nothing() {
    let channels = Arc::new(Channels::default());
    let car = live_publisher(&channels);
    let (slow, _slow_inbox) = channels.seat_viewer(&channel("car")).expect("a seat");
    let (quick, _quick_inbox) = channels.seat_viewer(&channel("car")).expect("a seat");
    let (mut slow, mut quick) = (slow.media(Picture::MAIN), quick.media(Picture::MAIN));
    for index in 0..MEDIA_CAPACITY as u64 + 1 {
        car.forward(Picture::MAIN, packet(&car, index));
        assert_eq!(quick.recv().await.expect("a packet").index, index);
    }
    assert_eq!(slow.recv().await, Err(broadcast::error::RecvError::Lagged(1)));
}

#[tokio::test]
async fn there_is_a_limit_to_channels() {
    let channels = Arc::new(Channels::default());
    let seats: Vec<_> =
        (0..MAX_CHANNELS).map(|number| channels.seat_viewer(&channel(&number.to_string())).expect("a seat")).collect();
    assert_eq!(channels.seat_publisher(&channel("one more")).map(drop), Err(Full::Channels));
    assert!(channels.seat_publisher(&channel("0")).is_ok(), "a channel in use is still open");
    drop(seats);
    assert!(channels.seat_publisher(&channel("one more")).is_ok());
}
