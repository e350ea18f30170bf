//! What was measured: in words, as a time series, and, against issue 5's figures, as a table.

use std::fmt::Write as _;

use crate::lab::{Event, Measured, percentile};

/// A scenario in words.
pub(crate) fn print(measured: &Measured) {
    let (name, seconds) = (measured.scenario.name, measured.seconds());
    let pictures = measured.pictures(0.0, seconds);
    let (gap, gap_at) = measured.longest_gap(0.0, seconds);
    println!("\n## {name}");
    println!(
        "{} pictures in {seconds:.1} s = {:.2}/s, {} IDR ({} asked by decoder, {} requests in all); longest gap {gap:.0} ms at {gap_at:.1} s",
        pictures.len(),
        pictures.len() as f64 / seconds,
        pictures.iter().filter(|picture| picture.idr).count(),
        measured.far.key_frames_asked,
        measured.near.key_frames,
    );
    println!(
        "lateness {}; dropped on the link {}",
        spread(&measured.lateness_ms(0.0, seconds)),
        measured.queue.last().map_or(0, |queue| queue.dropped)
    );
    println!("commands from 2 s on {}", spread(&measured.control_ms(2.0, seconds)));
    if let Some((_, status)) = measured.near.link.last() {
        println!(
            "link {} rtt {:?} loss {:?} pair {:?} {:?}",
            status.basis.name(),
            status.round_trip,
            status.loss,
            status.pair.map(|pair| pair.to_string()),
            status.counters
        );
    }
    if let Some(recovery) = &measured.near.publish.last_recovery {
        println!("last recovery: {:?} from {:?}", recovery.took, recovery.cause);
    }
    for (from, until, kbps) in rates(measured) {
        println!(
            "from {from:.0} s {kbps:.0} kbit/s: use from 5 s on {:.0} %, queue {}",
            measured.offered_kbps(from + 5.0, until) / kbps * 100.0,
            spread(&measured.queue_ms(from + 5.0, until))
        );
    }
    series(measured);
}

fn spread(values: &[f64]) -> String {
    let at = |share| percentile(values, share);
    format!("p50 {:.1} p95 {:.1} p99 {:.1} max {:.0} ms", at(0.5), at(0.95), at(0.99), at(1.0))
}

/// Each rate of the link, from when to when.
fn rates(measured: &Measured) -> Vec<(f64, f64, f64)> {
    let rates: Vec<(f64, f64)> = measured
        .scenario
        .events
        .iter()
        .filter_map(|(at, event)| match event {
            Event::Rate(kbps) => Some((*at as f64, f64::from(*kbps))),
            _ => None,
        })
        .collect();
    let until = |index: usize| rates.get(index + 1).map_or(measured.seconds(), |next| next.0);
    rates.iter().enumerate().map(|(index, (from, kbps))| (*from, until(index), *kbps)).collect()
}

/// The figures of issue 5 beside what came out.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(String, String, String, bool)>,
    fast: Option<Vec<f64>>,
}

impl Table {
    pub(crate) fn add(&mut self, measured: &Measured) {
        let end = measured.seconds();
        match measured.scenario.name {
            "fast" => self.fast = Some(measured.lateness_ms(0.0, end)),
            "fast-plain" => self.add_plain(measured),
            "step" | "step-plain" => self.add_step(measured),
            "loss-5" | "loss-5-plain" => self.add_loss(measured, 29.0),
            "loss-10" | "loss-10-plain" => self.add_loss(measured, 27.0),
            "far-loss-5" | "far-loss-5-fec" | "far-loss-10" | "far-loss-10-fec" => self.add_far_loss(measured),
            "outage" | "outage-plain" => {
                let back = measured.picture_after(15.0).unwrap_or(f64::INFINITY);
                self.row(
                    measured,
                    "picture back after an outage of 5 s",
                    "<= 1 s",
                    back <= 1.0,
                    format!("{back:.2} s"),
                );
                let heard = measured.command_after(15.0).unwrap_or(f64::INFINITY);
                self.row(measured, "first command after it", "<= 1 s", heard <= 1.0, format!("{heard:.2} s"));
            }
            "address" => {
                let (gap, _) = measured.longest_gap(9.0, end);
                let text = format!("{:.2} s", gap / 1e3);
                self.row(measured, "longest gap at a change of address", "<= 2 s", gap <= 2000.0, text);
            }
            _ => {}
        }
        let commands = measured.control_ms(2.0, end);
        let (p99, most) = (percentile(&commands, 0.99), percentile(&commands, 1.0));
        let lossy = measured.scenario.events.iter().any(|(_, event)| matches!(event, Event::Loss(_) | Event::Outage));
        if !lossy {
            self.row(measured, "commands to the car p99, max", "-", true, format!("{p99:.1}, {most:.1} ms"));
        }
    }

    fn add_plain(&mut self, measured: &Measured) {
        let plain = measured.lateness_ms(0.0, measured.seconds());
        let Some(fast) = &self.fast else { return };
        let both = |share| (percentile(&plain, share), percentile(fast, share));
        let ((p50, with_50), (p95, with_95)) = (both(0.5), both(0.95));
        let text = format!("p50 {p50:.1} / {with_50:.1}, p95 {p95:.1} / {with_95:.1} ms");
        self.row(measured, "lateness without / with transport-cc", "same", p50 <= with_50 * 1.5 + 2.0, text);
    }

    fn add_step(&mut self, measured: &Measured) {
        let tenths = |from: f64, length: u32| (0..length).map(move |tenth| from + f64::from(tenth) / 10.0);
        let below = tenths(15.0, 200).find(|at| measured.offered_kbps(*at, at + 0.5) <= 0.9 * 600.0);
        let below = below.map_or(f64::INFINITY, |at| at - 15.0);
        self.row(measured, "sending <= 90 % after the drop", "<= 2 s", below <= 2.0, format!("{below:.1} s"));
        let mut long =
            tenths(15.0, 150).filter(|at| measured.queue_ms(*at, at + 0.15).iter().any(|queue| *queue > 150.0));
        let drained = long.next_back().map_or(0.0, |at| at - 15.0);
        self.row(measured, "queue > 150 ms for the last time", "<= 3 s", drained <= 3.0, format!("{drained:.1} s"));
        let (gap, _) = measured.longest_gap(14.0, measured.seconds());
        self.row(measured, "longest freeze", "<= 500 ms", gap <= 500.0, format!("{gap:.0} ms"));
        let used = measured.offered_kbps(20.0, 35.0) / 600.0 * 100.0;
        self.row(measured, "steady use", ">= 80 %", used >= 80.0, format!("{used:.0} %"));
        let up = tenths(35.0, 140).find(|at| measured.offered_kbps(*at, at + 1.0) >= 0.8 * 3000.0);
        let up = up.map_or(f64::INFINITY, |at| at - 35.0);
        self.row(measured, "80 % used after the rise", "<= 10 s", up <= 10.0, format!("{up:.1} s"));
    }

    fn add_loss(&mut self, measured: &Measured, least: f64) {
        let rate = measured.pictures(1.0, measured.seconds()).len() as f64 / (measured.seconds() - 1.0);
        self.row(measured, "pictures a second", &format!(">= {least:.0}"), rate >= least, format!("{rate:.1}"));
    }

    /// From 6 s on: by then the loss is known.
    fn add_far_loss(&mut self, measured: &Measured) {
        let (from, until) = (6.0, measured.seconds());
        let late = measured.lateness_ms(from, until);
        let each_second = |count: usize| count as f64 / (until - from);
        let in_time = late.iter().filter(|late| **late <= 100.0).count();
        let text = format!(
            "{:.1}, {:.1} of them within 100 ms of the most punctual; p50 {:.0}, p95 {:.0} ms late",
            each_second(late.len()),
            each_second(in_time),
            percentile(&late, 0.5),
            percentile(&late, 0.95),
        );
        self.row(measured, "pictures a second, over 200 ms", "-", true, text);
    }

    fn row(&mut self, measured: &Measured, what: &str, figure: &str, holds: bool, value: String) {
        let what = format!("{}: {what}", measured.scenario.name);
        self.rows.push((what, figure.to_owned(), value, holds));
    }

    pub(crate) fn print(&self) {
        println!("\n| what | figure | measured | |\n|---|---|---|---|");
        for (what, figure, value, holds) in &self.rows {
            println!("| {what} | {figure} | {value} | {} |", if *holds { "" } else { "MISSED" });
        }
    }
}

fn series(measured: &Measured) {
    let mut text =
        String::from("at_s,link_kbps,offered_kbps,queue_ms,target_kbps,fps,pictures,late_ms,basis,loss,rtt_ms\n");
    for tenth in 0..(measured.seconds() * 5.0) as u32 {
        let (from, until) = (f64::from(tenth) / 5.0, f64::from(tenth + 1) / 5.0);
        let at = measured.start + std::time::Duration::from_secs_f64(until);
        let target = measured.near.targets.iter().rev().find(|(then, _)| *then <= at).map(|(_, targets)| *targets);
        let status = measured.near.link.iter().rev().find(|(then, _)| *then <= at).map(|(_, status)| status);
        let _ = writeln!(
            text,
            "{until:.1},{:.0},{:.0},{:.0},{},{},{},{:.0},{},{:.2},{:.0}",
            measured.rate_kbps(from),
            measured.offered_kbps(from - 0.1, until + 0.1),
            percentile(&measured.queue_ms(from, until), 1.0),
            target.map_or(0, |targets| targets.bitrate.kbps()),
            target.map_or(0, |targets| targets.rung.framerate.per_second()),
            measured.pictures(from, until).len(),
            percentile(&measured.lateness_ms(from, until), 1.0),
            status.map_or("", |status| status.basis.name()),
            status.and_then(|status| status.loss).unwrap_or(f64::NAN),
            status.and_then(|status| status.round_trip).map_or(f64::NAN, |trip| trip.as_secs_f64() * 1e3),
        );
    }
    std::fs::create_dir_all("target/link").expect("a directory");
    std::fs::write(format!("target/link/{}.csv", measured.scenario.name), text).expect("it is written");
}
