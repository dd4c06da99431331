//! A data directory out of a backup.
//!
//! It is made below the data directory, in `restore.new`, and moved up once it is whole, the
//! manifest last: until then a start refuses. So a mount point can be restored to, and nobody starts
//! on half of it, or on nothing where a restored node should be.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::Progress;
use super::backup::{Backup, BackupError, copy, names, sync_dir};
use crate::store::local::dir::{DataDir, LOCK, MANIFEST, RESTORE, WAL};

/// A data directory that is being restored. Dropped before [`Restoring::finish`] it leaves nothing.
#[derive(Debug)]
pub struct Restoring {
    data: PathBuf,
    _lock: File,
}

impl Restoring {
    /// Takes a directory that holds no data; makes it if it is not there.
    pub fn begin(data: &Path) -> Result<Self, BackupError> {
        let data = std::path::absolute(data).map_err(BackupError::io(data))?;
        let make = |dir: &Path| {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700).create(dir)
        };
        make(&data).map_err(BackupError::io(&data))?;
        let dir = DataDir::real(&data);
        let lock = dir.lock()?;
        if !dir.is_empty().map_err(BackupError::io(&data))? {
            return Err(BackupError::NotEmpty { dir: data });
        }
        let restoring = Self { data, _lock: lock };
        let dir = restoring.dir();
        restoring.clear()?;
        make(&dir).map_err(BackupError::io(&dir))?;
        Ok(restoring)
    }

    /// Where it is being made: a data directory of its own.
    pub fn dir(&self) -> PathBuf {
        self.data.join(RESTORE)
    }

    /// Copies the files of a backup, but for those named in `without`; each is checked as it is
    /// copied.
    pub fn copy(
        &self,
        from: &Path,
        backup: &Backup,
        without: &[&str],
        progress: Progress<'_>,
    ) -> Result<(), BackupError> {
        let to = self.dir();
        let total = backup.files.values().map(|file| file.bytes).sum();
        let mut done = 0;
        let files = backup.files.iter();
        for (name, copied) in files.filter(|(name, _)| !without.contains(&name.as_str())) {
            let (source, target) = (from.join(name), to.join(name));
            let dir = target.parent().unwrap_or(&to);
            if !dir.exists() {
                let made = DirBuilder::new().mode(0o700).create(dir);
                made.map_err(BackupError::io(dir))?;
            }
            let mut read = |bytes: u64| {
                progress("copying", done + bytes, total);
                Ok(())
            };
            if copy(&source, Some(&target), u64::MAX, &mut read)? != *copied {
                return Err(BackupError::Damaged {
                    file: source,
                    why: "it is not what was copied".to_owned(),
                });
            }
            sync_dir(dir)?;
            done += copied.bytes;
        }
        sync_dir(&to)
    }

    /// Moves what was made to its place. Nothing may have it open any more.
    pub fn finish(self) -> Result<(), BackupError> {
        let dir = self.dir();
        let mut all = names(&dir)?;
        all.retain(|name| name != LOCK);
        all.sort_by_key(|name| match name.as_str() {
            WAL => 0,
            MANIFEST => 2,
            _ => 1,
        });
        for name in all {
            // Durable one after the other: the manifest never without the rest.
            let (from, to) = (dir.join(&name), self.data.join(&name));
            fs::rename(&from, &to).map_err(BackupError::io(&to))?;
            sync_dir(&self.data)?;
        }
        self.clear()
    }

    fn clear(&self) -> Result<(), BackupError> {
        let dir = self.dir();
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(BackupError::io(&dir)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        let _ = self.clear();
    }
}
