//! What lies in a data directory, by its names alone: nothing is opened, so a running node may be
//! looked at too.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::restore;
use super::salvage;
use crate::store::local::disk::{Disk, RealDisk};
use crate::store::local::recover::{QUARANTINE, WAL};
use crate::store::local::snapshot;
use crate::store::local::tables::settle::{TABLES, TablesAre};

/// See [`Survey::of`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The directory.
    pub data: PathBuf,
    /// It holds no data, or is not there.
    pub empty: bool,
    /// A restore was begun in it and did not end.
    pub restore_cut_short: bool,
    /// A salvage was begun in it and did not end: starts are refused.
    pub salvage_cut_short: bool,
    /// Segments of the log, and their bytes.
    pub segments: (u64, u64),
    /// Snapshots, and their bytes.
    pub snapshots: (u64, u64),
    /// The bytes of the newest of them.
    pub newest_snapshot: u64,
    /// What the tables are like.
    pub tables: TablesAre,
    /// Bytes of the tables.
    pub tables_bytes: u64,
    /// What starts set aside, by name, with its bytes.
    pub quarantine: BTreeMap<String, u64>,
    /// How many bytes this user may still write to the file system.
    pub free: u64,
}

impl Survey {
    /// Looks at a directory.
    pub fn of(data: &Path) -> io::Result<Self> {
        let names = RealDisk.list(data)?;
        let is_there = |name: &str| names.iter().any(|other| other == name);
        let of_kind = |dir: &str, ending: &str| {
            let mut found = sizes(&data.join(dir))?;
            found.retain(|name, _| name.ends_with(ending));
            Ok::<_, io::Error>(found)
        };
        let count = |found: &BTreeMap<String, u64>| {
            let count = u64::try_from(found.len()).unwrap_or(u64::MAX);
            (count, found.values().sum())
        };
        let segments = of_kind(WAL, ".wal")?;
        let snapshots = of_kind(snapshot::DIR, ".snap")?;
        let standing = data.ancestors().find(|dir| dir.exists());
        let standing = standing.filter(|dir| !dir.as_os_str().is_empty());
        Ok(Self {
            data: data.to_owned(),
            empty: restore::is_empty(&names),
            restore_cut_short: is_there(restore::UNFINISHED),
            salvage_cut_short: is_there(salvage::UNFINISHED),
            segments: count(&segments),
            snapshots: count(&snapshots),
            newest_snapshot: snapshots.values().next_back().copied().unwrap_or(0),
            tables: TablesAre::among(&names),
            tables_bytes: size(&data.join(TABLES))?,
            quarantine: sizes(&data.join(QUARANTINE))?,
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
