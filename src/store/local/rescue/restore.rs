//! A data directory from a backup.
//!
//! It is built below the data directory, in `restore.new`, and moved up once it is complete, the
//! manifest last; until then a start refuses, and another restore begins again. So a mount point can be
//! restored to, and no start finds half of it, or an empty directory where a restored node should be.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Progress;
use super::backup::{Backup, BackupError, copy};
use crate::store::local::dir::{DataDir, LOCK, MANIFEST, RESTORE, SALVAGE_REPORT, WAL};
use crate::store::local::disk::{Disk, RealDisk};

/// A restore in progress. Dropped before [`PendingRestore::finish`], it leaves nothing.
pub struct PendingRestore {
    data: DataDir,
    /// Files were moved to their places: only another restore may remove them.
    moving: bool,
    _lock: File,
}

impl PendingRestore {
    /// Takes a directory without data, or creates it.
    pub fn begin(data: &Path) -> Result<Self, BackupError> {
        Self::begin_on(Arc::new(RealDisk), data)
    }

    pub(in crate::store::local) fn begin_on(
        disk: Arc<dyn Disk>,
        data: &Path,
    ) -> Result<Self, BackupError> {
        let path = std::path::absolute(data).map_err(BackupError::io(data))?;
        let data = DataDir::new(disk, path);
        let io = || BackupError::io(data.path());
        let parent = data.path().parent().unwrap_or(data.path());
        data.disk()
            .create_dir(data.path())
            .and_then(|()| data.disk().sync_dir(parent))
            .map_err(io())?;
        let lock = data.lock()?;
        if data.restore_unfinished().map_err(io())? {
            data.remove_unfinished_restore().map_err(io())?;
        }
        if !data.is_empty().map_err(io())? {
            let dir = data.path().to_owned();
            return Err(BackupError::NotEmpty { dir });
        }
        let restoring = Self {
            data,
            moving: false,
            _lock: lock,
        };
        let dir = restoring.dir();
        let disk = restoring.data.disk();
        disk.remove(&dir)
            .and_then(|()| disk.create_dir(&dir))
            .and_then(|()| disk.sync_dir(restoring.data.path()))
            .map_err(BackupError::io(&dir))?;
        Ok(restoring)
    }

    /// Where it is built: a data directory of its own.
    pub fn dir(&self) -> PathBuf {
        self.data.at(RESTORE)
    }

    /// Copies the files of a backup but those named in `without`, checking each.
    pub fn copy(
        &self,
        from: &Path,
        backup: &Backup,
        without: &[&str],
        progress: Progress<'_>,
    ) -> Result<(), BackupError> {
        let disk = self.data.disk();
        let to = self.dir();
        let sync = |dir: &Path| disk.sync_dir(dir).map_err(BackupError::io(dir));
        let total = backup.files.values().map(|file| file.bytes).sum();
        let mut done = 0;
        let is_wanted = |name: &str| name != SALVAGE_REPORT && !without.contains(&name);
        for (name, copied) in backup.files.iter().filter(|(name, _)| is_wanted(name)) {
            let (source, target) = (from.join(name), to.join(name));
            let dir = target.parent().unwrap_or(&to);
            disk.create_dir(dir).map_err(BackupError::io(dir))?;
            let mut read = |bytes: u64| {
                progress("copying", done + bytes, total);
                Ok(())
            };
            if copy((disk, &source), Some((disk, &target)), u64::MAX, &mut read)? != *copied {
                return Err(BackupError::Damaged {
                    file: source,
                    why: "its checksum does not match".to_owned(),
                });
            }
            sync(dir)?;
            done += copied.bytes;
        }
        sync(&to)
    }

    /// Moves the files to their places. No store may have them open.
    pub fn finish(mut self) -> Result<(), BackupError> {
        self.moving = true;
        let disk = self.data.disk();
        let dir = self.dir();
        let mut names = disk.list(&dir).map_err(BackupError::io(&dir))?;
        names.retain(|name| name != LOCK);
        names.sort_by_key(|name| match name.as_str() {
            WAL => 0,
            MANIFEST => 2,
            _ => 1,
        });
        for name in names {
            // Each durable before the next: the manifest never without the rest.
            let (from, to) = (dir.join(&name), self.data.at(&name));
            disk.rename(&from, &to)
                .and_then(|()| disk.sync_dir(self.data.path()))
                .and_then(|()| disk.sync_dir(&dir))
                .map_err(BackupError::io(&to))?;
        }
        disk.remove(&dir).map_err(BackupError::io(&dir))
    }
}

impl Drop for PendingRestore {
    fn drop(&mut self) {
        if !self.moving {
            let _ = self.data.disk().remove(&self.dir());
        }
    }
}

impl std::fmt::Debug for PendingRestore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Restoring").field(&self.data.path()).finish()
    }
}
