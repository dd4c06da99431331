//! The ARF Control Plane: the decision point between agents and infrastructure.
//!
//! Agents, pipelines and people ask "may I do this?"; the answer is approve, deny or escalate, with
//! every number it rests on, and it is given only once it is durable and signed.
//!
//! # The way of one decision
//!
//! 1. [`http`] says who asks and reads the body: `http/intents.rs`, `evaluate`.
//! 2. [`api::intent::parse`] parses it, once, into types that cannot hold a bad value.
//! 3. [`engine::Engine::execute`] takes a place for it, or refuses it at the door, and finds the
//!    tenant's actor.
//! 4. The actor gives it a [`stamp::Stamp`]: its number, its time, its randomness.
//! 5. [`tenant::evaluate::Evaluate`] gathers the evidence and plans a
//!    [`Change`](tenant::command::Change): rows, a fact, a reply.
//! 6. [`decide::decide`] decides: a function of values.
//! 7. [`audit::Log::append`] makes the fact an entry: numbered, committed to, signed, in the tree.
//! 8. [`store::Store::append`] writes rows, entry and opening as one record; many records share one
//!    `fdatasync`. The sled tables follow behind.
//! 9. [`api::decision::View`] renders the answer, the same way for a decision just made and for one
//!    that is asked for again.
//!
//! # Borders
//!
//! `tests/borders.rs` reads the sources and holds them to this.
//!
//! | folder | does | never |
//! | --- | --- | --- |
//! | [`decide`] | the decision | sees a tenant, a row, a clock |
//! | [`tenant`] | a tenant's state and every command | clock, randomness, async, I/O, logging |
//! | [`audit`] | the log: entries, commitments, tree | names a type of `decide` or `tenant` |
//! | [`store`] | bytes that stay; names sled and bincode, alone | knows what a row means |
//! | [`engine`] | actors, admission, the three doors | grows with features |
//! | [`query`] | reads over state and store | changes anything |
//! | [`api`] | JSON in and out, problems | knows actix |
//! | [`jobs`] | what the node does by itself | goes round the engine |
//! | [`http`] | routes, limits, auth; names actix-web, alone | knows what a decision is made of |
//! | [`terraform`] | a plan as intents | lets an attribute's value out |
//! | [`transfer`] | rows as NDJSON and SQL | knows where they come from or go to |
//! | [`cli`] | one file for each command | |
//!
//! # Invariants by absence
//!
//! - [`decide`], [`tenant`] and [`audit`] cannot tell the time or make randomness: both come in a
//!   [`stamp::Stamp`], from [`engine::clock`], so a decision can be made again by anyone.
//! - No answer tells of what is not durable: [`engine::Committed`] needs a mark that only the store
//!   can make.
//! - No state changes but by [`tenant::Tenant::absorb`]: what a row does live is what it does after a
//!   crash.
//! - Of an API key the tables and the log keep SHA-256 only (the first three stand in
//!   `credentials.json`, 0600); callers' texts are HMAC names there, and stand in openings, which can
//!   be erased.
//! - No status is chosen twice: [`api::problem::Code::status`] is the one match.
//!
//! To add a command, write `tenant/<feature>.rs` and call it from an edge. A table is a row struct in
//! its feature's file and one line in [`tenant::schema`]. A route is `http/<resource>.rs` and
//! `api/<resource>.rs`. A command of the command line is `cli/<name>.rs` and a variant in `cli/mod.rs`.

pub mod api;
pub mod audit;
mod base32;
pub mod bounded;
pub mod cli;
pub mod client;
pub mod config;
pub mod credentials;
pub mod decide;
pub mod engine;
#[cfg(test)]
mod golden;
pub mod http;
pub mod id;
pub mod jobs;
pub mod number;
pub mod query;
pub mod server;
pub mod stamp;
pub mod store;
mod string_enum;
mod sync;
pub mod telemetry;
pub mod tenant;
pub mod terraform;
pub mod time;
pub mod transfer;
