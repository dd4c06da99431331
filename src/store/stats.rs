//! Statistics of the store.

use std::time::Duration;

use super::record::Lsn;

/// What recovery found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenStats {
    /// The directory was empty.
    pub first_start: bool,
    /// The last stop was orderly, or there was none.
    pub clean: bool,
    /// Existing tables were rebuilt, because they were not what the log says.
    pub rebuilt: bool,
    /// Records in snapshot and log.
    pub records: u64,
    /// Records that were written to the tables from the log: those after the last checkpoint, or, if the
    /// tables were rebuilt, after the snapshot.
    pub replayed: u64,
}

/// For monitoring; counters are since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStats {
    /// The last durable record.
    pub durable: Lsn,
    /// The last record whose rows are in the tables.
    pub applied: Lsn,
    /// Memory of rows that are durable and not in the tables.
    pub memtable_bytes: usize,
    /// Frames with records.
    pub groups: u64,
    /// Calls of `fdatasync` on the log.
    pub syncs: u64,
    /// Their total time.
    pub sync_time: Duration,
    /// Bytes written to the log.
    pub log_bytes: u64,
    /// Bytes that may still be written to the disk.
    pub free_bytes: u64,
    /// Writes stop below this.
    pub watermark_bytes: u64,
    /// Bytes of all segments, used or not.
    pub log_on_disk: u64,
    pub snapshots_made: u64,
    pub snapshots_failed: u64,
    /// The last record in the newest snapshot.
    pub snapshot: Option<Lsn>,
    /// Size of the newest snapshot.
    pub snapshot_bytes: u64,
    /// Whether the tables are being rebuilt; reads of rows that are not back yet end with
    /// [`ReadError::Rebuilding`](super::ReadError::Rebuilding).
    pub rebuilding: bool,
}
