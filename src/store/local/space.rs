//! Room on the disk: writes stop while there is still enough to bring home what was answered.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::disk::Disk;
use crate::store::StoreConfig;

/// How much room is left, as far as it was looked at.
pub(super) struct Space {
    /// Below this writes stop.
    watermark: AtomicU64,
    free: AtomicU64,
    low: AtomicBool,
}

impl StoreConfig {
    /// How many bytes have to fit on the disk whatever comes; below, writes stop: two segments of the
    /// log, the tables' lag, and a snapshot that has grown by a fifth since the last one, of `snapshot`
    /// bytes.
    pub fn watermark(&self, snapshot: u64) -> u64 {
        let memtable = u64::try_from(self.lag_bytes).unwrap_or(u64::MAX);
        [
            self.segment_bytes.saturating_mul(2),
            snapshot.saturating_add(snapshot / 5),
            memtable,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

impl Space {
    /// Nothing is known yet, and nothing is stopped.
    pub fn new() -> Self {
        Self {
            watermark: AtomicU64::new(0),
            free: AtomicU64::new(u64::MAX),
            low: AtomicBool::new(false),
        }
    }

    /// Looks again. A disk that does not say how full it is stops nothing: a segment that cannot be
    /// made still does.
    pub fn look(&self, disk: &dyn Disk, config: &StoreConfig, snapshot: u64) {
        let data: &Path = &config.data;
        let free = match disk.free(data) {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(%error, "the disk does not say how much room is left");
                return;
            }
        };
        let watermark = config.watermark(snapshot);
        self.watermark.store(watermark, Ordering::Relaxed);
        self.free.store(free, Ordering::Relaxed);
        let low = free < watermark;
        if self.low.swap(low, Ordering::Relaxed) != low {
            let data = data.display();
            if low {
                tracing::error!(%data, free, watermark, "too little room on the disk: writes stop");
            } else {
                tracing::info!(%data, free, watermark, "there is room on the disk again");
            }
        }
    }

    /// Whether writes are to stop.
    pub fn low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Bytes that may still be written, and those below which writes stop.
    pub fn free(&self) -> (u64, u64) {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (load(&self.free), load(&self.watermark))
    }
}
