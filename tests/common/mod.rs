//! What tests on real devices share.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod car;
pub(crate) mod lab;
