//! The snapshots that a start finds.

use std::path::{Path, PathBuf};

use super::file::{self, Snapshot};
use crate::store::OpenError;
use crate::store::local::dir::{self, DataDir};
use crate::store::local::log::frame::Tail;
use crate::store::local::log::frames::LogError;
use crate::store::local::log::scan::SnapshotBase;
use crate::store::local::log::segment::Wal;
use crate::store::local::schema::Schema;

pub struct SnapshotSet {
    /// The oldest first.
    pub snapshots: Vec<Snapshot>,
    /// The log up to the newest.
    pub base: Option<SnapshotBase>,
    /// Those whose fronts are damaged.
    pub damaged: Vec<PathBuf>,
}

/// Reads every snapshot's front, and removes unfinished files.
pub fn find(data: &DataDir, wal: &Wal, schema: &Schema) -> Result<SnapshotSet, OpenError> {
    let (disk, dir) = (data.disk(), data.snapshots());
    let io = |error| OpenError::io(&dir, error);
    for name in disk.list(&dir).map_err(io)? {
        if dir::is_unfinished(&name) {
            disk.remove(&dir.join(name)).map_err(io)?;
        }
    }
    let mut found = SnapshotSet {
        snapshots: Vec::new(),
        base: None,
        damaged: Vec::new(),
    };
    let mut error = None;
    let paths = file::list(data).map_err(io)?;
    for path in paths.into_iter().rev() {
        let front = Snapshot::open(disk, schema, path.clone()).and_then(|snapshot| {
            if found.base.is_none() {
                found.base = Some(SnapshotBase {
                    prefix: snapshot.prefix,
                    heads: snapshot.heads(disk, schema)?,
                });
            }
            Ok(snapshot)
        });
        match front {
            Ok(snapshot) => found.snapshots.insert(0, snapshot),
            Err(damage @ LogError::Damaged { .. }) => {
                tracing::error!(%damage, "a snapshot is damaged");
                found.damaged.push(path);
                error.get_or_insert(damage);
            }
            Err(other) => return Err(other.into()),
        }
    }
    let numbers = wal
        .numbers()
        .map_err(|error| OpenError::io(&wal.dir, error))?;
    match error {
        // What the log no longer holds was in this file.
        Some(damage) if found.base.is_none() && numbers.first() != Some(&Tail::START.segment) => {
            Err(damage.into())
        }
        _ => Ok(found),
    }
}

/// Moves a damaged snapshot into the quarantine.
pub fn quarantine(data: &DataDir, path: &Path, epoch: u32) -> std::io::Result<()> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    data.move_to_quarantine(path, &format!("snapshot-{epoch}-{name}"))
}
