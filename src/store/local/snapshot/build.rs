//! The thread that builds snapshots: each from the one before it and the segments that were sealed
//! since. The tables are read only if no snapshot is intact; see [`from_tables`].

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::file::{self, Snapshot};
use super::find::quarantine;
use super::from_tables::{self, TableReader, TableRows};
use super::manager::{SnapshotManager, Task};
use super::merge::{MergeInput, MergeOutput, TempFile};
use crate::id::TenantId;
use crate::store::local::counters::Counters;
use crate::store::local::dir::{self, DataDir};
use crate::store::local::log::frame::Tail;
use crate::store::local::log::frames::LogError;
use crate::store::local::log::scan::{LastHead, SealedSegment};
use crate::store::local::log::segment::Wal;
use crate::store::local::schema::{Part, Schema};
use crate::store::record::LogPrefix;

/// The thread's priority.
const NICE: i32 = 10;
/// The prefix of the runs' names.
const RUNS: &str = "run";

pub struct Snapshotter {
    pub manager: Arc<SnapshotManager>,
    pub data: DataDir,
    pub wal: Wal,
    pub schema: Schema,
    pub epoch: u32,
    pub snapshot_bytes: u64,
    pub counters: Arc<Counters>,
    /// Used if no snapshot is intact.
    pub tables: TableReader,
}

type Heads = HashMap<TenantId, LastHead>;

impl Snapshotter {
    /// Runs until stopped.
    pub fn run(&self) {
        // On other systems this is the priority of the process.
        if cfg!(target_os = "linux")
            && let Err(error) = rustix::process::setpriority_process(None, NICE)
        {
            tracing::debug!(%error, "snapshots are built at normal priority");
        }
        let mut table_rows = None;
        loop {
            match self.manager.next(self.snapshot_bytes) {
                Task::Build(end) => self.build(end, &mut table_rows),
                Task::RemoveObsolete => {
                    if let Err(error) = self.remove_obsolete() {
                        tracing::warn!(%error, "obsolete snapshots or segments could not be removed");
                    }
                    self.manager.removed();
                }
                Task::Stop => return,
            }
        }
    }

    /// Builds a snapshot that is due. A failure does not stop writes, and is retried.
    fn build(&self, end: SealedSegment, table_rows: &mut Option<TableRows>) {
        let (manager, counters) = (&self.manager, &self.counters);
        loop {
            let base = manager.newest();
            let built = catch_unwind(AssertUnwindSafe(|| match (&base, self.damaged_base()) {
                (None, Some(damaged)) => self.build_from_tables(&damaged, end, table_rows),
                (base, _) => self.merge(base.as_ref(), end).map(Some),
            }));
            let error = match built {
                Ok(Ok(Some(snapshot))) => {
                    let (lsn, bytes) = (snapshot.prefix.lsn.get(), snapshot.bytes);
                    tracing::info!(lsn, bytes, "snapshot built");
                    manager.made(snapshot, end);
                    counters.snapshots_made.fetch_add(1, Ordering::Relaxed);
                    *table_rows = None;
                    return self.quarantine_damaged();
                }
                Ok(Ok(None)) => return manager.failed(end),
                Ok(Err(LogError::Stopped)) => return,
                Ok(Err(error)) => Some(error),
                Err(_panic) => None,
            };
            let why = error.as_ref().map(ToString::to_string);
            let why = why.as_deref().unwrap_or("a panic");
            tracing::error!(why, "snapshot not built: the log is kept");
            counters.snapshots_failed.fetch_add(1, Ordering::Relaxed);
            match (error, base) {
                // The one before it and more of the log have the same rows.
                (Some(LogError::Damaged { path, .. }), Some(base)) if path == base.path => {
                    manager.note_damaged(&base);
                }
                _ => return manager.failed(end),
            }
        }
    }

    /// The newest damaged snapshot, if the log does not go back to its beginning.
    fn damaged_base(&self) -> Option<Snapshot> {
        let numbers = self.wal.numbers().ok()?;
        let damaged = self.manager.newest_damaged();
        damaged.filter(|_| numbers.first() != Some(&Tail::START.segment))
    }

    fn quarantine_damaged(&self) {
        for Snapshot { path, .. } in self.manager.take_damaged() {
            if let Err(error) = quarantine(&self.data, &path, self.epoch) {
                tracing::warn!(%error, "a damaged snapshot could not be moved to the quarantine");
            }
        }
    }

    /// Merges `base` and the log behind it up to the end of a segment.
    fn merge(&self, base: Option<&Snapshot>, end: SealedSegment) -> Result<Snapshot, LogError> {
        let stopped = || self.manager.is_stopped();
        let merged = self.fold(base, end, &stopped).run()?;
        let mut expected = match base {
            Some(base) => base.heads(&self.wal.disk, &self.schema)?,
            None => HashMap::new(),
        };
        self.write(merged, |snapshot, heads, changed| {
            expected.extend(changed);
            if same(heads, &expected) {
                return Ok(());
            }
            Err(LogError::Damaged {
                path: snapshot.path.clone(),
                offset: 0,
                why: "its heads are not those of the log",
                last_good: None,
                next_valid: None,
            })
        })
    }

    /// Merges the rows in the tables and the log behind a damaged snapshot; `None` until the log has
    /// reached what was read.
    fn build_from_tables(
        &self,
        damaged: &Snapshot,
        end: SealedSegment,
        table_rows: &mut Option<TableRows>,
    ) -> Result<Option<Snapshot>, LogError> {
        let stopped = || self.manager.is_stopped();
        let rows = match table_rows {
            Some(rows) => rows,
            None => {
                let path = damaged.path.display();
                tracing::warn!(%path, "no intact snapshot: building one from the tables");
                table_rows.insert(self.tables.read(&self.data, &self.schema, &stopped)?)
            }
        };
        if rows.through > end.through.lsn {
            return Ok(None);
        }
        let sources = vec![rows.source(&self.wal.disk, &self.schema)];
        let fold = self.fold(None, end, &stopped);
        let merged = fold.run_over(damaged.prefix.tail(), sources)?;
        let built = self.write(merged, |snapshot, heads, changed| {
            from_tables::check(
                (&self.wal.disk, &self.schema),
                damaged,
                snapshot,
                heads,
                &changed,
            )
        });
        built.map(Some).map_err(from_tables::name_tenant)
    }

    fn fold<'a>(
        &'a self,
        base: Option<&'a Snapshot>,
        end: SealedSegment,
        stopped: &'a (dyn Fn() -> bool + Sync),
    ) -> MergeInput<'a> {
        MergeInput {
            wal: &self.wal,
            schema: &self.schema,
            base,
            end: Tail {
                segment: end.segment + 1,
                offset: 0,
                next: end.through.lsn.plus(1),
                chain: end.through.chain,
                epoch: self.epoch,
            },
            part: Part::Whole,
            runs: self.data.snapshots().join(RUNS),
            stopped,
        }
    }

    /// Writes a snapshot and reads it back. It counts if its heads pass `check`, which also gets those
    /// that the log changed.
    fn write(
        &self,
        merged: MergeOutput<'_>,
        check: impl FnOnce(&Snapshot, &Heads, Heads) -> Result<(), LogError>,
    ) -> Result<Snapshot, LogError> {
        let disk = &self.wal.disk;
        let dir = self.data.snapshots();
        let stopped = || self.manager.is_stopped();
        let prefix = LogPrefix::up_to(merged.end);
        let path = dir.join(dir::snapshot_name(prefix.lsn));
        let new = TempFile::new(disk, path.with_extension(dir::NEW));
        let (snapshot, heads) = file::write(
            (disk, &self.schema, &stopped),
            new.path(),
            (self.epoch, prefix),
            merged.rows,
        )?;
        check(&snapshot, &heads, merged.heads)?;
        disk.rename(new.path(), &path)
            .and_then(|()| disk.sync_dir(&dir))
            .map_err(LogError::io(&path))?;
        Ok(Snapshot { path, ..snapshot })
    }

    /// Removes all snapshots but those that are kept, and the log that the older of them covers.
    fn remove_obsolete(&self) -> std::io::Result<()> {
        let disk = &self.wal.disk;
        let kept = self.manager.kept();
        let [older, .., _newest] = kept.as_slice() else {
            return Ok(());
        };
        let dir = self.data.snapshots();
        let mut snapshots = file::list(&self.data)?;
        snapshots.retain(|path| kept.iter().all(|kept| kept.path != *path));
        for path in &snapshots {
            disk.remove(path)?;
        }
        if !snapshots.is_empty() {
            disk.sync_dir(&dir)?;
        }
        let mut segments = self.wal.numbers()?;
        segments.retain(|number| *number <= older.prefix.segment);
        for number in &segments {
            self.wal.remove(*number)?;
        }
        if !segments.is_empty() {
            disk.sync_dir(&self.wal.dir)?;
        }
        Ok(())
    }
}

fn same(some: &Heads, others: &Heads) -> bool {
    let same = |(tenant, head): (_, &LastHead)| {
        others
            .get(tenant)
            .is_some_and(|other| other.envelope == head.envelope)
    };
    some.len() == others.len() && some.iter().all(same)
}
