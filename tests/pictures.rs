//! Several pictures of one car through the hub, each a track of its own: to real peers, and to the page in a browser.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::chromium::{Chromium, Page};
use common::decoder::{Decoded, decode};
use common::publisher::{Further, Publisher, Setup};
use common::running::{Daemon, server};
use common::signal::Signal;
use common::viewer::{self, Viewer};
use common::{TestHub, page, within};
use rtc::rtp;
use rtcpub::hub::packet::{Entry, entry_point};
use serde_json::json;

const CHANNEL: &str = "c40hipepjh65aeq6ndj0";

const REAR: Further = Further { name: "rear", width: 320, height: 240 };
const ARM: Further = Further { name: "arm", width: 160, height: 120 };

const ONE: Setup = with(&[]);
const TWO: Setup = with(&[REAR]);
const THREE: Setup = with(&[REAR, ARM]);

/// A car with these pictures beside the main one of 640x360.
const fn with(further: &'static [Further]) -> Setup {
    Setup { trickle: common::peer::Trickle::None, lose_every: None, width: 640, height: 360, kbps: 400, further }
}

/// Waits until the hub has let it go.
async fn replaced(publisher: Publisher) {
    publisher.peer.gone().await;
    publisher.stop().await;
}

/// Long enough for the ball to move.
const LOOK: Duration = Duration::from_secs(1);

async fn join(hub: &TestHub, pictures: usize) -> Viewer {
    Viewer::join_with(hub, CHANNEL, viewer::Setup { pictures, ..Default::default() }).await
}

/// Looks at this track until there is nothing in it but pictures of this size, which move.
async fn sees(viewer: &mut Viewer, track: &str, (width, height): (u32, u32)) {
    let what = format!("moving pictures of {width}x{height} on {track}");
    let look = async {
        loop {
            let seen = look_at(viewer, track).await;
            let fits = |picture: &Decoded| (picture.width, picture.height) == (width, height);
            let moves = || seen[0].differs_from(&seen[seen.len() - 1]);
            if !seen.is_empty() && seen.iter().all(fits) && moves() {
                return;
            }
        }
    };
    within(&what, look).await;
}

/// The pictures of a while, from a key frame on.
async fn look_at(viewer: &mut Viewer, track: &str) -> Vec<Decoded> {
    const MOMENT: Duration = Duration::from_millis(100);
    // What nobody has read until now has gaps.
    viewer.packets_for(track, MOMENT).await;
    viewer.ask_for_key_frame_of(track).await;
    let mut packets = Vec::new();
    let starts = |packet: &rtp::Packet| entry_point(&packet.payload) == Some(Entry::ParameterSets);
    let start = loop {
        packets.extend(viewer.packets_for(track, MOMENT).await);
        if let Some(start) = packets.iter().position(starts) {
            break start;
        }
    };
    packets.extend(viewer.packets_for(track, LOOK).await);
    decode(&packets[start..])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_picture_reaches_the_viewer_as_a_track_of_its_own_with_its_name() {
    let hub = TestHub::start().await;
    let publisher = Publisher::start_with(&hub, CHANNEL, THREE).await;
    let mut viewer = join(&hub, 3).await;
    sees(&mut viewer, "camera", (640, 360)).await;
    sees(&mut viewer, "rear", (320, 240)).await;
    sees(&mut viewer, "arm", (160, 120)).await;
    assert_eq!(viewer.tracks().await, ["arm", "camera", "rear"]);
    let answer = viewer.peer.connection.remote_description().await.expect("an answer").sdp;
    for name in ["camera", "rear", "arm"] {
        assert!(answer.contains(&format!("a=msid:rtcpub {name}\r\n")), "{answer}");
    }
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_asks_for_one_picture_gets_the_main_one_and_no_other() {
    let hub = TestHub::start().await;
    let publisher = Publisher::start_with(&hub, CHANNEL, TWO).await;
    let mut viewer = join(&hub, 1).await;
    sees(&mut viewer, "camera", (640, 360)).await;
    assert_eq!(viewer.tracks().await, ["camera"]);
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_frame_is_asked_for_on_the_track_that_lacks_it_and_on_no_other() {
    let hub = TestHub::start().await;
    let publisher = Publisher::start_with(&hub, CHANNEL, TWO).await;
    let mut viewer = join(&hub, 2).await;
    sees(&mut viewer, "camera", (640, 360)).await;
    sees(&mut viewer, "rear", (320, 240)).await;
    let asked = || [&publisher.counts, &publisher.further[0]].map(|it| it.key_frame_requests.load(Ordering::Relaxed));
    let mut before = asked();
    for (place, track) in [(1, "rear"), (0, "camera"), (1, "rear")] {
        viewer.ask_for_key_frame_of(track).await;
        within("the request", async {
            while asked()[place] == before[place] {
                viewer.packets_for(track, Duration::from_millis(50)).await;
            }
        })
        .await;
        // Longer than a request is held back.
        viewer.packets_for(track, Duration::from_secs(1)).await;
        assert_eq!(asked()[1 - place], before[1 - place], "it was for {track}");
        before = asked();
    }
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_of_either_track_on_either_way_is_repeated() {
    let hub = TestHub::start().await;
    let publisher = Publisher::start_with(&hub, CHANNEL, Setup { lose_every: Some(20), ..TWO }).await;
    let setup = viewer::Setup { lose_every: Some(20), pictures: 2, ..Default::default() };
    let mut viewer = Viewer::join_with(&hub, CHANNEL, setup).await;
    viewer.complete_runs(["camera", "rear"], 300).await;
    let loss = &publisher.counts.loss;
    assert!(loss.lost.load(Ordering::Relaxed) >= 25 && loss.repeated.load(Ordering::Relaxed) >= 25);
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_with_another_number_of_pictures_takes_over_and_the_tracks_go_on() {
    let hub = TestHub::start().await;
    let first = Publisher::start_with(&hub, CHANNEL, TWO).await;
    let mut viewer = join(&hub, 2).await;
    sees(&mut viewer, "camera", (640, 360)).await;
    sees(&mut viewer, "rear", (320, 240)).await;

    let second = Publisher::start_with(&hub, CHANNEL, Setup { width: 480, height: 270, ..ONE }).await;
    replaced(first).await;
    told(&mut viewer, &json!(["camera"])).await;
    viewer.packets_for("rear", Duration::from_secs(1)).await;
    let rest = viewer.packets_for("rear", Duration::from_secs(1)).await;
    assert_eq!(rest.len(), 0, "nobody sends it");
    sees(&mut viewer, "camera", (480, 270)).await;

    let third = Publisher::start_with(&hub, CHANNEL, THREE).await;
    replaced(second).await;
    told(&mut viewer, &json!(["camera", "rear", "arm"])).await;
    sees(&mut viewer, "camera", (640, 360)).await;
    sees(&mut viewer, "rear", (320, 240)).await;
    viewer.ask_for_another_picture().await;
    sees(&mut viewer, "arm", (160, 120)).await;
    third.stop().await;
    hub.stop().await;
}

/// Waits until `joins` tells these pictures.
async fn told(viewer: &mut Viewer, pictures: &serde_json::Value) {
    let tells = async {
        loop {
            let company = viewer.signal.receive_of("joins").await.expect("the socket stays open");
            let company: serde_json::Value = serde_json::from_str(&company).expect("JSON");
            if company["pictures"] == *pictures {
                return;
            }
        }
    };
    within("the news of the pictures", tells).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_of_more_pictures_than_can_be_shown_is_refused() {
    let hub = TestHub::start().await;
    let path = format!("/live/ws/pub?channel={CHANNEL}");
    let mut signal = Signal::open(hub.secure, Some(hub.pin), &path, &[]).await.expect("the socket");
    let section = |place| {
        format!("m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:{place}\r\na=msid:rtcpub {place}\r\n")
    };
    let sections: String = (0..5).map(section).collect();
    signal.send("offer", &format!("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{sections}")).await;
    within("the goodbye", async { while signal.receive().await.is_some_and(|(kind, _)| kind != "close") {} }).await;
    hub.stop().await;
}

/// Waits until the page shows this many pictures, the large one of the first size and the last of the others of the
/// second; both move.
async fn page_shows(
    browser: &mut Chromium,
    page: &Page,
    count: usize,
    large: (u32, u32),
    small: impl Into<Option<(u32, u32)>>,
) {
    browser.wait_for(page, &format!("document.querySelectorAll('.picture').length === {count}")).await;
    let small = small.into().map(|size| (".picture:not(.main):last-child video", size));
    for (selector, (width, height)) in [Some((".picture.main video", large)), small].into_iter().flatten() {
        let video = format!("document.querySelector('{selector}')");
        let size = format!("{video}.videoWidth === {width} && {video}.videoHeight === {height}");
        browser.wait_for(page, &size).await;
        page::moves(browser, page, selector).await;
    }
    let fills = "document.querySelector('.picture.main video').getBoundingClientRect().width === innerWidth";
    assert_eq!(browser.evaluate(page, fills).await, true);
    page::says(browser, page, "Live").await;
}

const MAIN_SIZE: (u32, u32) = (640, 360);
const REAR_SIZE: (u32, u32) = (REAR.width, REAR.height);
const ARM_SIZE: (u32, u32) = (ARM.width, ARM.height);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_every_picture_and_a_click_or_a_key_makes_another_large() {
    let hub = TestHub::start().await;
    let publisher = Publisher::start_with(&hub, CHANNEL, TWO).await;
    let mut browser = Chromium::start().await;
    let page = page::open(&mut browser, &hub.page()).await;
    page_shows(&mut browser, &page, 2, MAIN_SIZE, REAR_SIZE).await;
    let button = "(({ innerText, ariaLabel }) => [innerText, ariaLabel])\
         (document.querySelector('.picture:not(.main) button'))";
    assert_eq!(browser.evaluate(&page, button).await, json!(["Rear", "Rear: show large"]));
    page::keep(&mut browser, &page, "two-pictures").await;

    browser.click(&page, ".picture:not(.main) button").await;
    let swapped = "document.querySelector('.picture.main video').videoWidth === 320";
    browser.wait_for(&page, swapped).await;
    page::moves(&mut browser, &page, ".picture.main video").await;
    page::moves(&mut browser, &page, ".picture:not(.main) video").await;
    assert_eq!(browser.evaluate(&page, button).await, json!(["Camera", "Camera: show large"]));
    page::keep(&mut browser, &page, "two-pictures-swapped").await;
    browser.key_down(&page, "KeyV").await;
    page_shows(&mut browser, &page, 2, MAIN_SIZE, REAR_SIZE).await;

    browser.become_phone(&page, 390, 844).await;
    browser.evaluate(&page, "location.reload()").await;
    page_shows(&mut browser, &page, 2, MAIN_SIZE, REAR_SIZE).await;
    page::keep(&mut browser, &page, "two-pictures-phone").await;
    let small = browser.middle_of(&page, ".picture:not(.main) button").await;
    browser.touch(&page, "touchStart", &[small]).await;
    browser.touch(&page, "touchEnd", &[]).await;
    browser.wait_for(&page, swapped).await;
    assert_eq!(browser.console, Vec::<String>::new(), "the page has nothing to complain of");
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_follows_a_car_whose_pictures_stop_come_back_and_become_fewer_or_more() {
    let hub = TestHub::start().await;
    let mut browser = Chromium::start().await;
    let page = page::open(&mut browser, &hub.page()).await;
    page::says(&mut browser, &page, "Waiting for a car").await;
    let first = Publisher::start_with(&hub, CHANNEL, TWO).await;
    page_shows(&mut browser, &page, 2, MAIN_SIZE, REAR_SIZE).await;
    first.freeze_picture(1);
    let says_still = "document.querySelector('.picture:not(.main) button').innerText.includes('No picture')";
    browser.wait_for(&page, says_still).await;
    page::says(&mut browser, &page, "Live").await;
    page::keep(&mut browser, &page, "small-picture-still").await;

    let second = Publisher::start_with(&hub, CHANNEL, TWO).await;
    replaced(first).await;
    browser.wait_for(&page, &format!("!{says_still}")).await;
    page_shows(&mut browser, &page, 2, MAIN_SIZE, REAR_SIZE).await;

    let third = Publisher::start_with(&hub, CHANNEL, ONE).await;
    replaced(second).await;
    page_shows(&mut browser, &page, 1, MAIN_SIZE, None).await;

    let fourth = Publisher::start_with(&hub, CHANNEL, THREE).await;
    replaced(third).await;
    page_shows(&mut browser, &page, 3, MAIN_SIZE, ARM_SIZE).await;
    page::keep(&mut browser, &page, "three-pictures").await;
    let peers = browser.evaluate(&page, "window.peers.length").await;
    assert_eq!(peers, 1, "on the connection it had");
    fourth.stop().await;
    hub.stop().await;
}

/// The second camera's pictures end after ten seconds; it is opened again then.
const TWO_CAMERAS: &str = r#"
[camera]
width = 640
height = 360

[[cameras]]
name = "rear"
kind = "pipeline"
pipeline = "videotestsrc is-live=true pattern=ball num-buffers=150 ! video/x-raw,width=320,height=240,framerate=15/1"
width = 320
height = 240
framerate = 15
bitrate_kbps = 200
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_with_two_cameras_is_seen_whole_and_the_one_that_ends_takes_nothing_with_it() {
    let hub = TestHub::start().await;
    let daemon = Daemon::start(&format!("{}{TWO_CAMERAS}", server(&hub)), &[]);
    daemon.logs("publishing", 0).await;
    let mut browser = Chromium::start().await;
    let page = page::open(&mut browser, &hub.page()).await;
    page_shows(&mut browser, &page, 2, MAIN_SIZE, REAR_SIZE).await;
    page::keep(&mut browser, &page, "two-cameras").await;

    let seen = daemon.logs("camera lost", 0).await;
    assert!(daemon.lines()[seen - 1].contains("rear"), "{:#?}", daemon.lines());
    page::moves(&mut browser, &page, ".picture.main video").await;
    page_shows(&mut browser, &page, 2, MAIN_SIZE, REAR_SIZE).await;
    assert_eq!(browser.evaluate(&page, "window.peers.length").await, 1, "on the connection it had");
    assert_eq!(daemon.status().await.session.sessions, 1, "the session has not noticed");
    assert_eq!(daemon.stop().await.0, Some(0));
    hub.stop().await;
}
