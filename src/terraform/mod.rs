//! A Terraform plan as intents: one for each resource that changes.
//!
//! Pure: the bytes of `terraform show -json` in, values out. Plans hold secrets, so what leaves is a
//! short list: address, type, operation, names of changed attributes, region, size, environment and
//! the level of a grant. No type that holds attributes can be printed or serialized; they are only
//! compared, read for that list, and hashed with the API key into ids.
//!
//! [`Plan::parse`] reads a file, [`Plan::changes`] returns the intents, and [`GateKey`] their ids.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::panic))]

mod address;
mod attribute;
mod change;
mod environment;
mod id;
mod kind;
mod operation;
mod permission;
mod plan;
mod region;
mod size;

pub use change::Change;
pub use id::GateKey;
pub use plan::{Plan, PlanError};

#[cfg(test)]
mod tests;
