//! How long a connection to the hub takes, and what the loss of a datagram of its handshake adds.

use std::time::Duration;

use crate::connecting::{Answerer, DATAGRAMS, connect};
use crate::lab::wire::{Loss, Towards};

const ROUND_TRIPS: [u64; 3] = [10, 100, 300];
const RUNS: usize = 5;

pub(crate) const NAME: &str = "connecting";

/// Measures and prints.
pub(crate) fn print() {
    println!("\n## {NAME}");
    println!("| round trip | answer sent → car can be driven, median of {RUNS} | one datagram lost, each in turn |");
    println!("|---|---|---|");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    for round_trip in ROUND_TRIPS.map(Duration::from_millis) {
        let connected = |loss| runtime.block_on(connect(Answerer::Hub, round_trip, loss));
        let mut undisturbed: Vec<_> = (0..RUNS).map(|_| connected(Loss::None)).collect();
        undisturbed.sort_by_key(|taken| taken.unwrap_or(Duration::MAX));
        let directions = [Towards::Near, Towards::Far].into_iter();
        let losses =
            directions.flat_map(|towards| (0..DATAGRAMS).map(move |number| Loss::OfHandshake(towards, number)));
        let disturbed: Vec<_> = losses.map(|loss| shown(connected(loss))).collect();
        println!("| {round_trip:?} | {} | {} |", shown(undisturbed[RUNS / 2]), disturbed.join(", "));
    }
}

fn shown(taken: Option<Duration>) -> String {
    taken.map_or("failed".to_owned(), |taken| format!("{} ms", taken.as_millis()))
}
