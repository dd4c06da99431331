//! The tables: every row where a read finds it. They follow the log and can be rebuilt from it at any
//! time.
//!
//! A durable row is in a [`memtable`] until [`apply`], a thread, has written it to the tables;
//! [`view`] is both as one, and [`queue`] what connects them with the committer. [`layout`] says how
//! rows lie in the tables, most of them in [`block`]s, and [`Tables`] hides who stores them:
//! [`sled`](mod@sled), or memory in a test.
//!
//! At a start [`recovery`] checks whether the tables can be what the log says: they hold a [`stamp`]
//! of each sync. What they lack is [`replay`]ed; if that does not help, they are
//! [`rebuild`](mod@rebuild)t, most rows by [`backfill`] while the store is open.
//!
//! **Promises**: a read shows what is durable, and nothing that is not what was put.
//!
//! **Does not know** how a frame is laid out, or what was salvaged, repaired or restored.

pub mod apply;
pub mod backfill;
mod block;
pub mod layout;
#[cfg(test)]
pub mod memory;
pub mod memtable;
pub mod queue;
pub mod rebuild;
pub mod recovery;
pub mod replay;
pub mod sled;
mod stamp;
pub mod view;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::store::table::TableSpec;

/// How long sled may take to open: it reads its whole log, and some damage makes it loop.
const OPEN_LIMIT: Duration = Duration::from_secs(120);

/// An error of the tables. The log is not concerned.
#[derive(Debug, Error)]
pub enum TableError {
    #[error("sled: {0}")]
    Sled(#[from] ::sled::Error),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// sled panicked, as it does on some damaged files.
    #[error("sled panicked")]
    Panicked,
    #[error("sled did not open within {} seconds", OPEN_LIMIT.as_secs())]
    TooSlow,
}

/// A full key, and the value that is set there, or `None` to remove it.
pub type KeyWrite = (Vec<u8>, Option<Vec<u8>>);
/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);
/// Pairs in order.
pub type Pairs<'a> = Box<dyn Iterator<Item = Result<Pair, TableError>> + 'a>;

/// Ordered keys and values, one tree per table.
pub trait Tables: Send + Sync {
    /// The value of a key.
    fn get(&self, table: &TableSpec, key: &[u8]) -> Result<Option<Vec<u8>>, TableError>;
    /// Every pair from `from` up to, and without, `to`.
    fn range(&self, table: &TableSpec, from: &[u8], to: Option<&[u8]>) -> Pairs<'_>;
    /// The last pair of that range.
    fn last(&self, table: &TableSpec, from: &[u8], to: &[u8]) -> Result<Option<Pair>, TableError>;
    /// Sets or removes a key; what was there before.
    fn write(
        &self,
        table: &TableSpec,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, TableError>;
    /// Sets or removes several keys, of which a crash keeps all or none.
    fn write_together(&self, table: &TableSpec, changes: &[KeyWrite]) -> Result<(), TableError>;
    /// Makes everything written so far survive a power cut.
    fn sync(&self) -> Result<(), TableError>;
}
