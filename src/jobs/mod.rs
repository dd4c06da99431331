//! What the node does by itself: clients of the engine like any handler, a file for each.

pub mod backup;
