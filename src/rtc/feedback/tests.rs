use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rtc::interceptor::AttributedPacket;
use rtc::rtcp::payload_feedbacks::full_intra_request::FirEntry;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::NackPair;
use rtc::shared::TransportContext;

use super::*;
use crate::rtc::stage;
use crate::rtc::streams::Stream;
use crate::video::rate::Reception;
use crate::video::trace::LatencyTrace;

const MEDIA: u32 = 7;
const REPAIRS: u32 = 8;
const FURTHER: u32 = 17;

struct World {
    tap: FeedbackTap,
    meter: Arc<LinkMeter>,
    /// For each picture.
    asked: Vec<Arc<AtomicUsize>>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self::of([MEDIA])
    }

    fn of<const N: usize>(media: [u32; N]) -> Self {
        let (meter, asked) = (Arc::new(LinkMeter::of(N)), media.map(|_| Arc::new(AtomicUsize::new(0))));
        let streams = media.iter().zip(&asked).map(|(ssrc, asked)| {
            let asked = asked.clone();
            let on_key_frame_request = Arc::new(move || {
                asked.fetch_add(1, Ordering::SeqCst);
            });
            Stream { ssrc: *ssrc, rtx: ssrc + 1, on_key_frame_request, trace: LatencyTrace::default() }
        });
        let streams = Streams::new(streams);
        let (mut tap, asked) = (FeedbackTap::new(streams, meter.clone()), asked.to_vec());
        for ssrc in media {
            tap.bind_local(&StreamInfo { ssrc, clock_rate: 90_000, ..Default::default() });
        }
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        Self { tap, meter, asked, now }
    }

    fn hear(&mut self, report: impl rtcp::Packet + 'static) {
        let message = AttributedPacket::new(Packet::Rtcp(vec![Box::new(report)]));
        let packet = TaggedPacket { now: self.now, transport: TransportContext::default(), message };
        assert_eq!(stage::read(&mut self.tap, packet).len(), 1, "others act on it too");
    }

    fn misses(&mut self, sequences: impl IntoIterator<Item = u16>) {
        let nacks = sequences.into_iter().map(NackPair::new).collect();
        self.hear(TransportLayerNack { sender_ssrc: 1, media_ssrc: MEDIA, nacks });
    }

    fn loses_picture(&mut self, media_ssrc: u32) {
        self.hear(PictureLossIndication { sender_ssrc: 1, media_ssrc });
    }

    fn reports(&mut self, reports: &[rtcp::reception_report::ReceptionReport]) -> Reception {
        self.hear(ReceiverReport { reports: reports.to_vec(), ..Default::default() });
        self.meter.reading().reception.expect("it was heard").value
    }

    fn asked(&self) -> usize {
        self.asked_each()[0]
    }

    fn asked_each(&self) -> Vec<usize> {
        self.asked.iter().map(|asked| asked.load(Ordering::SeqCst)).collect()
    }
}

#[test]
fn a_request_reaches_the_picture_that_it_names_and_one_that_names_none_reaches_all() {
    let fir = |ssrcs: &[u32]| FullIntraRequest {
        fir: ssrcs.iter().map(|ssrc| FirEntry { ssrc: *ssrc, sequence_number: 0 }).collect(),
        ..Default::default()
    };
    let mut world = World::of([MEDIA, FURTHER]);
    world.loses_picture(FURTHER);
    assert_eq!(world.asked_each(), [0, 1]);
    world.loses_picture(MEDIA);
    world.loses_picture(REPAIRS);
    assert_eq!(world.asked_each(), [2, 1], "the repairs are of the same picture");
    world.hear(fir(&[FURTHER]));
    assert_eq!(world.asked_each(), [2, 2]);
    world.hear(fir(&[MEDIA, FURTHER]));
    assert_eq!(world.asked_each(), [3, 3]);
    world.loses_picture(4711);
    world.hear(fir(&[]));
    assert_eq!(world.asked_each(), [5, 5]);
}

#[test]
fn what_cannot_be_repaired_of_one_picture_costs_the_others_no_key_frame() {
    let mut world = World::of([FURTHER, MEDIA]);
    world.meter.sent_sequence(0, 100);
    world.meter.sent_sequence(1, 2000);
    world.misses([1]);
    assert_eq!(world.asked_each(), [0, 1]);
    world.meter.key_frame_sent(0, 1900);
    world.now += Duration::from_secs(1);
    world.misses([2]);
    assert_eq!(world.asked_each(), [0, 2], "another picture's key frame mends nothing");
}

#[test]
fn the_reports_of_all_pictures_are_those_of_one_link() {
    let block = |ssrc, fraction_lost, last_sequence_number| rtcp::reception_report::ReceptionReport {
        ssrc,
        fraction_lost,
        last_sequence_number,
        ..Default::default()
    };
    let mut world = World::of([MEDIA, FURTHER]);
    world.reports(&[block(MEDIA, 0, 0), block(FURTHER, 0, 0)]);
    world.now += Duration::from_secs(1);
    world.reports(&[block(MEDIA, 0, 300)]);
    let reception = world.reports(&[block(FURTHER, 128, 100)]);
    assert_eq!(reception.loss, 0.125, "half of a quarter of the packets");
    world.now += Duration::from_secs(10);
    let reception = world.reports(&[block(FURTHER, 128, 200)]);
    assert_eq!(reception.loss, 0.5, "nothing is said of the other any more");
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
    world.meter.sent_sequence(0, 2000);
    world.misses([2000 - SENT_PACKETS_KEPT + 1, 1500, 1990]);
    assert_eq!((world.asked(), world.meter.counters().packets_missed), (0, 3), "all of it is there still");
    for _ in 0..10 {
        world.misses([2000 - SENT_PACKETS_KEPT, 1]);
    }
    assert_eq!((world.asked(), world.meter.counters().repairs_impossible), (1, 20));
    world.now += Duration::from_secs(1);
    world.meter.key_frame_sent(0, 1900);
    world.misses([1, 1300]);
    assert_eq!(world.asked(), 1, "since the key frame nobody needs them");
    world.misses([2500]);
    assert_eq!(world.asked(), 1, "nor what was never sent");
}

#[test]
fn a_packet_that_is_asked_for_again_and_again_is_missed_once() {
    let mut world = World::new();
    world.meter.sent_sequence(0, 20);
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
