//! What an operator reads at `info` while all is well: nothing new.

mod common;

use std::time::Duration;

use common::daemon::{ChannelFile, Hub, Process};
use common::driver::{Driver, motion};

/// Longer than what speaks each second, or each few.
const WATCHED: Duration = Duration::from_secs(12);
/// What belongs to the start is said by then.
const SETTLED: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_and_a_hub_that_are_well_say_nothing_new_at_info() {
    let hub = Hub::start().await;
    let file = ChannelFile::for_hub(&hub);
    // As the service runs it: at `info`.
    let mut daemon = Process::start(file.command("run", &["camera.kind=test", "drive.actuator=simulated"]));
    daemon.says("publishing").await;
    let mut driver = Driver::sit_down(hub.plain).await;
    driver.sees_the_picture().await;
    driver.holds([motion("forward", 0)]);
    tokio::time::sleep(SETTLED).await;
    let logs =
        || [&daemon, &hub.process].map(|process| process.log().into_iter().map(|line| line.text).collect::<Vec<_>>());
    let before = logs();
    assert!(before.iter().all(|log| !log.is_empty()), "they speak at their start");
    tokio::time::sleep(WATCHED).await;
    assert_eq!(logs(), before);
    driver.leaves().await;
}
