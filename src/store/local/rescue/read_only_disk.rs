//! A disk on which nothing is changed: what is only looked at may lie where nothing can be written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::local::dir::DataDir;
use crate::store::local::disk::{Disk, LogFile, RealDisk};

/// A data directory that is read only.
pub(super) fn read_only(data: &Path) -> DataDir {
    DataDir::new(Arc::new(ReadOnlyDisk { but: None }), data)
}

/// The disk there is, of which nothing is changed but what is below `but`. What a start would clear
/// away stays.
pub(super) struct ReadOnlyDisk {
    pub but: Option<PathBuf>,
}

impl ReadOnlyDisk {
    fn may(&self, path: &Path) -> io::Result<()> {
        if self.but.as_ref().is_some_and(|but| path.starts_with(but)) {
            Ok(())
        } else {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }
    }
}

impl Disk for ReadOnlyDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        RealDisk.read_at(path, offset, len)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        RealDisk.len(path)
    }

    fn free(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.free(dir)
    }

    fn create(&self, path: &Path, front: &[u8], len: u64) -> io::Result<Box<dyn LogFile>> {
        self.may(path)?;
        RealDisk.create(path, front, len)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        self.may(path)?;
        RealDisk.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.may(from)?;
        self.may(to)?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.may(path) {
            Ok(()) => RealDisk.remove(path),
            Err(_) => Ok(()),
        }
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.may(dir)?;
        RealDisk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.may(dir)?;
        RealDisk.sync_dir(dir)
    }
}
