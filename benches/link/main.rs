//! Measures issue 5's figures: the scenarios of `tests/link/lab`, longer. About five minutes; as root.
//!
//! `cargo bench --profile dev --bench link [-- SCENARIO … connecting]`; time series go to `target/link/SCENARIO.csv`.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures, and prints what it measured")]

#[path = "../../tests/link/lab/connecting.rs"]
mod connecting;
#[path = "../../tests/far/mod.rs"]
mod far;
mod handshake;
#[path = "../../tests/link/lab/mod.rs"]
mod lab;
mod report;
#[path = "../../tests/spider/mod.rs"]
mod spider;

use std::time::Duration;

use lab::{Agrees, Event, Scenario, measure};

const STEP: &[(u64, Event)] = &[(0, Event::Rate(3000)), (15, Event::Rate(600)), (35, Event::Rate(3000))];
const OUTAGE: &[(u64, Event)] = &[(0, Event::Rate(3000)), (10, Event::Outage), (15, Event::OutageOver)];
const ADDRESS: &[(u64, Event)] = &[(0, Event::Rate(3000)), (10, Event::NewAddress)];
const MODEM: &[(u64, Event)] = &[(0, Event::Rate(50_000)), (8, Event::OwnRate(600))];
const FAST: &[(u64, Event)] = &[(0, Event::Rate(50_000))];
const LOSS_2: &[(u64, Event)] = &lossy(2);
const LOSS_5: &[(u64, Event)] = &lossy(5);
const LOSS_10: &[(u64, Event)] = &lossy(10);

const fn lossy(percent: u32) -> [(u64, Event); 2] {
    [(0, Event::Rate(3000)), (0, Event::Loss(percent))]
}

/// To another continent and back.
const FAR: Duration = Duration::from_millis(200);

const SCENARIOS: &[Scenario] = &[
    Scenario::new("fast", Agrees::ToTransportCc, 1500, 12, FAST),
    Scenario::new("fast-plain", Agrees::ToNothing, 1500, 12, FAST),
    Scenario::new("step", Agrees::ToTransportCc, 4000, 50, STEP),
    Scenario::new("step-plain", Agrees::ToNothing, 4000, 50, STEP),
    Scenario::new("loss-2", Agrees::ToTransportCc, 1500, 20, LOSS_2),
    Scenario::new("loss-5", Agrees::ToTransportCc, 1500, 20, LOSS_5),
    Scenario::new("loss-10", Agrees::ToTransportCc, 1500, 20, LOSS_10),
    Scenario::new("loss-5-plain", Agrees::ToNothing, 1500, 20, LOSS_5),
    Scenario::new("loss-10-plain", Agrees::ToNothing, 1500, 20, LOSS_10),
    Scenario::new("far-loss-5", Agrees::ToTransportCc, 1500, 30, LOSS_5).far_away(FAR),
    Scenario::new("far-loss-5-fec", Agrees::ToTransportCc, 1500, 30, LOSS_5).far_away(FAR).protected(),
    Scenario::new("far-loss-10", Agrees::ToTransportCc, 1500, 30, LOSS_10).far_away(FAR),
    Scenario::new("far-loss-10-fec", Agrees::ToTransportCc, 1500, 30, LOSS_10).far_away(FAR).protected(),
    Scenario::new("modem", Agrees::ToTransportCc, 4000, 25, MODEM),
    Scenario::new("modem-plain", Agrees::ToNothing, 4000, 25, MODEM),
    Scenario::new("outage", Agrees::ToTransportCc, 1500, 25, OUTAGE),
    Scenario::new("outage-plain", Agrees::ToNothing, 1500, 25, OUTAGE),
    Scenario::new("address", Agrees::ToTransportCc, 1500, 20, ADDRESS),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    // With RUST_LOG, whatever it says, everything; without, only what went wrong.
    let level = if std::env::var_os("RUST_LOG").is_some() { tracing::Level::DEBUG } else { tracing::Level::ERROR };
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    let chosen = |scenario: &&Scenario| wanted.is_empty() || wanted.iter().any(|name| name == scenario.name);
    let mut table = report::Table::default();
    for scenario in SCENARIOS.iter().filter(chosen) {
        let measured = measure(*scenario);
        report::print(&measured);
        table.add(&measured);
    }
    table.print();
    if wanted.is_empty() || wanted.iter().any(|name| name == handshake::NAME) {
        handshake::print();
    }
}
