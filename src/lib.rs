//! rtcpub turns a robot car with an ARM board into something a person far away can see through and drive.
//!
//! # Two flows
//! - Picture: [`video`]`::camera → encoder → pipeline → units → `[`rtc`]`::pump → track → packetizer → peer`; several
//!   cameras are several of these ([`video::further`]), side by side up to the one peer and its one link
//! - Control: [`rtc`]`::channels → `[`drive`]`::command → gate → mixer → actuator`
//!
//! Everything else serves them: [`signal`] brings the peer up, [`telemetry`] talks back over `metric`, [`supervise`] keeps
//! the tasks alive, [`hub`] is a pub server of one's own. [`app`] is the only place where parts are made and joined.
//!
//! # Where to start
//! | to change | look in |
//! |---|---|
//! | what the car may do, and when it stops | `drive/gate` |
//! | how a command becomes pulses | `drive/vehicle`, `drive/mixer` |
//! | what moves the car | a file beside `drive/simulated`; its `mod` line and row in `drive`, see `drive/actuator/kind` |
//! | cameras and encoders | `video/camera`, the table in `video/encoder` |
//! | who gets how much of the link | `video/rate`, among several pictures `video/rate/share` |
//! | when a session is made, kept and replaced | `rtc/session` |
//! | the sockets and timers that the library's own driver is given | `rtc/driver` |
//! | the wire format of signalling | `signal/spider` |
//! | how names become addresses | `resolver` |
//! | a key of the channel file | `config/sections`, `config/example.toml` |
//! | the viewer page | `hub/page` |
//!
//! # Edges
//! Every queue is bounded and says what happens when it is full.
//!
//! | edge | carrier | when full or lost |
//! |---|---|---|
//! | pipeline → track, one a picture | `video::units`, 8 access units | dropped to the next key frame, counted, one asked for |
//! | peer's feedback → encoder | counters in `video::control` | key frame: coalesced, never lost; bit rate: newest wins |
//! | channel → gate | `drive::inbox`, the newest 32 with their arrival times | the oldest go that a later one makes void; age is judged by the gate |
//! | anything → gate, stop | one flag a cause | never lost |
//! | tracks → network | `rtc::congestion`'s pacer, 100 ms of the rate | the picture is dropped; the first one goes in front |
//! | telemetry → channel | `telemetry::outlet`, 128, then the channel's byte limit | dropped, counted |
//! | peer connection → session | `rtc::mailbox` | newest state a peer wins; candidates past 256 are dropped |
//! | who waits → the system's resolver | `resolver::memory`, 8 questions a name | none is asked; the last addresses are used |
//! | session ↔ socket | 128 and 64 messages | the socket is given up; it is not read until there is room |
//!
//! # Invariants, held by `tests/architecture.rs`
//! 1. `drive` imports neither `rtc`, `video`, `signal`, tokio nor gstreamer: the safety logic is tested with no network.
//! 2. Each crate with effects is imported in one folder only.
//! 3. Nothing reaches a motor except through the gate: only it can make a [`drive::gate::SafeDrive`].
//! 4. Pure files take `now` as an argument; clippy's `disallowed-methods` bans reading the clock, shells say why they may.
//! 5. `anyhow` stays in `main.rs` and `app`.
//!
//! # Shutdown
//! In phases under a deadline of two seconds: the actuator confirms neutral; peers and socket close; the pipeline goes to
//! NULL; tasks are joined; the exit code tells how it went ([`exit::Exit`]).

// So that helpers of the integration tests serve unit tests too.
#[cfg(test)]
extern crate self as rtcpub;

pub mod app;
pub mod check;
pub mod cli;
pub mod exit;
pub mod logging;
pub mod supervise;
pub mod systemd;

pub mod config;

pub mod video;

pub mod rtc;

pub mod signal;

pub mod resolver;

pub mod drive;

pub mod telemetry;

pub mod status;

pub mod hub;

pub mod probe;

mod calendar;
pub mod quiet;
mod realtime;
pub mod secret;
mod unix_socket;
