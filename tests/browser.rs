//! The viewer page in a real browser.

mod common;

use std::path::Path;

use common::TestHub;
use common::chromium::Chromium;
use common::publisher::Publisher;

const CHANNEL: &str = "c40hipepjh65aeq6ndj0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_look() {
    let hub = TestHub::start().await;
    let mut browser = Chromium::start().await;
    let page = browser.open(&hub.page(), 1280, 720).await;
    browser.wait_for(&page, "document.querySelector('#link-text').textContent === 'Waiting for a car'").await;
    browser.screenshot(&page, Path::new("target/screenshots/no-car.png")).await;
    let publisher = Publisher::start(&hub, CHANNEL).await;
    browser.wait_for(&page, "document.querySelector('#link-text').textContent === 'Live'").await;
    publisher.send_metric(r#"{"drive":{"key":"state","value":"parked","cause":"no command for 500 ms"}}"#).await;
    browser.click(&page, "#toggle-stats").await;
    browser.click(&page, "#toggle-log").await;
    publisher.send_metric(r#"{"ir":{"key":"detectTime","value":1763679600.25}}"#).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    browser.screenshot(&page, Path::new("target/screenshots/desktop.png")).await;
    println!("console: {:#?}", browser.console);
    publisher.stop().await;
    hub.stop().await;
}
