//! Snapshots, so that the log need not be kept for ever.
//!
//! A snapshot is one [`file`](mod@file) with all rows as the log had them at the end of a segment. The
//! [`manager`] says when one is due; [`build`] makes it of the one before it, [`merge`]d with the log
//! behind it. Two are kept, and the log behind the older of them.
//!
//! **Promises**: no log is removed before two snapshots, read back, say the same as it; either of
//! them and the log behind it come to every row there is.
//!
//! **Does not read** the tables: what they got wrong must not become the truth. The one exception is
//! [`from_tables`], where no snapshot is whole any more.

pub mod build;
pub mod completeness;
mod file;
mod find;
pub mod from_tables;
pub mod manager;
pub mod merge;

pub use file::{START, Snapshot, list, write};
#[cfg(test)]
pub use file::{Writer, place};
pub use find::{find, quarantine};
