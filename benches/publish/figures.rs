//! Rows of the README's tables.
#![allow(dead_code, reason = "each measuring program uses its part")]

use std::time::Duration;

pub fn row(figure: &str, measured: &str, goal: &str) {
    println!("| {figure} | {measured} | {goal} |");
}

pub fn median(values: &mut [f64]) -> f64 {
    percentile(values, 50.0)
}

pub fn percentile(values: &mut [f64], rank: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values[((last as f64) * rank / 100.0).round() as usize]
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
