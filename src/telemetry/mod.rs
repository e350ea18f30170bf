//! What goes out on the `metric` channel.
//!
//! [`report`] puts it into words and [`host`] understands the board's (both pure), [`probe`] reads the board, [`outlet`] is
//! the edge to the channel.

pub mod host;
pub mod outlet;
pub mod probe;
pub mod report;
pub mod settings;
