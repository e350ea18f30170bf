use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rtc::interceptor::AttributedPacket;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::NackPair;
use rtc::shared::TransportContext;

use super::*;

const MEDIA: u32 = 7;

struct World {
    tap: FeedbackTap,
    meter: Arc<LinkMeter>,
    asked: Arc<AtomicUsize>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let (meter, asked) = (Arc::new(LinkMeter::default()), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        let on_key_frame_request = Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let mut tap = FeedbackTap::new(on_key_frame_request, meter.clone(), LatencyTrace::default());
        tap.bind_local_stream(&StreamInfo { ssrc: MEDIA, clock_rate: 90_000, ..Default::default() });
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        Self { tap, meter, asked, now }
    }

    fn hear(&mut self, report: impl rtcp::Packet + 'static) {
        let message = AttributedPacket::new(Packet::Rtcp(vec![Box::new(report)]));
        let packet = TaggedPacket { now: self.now, transport: TransportContext::default(), message };
        self.tap.handle_read(packet).expect("it never fails");
        assert!(self.tap.poll_read().is_some(), "others act on it too");
    }

    fn misses(&mut self, sequences: impl IntoIterator<Item = u16>) {
        let nacks = sequences.into_iter().map(NackPair::new).collect();
        self.hear(TransportLayerNack { sender_ssrc: 1, media_ssrc: MEDIA, nacks });
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[test]
fn every_pli_and_fir_is_passed_on_at_once() {
    let mut world = World::new();
    for _ in 0..5 {
        world.hear(PictureLossIndication { sender_ssrc: 1, media_ssrc: MEDIA });
        world.hear(FullIntraRequest::default());
    }
    assert_eq!(world.asked(), 10);
}

#[test]
fn only_what_cannot_be_repaired_and_is_still_needed_leads_to_a_key_frame_and_seldom() {
    let mut world = World::new();
    world.meter.sent_sequence(2000);
    world.misses([2000 - SENT_PACKETS_KEPT + 1, 1500, 1990]);
    assert_eq!((world.asked(), world.meter.counters().packets_missed), (0, 3), "all of it is there still");
    for _ in 0..10 {
        world.misses([2000 - SENT_PACKETS_KEPT, 1]);
    }
    assert_eq!((world.asked(), world.meter.counters().repairs_impossible), (1, 20));
    world.now += Duration::from_secs(1);
    world.meter.key_frame_sent(1900);
    world.misses([1, 1300]);
    assert_eq!(world.asked(), 1, "since the key frame nobody needs them");
    world.misses([2500]);
    assert_eq!(world.asked(), 1, "nor what was never sent");
}

#[test]
fn a_packet_that_is_asked_for_again_and_again_is_missed_once() {
    let mut world = World::new();
    world.meter.sent_sequence(20);
    for _ in 0..5 {
        world.misses([65_534, 3, 4]);
        world.misses([4, 9]);
    }
    assert_eq!(world.meter.counters().packets_missed, 4);
}

#[test]
fn what_the_peer_says_of_its_link_reaches_the_meter() {
    let mut world = World::new();
    world.hear(ReceiverEstimatedMaximumBitrate { bitrate: 1_500_000.0, ..Default::default() });
    let block = rtcp::reception_report::ReceptionReport { ssrc: MEDIA, fraction_lost: 128, ..Default::default() };
    world.hear(ReceiverReport { reports: vec![block.clone()], ..Default::default() });
    let reading = world.meter.reading();
    assert_eq!(reading.remb.map(|remb| remb.value), Some(1.5e6));
    assert_eq!(reading.reception.map(|reception| reception.value.loss), Some(0.5));
    let quarter = rtcp::reception_report::ReceptionReport { fraction_lost: 64, ..block };
    world.hear(SenderReport { reports: vec![quarter], ..Default::default() });
    let loss = world.meter.reading().reception.map(|reception| reception.value.loss);
    assert_eq!(loss, Some(0.25), "a peer that sends too reports in its sender reports");
}
