//! What goes out on the `metric` channel.
//!
//! [`snapshot`] is all that is known, [`report`] and [`link`] put it into the words of `metric`, [`host`] understands the board's (all
//! pure); [`probe`] reads the board, [`outlet`] is the edge to the channel.

pub mod host;
pub mod link;
pub mod outlet;
pub mod probe;
pub mod report;
pub mod settings;
pub mod snapshot;
