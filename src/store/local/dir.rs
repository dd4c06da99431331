//! The data directory: the name of everything in it, its lock, its quarantine and its marker files.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::disk::{Disk, RealDisk};
use crate::store::OpenError;
use crate::store::record::Lsn;

/// Locked (flock) while a process has the directory open.
pub const LOCK: &str = "LOCK";
/// The format and the number of the last start; see [`manifest`](super::manifest).
pub const MANIFEST: &str = "MANIFEST";
/// The segments of the log.
pub const WAL: &str = "wal";
/// The snapshots that are kept.
pub const SNAPSHOTS: &str = "snapshots";
/// sled. May be deleted while the store is closed.
pub const TABLES: &str = "tables";
/// What starts replaced: never read, never removed.
pub const QUARANTINE: &str = "quarantine";
/// A restore in progress. Without a [`MANIFEST`] beside it, a start refuses.
pub const RESTORE: &str = "restore.new";
/// What a salvage could not keep, beside the backup that it wrote.
pub const SALVAGE_REPORT: &str = "salvage.json";
/// What a backup contains.
pub const BACKUP: &str = "backup.json";
/// The extension of files that are being written. Leftovers mean nothing.
pub const NEW: &str = "new";

const SEGMENT: &str = ".wal";
const SNAPSHOT: &str = ".snap";

/// How often a lock that another process holds is tried, and the pause in between.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A file without content whose presence has a meaning for the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// A write to the tables failed, or a repair of them did not end: they are rebuilt.
    Doubtful,
    /// Rows are missing in the tables: they are rebuilt.
    Rebuilding,
}

impl Marker {
    const fn name(self) -> &'static str {
        match self {
            Self::Doubtful => "tables.doubtful",
            Self::Rebuilding => "tables.rebuilding",
        }
    }
}

/// What the next start will do with the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TablesState {
    /// Catch up from the log.
    Present,
    /// Build them: there are none.
    Missing,
    /// Rebuild them: see `Marker::Doubtful`.
    Doubtful,
    /// Rebuild them: see `Marker::Rebuilding`.
    Rebuilding,
}

/// The name of a segment of the log.
pub fn segment_name(number: u64) -> String {
    format!("{number:016x}{SEGMENT}")
}

/// The number of the segment with this name.
pub fn segment_number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(SEGMENT)?, 16).ok()
}

/// The name of the snapshot that covers the log up to this record.
pub fn snapshot_name(lsn: Lsn) -> String {
    format!("{:016x}{SNAPSHOT}", lsn.get())
}

/// Whether a file with this name is a snapshot.
pub fn is_snapshot(name: &str) -> bool {
    name.ends_with(SNAPSHOT)
}

/// Whether a file with this name was never finished.
pub fn is_unfinished(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == NEW)
}

/// A data directory, or a backup, which is one without tables.
#[derive(Clone)]
pub struct DataDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl DataDir {
    pub fn new(disk: Arc<dyn Disk>, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { disk, path }
    }

    /// On the file system of this machine.
    pub fn real(path: impl Into<PathBuf>) -> Self {
        Self::new(Arc::new(RealDisk), path)
    }

    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry of the directory.
    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn wal(&self) -> PathBuf {
        self.at(WAL)
    }

    pub fn snapshots(&self) -> PathBuf {
        self.at(SNAPSHOTS)
    }

    pub fn tables(&self) -> PathBuf {
        self.at(TABLES)
    }

    /// Locks the directory for writing until the file is closed.
    pub fn lock(&self) -> Result<File, OpenError> {
        let path = self.at(LOCK);
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| OpenError::io(&path, error))?;
        // A process that this one forked holds the lock too, until it calls exec.
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(OpenError::io(&path, error)),
            }
        }
        Err(self.in_use())
    }

    /// Locks the directory for reading, so that no start takes it, and creates nothing: where there
    /// is no lock file there was no start.
    pub fn lock_shared(&self) -> Result<Option<File>, OpenError> {
        let path = self.at(LOCK);
        std::fs::read_dir(&self.path).map_err(|error| OpenError::io(&self.path, error))?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io(&path, error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Err(self.in_use()),
            Err(TryLockError::Error(error)) => Err(OpenError::io(&path, error)),
        }
    }

    fn in_use(&self) -> OpenError {
        let data = self.path.clone();
        OpenError::InUse { data }
    }

    /// Whether it holds no data. What an unfinished restore left does not count.
    pub fn is_empty(&self) -> io::Result<bool> {
        let names = self.disk.list(&self.path)?;
        Ok(names.iter().all(|name| [LOCK, RESTORE].contains(&&**name)))
    }

    /// Whether a restore into it was cut short.
    pub fn restore_unfinished(&self) -> io::Result<bool> {
        let names = self.disk.list(&self.path)?;
        let has = |name: &str| names.iter().any(|there| there == name);
        Ok(has(RESTORE) && !has(MANIFEST))
    }

    /// Removes what a restore that was cut short had moved to its place: the directory was empty before
    /// it, and no start took it since.
    pub fn remove_unfinished_restore(&self) -> io::Result<()> {
        for name in self.disk.list(&self.path)? {
            if ![LOCK, RESTORE].contains(&name.as_str()) {
                self.disk.remove(&self.at(&name))?;
            }
        }
        self.disk.sync_dir(&self.path)
    }

    pub fn tables_state(&self) -> io::Result<TablesState> {
        let names = self.disk.list(&self.path)?;
        let has = |name: &str| names.iter().any(|there| there == name);
        Ok(if !has(TABLES) {
            TablesState::Missing
        } else if has(Marker::Doubtful.name()) {
            TablesState::Doubtful
        } else if has(Marker::Rebuilding.name()) {
            TablesState::Rebuilding
        } else {
            TablesState::Present
        })
    }

    /// Sets a marker, durably.
    pub fn mark(&self, marker: Marker) -> io::Result<()> {
        self.disk.create(&self.at(marker.name()), &[], 0)?;
        self.disk.sync_dir(&self.path)
    }

    /// Removes a marker, durably.
    pub fn unmark(&self, marker: Marker) -> io::Result<()> {
        self.disk.remove(&self.at(marker.name()))?;
        self.disk.sync_dir(&self.path)
    }

    /// The quarantine; it exists durably on return, so that what is moved into it is not lost.
    pub fn quarantine(&self) -> io::Result<PathBuf> {
        let dir = self.at(QUARANTINE);
        self.disk.create_dir(&dir)?;
        self.disk.sync_dir(&self.path)?;
        Ok(dir)
    }

    /// Moves a file or a directory into the quarantine under another name, durably.
    pub fn move_to_quarantine(&self, from: &Path, name: &str) -> io::Result<()> {
        let dir = self.quarantine()?;
        self.disk.rename(from, &dir.join(name))?;
        self.disk.sync_dir(&dir)?;
        self.disk.sync_dir(from.parent().unwrap_or(&self.path))
    }
}
