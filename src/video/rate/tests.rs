//! The controller on virtual time. How it does on links is in `rtc::congestion`'s tests.

use proptest::prelude::*;

use super::*;

const TICK: Duration = Duration::from_millis(100);

fn kbps(kbps: u32) -> Bitrate {
    Bitrate::from_kbps(kbps).expect("a valid rate")
}

fn fps(per_second: u32) -> Framerate {
    Framerate::new(per_second).expect("a valid rate")
}

/// Rates at the start, at the least and at the most; a full picture of 640x480 needs 276 kbit/s.
fn config(start: u32, min: u32, max: u32) -> RateConfig {
    let rates = RateConfig::new(kbps(start), kbps(min), kbps(max)).expect("in order");
    rates.with_floor(0.03, RateConfig::SLOWEST)
}

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn origin() -> Instant {
    Instant::now() + Duration::from_secs(100)
}

/// 800 kbit/s at the start, 200 … 3000; 640x480 at 30 frames a second, so that the full picture needs 276 kbit/s.
struct World {
    controller: RateController,
    link: LinkReading,
    now: Instant,
    targets: Option<Targets>,
    /// What the encoder makes of the rate it is asked for.
    makes: f64,
}

impl World {
    fn new(steering: Steering) -> Self {
        Self::with(config(800, 200, 3000), steering)
    }

    fn with(config: RateConfig, steering: Steering) -> Self {
        let now = origin();
        let size = Size::new(640, 480).expect("a valid size");
        let controller = RateController::new(config, steering, size, fps(30), now);
        let link = LinkReading { unanswered: Some(now), ..LinkReading::default() };
        Self { controller, link, now, targets: None, makes: 1.0 }
    }

    fn adaptable() -> Self {
        Self::new(Steering::ANY)
    }

    /// Runs so long, with something said of the link before each tick.
    fn run(&mut self, time: Duration, mut say: impl FnMut(&mut LinkReading, Instant)) -> Targets {
        let end = self.now + time;
        let mut targets = self.controller.tick(&self.link, self.now);
        while self.now < end {
            self.now += TICK;
            let made = f64::from(targets.bitrate.bps()) * self.makes * TICK.as_secs_f64() / 8.0;
            self.link.encoded_bytes += made as u64;
            say(&mut self.link, self.now);
            targets = self.controller.tick(&self.link, self.now);
        }
        self.targets = Some(targets);
        targets
    }

    /// Runs with a transport-wide estimate of so many kbit/s.
    fn estimated(&mut self, seconds: u64, kbps: f64) -> Targets {
        self.run(Duration::from_secs(seconds), |link, now| {
            link.transport_cc = true;
            link.estimate = Some(Heard { value: kbps * 1e3, at: now });
        })
    }

    /// Hears a receiver report a second for so long.
    fn reported(&mut self, seconds: u64, loss: f64, round_trip_ms: u64) -> Targets {
        let mut ticks = 0;
        self.run(Duration::from_secs(seconds), |link, now| {
            ticks += 1;
            if ticks % 10 == 0 {
                let round_trip = Some(Duration::from_millis(round_trip_ms));
                let reception = Reception { loss, round_trip, ..Reception::default() };
                link.reception = Some(Heard { value: reception, at: now });
            }
        })
    }
}

#[test]
fn a_peer_that_never_says_anything_keeps_the_start_rate_and_is_not_paced() {
    let mut world = World::adaptable();
    let targets = world.run(Duration::from_secs(60), |_, _| {});
    assert_eq!((targets.bitrate, targets.pacing_bps), (kbps(760), None), "headers are paid for");
    assert_eq!(world.controller.basis(), Basis::Nothing);
}

#[test]
fn an_estimate_is_followed_down_at_once_and_up_in_steps() {
    let mut world = World::adaptable();
    assert_eq!(world.estimated(2, 2000.0).bitrate, kbps(1900));
    let lowered = world.run(TICK, |link, now| link.estimate = Some(Heard { value: 500e3, at: now }));
    assert_eq!(lowered.bitrate, kbps(475));
    assert_eq!(lowered.pacing_bps, Some(1_250_000), "an ordinary picture must leave at once");
    assert_eq!(world.controller.basis(), Basis::TransportCc);
}

#[test]
fn an_estimate_that_wobbles_leaves_the_encoder_alone() {
    let mut world = World::adaptable();
    world.estimated(5, 1000.0);
    let (mut changes, mut wobble) = (0, 0);
    for _ in 0..100 {
        let before = world.targets.map(|targets| targets.bitrate);
        wobble = (wobble + 7) % 11;
        let after = world.run(TICK, |link, now| {
            link.estimate = Some(Heard { value: 1000e3 + f64::from(wobble) * 1e3, at: now });
        });
        changes += usize::from(before != Some(after.bitrate));
    }
    assert_eq!(changes, 0);
}

#[test]
fn the_rate_stays_within_its_limits_whatever_the_estimate() {
    let mut world = World::adaptable();
    assert_eq!(world.estimated(5, 50_000.0).bitrate, kbps(2850));
    assert_eq!(world.estimated(5, 1.0).bitrate, kbps(200));
    world.estimated(5, 2000.0);
    let none = world.estimated(5, f64::NAN);
    assert_eq!((none.bitrate, none.pacing_bps), (kbps(200), Some(500_000)), "no number is no rate");
}

#[test]
fn an_encoder_gets_only_rates_it_takes() {
    let mut world = World::new(Steering::Adaptable { step_kbps: 25, resizes: true });
    for estimate in [333.0, 777.0, 1234.0, 2999.0] {
        let asked = world.estimated(3, estimate).bitrate.kbps();
        assert!(asked.is_multiple_of(25) && f64::from(asked) <= estimate, "{asked} of {estimate}");
    }
}

#[test]
fn a_passthrough_is_left_as_it_is_and_says_so() {
    let mut world = World::new(Steering::Passthrough);
    let before = world.estimated(1, 2000.0);
    let after = world.estimated(20, 250.0);
    assert_eq!((after.bitrate, after.rung), (before.bitrate, before.rung));
    assert_eq!(after.pacing_bps, None, "what cannot be slowed down must not be held back");
    assert!(!world.controller.is_adaptable());
}

#[test]
fn receiver_reports_steer_a_peer_without_estimates() {
    // Loss, round trip, and what becomes of the rate in so many seconds.
    let cases = [
        ("clean and near", 0.0, 20, 4, 800.0 * 1.2_f64.powi(3)),
        ("clean and far", 0.0, 150, 4, 800.0 * 1.2_f64.powi(3)),
        ("some loss", 0.03, 20, 4, 800.0),
        ("high loss", 0.06, 20, 4, 800.0 * 0.8_f64.powi(3)),
        ("at most", 0.0, 20, 60, 3000.0),
        ("at least", 0.5, 20, 60, 200.0),
    ];
    for (what, loss, round_trip_ms, seconds, expected) in cases {
        let mut world = World::adaptable();
        // The first report finds the start rate too new to be judged.
        world.reported(1, 0.03, round_trip_ms);
        world.reported(seconds - 1, loss, round_trip_ms);
        assert!(
            (world.controller.budget_bps() / 1e3 - expected).abs() < 1.0,
            "{what}: {}",
            world.controller.budget_bps()
        );
        assert_eq!(world.controller.basis(), Basis::Reports, "{what}");
    }
}

#[test]
fn a_queue_without_loss_lowers_the_rate_to_what_arrives() {
    let mut world = World::adaptable();
    world.reported(3, 0.02, 30);
    world.run(Duration::from_secs(2), |link, now| {
        let reception = Reception {
            round_trip: Some(Duration::from_millis(900)),
            arriving_bps: Some(400e3),
            ..Reception::default()
        };
        link.reception = Some(Heard { value: reception, at: now });
    });
    assert!(world.controller.budget_bps() <= 360e3, "{}", world.controller.budget_bps());
}

#[test]
fn a_round_trip_that_stays_longer_is_the_path_and_no_queue() {
    let mut world = World::adaptable();
    world.reported(3, 0.0, 50);
    world.reported(8, 0.0, 280);
    assert!(world.controller.budget_bps() < 400e3, "what is a queue must first be taken for one");
    world.reported(40, 0.0, 280);
    assert_eq!(world.controller.budget_bps(), 3000e3);
    world.reported(8, 0.0, 360);
    assert_eq!(world.controller.budget_bps(), 3000e3, "neither a queue nor none");
}

#[test]
fn heavy_loss_is_followed_down_faster_but_an_outage_only_halves() {
    for (loss, expected) in [(0.1, 640.0), (0.35, 520.0), (1.0, 400.0)] {
        let mut world = World::adaptable();
        world.reported(1, 0.03, 20);
        world.reported(1, loss, 20);
        assert_eq!((world.controller.budget_bps() / 1e3).round(), expected, "{loss}");
    }
}

#[test]
fn nothing_grows_that_the_encoder_does_not_use() {
    let mut world = World::adaptable();
    world.makes = 0.3;
    world.reported(30, 0.0, 20);
    assert!(world.controller.budget_bps() <= 800e3, "{}", world.controller.budget_bps());
}

#[test]
fn remb_is_taken_at_its_word_and_caps_an_estimate() {
    let mut world = World::adaptable();
    let remb = |link: &mut LinkReading, now| link.remb = Some(Heard { value: 1200e3, at: now });
    world.run(Duration::from_secs(3), remb);
    assert_eq!((world.controller.basis(), world.controller.budget_bps()), (Basis::Remb, 1200e3));
    world.run(Duration::from_secs(3), |link, now| {
        remb(link, now);
        link.estimate = Some(Heard { value: 2500e3, at: now });
    });
    assert_eq!((world.controller.basis(), world.controller.budget_bps()), (Basis::TransportCc, 1200e3));
}

#[test]
fn feedback_that_stops_is_followed_down_then_replaced_by_what_is_left() {
    let mut world = World::adaptable();
    world.estimated(5, 2000.0);
    let mut before = world.controller.budget_bps();
    for _ in 0..20 {
        world.run(TICK, |_, _| {});
        let after = world.controller.budget_bps();
        assert!(after <= before, "silence never raises");
        before = after;
    }
    assert_eq!(world.controller.budget_bps(), 200e3, "in two seconds at the least");
    world.run(Duration::from_secs(60), |_, _| {});
    assert_eq!((world.controller.basis(), world.controller.budget_bps()), (Basis::Silence, 200e3));
    world.reported(20, 0.0, 20);
    assert_eq!(world.controller.basis(), Basis::Reports, "receiver reports go on");
    assert!(world.controller.budget_bps() > 1000e3);
}

#[test]
fn an_estimate_does_not_age_while_nothing_is_sent_that_would_be_answered() {
    let mut world = World::adaptable();
    world.estimated(5, 2000.0);
    world.link.unanswered = None;
    world.run(Duration::from_secs(60), |_, _| {});
    assert_eq!((world.controller.basis(), world.controller.budget_bps()), (Basis::TransportCc, 2000e3));
    world.link.unanswered = Some(world.now);
    world.run(Duration::from_millis(300), |_, _| {});
    assert_eq!(world.controller.budget_bps(), 2000e3, "the answer is not late");
    world.run(Duration::from_secs(2), |_, _| {});
    assert_eq!(world.controller.budget_bps(), 200e3, "it does not come");

    world.estimated(5, 2000.0);
    world.link.unanswered = None;
    world.run(Duration::from_secs(4), |link, _| link.transport_cc = false);
    assert_eq!(world.controller.basis(), Basis::Silence, "none is agreed upon any more");
}

#[test]
fn repairs_are_paid_for_by_the_pictures_up_to_half_of_the_budget() {
    let repaired = |bps: u64| {
        let mut world = World::adaptable();
        world.run(Duration::from_secs(10), |link, now| {
            link.estimate = Some(Heard { value: 1000e3, at: now });
            link.repair_bytes += bps / 80;
        })
    };
    assert_eq!(repaired(0).bitrate, kbps(950));
    let with_repairs = repaired(200_000).bitrate.kbps();
    assert!((745..=776).contains(&with_repairs), "{with_repairs}");
    let flooded = repaired(5_000_000).bitrate.kbps();
    assert!((465..=475).contains(&flooded), "{flooded}");
}

#[test]
fn an_encoder_that_makes_too_much_is_asked_for_less() {
    for makes in [1.2, 1.5, 1.9] {
        let mut world = World::adaptable();
        world.makes = makes;
        let asked = world.estimated(10, 1000.0).bitrate;
        let made = f64::from(asked.kbps()) * makes;
        assert!((850.0..=1000.0).contains(&made), "{makes}: asked for {asked}, made {made}");
        world.makes = 1.0;
        assert!(world.estimated(40, 1000.0).bitrate >= kbps(900), "{makes}: and it is forgiven");
    }
}

#[test]
fn an_encoder_that_makes_half_of_half_the_pictures_is_asked_for_more_but_never_for_long_too_much() {
    let mut world = World::with(config(800, 50, 3000), Steering::ANY);
    assert_eq!(world.estimated(5, 200.0).rung.framerate, fps(15));
    assert_eq!(world.estimated(10, 200.0).bitrate, kbps(190), "one that makes what it is asked for");
    world.makes = 0.5;
    let asked = world.estimated(12, 200.0).bitrate.kbps();
    assert!((300..=380).contains(&asked), "{asked}");
    world.makes = 1.0;
    assert!(world.estimated(2, 200.0).bitrate <= kbps(200), "it had had an easy scene");
    world.makes = 0.5;
    world.estimated(12, 200.0);
    world.makes = 0.0;
    let before = world.targets.map(|targets| targets.bitrate);
    assert_eq!(Some(world.estimated(5, 200.0).bitrate), before, "without pictures nothing is learned");
    world.makes = 1.0;
    assert_eq!(world.estimated(6, 600.0).rung.framerate, fps(30));
    assert!(world.estimated(1, 600.0).bitrate <= kbps(570), "with all pictures again never more than is wanted");
}

#[test]
fn too_few_bits_first_slow_the_pictures_then_shrink_them_and_come_back_with_patience() {
    let config = config(800, 50, 3000);
    let mut world = World::with(config, Steering::ANY);
    let rung = |targets: Targets| (targets.rung.framerate.per_second(), targets.rung.scale);
    assert_eq!(rung(world.estimated(5, 300.0)), (30, Scale::Full));
    assert_eq!(
        rung(world.run(Duration::from_millis(400), |link, now| {
            link.estimate = Some(Heard { value: 200e3, at: now });
        })),
        (30, Scale::Full),
        "a moment is not enough"
    );
    assert_eq!(rung(world.estimated(5, 200.0)), (15, Scale::Full));
    assert_eq!(rung(world.estimated(1, 90.0)), (15, Scale::Full), "a size costs a key frame: patience");
    assert_eq!(rung(world.estimated(4, 90.0)), (15, Scale::ThreeQuarters));
    assert_eq!(rung(world.estimated(4, 55.0)), (15, Scale::Half));
    // 138 kbit/s are needed for the full size at 15 a second; a third more to dare it.
    assert_eq!(rung(world.estimated(2, 300.0)), (15, Scale::Half));
    assert_eq!(rung(world.estimated(2, 300.0)), (15, Scale::ThreeQuarters));
    assert_eq!(rung(world.estimated(4, 300.0)), (15, Scale::Full));
    assert_eq!(rung(world.estimated(30, 300.0)), (15, Scale::Full), "not a third more than 30 a second need");
    assert_eq!(rung(world.estimated(4, 400.0)), (30, Scale::Full));
}

#[test]
fn a_link_between_two_rungs_does_not_flap() {
    let mut world = World::adaptable();
    let (mut changes, mut before) = (0, None);
    for half_minute in 0..20 {
        let estimate = if half_minute % 2 == 0 { 380.0 } else { 250.0 };
        let after = world.estimated(6, estimate).rung;
        changes += usize::from(before.replace(after).is_some_and(|before| before != after));
    }
    assert!(changes <= 9, "{changes} changes in two minutes");
}

#[test]
fn a_large_picture_at_a_low_rate_is_what_was_asked_for_and_is_come_back_to() {
    let mut world = World::with(config(250, 150, 250), Steering::ANY);
    let full = Rung { framerate: fps(30), scale: Scale::Full };
    assert_eq!(world.estimated(10, 250.0).rung, full, "0.03 bits a pixel would take 276 kbit/s");
    assert_ne!(world.estimated(10, 150.0).rung, full);
    assert_eq!(world.estimated(40, 250.0).rung, full);
}

#[test]
fn an_encoder_that_cannot_resize_makes_only_fewer_pictures() {
    let steering = Steering::Adaptable { step_kbps: 1, resizes: false };
    let mut world = World::with(config(800, 50, 3000), steering);
    let slowest = world.estimated(10, 60.0).rung;
    assert_eq!(slowest, Rung { framerate: fps(10), scale: Scale::Full });
    world.controller.set_steering(Steering::ANY);
    assert_eq!(world.estimated(10, 60.0).rung.scale, Scale::Half, "another encoder has taken its place");
}

#[test]
fn no_floor_means_no_steps() {
    let config = config(800, 50, 3000).with_floor(0.0, fps(10));
    let mut world = World::with(config, Steering::ANY);
    assert_eq!(world.estimated(30, 50.0).rung, Rung { framerate: fps(30), scale: Scale::Full });
}

#[test]
fn a_slow_camera_is_not_made_slower_than_the_slowest() {
    let config = config(800, 50, 3000).with_floor(0.03, fps(20));
    let now = origin();
    for (full, expected) in [(10, 10), (30, 20), (60, 20)] {
        let size = Size::new(1280, 720).expect("a valid size");
        let mut controller = RateController::new(config, Steering::ANY, size, fps(full), now);
        let link = |now| LinkReading { estimate: Some(Heard { value: 50e3, at: now }), ..LinkReading::default() };
        let ticks = (1..100).map(|tick| now + TICK * tick);
        let last = ticks.map(|now| controller.tick(&link(now), now)).last().expect("ticks");
        assert_eq!(last.rung, Rung { framerate: fps(expected), scale: Scale::Half }, "of {full}");
    }
}

proptest! {
    #[test]
    fn whatever_is_said_the_targets_are_possible(said in prop::collection::vec((0_u8..5, any::<f64>(), 0_u64..5000), 1..200)) {
        let mut world = World::adaptable();
        for (kind, value, millis) in said {
            let targets = world.run(Duration::from_millis(millis.min(300)), |link, now| {
                let reception = Reception {
                    loss: value,
                    round_trip: Some(Duration::from_millis(millis)),
                    arriving_bps: Some(value),
                    ..Reception::default()
                };
                match kind {
                    0 => link.estimate = Some(Heard { value, at: now }),
                    1 => link.remb = Some(Heard { value, at: now }),
                    2 => link.reception = Some(Heard { value: reception, at: now }),
                    3 => link.repair_bytes += millis,
                    _ => link.transport_cc ^= true,
                }
            });
            let most = 3000 * 30 / targets.rung.framerate.per_second();
            prop_assert!((kbps(200)..=kbps(most)).contains(&targets.bitrate), "{targets:?}");
            prop_assert!(targets.pacing_bps.is_none_or(|pace| pace >= 400_000), "{targets:?}");
        }
    }
}

/// A picture of 400 kbit/s beside the first.
fn beside(steering: Steering) -> World {
    let mut world = World::adaptable();
    let size = Size::new(320, 240).expect("a valid size");
    let picture = FurtherPicture { bitrate: kbps(400), steering, size, framerate: fps(30) };
    world.controller = world.controller.beside([picture], world.now);
    world
}

/// What both are asked for under an estimate of so many kbit/s, after so long with the further one coming or not.
fn both(world: &mut World, seconds: u64, estimate_kbps: f64, comes: bool) -> (u32, u32, Option<u64>) {
    let targets = world.run(Duration::from_secs(seconds), |link, now| {
        link.transport_cc = true;
        link.estimate = Some(Heard { value: estimate_kbps * 1e3, at: now });
        link.further_bytes[0] += u64::from(comes) * 500;
    });
    let further = world.controller.further().next().expect("there is one");
    (targets.bitrate.kbps(), further.bitrate.kbps(), targets.pacing_bps)
}

#[test]
fn two_pictures_share_one_budget_and_one_pace() {
    let mut world = beside(Steering::ANY);
    assert_eq!(world.controller.whole(), config(800, 200, 3000).beside([kbps(400)]));
    assert_eq!(both(&mut world, 3, 1200.0, true), (760, 380, Some(3_000_000)), "what both are configured to take");
    assert_eq!(both(&mut world, 3, 900.0, true), (570, 285, Some(2_250_000)), "in proportion");
    assert_eq!(both(&mut world, 3, 500.0, true), (380, 95, Some(1_250_000)), "the first one keeps its half");
    assert_eq!(both(&mut world, 10, 2000.0, true), (1520, 380, Some(5_000_000)), "what is left is the first one's");
}

#[test]
fn a_picture_that_does_not_come_leaves_the_link_to_the_others_until_it_is_back() {
    let mut world = beside(Steering::ANY);
    assert_eq!(both(&mut world, 3, 900.0, true).0, 570);
    assert_eq!(both(&mut world, 10, 900.0, false).0, 855);
    assert_eq!(both(&mut world, 3, 900.0, true).0, 570);
}

#[test]
fn nothing_is_paced_beside_a_picture_that_cannot_follow() {
    let mut world = beside(Steering::Passthrough);
    assert_eq!(both(&mut world, 3, 900.0, true), (570, 400, None));
}
