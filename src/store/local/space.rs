//! Free space on the disk. Writes stop while there is still enough to finish what was acknowledged.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::disk::Disk;
use crate::store::StoreConfig;

/// The free space as of the last check.
pub(super) struct Space {
    watermark: AtomicU64,
    free: AtomicU64,
    low: AtomicBool,
}

impl Space {
    pub fn new() -> Self {
        Self {
            watermark: AtomicU64::new(0),
            free: AtomicU64::new(u64::MAX),
            low: AtomicBool::new(false),
        }
    }

    /// Checks again. A disk whose free space is unknown does not stop writes; a segment that cannot be
    /// made still does.
    pub fn check(&self, disk: &dyn Disk, config: &StoreConfig, snapshot: u64) {
        let data: &Path = &config.data;
        let free = match disk.free(data) {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(%error, "cannot read the free space of the disk");
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
                tracing::error!(%data, free, watermark, "disk almost full: writes stop");
            } else {
                tracing::info!(%data, free, watermark, "disk space available again: writes resume");
            }
        }
    }

    pub fn low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Free bytes, and the watermark: writes stop below it.
    pub fn free(&self) -> (u64, u64) {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (load(&self.free), load(&self.watermark))
    }
}
