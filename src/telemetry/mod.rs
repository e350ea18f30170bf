//! What goes out on the `metric` channel.

pub mod host;
