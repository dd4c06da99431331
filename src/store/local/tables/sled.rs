//! Tables in sled, with an fsync of its file and a limit on the time it takes to open.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::{KeyWrite, OPEN_LIMIT, Pair, Pairs, TableError, Tables};
use crate::store::table::TableSpec;

pub struct SledTables {
    trees: BTreeMap<u8, sled::Tree>,
    db: sled::Db,
    /// Opened before the first write: Linux reports a write-back error once per open file. sled's own
    /// `flush` is no fsync (0 of 200 commits survived a power cut with it alone).
    file: File,
    dir: PathBuf,
}

impl SledTables {
    /// Opens or creates the tables in `dir`.
    ///
    /// Leftovers that make sled fail for ever are removed first; if it still fails, its snapshots are
    /// removed too, after which it reads its whole file.
    pub fn open(
        dir: &Path,
        schema: &[&'static TableSpec],
        cache_bytes: u64,
    ) -> Result<Self, TableError> {
        let io = |source| TableError::Io {
            path: dir.to_owned(),
            source,
        };
        fs::create_dir_all(dir).map_err(io)?;
        remove_snapshots(dir, |name| name.ends_with(".generating")).map_err(io)?;
        let db = match open_db(dir, cache_bytes) {
            Ok(db) => db,
            // The thread that opens it still has it.
            Err(TableError::TooSlow) => return Err(TableError::TooSlow),
            Err(error) => {
                tracing::warn!(%error, "cannot open sled: retrying without its snapshots");
                remove_snapshots(dir, |_| true).map_err(io)?;
                open_db(dir, cache_bytes)?
            }
        };
        let trees = schema
            .iter()
            .map(|table| Ok((table.id, db.open_tree(table.name)?)))
            .collect::<Result<_, TableError>>()?;
        let path = dir.join("db");
        let file = File::open(&path).map_err(|source| TableError::Io { path, source })?;
        let tables = Self {
            trees,
            db,
            file,
            dir: dir.to_owned(),
        };
        tables.sync()?;
        tables.sync_names().map_err(io)?;
        Ok(tables)
    }

    fn tree(&self, table: &TableSpec) -> &sled::Tree {
        self.trees
            .get(&table.id)
            .expect("every table of the schema is open, and records hold no other")
    }

    /// sled creates its directories and its `conf` without syncing them.
    fn sync_names(&self) -> std::io::Result<()> {
        for name in ["conf", "blobs", "."] {
            File::open(self.dir.join(name))?.sync_all()?;
        }
        File::open(self.dir.parent().unwrap_or(&self.dir))?.sync_all()
    }
}

/// Removes sled's snapshots, caches of its page table, whose names `which` accepts.
fn remove_snapshots(dir: &Path, which: impl Fn(&str) -> bool) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && which(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Opens sled on a thread of its own, so that a panic and a hang are errors.
fn open_db(dir: &Path, cache_bytes: u64) -> Result<sled::Db, TableError> {
    let config = sled::Config::new()
        .path(dir)
        .mode(sled::Mode::LowSpace)
        .cache_capacity(cache_bytes)
        .use_compression(false)
        .segment_size(8 << 20)
        // Only for its garbage collection, never for durability. Rare, because it syncs the whole file
        // and commits on the same disk wait for that.
        .flush_every_ms(Some(5000));
    let open = move || {
        // sled releases its lock a little after it is dropped.
        for _ in 0..100 {
            match config.open() {
                Err(sled::Error::Io(error)) if is_locked(&error) => {
                    std::thread::park_timeout(Duration::from_millis(50));
                }
                other => return other,
            }
        }
        config.open()
    };
    Ok(run_within(OPEN_LIMIT, dir, open)??)
}

/// Runs `open` on a thread of its own. After `limit` the thread goes on, and its result is dropped.
fn run_within<T: Send + 'static>(
    limit: Duration,
    dir: &Path,
    open: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TableError> {
    let (done, opened) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("arf-sled-open".to_owned())
        .spawn(move || drop(done.send(open())))
        .map_err(|source| TableError::Io {
            path: dir.to_owned(),
            source,
        })?;
    opened.recv_timeout(limit).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => TableError::TooSlow,
        mpsc::RecvTimeoutError::Disconnected => TableError::Panicked,
    })
}

/// sled 0.34.7 reports a held lock only in the text of the error.
fn is_locked(error: &std::io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn to_pair(found: sled::Result<(sled::IVec, sled::IVec)>) -> Result<Pair, TableError> {
    let (key, value) = found?;
    Ok((key.to_vec(), value.to_vec()))
}

impl Tables for SledTables {
    fn get(&self, table: &TableSpec, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        Ok(self.tree(table).get(key)?.map(|value| value.to_vec()))
    }

    fn range(&self, table: &TableSpec, from: &[u8], to: Option<&[u8]>) -> Pairs<'_> {
        let tree = self.tree(table);
        let range = match to {
            Some(to) if from >= to => return Box::new(std::iter::empty()),
            Some(to) => tree.range(from.to_vec()..to.to_vec()),
            None => tree.range(from.to_vec()..),
        };
        Box::new(range.map(to_pair))
    }

    fn last(&self, table: &TableSpec, from: &[u8], to: &[u8]) -> Result<Option<Pair>, TableError> {
        let mut range = self.tree(table).range(from.to_vec()..to.to_vec());
        range.next_back().map(to_pair).transpose()
    }

    fn write(
        &self,
        table: &TableSpec,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, TableError> {
        let tree = self.tree(table);
        let before = match value {
            Some(value) => tree.insert(key, value)?,
            None => tree.remove(key)?,
        };
        Ok(before.map(|value| value.to_vec()))
    }

    fn write_together(&self, table: &TableSpec, changes: &[KeyWrite]) -> Result<(), TableError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        Ok(self.tree(table).apply_batch(batch)?)
    }

    fn sync(&self) -> Result<(), TableError> {
        self.db.flush()?;
        let io = |source| TableError::Io {
            path: self.dir.join("db"),
            source,
        };
        self.file.sync_all().map_err(io)?;
        // sled never syncs the files of values over 128 KiB; ours are at most 4 KiB.
        if fs::read_dir(self.dir.join("blobs"))
            .map_err(io)?
            .next()
            .is_some()
        {
            tracing::warn!(dir = %self.dir.display(), "sled has blobs, which are never synced");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_open_in_time_or_panics_is_an_error() {
        let within = |limit, open: fn() -> u8| run_within(limit, Path::new("."), open);
        let long = Duration::from_secs(60);
        assert!(matches!(within(long, || 7), Ok(7)));
        let panics = || panic!("as sled does");
        assert!(matches!(within(long, panics), Err(TableError::Panicked)));
        let hangs = || loop {
            std::thread::park();
        };
        let limit = Duration::from_millis(10);
        assert!(matches!(within(limit, hangs), Err(TableError::TooSlow)));
    }
}
