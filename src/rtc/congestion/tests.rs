//! The whole control loop on virtual time, on links that change as links do.

use std::time::Duration;

use super::simulation::{Feedback, Sample, World, run};

const MEGABIT: f64 = 1e6;

fn seconds(at: Duration) -> f64 {
    at.as_secs_f64()
}

fn steady(_: Duration) -> f64 {
    3.0 * MEGABIT
}

fn slow(_: Duration) -> f64 {
    0.6 * MEGABIT
}

/// 3 Mbit/s, from 15 s to 35 s only 600 kbit/s.
fn step(at: Duration) -> f64 {
    if (15..35).contains(&at.as_secs()) { 0.6 * MEGABIT } else { 3.0 * MEGABIT }
}

/// Down from 3 Mbit/s to 600 kbit/s within 20 s and up again.
fn ramp(at: Duration) -> f64 {
    let at = seconds(at);
    let depth = (at.clamp(10.0, 30.0) - 10.0 - (at.clamp(30.0, 50.0) - 30.0)) / 20.0;
    (3.0 - 2.4 * depth) * MEGABIT
}

/// A moving receiver: slow swings, fast fading.
fn mobile(at: Duration) -> f64 {
    let at = seconds(at);
    (2.0 + (at * 0.9).sin() + 0.5 * (at * 5.3).sin() + 0.3 * (at * 17.0).sin()) * MEGABIT
}

/// A standstill of 2 s, then hardly anything for 13 s.
fn starving(at: Duration) -> f64 {
    match at.as_secs() {
        10..12 => 0.0,
        12..25 => 0.22 * MEGABIT,
        _ => 1.5 * MEGABIT,
    }
}

fn mean(samples: &[Sample], from: f64, until: f64, of: impl Fn(&Sample) -> f64) -> f64 {
    let chosen: Vec<f64> = samples.iter().filter(|sample| sample.at >= from && sample.at < until).map(of).collect();
    chosen.iter().sum::<f64>() / chosen.len() as f64
}

fn use_of_link(samples: &[Sample], from: f64, until: f64) -> f64 {
    mean(samples, from, until, |sample| sample.delivered_bps) / mean(samples, from, until, |sample| sample.link_bps)
}

fn longest_queue_ms(samples: &[Sample], from: f64, until: f64) -> f64 {
    let chosen = samples.iter().filter(|sample| sample.at >= from && sample.at < until);
    chosen.map(|sample| sample.queue_ms).fold(0.0, f64::max)
}

#[test]
fn a_link_that_falls_to_a_fifth_is_followed_within_the_promised_times() {
    let samples = run(&World::new(step, 55));
    assert!(use_of_link(&samples, 10.0, 15.0) >= 0.8, "3 Mbit/s are used before");

    let sending = |from: f64| mean(&samples, from, from + 0.5, |sample| sample.sent_bps);
    let below = (0..20).map(|tenth| 15.0 + f64::from(tenth) / 10.0).find(|from| sending(*from) <= 0.9 * 0.6 * MEGABIT);
    assert!(below.is_some(), "sending at most 90 % of the capacity within 2 s");
    let queue = longest_queue_ms(&samples, 18.0, 35.0);
    assert!(queue < 150.0, "queue below 150 ms from 3 s on: {queue}");
    let used = use_of_link(&samples, 20.0, 35.0);
    assert!(used >= 0.8, "steady use: {used}");

    let back = use_of_link(&samples, 44.0, 45.0);
    assert!(back >= 0.8, "10 s after the rise: {back}");
    // While a second of pictures stood in the link's queue, no more were added: they were seen meanwhile.
    let dropped: Vec<_> = samples.iter().filter(|sample| sample.dropped_pictures > 0).map(|sample| sample.at).collect();
    assert!(dropped.iter().all(|at| (15.5..17.5).contains(at)), "{dropped:?}");
}

#[test]
fn links_are_used_and_queues_stay_short() {
    // What, the world, least use and longest queue in ms once it has settled.
    let cases = [
        ("steady", World::new(steady, 60), 0.85, 150.0),
        ("slow", World::new(slow, 60), 0.8, 200.0),
        ("ramp", World::new(ramp, 60), 0.8, 200.0),
        ("mobile", World::new(mobile, 60), 0.4, 500.0),
        ("jitter of 30 ms", World { jitter: Duration::from_millis(30), ..World::new(slow, 60) }, 0.8, 200.0),
        ("jitter of 60 ms", World { jitter: Duration::from_millis(60), ..World::new(steady, 60) }, 0.7, 150.0),
        ("5 % loss", World { loss: 0.05, ..World::new(steady, 60) }, 0.8, 200.0),
        ("10 % loss", World { loss: 0.10, ..World::new(steady, 60) }, 0.75, 200.0),
        ("20 % loss", World { loss: 0.20, ..World::new(steady, 60) }, 0.6, 200.0),
        ("an encoder that makes 1.4 times", World { overshoot: 1.4, ..World::new(slow, 60) }, 0.8, 200.0),
        ("a queue of 50 ms", World { buffer: 20_000, ..World::new(steady, 60) }, 0.8, 60.0),
    ];
    for (what, world, least_use, longest_queue) in cases {
        let samples = run(&world);
        let used = use_of_link(&samples, 10.0, 60.0);
        let queue = longest_queue_ms(&samples, 10.0, 60.0);
        assert!(used >= least_use && queue <= longest_queue, "{what}: use {used:.2}, queue {queue:.0} ms");
    }
}

#[test]
fn a_standstill_ends_with_the_least_and_is_recovered_from() {
    let samples = run(&World::new(starving, 60));
    assert!(use_of_link(&samples, 40.0, 60.0) >= 0.8);
    assert!(longest_queue_ms(&samples, 30.0, 60.0) <= 300.0);
    // What was under way when the link stood still takes its time; nothing is added to it, and then pictures are fresh.
    assert!(longest_queue_ms(&samples, 18.5, 25.0) <= 200.0);
    let starved: Vec<_> = samples.iter().filter(|sample| sample.at >= 15.0 && sample.at < 25.0).collect();
    assert!(starved.iter().all(|sample| sample.target_kbps <= 240), "no more than there is");
    let last = starved.last().expect("ten seconds of it");
    assert!(last.framerate == 15 && last.width < 1280, "with fewer and smaller pictures");
}

/// Hardly a packet every fifth of a second: too few in the usual window to tell what the link carries.
#[test]
fn on_a_link_that_carries_next_to_nothing_pictures_are_left_out_until_the_queue_is_gone() {
    let falls_to: [fn(Duration) -> f64; 2] = [
        |at| if (10..30).contains(&at.as_secs()) { 60e3 } else { 1.5 * MEGABIT },
        |at| {
            if (10..30).contains(&at.as_secs()) { 40e3 } else { 1.5 * MEGABIT }
        },
    ];
    for rate in falls_to {
        let samples = run(&World { buffer: 1_500_000, max_kbps: 800, ..World::new(rate, 50) });
        let poor = || samples.iter().filter(|sample| sample.at >= 11.0 && sample.at < 30.0);
        assert!(poor().all(|sample| sample.target_kbps <= 240), "no more than the least, or nearly");
        assert!(poor().map(|sample| sample.dropped_pictures).sum::<u32>() > 100);
        // What was under way when the link fell takes its ten seconds.
        let queue = longest_queue_ms(&samples, 21.0, 30.0);
        assert!(queue <= 4000.0, "a queue that ends: {queue}");
        let fresh = longest_queue_ms(&samples, 31.0, 50.0);
        assert!(fresh <= 150.0, "pictures are fresh a second after: {fresh}");
        assert!(use_of_link(&samples, 40.0, 50.0) >= 0.5, "what the configuration allows");
    }
}

#[test]
fn an_encoder_that_counts_by_pictures_comes_back_from_half_of_them() {
    let dip = |at: Duration| if (15..35).contains(&at.as_secs()) { 0.4 * MEGABIT } else { 3.0 * MEGABIT };
    let samples = run(&World { counts_by_pictures: true, ..World::new(dip, 80) });
    let slowed = samples.iter().filter(|sample| sample.at >= 20.0 && sample.at < 35.0);
    assert!(slowed.clone().all(|sample| sample.framerate == 15), "the dip leaves pictures out");
    assert!(longest_queue_ms(&samples, 20.0, 35.0) <= 250.0);
    assert!(use_of_link(&samples, 65.0, 80.0) >= 0.8 && samples.last().expect("some").framerate == 30);
}

#[test]
fn a_longer_path_is_not_taken_for_a_queue() {
    let handover = |at: Duration| Duration::from_millis(if at.as_secs() < 20 { 25 } else { 95 });
    let samples = run(&World { delay: handover, ..World::new(steady, 60) });
    let settled = use_of_link(&samples, 35.0, 60.0);
    assert!(settled >= 0.8, "{settled}");
    assert!(samples.iter().filter(|sample| sample.at > 20.0).all(|sample| sample.target_kbps >= 300));
}

#[test]
fn a_camera_that_is_away_or_slow_is_not_taken_for_a_silent_link() {
    for away_ms in [1500, 3500, 10_000] {
        let camera_away = (Duration::from_secs(15), Duration::from_millis(15_000 + away_ms));
        let samples = run(&World { camera_away, ..World::new(steady, 40) });
        let back = camera_away.1.as_secs_f64();
        let after = use_of_link(&samples, back + 0.5, back + 3.0);
        assert!(after >= 0.75, "{away_ms} ms away: {after}");
        assert!(samples.iter().all(|sample| sample.at < 5.0 || (sample.framerate, sample.width) == (30, 1280)));
    }
    for camera_fps in [2, 3] {
        let samples = run(&World { camera_fps, ..World::new(steady, 60) });
        let least = samples.iter().filter(|sample| sample.at > 5.0).map(|sample| sample.target_kbps).min();
        assert!(least >= Some(700), "{camera_fps} pictures a second: {least:?}");
    }
}

#[test]
fn an_outage_of_the_link_is_followed_down_within_two_seconds() {
    let outage = |at: Duration| if (15..20).contains(&at.as_secs()) { 0.0 } else { 3.0 * MEGABIT };
    let samples = run(&World::new(outage, 30));
    let late = samples.iter().filter(|sample| sample.at >= 17.0 && sample.at < 20.0);
    assert!(late.clone().all(|sample| sample.target_kbps == 150));
}

#[test]
fn nothing_waits_in_the_pacer_longer_than_it_may_whatever_feedback_does() {
    let worlds = [
        World::new(step, 55),
        World::new(mobile, 60),
        World::new(starving, 60),
        World { feedback: Feedback::StopsAt(Duration::from_secs(10)), ..World::new(steady, 30) },
        World { feedback: Feedback::StopsAt(Duration::ZERO), ..World::new(steady, 30) },
        World { overshoot: 3.0, ..World::new(slow, 60) },
        World { overshoot: 10.0, feedback: Feedback::StopsAt(Duration::from_secs(2)), ..World::new(slow, 60) },
    ];
    for (number, world) in worlds.iter().enumerate() {
        let longest = run(world).iter().map(|sample| sample.pacer_ms).fold(0.0, f64::max);
        assert!(longest <= 101.0, "world {number}: {longest} ms");
    }
}

#[test]
fn a_peer_that_falls_silent_is_sent_less_and_never_more() {
    let stops = Feedback::StopsAt(Duration::from_secs(10));
    let samples = run(&World { feedback: stops, ..World::new(steady, 60) });
    let after: Vec<u32> = samples.iter().filter(|sample| sample.at > 10.5).map(|sample| sample.target_kbps).collect();
    assert!(after.is_sorted_by(|earlier, later| earlier >= later), "{after:?}");
    assert_eq!(after[20..].iter().max(), Some(&150), "two seconds later the least is sent");
}

#[test]
fn a_peer_that_never_says_anything_is_sent_the_start_rate() {
    let samples = run(&World { feedback: Feedback::Nothing, ..World::new(steady, 30) });
    assert!(samples.iter().all(|sample| (720..=760).contains(&sample.target_kbps) && sample.pacer_ms < 1.0));
}

#[test]
fn without_transport_wide_feedback_remb_and_reports_steer() {
    let remb = run(&World { feedback: Feedback::Remb(0.9), ..World::new(step, 55) });
    assert!(use_of_link(&remb, 20.0, 35.0) >= 0.8 && use_of_link(&remb, 45.0, 55.0) >= 0.8);
    assert!(longest_queue_ms(&remb, 20.0, 35.0) < 200.0);

    let reports = run(&World { feedback: Feedback::Reports, ..World::new(step, 60) });
    assert!(use_of_link(&reports, 25.0, 35.0) >= 0.7 && use_of_link(&reports, 50.0, 60.0) >= 0.8);
    assert!(longest_queue_ms(&reports, 25.0, 35.0) < 500.0);
}

#[test]
fn receiver_reports_use_a_distant_path_and_one_that_becomes_distant() {
    let distant = World { feedback: Feedback::Reports, delay: |_| Duration::from_millis(55), ..World::new(step, 60) };
    let samples = run(&distant);
    let used = use_of_link(&samples, 50.0, 60.0);
    assert!(used >= 0.8, "after one congestion: {used}");

    let handover = |at: Duration| Duration::from_millis(if at.as_secs() < 20 { 25 } else { 140 });
    let samples = run(&World { delay: handover, ..World { rate: steady, ..distant } });
    let used = use_of_link(&samples, 50.0, 60.0);
    assert!(used >= 0.8, "half a minute after the path became longer: {used}");
}

/// Why the crate's estimator is not used: on the same link, with the same controller and pacer.
#[test]
fn the_crates_own_estimator_leaves_seconds_of_queue_behind() {
    let theirs = run(&World { crate_gcc: true, ..World::new(step, 55) });
    let ours = run(&World::new(step, 55));
    assert!(longest_queue_ms(&theirs, 18.0, 35.0) > 10.0 * longest_queue_ms(&ours, 18.0, 35.0));
    assert!(use_of_link(&theirs, 44.0, 45.0) < 0.5 * use_of_link(&ours, 44.0, 45.0));
}
