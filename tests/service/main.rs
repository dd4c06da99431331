//! The service as its callers see it: the real binary, over real HTTP and on a real disk.
//!
//! A file for each feature; what they share is in `harness.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests live in the real world: they wait, measure, and fail by panicking"
)]

mod audit;
mod backup;
mod bad_input;
mod crash;
mod demo;
mod evaluate;
mod export;
mod gate;
mod harness;
mod key;
mod limits;
mod outcome;
mod overload;
mod policy;
mod repair;
mod start;
mod usage;
