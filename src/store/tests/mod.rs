//! Tests that are about every store, and not about the local one.

pub mod contract;
