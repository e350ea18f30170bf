//! What goes out on the `metric` channel.
