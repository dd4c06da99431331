//! The ARF Control Plane: the decision point between AI agents and infrastructure.
//!
//! Agents, pipelines and people ask "may I do this?"; the answer is approve, deny or escalate, with
//! every number it rests on, and it is given only once it is durable and signed.
//!
//! # The way of one decision
//!
//! 1. [`http`] authenticates the caller and reads the body: `http/intents.rs`, `evaluate`.
//! 2. [`api::intent::parse`] parses it, once, into types that cannot hold a bad value.
//! 3. [`engine::Engine::execute`] takes a [`Slot`](engine::admission::Slot), or rejects the request, and
//!    finds or loads the tenant's actor.
//! 4. The actor stamps the command: a [`Stamp`](stamp::Stamp) is its sequence, its time and its
//!    randomness.
//! 5. [`tenant::evaluate::Evaluate`] gathers the evidence and plans a
//!    [`Change`](tenant::command::Change): rows, a fact, a reply.
//! 6. [`decide::decide`] decides: a function of values.
//! 7. [`audit::Log::append`] turns the fact into an entry: numbered, committed to, signed, in the tree.
//! 8. [`store::Store::append`] writes rows, entry and opening as one record; many records share one
//!    `fdatasync`. The sled tables follow behind.
//! 9. [`api::decision::View`] renders the answer, for a new decision and for a replay alike.
//!
//! # Borders
//!
//! `tests/borders.rs` reads the sources and checks them, and that no more than three files import each
//! other in a circle (but for the tables of [`tenant::schema`] and the tenant that they make up).
//!
//! | folder | does | never |
//! | --- | --- | --- |
//! | [`decide`] | the decision | sees a tenant, a row, a clock |
//! | [`tenant`] | a tenant's state and every command | clock, randomness, async, I/O, logging |
//! | [`audit`] | the log: entries, commitments, tree | names a type of `decide` or `tenant` |
//! | [`store`] | durable bytes; the only one that names sled and bincode | knows what a row means |
//! | [`engine`] | actors, admission, the three entry points | grows with features |
//! | [`query`] | reads of state and store | changes anything |
//! | [`api`] | JSON in and out, problems | knows actix |
//! | [`jobs`] | background work | bypasses the engine |
//! | [`http`] | routes, limits, authentication; the only one that names actix-web | knows what a decision is made of |
//! | [`terraform`] | a plan as intents | reveals the value of an attribute |
//! | [`transfer`] | rows as NDJSON and SQL | knows where they come from or go to |
//! | [`cli`] | one file for each command | |
//!
//! # Invariants by absence
//!
//! - [`decide`], [`tenant`] and [`audit`] have no clock and no randomness: both come in a
//!   [`Stamp`](stamp::Stamp), from [`engine::clock`], so anyone can recompute a decision.
//! - No answer shows what is not durable: [`engine::Committed`] needs a [`Mark`](store::Mark), which only
//!   the store can make.
//! - No state changes but by [`tenant::Tenant::absorb`]: what a row does live is what it does after a
//!   crash.
//! - Tables and log have only the SHA-256 of an API key (the first three keys are in
//!   `credentials.json`, 0600). Callers' texts are pseudonyms (HMAC) there, and plain only in openings,
//!   which can be erased.
//! - No status is chosen twice: [`api::problem::Code::status`] is the only match.
//!
//! # To add
//!
//! - **A command**: a struct with `impl` [`Command`](tenant::command::Command) in
//!   `tenant/<feature>.rs`, called by an edge through [`engine::Engine::execute`].
//! - **A kind of entry**: a value of [`EntryType`](tenant::facts::EntryType), and a constant for each new
//!   field and part, in `tenant/facts.rs`; the command writes them, `api`, `query` and `transfer` read
//!   them.
//! - **A table**: the row struct with `impl` [`TableRow`](tenant::schema::TableRow) in its feature's file,
//!   a line in [`tenant::schema`], a sample in `tenant/tests/sample.rs`, and if it is hot its part of the
//!   state in [`tenant::Tenant`]. If it is exported, its fields in `transfer/ndjson.rs`. Tests name what
//!   is missing in the guides `rules.md` and `export.md`.
//! - **A route**: a handler in `http/<resource>.rs`, its JSON in `api/<resource>.rs`, a line in the table
//!   of `http/mod.rs`. A test names what is missing in README.
//! - **A filter of a list**: a field of the list's `Filter` and its comparison in `query/<resource>.rs`, and
//!   its query parameter in `Filter::read` in `api/<resource>.rs`.
//! - **A setting of a tenant**: a field in `decide/settings.rs`, its range in
//!   [`Settings::check`](decide::Settings::check), its value and source in
//!   `data/defaults/settings.toml`. A setting of the node: a field of [`config::Config`].
//! - **A command of the command line**: `cli/<name>.rs` and a variant in `cli/mod.rs`.
//! - **A background job**: `jobs/<name>.rs`, spawned in `server.rs`.

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
mod hex;
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
