//! What the store tells of itself.

use std::time::Duration;

use super::record::Lsn;

/// What a start found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenStats {
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

/// For monitoring; counters are since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStats {
    /// The last durable record.
    pub durable: Lsn,
    /// The last record whose rows are in the tables.
    pub applied: Lsn,
    /// Rows that are durable and not in the tables, in bytes of memory.
    pub memtable_bytes: usize,
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
