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
//! # The data directory
//!
//! ```text
//! LOCK                     locked (flock) while a process has the directory open
//! MANIFEST                 arf-data/1 boot-epoch=<n> crc32=<hex>; replaced whole at every start
//! signing.key              see `keyfile`
//! credentials.json         not the store's: the first keys
//! wal/<number>.wal         segments of the log, 16 hex digits, without gaps from 1 or from behind the
//!                          older snapshot
//! snapshots/<lsn>.snap     all rows as they were after that record, 16 hex digits; two are kept
//! tables/                  sled; may be deleted while the store is closed
//! tables.doubtful          a write to the tables failed, or a repair of them did not end: the next
//!                          start builds them anew
//! tables.rebuilding        rows are missing in the tables: a start that finds it builds them anew
//! quarantine/tables-<n>/   tables that start n replaced; never read, never removed
//! quarantine/wal-<n>       what start n found behind the last frame; never read, never removed
//! quarantine/salvage-<n>/  what a salvage replaced, and its report; never read, never removed
//! salvage.unfinished       tenants whose audit logs have to go on under other names after a salvage:
//!                          a start refuses until they do
//! quarantine/snapshot-<n>-<lsn>  a snapshot that start n found damaged; never read, never removed
//! restore.new/             a data directory being restored, before it is moved up
//! *.new                    files being made, and runs of a merge; leftovers mean nothing
//! ```
//!
//! A backup is such a directory without tables, ended in order, and with a `backup.json`; see
//! `local/rescue/backup.rs`.
//!
//! # Layouts
//!
//! Frozen; golden files in `tests/golden/store_*.hex` guard them. Little-endian unless it says
//! otherwise. crc32 is the one of IEEE 802.3 (zlib).
//!
//! **Envelope** (every row's value, in the log and in the tables):
//!
//! ```text
//! 0   u8    table id
//! 1   u16   version of the table's schema
//! 3   u8    codec: 0 plain; 16.. zstd with the dictionary of that number, data/defaults/dict/16.zstd
//!           for openings and 17.zstd for entries; 1 (zstd without a dictionary) is reserved
//! 4   u32   length of the stored payload
//! 8   u32   crc32 of table name ‖ tenant (16) ‖ key ‖ bytes 0..8 ‖ stored payload
//! 12  ...   stored payload
//! ```
//!
//! **Payloads**: row structs by `codec` (bincode 1.3, fixed-width integers). Entries are the
//! entry's exact bytes. **Openings are opaque**: their layout belongs to who makes them. **Head**
//! (version 1):
//!
//! ```text
//! 0   u64   sequence
//! 8   i64   time of the last entry, microseconds
//! 16  u64   sequence at which the audit log began
//! 24  u8    1 if something is due, and 25  i64  when; else both 0
//! 33  u64   count of hot rows
//! 41  u64   hash of hot rows: sum modulo 2^64 of
//!           splitmix64(crc32(table name ‖ tenant ‖ key) << 32 | crc of the envelope)
//! 49  [32]  root of the audit log's tree
//! 81  u8    n, and n × [32]: the tree's compact range, largest subtree first
//! ```
//!
//! **Row operation** (in a record; keys without the tenant):
//!
//! ```text
//! 0   u8    1 put, 2 delete, 3 delete range
//! 1   u8    table id
//! 2   u16   length of the key (of a range: its first), then the key
//! ..        put: u32 length of the envelope, then the envelope
//!           delete range: u16 length of the first key that stays, then that key
//! ```
//!
//! **Record**:
//!
//! ```text
//! 0   u32   length of what follows the crc
//! 4   u32   crc32 of what follows
//! 8   u8    kind: 1 tenant, 2 side, 3 control, 4 rows
//! 9   [16]  tenant; of a control record zero
//! 25  u64   sequence; of all but a tenant's records 0
//! 33  u16   number of row operations, then the operations
//! ..        control only, one of:
//!           u8 1 (CHECKPOINT), u64 the last record the tables hold, u32 chain value of the frame
//!           that ends with it
//!           u8 2 (SNAPSHOT), u64 the last record that is covered, u32 chain value of the frame that
//!           ends with it, u64 the last segment that is covered, u32 boot epoch of its last frame
//! ```
//!
//! A tenant's record puts exactly one row into `decision_audit_log` (0xE0), at most one into
//! `openings` (0xE1), both under its sequence (u64 big-endian), and exactly one into `_heads`
//! (0xF0), under the empty key.
//!
//! **Frame** (one write, one sync; begins at a multiple of 8):
//!
//! ```text
//! 0   [4]   "ARFW"
//! 4   u32   crc32 of bytes 8..64
//! 8   u16   version: 1
//! 10  u16   1 GROUP, 2 SEAL (nothing followed for 50 ms), 4 SHUTDOWN (an orderly stop)
//! 12  u32   number of records
//! 16  u32   length of the body
//! 20  u32   crc32 of the body
//! 24  u64   number of its first record, over the whole log, from 1; without records, the next one's
//! 32  u64   segment
//! 40  u64   offset in the segment
//! 48  u32   boot epoch: the number of the start that wrote it
//! 52  u32   chain value of the frame before it; 0 before the first
//! 56  u32   chain value: crc32 of bytes 8..56
//! 60  u32   0
//! 64  ...   body: records one after the other; zeros up to a multiple of 8
//! ```
//!
//! **Segment**: frames, then zeros to the end; only zeros if it is not used yet, or if the first
//! frame after an empty one did not fit into it. A frame that does not fit begins the next segment.
//! Segments are `segment_bytes` long, or as long as their first frame needs.
//!
//! **Snapshot**: frames as in the log, in a segment with the number 0, from record 1, chain value 0
//! and offset 0 on, in the boot epoch that made it. First a GROUP with one control record, SNAPSHOT;
//! then GROUPs of about 256 KiB with *rows* records, each of rows of one tenant and one table, puts
//! only, no row twice, sorted by rank of the table (0 `_heads`, 1 hot, 2 side, 3 cold), id of the table,
//! tenant and key; then a SHUTDOWN, which ends the file. A frame has rows of one rank. The log goes on at
//! the beginning of the segment after the one that is covered. Records of kind *rows* and SNAPSHOTs are
//! in snapshots only.
//!
//! **Keys in the tables**: `tenant (16) ‖ key`, one tree per table, named as the table. How rows
//! lie under them (blocks, and pieces in `_pieces`, 0xF1) is in `local/tables/layout.rs`, what the
//! tables say of themselves (`_applied`, 0xF2) in `local/tables/stamp.rs`. Neither of the two is in the
//! log, and none of it is frozen: the tables can be rebuilt.
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
mod cursor;
mod head;
pub mod keyfile;
mod ledger;
mod local;
mod record;
mod row;

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

pub use head::Head;
pub use ledger::Ledger;
#[cfg(fuzzing)]
pub use local::fuzz;
pub use local::{
    Backup, BackupError, Copied, DamagedRange, FORMAT, Facts, Gap, Progress, ReadOnly, Repair,
    RepairError, Repaired, Restoring, Salvage, SalvageReport, Survey, TableError, TablesState,
    TenantLoss, Visit, backups_in, remove_old_backups,
};
pub use record::{Lsn, Record};
pub use row::{
    Damaged, ENTRIES, Effect, Keyed, Load, OPENINGS, Op, Stored, TableSpec, open_envelope,
};

use crate::id::{Sequence, TenantId};
use crate::time::Timestamp;
use local::{Local, full_key, split_key, successor, tenant_end};

/// Where the store lives and how much it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The data directory; made if there is none.
    pub data: PathBuf,
    /// The length of a segment of the log. May change between starts.
    pub segment_bytes: u64,
    /// How long the tables go without a sync; what a start after a crash has to replay.
    pub checkpoint_every: Duration,
    /// How long durable rows are collected before they go to the tables.
    pub tables_every: Duration,
    /// How many bytes of rows may be durable and not in the tables. More slows commits down.
    pub lag_bytes: usize,
    /// sled's cache. It takes a multiple of it.
    pub table_cache_bytes: u64,
    /// How much log makes a new snapshot due; more once half of the last one is more.
    pub snapshot_bytes: u64,
}

impl StoreConfig {
    /// A data directory with everything else as usual.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            segment_bytes: 64 << 20,
            checkpoint_every: Duration::from_secs(5),
            tables_every: Duration::from_millis(100),
            lag_bytes: 64 << 20,
            table_cache_bytes: 64 << 20,
            snapshot_bytes: 1 << 30,
        }
    }
}

/// What a start found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Neither the log nor the tables held anything.
    pub first_start: bool,
    /// The last stop was an orderly one, or there was none.
    pub clean: bool,
    /// The tables were there, and were built anew because they were not what the log says.
    pub rebuilt: bool,
    /// How many records there are, in snapshot and log.
    pub records: u64,
    /// How many of them were written to the tables from the log: those after the last checkpoint, or,
    /// of tables that are built anew, after the snapshot.
    pub replayed: u64,
}

/// Numbers for whoever watches; counters are since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStats {
    /// The last durable record.
    pub durable: Lsn,
    /// The last record whose rows are in the tables.
    pub applied: Lsn,
    /// Rows that are durable and not in the tables, in bytes of memory.
    pub lag_bytes: usize,
    /// Frames with records.
    pub groups: u64,
    /// Calls of `fdatasync` on the log.
    pub syncs: u64,
    /// How long they took together.
    pub sync_time: Duration,
    /// Bytes written to the log.
    pub log_bytes: u64,
    /// Bytes that may still be written to the disk.
    pub free_bytes: u64,
    /// Writes stop while less than this is free.
    pub watermark_bytes: u64,
    /// Bytes of all segments there are, used or not.
    pub log_on_disk: u64,
    /// Snapshots made.
    pub snapshots_made: u64,
    /// Snapshots that could not be made.
    pub snapshots_failed: u64,
    /// The last record in the newest snapshot.
    pub snapshot: Option<Lsn>,
    /// How many bytes the newest snapshot takes.
    pub snapshot_bytes: u64,
    /// Whether old rows are on their way back to the tables; reads of what is not there yet end with
    /// [`ReadError::Rebuilding`].
    pub rebuilding: bool,
}

/// The store does not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process", data.display())]
    InUse {
        /// The data directory.
        data: PathBuf,
    },
    /// A file holds what no crash explains. It was left as it is.
    #[error(
        "{} is damaged at offset {offset}: {why} (last good record {}, next valid record {})",
        file.display(), or_none(last_good), or_none(next_valid)
    )]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// The number of the last record before it.
        last_good: Option<u64>,
        /// The number of the first record that is readable behind it.
        next_valid: Option<u64>,
        /// What is wrong.
        why: &'static str,
    },
    /// A file was written by a later version.
    #[error("{} is {what}: this version cannot read it", file.display())]
    Newer {
        /// Which file.
        file: PathBuf,
        /// What it is.
        what: String,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A row in the log is not what was put, or a tenant's rows are not those of its head.
    #[error(transparent)]
    Row(#[from] Damaged),
    /// The tables could not be opened even when new.
    #[error("the tables cannot be made: {0}")]
    Tables(#[from] TableError),
    /// The tables were built from the log and are not what it says.
    #[error("the tables cannot be built from the log: {why}")]
    Rebuild {
        /// What is wrong with them.
        why: String,
    },
}

impl OpenError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

fn or_none(number: &Option<u64>) -> String {
    number.map_or_else(|| "none".to_owned(), |number| number.to_string())
}

/// A read that gives no answer.
#[derive(Debug, Error)]
pub enum ReadError {
    /// What was found is not what was put.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The tables could not be read.
    #[error("the tables cannot be read: {0}")]
    Tables(#[from] TableError),
    /// What is not there may still be on its way back: the tables are being built anew.
    #[error("the tables are being rebuilt")]
    Rebuilding,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// An end that was not in order. Nothing that was acknowledged is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CloseError {
    /// The log could not be ended; the next start recovers as after a crash.
    #[error("the log could not be closed in order")]
    Log,
    /// The tables could not be written; the next start builds them anew.
    #[error("the tables could not be closed in order")]
    Tables,
}

/// The record is not in the log, or nobody knows: the tenant has to be claimed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the record was not acknowledged")]
pub struct Lost;

/// The proof that a record is durable. Only the store makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(Lsn);

impl Mark {
    const fn new(lsn: Lsn) -> Self {
        Self(lsn)
    }

    /// Of a log that is only played.
    #[cfg(all(test, feature = "shuttle"))]
    pub(crate) const fn played() -> Self {
        Self(Lsn::ZERO)
    }

    /// The record's number in the log.
    #[cfg(test)]
    const fn lsn(self) -> Lsn {
        self.0
    }
}

/// A record on its way to disk: ready when it is there.
#[derive(Debug)]
#[must_use = "a record that nobody waits for is durable at an unknown time"]
pub struct Durable(oneshot::Receiver<Mark>);

impl Future for Durable {
    type Output = Result<Mark, Lost>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|_| Lost)
    }
}

impl Durable {
    /// Waits on this thread, which must not be one of an async runtime.
    pub fn wait(self) -> Result<Mark, Lost> {
        self.0.blocking_recv().map_err(|_| Lost)
    }
}

/// Everything of a tenant that lives in memory.
#[derive(Debug)]
pub struct Claim {
    /// Its head.
    pub head: Head,
    /// Every row of every hot table: table, key without the tenant, whole envelope (checked).
    pub rows: Vec<(&'static TableSpec, Vec<u8>, Vec<u8>)>,
    /// Count and hash of these rows, to go on with.
    pub ledger: Ledger,
}

/// The open store. Clones are the same store. When the last one is dropped without
/// [`Store::close`], it ends as in a crash: records not yet acknowledged are lost, all others are
/// kept.
#[derive(Clone)]
pub struct Store(Arc<Local>);

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.0.opened()).finish()
    }
}

impl Store {
    /// Opens the data directory, recovers what the last stop left, and starts the store's threads.
    ///
    /// # Panics
    /// If two tables of the schema share an id or a name.
    pub fn open(config: &StoreConfig, schema: &'static [TableSpec]) -> Result<Self, OpenError> {
        Ok(Self(Arc::new(Local::open(config, schema)?)))
    }

    /// What the start found.
    pub fn opened(&self) -> Opened {
        self.0.opened()
    }

    /// How many tenants have records.
    pub fn tenants(&self) -> u64 {
        self.0.shared().tenants()
    }

    /// A tenant's head and hot rows; `None` if it has no records. Every row is checked, and all of
    /// them against the head. To be called only when no record of this tenant is on its way.
    pub fn claim(&self, tenant: TenantId) -> Result<Option<Claim>, ReadError> {
        self.reader().claim(tenant)
    }

    /// As [`Self::claim`], with the rows shown one after the other instead of all of them in memory. On
    /// an error, what was shown means nothing.
    pub fn load(
        &self,
        tenant: TenantId,
        show: ShowHot<'_>,
    ) -> Result<Option<(Head, Ledger)>, ReadError> {
        self.0.shared().load(tenant, show)
    }

    /// Takes a record; never waits, and cannot be full: `hold` is the record's place in whatever
    /// bounds the caller, and is dropped once the record is durable or lost. (It must not own the
    /// last clone of the store.) A tenant's records have to come in order: one whose predecessor
    /// was lost is lost too.
    pub fn append(&self, record: Record, hold: impl Send + 'static) -> Durable {
        Durable(self.0.append(record, Box::new(hold)))
    }

    /// The proof that what a claim, or a read, shows now is durable.
    pub fn mark(&self) -> Mark {
        Mark::new(self.0.shared().durable())
    }

    /// A view of what is durable.
    pub fn reader(&self) -> Reader {
        Reader(Arc::clone(self.0.shared()))
    }

    /// Whether records can be expected to become durable. Not while the disk has
    /// little room left, and not after a failed write to the tables.
    pub fn writable(&self) -> bool {
        self.0.shared().writable()
    }

    /// Numbers for whoever watches.
    pub fn stats(&self) -> StoreStats {
        self.0.shared().stats()
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
        self.0.shared().backup(dir, made_at, secrets, progress)
    }

    /// Writes what is queued, brings the tables up to it, ends the log in order and lets go of the
    /// data directory. What is appended from now on is lost, and reads end with
    /// [`ReadError::Closed`]. Blocks. Closing again does nothing.
    pub fn close(&self) -> Result<(), CloseError> {
        self.0.close()
    }
}

/// Reads durable rows, wherever they are. Clones are cheap. It does not keep the store open.
#[derive(Clone)]
pub struct Reader(Arc<local::Shared>);

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

/// What [`Reader::scan`] shows rows to: tenant, key without the tenant, row. A damaged row is shown as
/// such: it is its tenant's trouble, and not that of all the others.
pub type Show<'a> = &'a mut dyn FnMut(TenantId, &[u8], Result<Stored, Damaged>) -> ControlFlow<()>;

/// What [`Store::load`] shows rows to: table, key without the tenant, whole envelope (checked).
pub type ShowHot<'a> = &'a mut dyn FnMut(&'static TableSpec, &[u8], &[u8]);

/// How many rows [`Reader::scan`] reads at once.
const SCAN_ROWS: usize = 1024;

impl Reader {
    /// One row.
    pub fn get(
        &self,
        tenant: TenantId,
        table: &'static TableSpec,
        key: &[u8],
    ) -> Result<Option<Stored>, ReadError> {
        self.0.get(tenant, table, key)
    }

    /// A tenant's first `limit` rows whose keys are not below `from`, in order of their keys.
    pub fn rows_from(
        &self,
        tenant: TenantId,
        table: &'static TableSpec,
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Stored)>, ReadError> {
        let (from, to) = (full_key(tenant, from), tenant_end(tenant));
        self.0
            .page(table, &from, to.as_deref(), limit)?
            .into_iter()
            .map(|(full, value)| {
                let (tenant, key) = split_key(&full).unwrap_or((tenant, &full));
                let stored = open_envelope(tenant, table, key, &value)?;
                Ok((key.to_vec(), stored))
            })
            .collect()
    }

    /// The exact bytes of an entry.
    pub fn entry(
        &self,
        tenant: TenantId,
        sequence: Sequence,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let stored = self.get(tenant, &ENTRIES, &sequence.get().to_be_bytes())?;
        Ok(stored.map(|stored| stored.payload))
    }

    /// The opening behind an entry, unless there was none or it was erased.
    pub fn opening(
        &self,
        tenant: TenantId,
        sequence: Sequence,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let stored = self.get(tenant, &OPENINGS, &sequence.get().to_be_bytes())?;
        Ok(stored.map(|stored| stored.payload))
    }

    /// A tenant's head and hot rows, checked against each other; `None` if it has no records.
    pub fn claim(&self, tenant: TenantId) -> Result<Option<Claim>, ReadError> {
        let mut rows = Vec::new();
        let loaded = self.0.load(tenant, &mut |table, key, envelope| {
            rows.push((table, key.to_vec(), envelope.to_vec()));
        })?;
        Ok(loaded.map(|(head, ledger)| Claim { head, rows, ledger }))
    }

    /// How many rows a table has, of all tenants. Quick where all of them are in the tables, as they
    /// are after a start: blocks are counted through without being taken apart.
    pub fn count(&self, table: &'static TableSpec) -> Result<u64, ReadError> {
        if let Some(count) = self.0.count(table)? {
            return Ok(count);
        }
        let mut count = 0;
        self.scan(table, &mut |_, _, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// Shows every row of a table, of all tenants, in order of tenant and key, until `show` breaks.
    /// Rows that change meanwhile are shown as they were or as they are.
    pub fn scan(&self, table: &'static TableSpec, show: Show<'_>) -> Result<(), ReadError> {
        let mut from = Vec::new();
        loop {
            let rows = self.0.page(table, &from, None, SCAN_ROWS)?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            from = successor(last);
            for (full, value) in rows {
                let (tenant, key) = split_key(&full).unwrap_or((TenantId::ZERO, &full));
                let stored = open_envelope(tenant, table, key, &value);
                if show(tenant, key, stored).is_break() {
                    return Ok(());
                }
            }
        }
    }
}
