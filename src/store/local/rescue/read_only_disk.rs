//! A disk that refuses writes, for directories that are only read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::local::dir::DataDir;
use crate::store::local::disk::{Disk, LogFile};

/// The same data directory without write access.
pub(super) fn read_only(data: &DataDir) -> DataDir {
    let disk = ReadOnlyDisk {
        disk: data.disk().clone(),
        writable: None,
    };
    DataDir::new(Arc::new(disk), data.path())
}

/// Refuses writes outside of `writable`, and ignores removals there: a start would remove leftovers.
pub(super) struct ReadOnlyDisk {
    pub disk: Arc<dyn Disk>,
    pub writable: Option<PathBuf>,
}

impl ReadOnlyDisk {
    fn may_write(&self, path: &Path) -> io::Result<()> {
        if self
            .writable
            .as_ref()
            .is_some_and(|dir| path.starts_with(dir))
        {
            Ok(())
        } else {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }
    }
}

impl Disk for ReadOnlyDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.disk.read_at(path, offset, len)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.disk.len(path)
    }

    fn free(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free(dir)
    }

    fn create(&self, path: &Path, front: &[u8], len: u64) -> io::Result<Box<dyn LogFile>> {
        self.may_write(path)?;
        self.disk.create(path, front, len)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        self.may_write(path)?;
        self.disk.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.may_write(from)?;
        self.may_write(to)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.may_write(path) {
            Ok(()) => self.disk.remove(path),
            Err(_) => Ok(()),
        }
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.may_write(dir)?;
        self.disk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.may_write(dir)?;
        self.disk.sync_dir(dir)
    }
}
