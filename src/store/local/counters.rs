//! What the store's threads count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::store::record::Lsn;

/// Since the start, but for the first three.
#[derive(Default)]
pub struct Counters {
    durable: AtomicU64,
    applied: AtomicU64,
    tenants: AtomicU64,
    pub groups: AtomicU64,
    pub syncs: AtomicU64,
    pub sync_nanos: AtomicU64,
    pub log_bytes: AtomicU64,
    pub snapshots_made: AtomicU64,
    pub snapshots_failed: AtomicU64,
}

impl Counters {
    /// Of a log whose every record is in the tables.
    pub fn new(durable: Lsn, tenants: usize) -> Self {
        Self {
            durable: durable.get().into(),
            applied: durable.get().into(),
            tenants: u64::try_from(tenants).unwrap_or(u64::MAX).into(),
            ..Self::default()
        }
    }

    /// The last durable record.
    pub fn durable(&self) -> Lsn {
        Lsn::new(self.durable.load(Ordering::Acquire))
    }

    pub fn set_durable(&self, lsn: Lsn) {
        self.durable.store(lsn.get(), Ordering::Release);
    }

    /// The last record whose rows are in the tables.
    pub fn applied(&self) -> Lsn {
        Lsn::new(self.applied.load(Ordering::Acquire))
    }

    pub fn set_applied(&self, lsn: Lsn) {
        self.applied.store(lsn.get(), Ordering::Release);
    }

    /// How many tenants have records.
    pub fn tenants(&self) -> u64 {
        self.tenants.load(Ordering::Relaxed)
    }

    pub fn add_tenant(&self) {
        self.tenants.fetch_add(1, Ordering::Relaxed);
    }

    pub fn add_sync(&self, took: Duration, bytes: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.log_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
