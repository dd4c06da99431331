//! The contract in JSON: requests, parsed strictly and once, and responses.
//!
//! One file for each resource, shared by every edge (HTTP, command line). Parsing ends in a valid value
//! or in a [`Problem`](problem::Problem) that names every error. Responses are structs whose members
//! are in the order of the contract.
//!
//! Must not know: actix, disks, where a request came from.

pub mod audit;
pub mod backup;
pub mod beta_state;
pub mod decision;
pub mod engine_error;
pub mod intent;
pub mod intents;
pub mod json;
pub mod key;
pub mod outcome;
pub mod page;
pub mod parameters;
pub mod problem;
pub mod tenant;
pub mod usage;
