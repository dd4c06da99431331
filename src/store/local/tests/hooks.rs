//! A disk and a set of tables that ask a hook before each call: it may fail the call, drop it, wait or
//! panic.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::store::TableSpec;
use crate::store::local::disk::{Disk, LogFile, RealDisk};
use crate::store::local::env::Env;
use crate::store::local::tables::{self, Pair, Pairs, TableError, Tables};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskCall {
    Create,
    Write,
    Sync,
    Rename,
    /// An error here is a disk with [`LITTLE_ROOM`].
    Free,
}

type DiskHook = dyn Fn(DiskCall, &Path) -> io::Result<()> + Send + Sync;

/// Less than any configuration of a test wants.
const LITTLE_ROOM: u64 = 1 << 20;

/// The real disk behind a hook. What is written reaches it with the next sync, so that a kill forgets
/// what was not synced.
struct HookedDisk(Arc<DiskHook>);

struct HookedFile {
    hook: Arc<DiskHook>,
    path: PathBuf,
    file: Box<dyn LogFile>,
    unsynced: Mutex<Vec<(Vec<u8>, u64)>>,
}

/// An environment whose disk asks this hook.
pub(super) fn hooked_disk(
    hook: impl Fn(DiskCall, &Path) -> io::Result<()> + Send + Sync + 'static,
) -> Env {
    Env {
        disk: Arc::new(HookedDisk(Arc::new(hook))),
        ..Env::real()
    }
}

impl HookedDisk {
    fn file(&self, path: &Path, file: Box<dyn LogFile>) -> Box<dyn LogFile> {
        Box::new(HookedFile {
            hook: Arc::clone(&self.0),
            path: path.to_owned(),
            file,
            unsynced: Mutex::default(),
        })
    }
}

impl Disk for HookedDisk {
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
        match (self.0)(DiskCall::Free, dir) {
            Ok(()) => RealDisk.free(dir),
            Err(_) => Ok(LITTLE_ROOM),
        }
    }
    fn create(&self, path: &Path, front: &[u8], len: u64) -> io::Result<Box<dyn LogFile>> {
        (self.0)(DiskCall::Create, path)?;
        Ok(self.file(path, RealDisk.create(path, front, len)?))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Ok(self.file(path, RealDisk.open(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.0)(DiskCall::Rename, from)?;
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
}

impl LogFile for HookedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        (self.hook)(DiskCall::Write, &self.path)?;
        self.unsynced.lock().unwrap().push((bytes.to_vec(), offset));
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        (self.hook)(DiskCall::Sync, &self.path)?;
        for (bytes, offset) in self.unsynced.lock().unwrap().drain(..) {
            self.file.write_at(&bytes, offset)?;
        }
        Ok(())
    }
    fn len(&self) -> u64 {
        self.file.len()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TablesCall {
    Get,
    Range,
    Last,
    Write,
}

/// Whether the call is made; a write that is not is dropped without a word.
type TablesHook = dyn Fn(TablesCall, &TableSpec) -> bool + Send + Sync;

/// Tables behind a hook.
pub(super) struct HookedTables {
    pub hook: Arc<TablesHook>,
    pub tables: Box<dyn Tables>,
}

/// An environment whose tables, in sled, ask this hook.
pub(super) fn hooked_tables(
    hook: impl Fn(TablesCall, &TableSpec) -> bool + Send + Sync + 'static,
) -> Env {
    let (real, hook): (_, Arc<TablesHook>) = (Env::real(), Arc::new(hook));
    Env {
        open_tables: Box::new(move |dir, schema, cache| {
            let hook = Arc::clone(&hook);
            let tables = (real.open_tables)(dir, schema, cache)?;
            Ok(Box::new(HookedTables { hook, tables }))
        }),
        ..Env::real()
    }
}

impl Tables for HookedTables {
    fn get(&self, table: &TableSpec, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        (self.hook)(TablesCall::Get, table);
        self.tables.get(table, key)
    }
    fn range(&self, table: &TableSpec, from: &[u8], to: Option<&[u8]>) -> Pairs<'_> {
        (self.hook)(TablesCall::Range, table);
        self.tables.range(table, from, to)
    }
    fn last(&self, table: &TableSpec, from: &[u8], to: &[u8]) -> Result<Option<Pair>, TableError> {
        (self.hook)(TablesCall::Last, table);
        self.tables.last(table, from, to)
    }
    fn write(
        &self,
        table: &TableSpec,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, TableError> {
        if (self.hook)(TablesCall::Write, table) {
            self.tables.write(table, key, value)
        } else {
            Ok(None)
        }
    }
    fn write_together(
        &self,
        table: &TableSpec,
        changes: &[tables::KeyWrite],
    ) -> Result<(), TableError> {
        if (self.hook)(TablesCall::Write, table) {
            self.tables.write_together(table, changes)
        } else {
            Ok(())
        }
    }
    fn sync(&self) -> Result<(), TableError> {
        self.tables.sync()
    }
}
