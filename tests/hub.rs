//! The hub over real sockets: TLS, DTLS-SRTP, SCTP, and real H.264 from a publisher to viewers.

mod common;

use common::TestHub;
use common::publisher::Publisher;
use common::viewer::Viewer;

const CHANNEL: &str = "c40hipepjh65aeq6ndj0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_receives_the_picture_from_a_key_frame_on() {
    let hub = TestHub::start().await;
    let publisher = Publisher::start(&hub, CHANNEL).await;
    let mut viewer = Viewer::join(&hub, CHANNEL).await;
    let first = viewer.packet().await;
    println!("first packet after {:?}: {:?} {:x?}", viewer.asked.elapsed(), first.header, &first.payload[..8]);
    let mut last = first.header.sequence_number;
    for _ in 0..300 {
        let packet = viewer.packet().await;
        assert_eq!(packet.header.sequence_number, last.wrapping_add(1));
        last = packet.header.sequence_number;
    }
    viewer.leave().await;
    publisher.stop().await;
    hub.stop().await;
}
