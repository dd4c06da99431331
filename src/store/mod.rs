//! Bytes that stay: records in, rows out. The only code that names sled, bincode and the data
//! directory.
//!
//! A [`Record`] is one command's effects: rows, the entry that tells of it, the opening behind the
//! entry and the tenant's [`Head`]. [`Store::append`] answers with a [`Durable`], which is ready
//! once the record is in the write-ahead log and `fdatasync` has returned. [`Reader`] sees a record
//! as soon as it is durable, and no record that is not. The log is the truth; the sled trees (the
//! tables) follow it and can be built from it at any time.
//!
//! **What it never knows**: what a row means, what a decision is, what time it is in the world (it
//! measures, it does not date), and, outside of `local`, that there are segments, frames and sled.
//! A backend that is not local has to offer five verbs: open, claim, append, read, close.
//!
//! Every byte on disk is described in `data/guides/formats.md`.
//!
//! # Assumptions about disks
//!
//! - When `fdatasync` and `fsync` return without an error, the file's bytes survive a power cut;
//!   after `fsync` of a directory, so do the names in it. A disk that acknowledges and forgets
//!   breaks the promise.
//! - A failed sync may leave pages that look written and are not. So it is never tried again: the
//!   process ends at once, and the next start copies the frames of the last segment to a new file
//!   before it trusts them. Only the SHUTDOWN of an orderly stop can be such a page then, and is
//!   written once more instead.
//! - Writes may be torn and reordered below one sync, at any byte. Only the last frame can be: the
//!   one before it was synced before it was begun.
//! - A write changes nothing outside of its range of its file, and `rename` within a directory is
//!   atomic.
//! - Bits may flip at rest. In the log this is found at the next start, in the tables when the row
//!   is read or its tenant claimed. One case cannot be told from a write that a crash cut short:
//!   damage to the very last frame. Tables that are ahead of the log give it away, and after 50 ms
//!   of quiet a SEAL frame is there to be damaged in its stead.
//! - Of two snapshots and the log behind the older of them, one snapshot may be damaged without loss.
//!   It is found when it is read: its front at every start, the rest when tables are built from it or
//!   the next one is made of it.
//! - Nobody else writes to the data directory. `LOCK` keeps out other processes of this program, on
//!   a file system with working `flock`.

pub mod codec;
mod compress;
mod config;
mod cursor;
mod durable;
mod error;
mod head;
pub mod keyfile;
mod ledger;
mod local;
mod owner;
mod reader;
mod record;
mod row;
mod stats;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use config::StoreConfig;
pub use durable::{Durable, Lost, Mark};
pub use error::{CloseError, OpenError, ReadError};
pub use head::Head;
pub use ledger::Ledger;
#[cfg(fuzzing)]
pub use local::fuzz;
pub use local::{
    Backup, BackupError, BackupFile, DamagedRange, DirectoryInfo, DirectorySummary, FORMAT,
    HotRowVisitor, LogGap, PendingRestore, Progress, ReadOnly, Repair, RepairError, RepairReport,
    Salvage, SalvageReport, TableError, TablesState, TenantLoss, Visit, backups_in,
    remove_old_backups,
};
pub use owner::Owner;
pub use reader::{Reader, ScanVisitor, TenantRows};
pub use record::{Lsn, Record};
pub use row::{Effect, EnvelopeError, Op, StoredRow, open_envelope};
pub use stats::{OpenStats, StoreStats};
pub use table::{ENTRIES, KeyKind, Load, OPENINGS, TableSpec};

use crate::id::TenantId;
use crate::time::Timestamp;
use local::LocalStore;

/// What a claim returns. A tenant without records has neither head nor rows.
#[derive(Debug)]
pub struct Claim {
    /// Signs the tenant's records until the next claim.
    pub owner: Owner,
    pub head: Option<Head>,
    /// Count and hash of the hot rows.
    pub ledger: Ledger,
}

/// The open store. Clones are the same store. When the last one is dropped without
/// [`Store::close`], it ends as in a crash: records not yet acknowledged are lost, all others are
/// kept.
#[derive(Clone)]
pub struct Store(Arc<LocalStore>);

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.open_stats()).finish()
    }
}

impl Store {
    /// Opens the data directory, recovers what the last stop left, and starts the store's threads.
    ///
    /// # Panics
    /// If two tables of the schema share an id or a name.
    pub fn open(config: &StoreConfig, schema: &'static [TableSpec]) -> Result<Self, OpenError> {
        Ok(Self(Arc::new(LocalStore::open(config, schema)?)))
    }

    pub fn open_stats(&self) -> OpenStats {
        self.0.open_stats()
    }

    /// How many tenants have records.
    pub fn tenants(&self) -> u64 {
        self.0.tenants()
    }

    /// Takes a tenant over from its owner before, whose records are refused from now on, and loads it:
    /// `visit` is called with every row of every hot table. Every row is checked, and all of them
    /// against the head; after an error, the rows that were visited mean nothing. Blocks.
    pub fn claim(&self, tenant: TenantId, visit: HotRowVisitor<'_>) -> Result<Claim, ReadError> {
        let owner = self.0.claim(tenant);
        let loaded = self.0.view().load(tenant, visit)?;
        let (head, ledger) =
            loaded.map_or_else(Default::default, |(head, ledger)| (Some(head), ledger));
        Ok(Claim {
            owner,
            head,
            ledger,
        })
    }

    /// Takes a record; never waits, and cannot be full: `hold` is the record's place in whatever
    /// bounds the caller, and is dropped once the record is durable or lost. (It must not own the
    /// last clone of the store.) A tenant's records have to come in order: one whose predecessor
    /// was lost is lost too.
    pub fn append(&self, record: Record, hold: impl Send + 'static) -> Durable {
        self.0.append(record, Box::new(hold))
    }

    /// The proof that what a claim, or a read, shows now is durable.
    pub fn mark(&self) -> Mark {
        Mark::new(self.0.durable().get())
    }

    /// A view of what is durable.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(self.0.view()))
    }

    /// Whether records can be expected to become durable. Not while the disk has
    /// little space left, and not after a failed write to the tables.
    pub fn writable(&self) -> bool {
        self.0.writable()
    }

    pub fn stats(&self) -> StoreStats {
        self.0.stats()
    }

    /// Copies everything that is durable now to `dir`, which must be empty or not there, with those
    /// of the private files `secrets` that are there, and reads the copy back. Commits go on
    /// meanwhile. Blocks for as long as that takes.
    pub fn backup(
        &self,
        dir: &Path,
        made_at: Timestamp,
        secrets: &[&str],
        progress: Progress<'_>,
    ) -> Result<Backup, BackupError> {
        self.0.backup(dir, made_at, secrets, progress)
    }

    /// Writes what is queued, brings the tables up to it, ends the log in order and closes the data
    /// directory. What is appended from now on is lost, and reads end with
    /// [`ReadError::Closed`]. Blocks. Closing again does nothing.
    pub fn close(&self) -> Result<(), CloseError> {
        self.0.close()
    }
}
