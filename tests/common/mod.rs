//! What tests on real kernel devices share.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod lab;
