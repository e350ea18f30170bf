//! From a key in Chromium over the page, the hub and the whole daemon to the registers of a board on a real kernel I2C
//! bus: all of it in the lab, the browser included.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "the test measures, and tells")]

mod common;

use std::time::{Duration, Instant};

use common::chromium::{Chromium, Page};
use common::daemon::{ChannelFile, Daemon, Hub};
use common::outputs::{NEUTRAL, Outputs, Pulses};
use common::scene::BOARD;
use common::{PATIENCE, lab, page};

/// A browser wants most of it.
const MEMORY: &str = "2G";

/// The daemon's, and what a machine with one busy processor may add to what is seen of it from outside.
const DEADLINE: Duration = Duration::from_millis(500);
const SLACK: Duration = Duration::from_secs(2);

/// The page drives at half power unless told otherwise.
const HALF: Pulses = [Some(419), Some(399)];
const HALF_LEFT: Pulses = [Some(419), Some(479)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_moves_the_pulses_and_a_closed_tab_or_a_killed_browser_stops_the_car() {
    if !lab::entered_with("a_key_moves_the_pulses_and_a_closed_tab_or_a_killed_browser_stops_the_car", MEMORY) {
        return;
    }
    lab::bring_network_up();
    let hub = Hub::start().await;
    let file = ChannelFile::for_hub(&hub);
    let mut daemon = Daemon::start(&file, &[BOARD]);
    daemon.publishes().await;
    let mut outputs = Outputs::of_board();
    let mut browser = Chromium::start().await;

    let tab = page::open(&mut browser, &hub.page()).await;
    page::says(&mut browser, &tab, "Live").await;
    press(&mut browser, &tab, &["KeyW"], HALF, &mut outputs).await;
    press(&mut browser, &tab, &["KeyW", "ArrowLeft"], HALF_LEFT, &mut outputs).await;
    browser.key_up(&tab, "ArrowLeft").await;
    browser.key_up(&tab, "KeyW").await;
    outputs.reach(NEUTRAL).await;

    press(&mut browser, &tab, &["KeyW"], HALF, &mut outputs).await;
    let closing = Instant::now();
    browser.close(&tab).await;
    let closed = Instant::now();
    let stopped = outputs.reach(NEUTRAL).await;
    println!("neutral {:?} after the tab was told to close", stopped - closing);
    assert!(stopped.saturating_duration_since(closed) < DEADLINE + SLACK);

    let tab = page::open(&mut browser, &hub.page()).await;
    page::says(&mut browser, &tab, "Live").await;
    press(&mut browser, &tab, &["KeyW"], HALF, &mut outputs).await;
    let killed = Instant::now();
    browser.kill().await;
    let stopped = outputs.reach(NEUTRAL).await;
    println!("neutral {:?} after the browser was killed", stopped - killed);
    assert!(stopped - killed < DEADLINE + SLACK);
}

/// Holds these keys until the pulses are there. Where a busy machine has stalled the car in between, all are let go and
/// pressed again, as their user would: it stands until the stick has been at neutral.
async fn press(browser: &mut Chromium, tab: &Page, keys: &[&str], expected: Pulses, outputs: &mut Outputs) {
    const TRY: Duration = Duration::from_secs(3);
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        for key in keys {
            browser.key_down(tab, key).await;
        }
        if outputs.try_reach(expected, TRY).await.is_some() {
            return;
        }
        for key in keys {
            browser.key_up(tab, key).await;
        }
        tokio::time::sleep(TRY / 3).await;
    }
    panic!("{keys:?} should lead to {expected:?}; last: {:?}", outputs.now());
}
