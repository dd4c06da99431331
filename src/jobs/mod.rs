//! Background jobs: clients of the engine like any handler, a file for each.

pub mod backup;
