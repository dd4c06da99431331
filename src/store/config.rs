//! Where the store lives and how much it may take.

use std::path::PathBuf;
use std::time::Duration;

/// Where the store lives and how much it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The data directory; created if there is none.
    pub data: PathBuf,
    /// The length of a segment of the log. May change between starts.
    pub segment_bytes: u64,
    /// How long the tables go without a sync, and so what a start after a crash has to replay.
    pub checkpoint_every: Duration,
    /// How long rows stay in the memtable at least.
    pub tables_every: Duration,
    /// Memory of rows that are durable and not in the tables; above it commits wait.
    pub memtable_bytes: usize,
    /// sled's cache. sled takes a multiple of it.
    pub table_cache_bytes: u64,
    /// How much log makes a new snapshot due: this, or half of the last snapshot if that is more.
    pub snapshot_bytes: u64,
}

impl StoreConfig {
    /// The defaults for a data directory.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            segment_bytes: 64 << 20,
            checkpoint_every: Duration::from_secs(5),
            tables_every: Duration::from_millis(100),
            memtable_bytes: 64 << 20,
            table_cache_bytes: 64 << 20,
            snapshot_bytes: 1 << 30,
        }
    }

    /// Writes stop below this much free space: two segments of the log, the memtables, and a snapshot
    /// that has grown by a fifth since the last one, of `snapshot` bytes.
    pub fn watermark(&self, snapshot: u64) -> u64 {
        let memtable = u64::try_from(self.memtable_bytes).unwrap_or(u64::MAX);
        [
            self.segment_bytes.saturating_mul(2),
            snapshot.saturating_add(snapshot / 5),
            memtable,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}
