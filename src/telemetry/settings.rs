//! What a channel file says about telemetry.

use std::time::Duration;

/// What is told on the `metric` channel, and how often. Events (a stop, an echo, a lap) are told whatever it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// What is told, each topic once.
    pub topics: Vec<Topic>,
    /// How often, 200 ms … 60 s.
    pub period: Duration,
}

/// A group of readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The board.
    Host,
    /// Camera and encoder.
    Video,
    /// What moves: throttle, steering, pulses.
    Drive,
    /// This process.
    Process,
    /// The connection to the server.
    Link,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 5] = [Self::Host, Self::Video, Self::Drive, Self::Process, Self::Link];

    /// As in a channel file and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Video => "video",
            Self::Drive => "drive",
            Self::Process => "process",
            Self::Link => "link",
        }
    }
}

impl TelemetryConfig {
    /// Whether this is told.
    pub fn tells(&self, topic: Topic) -> bool {
        self.topics.contains(&topic)
    }
}
