//! A daemon on the lab's board, its hub, and somebody who drives it.

use super::daemon::{ChannelFile, Daemon, Hub};
use super::driver::{Driver, motion};
use super::outputs::{Outputs, Pulses};

pub struct Scene {
    pub hub: Hub,
    pub file: ChannelFile,
    pub daemon: Daemon,
    pub driver: Driver,
    pub outputs: Outputs,
}

/// Full throttle, straight ahead.
pub const FORWARD: Pulses = [Some(440), Some(399)];

/// What makes the lab's board the actuator.
pub const BOARD: &str = "drive.actuator=pca9685";

impl Scene {
    /// Everybody is there and nothing moves. With these settings above the channel's file.
    pub async fn in_the_lab(settings: &[&str]) -> Self {
        let hub = Hub::start().await;
        let file = ChannelFile::for_hub(&hub);
        let mut daemon = Daemon::start(&file, &[&[BOARD], settings].concat());
        daemon.publishes().await;
        let driver = Driver::sit_down(hub.plain).await;
        Self { hub, file, daemon, driver, outputs: Outputs::of_board() }
    }

    /// Drives at full throttle, and goes on doing so.
    pub async fn drive(&mut self) {
        self.outputs.are_driven_to(FORWARD, &self.driver, &[motion("forward", 20)]).await;
    }

    /// Another daemon on the same channel, after the first has ended.
    pub async fn restart(&mut self, settings: &[&str]) {
        self.daemon = Daemon::start(&self.file, &[&[BOARD], settings].concat());
        self.daemon.publishes().await;
    }
}
