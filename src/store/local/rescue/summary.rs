//! What is in a data directory, by its names alone: nothing is opened, so this works beside a running
//! server.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::store::local::dir::{self, DataDir, QUARANTINE, RESTORE, TablesState};
use crate::store::local::disk::{Disk, RealDisk};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorySummary {
    pub data: PathBuf,
    pub empty: bool,
    pub restore_cut_short: bool,
    /// Segments of the log, and their bytes.
    pub segments: (u64, u64),
    /// Snapshots, and their bytes.
    pub snapshots: (u64, u64),
    pub newest_snapshot: u64,
    pub tables: TablesState,
    pub tables_bytes: u64,
    /// What starts moved to the quarantine, by name, with its bytes.
    pub quarantine: BTreeMap<String, u64>,
    /// Bytes that this user may still write to the file system.
    pub free: u64,
}

impl DirectorySummary {
    pub fn of(data: &Path) -> io::Result<Self> {
        let dir = DataDir::real(data);
        let count = |found: &BTreeMap<String, u64>| {
            let count = u64::try_from(found.len()).unwrap_or(u64::MAX);
            (count, found.values().sum())
        };
        let mut segments = sizes(&dir.wal())?;
        segments.retain(|name, _| dir::segment_number(name).is_some());
        let mut snapshots = sizes(&dir.snapshots())?;
        snapshots.retain(|name, _| dir::is_snapshot(name));
        let standing = data.ancestors().find(|dir| dir.exists());
        let standing = standing.filter(|dir| !dir.as_os_str().is_empty());
        Ok(Self {
            data: data.to_owned(),
            empty: dir.is_empty()?,
            restore_cut_short: dir.at(RESTORE).exists(),
            segments: count(&segments),
            snapshots: count(&snapshots),
            newest_snapshot: snapshots.values().next_back().copied().unwrap_or(0),
            tables: dir.tables_state()?,
            tables_bytes: size(&dir.tables())?,
            quarantine: sizes(&dir.at(QUARANTINE))?,
            free: RealDisk.free(standing.unwrap_or(Path::new(".")))?,
        })
    }
}

fn sizes(dir: &Path) -> io::Result<BTreeMap<String, u64>> {
    let names = RealDisk.list(dir)?.into_iter();
    names
        .map(|name| {
            let bytes = size(&dir.join(&name))?;
            Ok((name, bytes))
        })
        .collect()
}

/// The bytes of a file, or of all files below a directory. A file that is removed meanwhile has none.
fn size(path: &Path) -> io::Result<u64> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        found => found?,
    };
    if found.is_dir() {
        Ok(sizes(path)?.values().sum())
    } else {
        Ok(found.len())
    }
}
