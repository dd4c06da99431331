//! A Terraform plan as intents: one for each resource that changes.
//!
//! Pure: the bytes of `terraform show -json` in, values out. Plans hold secrets, so what leaves is a
//! short list: address, type, operation, names of changed attributes, region, size, environment and
//! the level of a grant. No type that holds attributes can be printed or serialized; they serve only
//! to compare, to read that list, and to make ids that nobody without the API key can retrace.
//!
//! A file is read by [`Plan::read`]; [`Plan::changes`] gives the intents; [`GateKey`] names them.

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
pub use plan::{NotAPlan, Plan};

#[cfg(test)]
mod tests;
