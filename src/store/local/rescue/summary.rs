//! What lies in a data directory, by its names alone: nothing is opened, so a running node may be
//! looked at too.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::store::local::dir::{self, DataDir, QUARANTINE, RESTORE, TablesState};
use crate::store::local::disk::{Disk, RealDisk};

/// See [`DirectorySummary::of`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorySummary {
    /// The directory.
    pub data: PathBuf,
    /// It holds no data, or is not there.
    pub empty: bool,
    /// A restore was begun in it and did not end.
    pub restore_cut_short: bool,
    /// Segments of the log, and their bytes.
    pub segments: (u64, u64),
    /// Snapshots, and their bytes.
    pub snapshots: (u64, u64),
    /// The bytes of the newest of them.
    pub newest_snapshot: u64,
    /// What the tables are like.
    pub tables: TablesState,
    /// Bytes of the tables.
    pub tables_bytes: u64,
    /// What starts set aside, by name, with its bytes.
    pub quarantine: BTreeMap<String, u64>,
    /// How many bytes this user may still write to the file system.
    pub free: u64,
}

impl DirectorySummary {
    /// Looks at a directory.
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

/// What is in a directory, with the bytes of each.
fn sizes(dir: &Path) -> io::Result<BTreeMap<String, u64>> {
    let names = RealDisk.list(dir)?.into_iter();
    names
        .map(|name| {
            let bytes = size(&dir.join(&name))?;
            Ok((name, bytes))
        })
        .collect()
}

/// How many bytes a file has, or all files below a directory. What goes meanwhile has none.
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
