//! A data directory or a backup, opened for reading only.
//!
//! Everything that a start checks is checked, and nothing is written, so it works on read-only media.
//! Tables are built in a scratch directory, from the log, when they are needed.

use std::collections::HashMap;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Progress;
use super::read_only_disk::{ReadOnlyDisk, read_only};
use crate::id::TenantId;
use crate::store::Lsn;
use crate::store::head::Head;
use crate::store::ledger::Ledger;
use crate::store::local::dir::DataDir;
use crate::store::local::disk::{Disk as _, RealDisk, len_u64};
use crate::store::local::env::Env;
use crate::store::local::log::frame::Tail;
use crate::store::local::log::frames::{FrameReader, LogError, Step};
use crate::store::local::log::scan::{Scan, open_head, records};
use crate::store::local::log::segment::Wal;
use crate::store::local::manifest;
use crate::store::local::recover::{self, Inspection, LastStop};
use crate::store::local::schema::{Part, Schema};
use crate::store::local::snapshot::Snapshot;
use crate::store::local::tables::rebuild::Rebuild;
use crate::store::local::tables::replay;
use crate::store::local::tables::view::TableView;
use crate::store::record::LogBody;
use crate::store::row::{EnvelopeError, Op, check_envelope};
use crate::store::table::{HEADS, TableSpec};
use crate::store::{OpenError, Reader, StoreConfig};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryInfo {
    pub format: u32,
    /// The number of the last start, if there was one.
    pub boot_epoch: Option<u32>,
    /// The last stop was a clean one, or there was none.
    pub clean: bool,
    /// Segments with frames behind the newest snapshot.
    pub segments: usize,
    /// Valid snapshots with their bytes, the oldest first.
    pub snapshots: Vec<(PathBuf, u64)>,
    /// Snapshots whose fronts are damaged.
    pub damaged: Vec<PathBuf>,
    pub last: Lsn,
    /// The last record that the tables were known to hold.
    pub checkpoint: Lsn,
    pub tenants: usize,
    /// A write that a crash cut short at the end of the log: file, offset and why it is not a frame.
    /// Nothing acknowledged is in it, and a start moves it to the quarantine.
    pub torn: Option<(PathBuf, u64, &'static str)>,
}

/// Called by [`ReadOnly::walk`] for each operation.
pub type Visit<'a> = &'a mut dyn FnMut(&Op<'_>) -> Result<ControlFlow<()>, EnvelopeError>;

/// An open directory; while it lives, no start can take the directory.
pub struct ReadOnly {
    pub(super) dir: DataDir,
    pub(super) schema: Schema,
    pub(super) wal: Wal,
    pub(super) scan: Scan,
    pub(super) snapshots: Vec<Snapshot>,
    damaged: Vec<PathBuf>,
    last_stop: LastStop,
    /// Held for reading; a backup has none.
    _lock: Option<File>,
}

impl ReadOnly {
    /// Opens a directory and checks every frame and every record of its log.
    ///
    /// # Panics
    /// If two tables of the schema share an id or a name.
    pub fn open(data: &Path, schema: &'static [TableSpec]) -> Result<Self, OpenError> {
        Self::open_with(data, Schema::new(schema))
    }

    pub(super) fn open_with(data: &Path, schema: Schema) -> Result<Self, OpenError> {
        let data = DataDir::real(data);
        let lock = data.lock_shared()?;
        Self::open_locked(&data, schema, lock)
    }

    /// `lock` is that of the directory, if it is locked already.
    pub(super) fn open_locked(
        data: &DataDir,
        schema: Schema,
        lock: Option<File>,
    ) -> Result<Self, OpenError> {
        let dir = read_only(data);
        let wal = Wal::new(&dir, 0);
        let Inspection {
            scan,
            snapshots,
            damaged,
            last_stop,
        } = recover::inspect(&dir, &wal, &schema)?;
        Ok(Self {
            dir,
            schema,
            wal,
            scan,
            snapshots,
            damaged,
            last_stop,
            _lock: lock,
        })
    }

    /// Holds a lock of the directory as long as it is open.
    pub(super) fn hold(&mut self, lock: Option<File>) {
        self._lock = lock;
    }
    pub fn facts(&self) -> DirectoryInfo {
        let torn = self.scan.torn.as_ref();
        let snapshots = self.snapshots.iter();
        DirectoryInfo {
            snapshots: snapshots.map(|one| (one.path.clone(), one.bytes)).collect(),
            damaged: self.damaged.clone(),
            format: manifest::FORMAT,
            boot_epoch: self.last_stop.epoch(),
            clean: self.last_stop.clean,
            segments: self.scan.segments.len(),
            last: self.scan.through.lsn,
            checkpoint: self.scan.applied,
            tenants: self.scan.heads.len(),
            torn: torn.map(|torn| (torn.file.clone(), torn.offset, torn.why)),
        }
    }

    /// Where the log ends, in the epoch of the last start, and whether in a SHUTDOWN frame; `None` if
    /// there is no log.
    pub(super) fn end(&self) -> Option<(Tail, bool)> {
        let epoch = self
            .last_stop
            .epoch()
            .filter(|_| self.scan.last.is_some())?;
        Some((
            Tail {
                epoch,
                ..self.scan.tail
            },
            self.last_stop.clean,
        ))
    }
    pub fn heads(&self) -> impl Iterator<Item = (TenantId, Head)> {
        // The scan opened each of them.
        self.scan
            .heads
            .iter()
            .filter_map(|(tenant, last)| Some((*tenant, open_head(*tenant, &last.envelope)?)))
    }

    /// Visits every change of every row, the store's own included: first the rows of a snapshot, if
    /// there is one, then the log behind it, until `visit` breaks. Rows keyed by sequence come in their
    /// tenant's order.
    pub fn walk(&self, progress: Progress<'_>, visit: Visit<'_>) -> Result<(), OpenError> {
        let base = self.base(progress)?;
        let begin = base.map_or(Tail::START, |base| base.prefix.tail());
        let total = base.map_or(0, |base| base.bytes) + self.log_bytes(begin);
        let mut done = 0;
        let mut tell = |more: u64| {
            done += more;
            progress("reading rows", done.min(total), total);
        };
        if let Some(base) = base {
            for op in base.rows(&self.wal.disk, &self.schema, Part::Whole) {
                let op = op?;
                check(&op)?;
                if visit(&op)?.is_break() {
                    return Ok(());
                }
                tell(op.envelope().map_or(0, len_u64));
            }
        }
        self.walk_from(begin, &mut tell, visit)?;
        tell(total);
        Ok(())
    }

    /// As [`ReadOnly::walk`], of the log alone.
    pub(super) fn walk_log(
        &self,
        progress: Progress<'_>,
        visit: Visit<'_>,
    ) -> Result<(), OpenError> {
        let numbers = self.wal.numbers();
        let numbers = numbers.map_err(|error| OpenError::io(&self.wal.dir, error))?;
        let oldest = self.snapshots.first().map(|oldest| oldest.prefix.tail());
        let begin = match oldest {
            Some(tail) if numbers.first() != Some(&Tail::START.segment) => tail,
            Some(_) | None => Tail::START,
        };
        let total = self.log_bytes(begin);
        let mut done = 0;
        let mut tell = |more: u64| {
            done += more;
            progress("reading the log", done.min(total), total);
        };
        self.walk_from(begin, &mut tell, visit)
    }

    fn walk_from(
        &self,
        begin: Tail,
        tell: &mut dyn FnMut(u64),
        visit: Visit<'_>,
    ) -> Result<(), OpenError> {
        let mut frames = FrameReader::log(&self.wal, begin, self.scan.tail);
        while frames.step()? != Step::End {
            let Some(frame) = frames.frame() else {
                continue;
            };
            for record in records(&frame, &self.schema) {
                let record = record.map_err(|error| frames.unreadable(error))?;
                let (LogBody::Tenant { ops, .. } | LogBody::Side(ops)) = record.body else {
                    continue;
                };
                for op in ops {
                    check(&op)?;
                    if visit(&op)?.is_break() {
                        return Ok(());
                    }
                }
            }
            tell(len_u64(frame.body));
        }
        Ok(())
    }

    /// The newest snapshot without damage; `None` if the log goes back to its beginning.
    pub(super) fn base(&self, progress: Progress<'_>) -> Result<Option<&Snapshot>, OpenError> {
        newest_whole(&self.wal, &self.snapshots, &|| false, progress)
    }

    /// The snapshots with a damaged frame behind their fronts.
    pub fn damaged_snapshots(&self) -> Result<Vec<PathBuf>, OpenError> {
        let mut damaged = Vec::new();
        for snapshot in &self.snapshots {
            match snapshot.check_frames(&self.wal.disk, &|| false) {
                Ok(()) => {}
                Err(LogError::Damaged { .. }) => damaged.push(snapshot.path.clone()),
                Err(other) => return Err(other.into()),
            }
        }
        Ok(damaged)
    }

    fn log_bytes(&self, begin: Tail) -> u64 {
        let segments = begin.segment..=self.scan.tail.segment;
        let len = |number| self.wal.disk.len(&self.wal.path(number)).unwrap_or(0);
        segments.map(len).sum()
    }

    /// Checks every row, and every tenant's hot rows against its head.
    pub fn check_rows(&self, progress: Progress<'_>) -> Result<(), OpenError> {
        let mut ledgers: HashMap<TenantId, Ledger> = HashMap::new();
        self.walk(progress, &mut |op| {
            ledgers.entry(op.tenant).or_default().fold(op);
            op.stored()?;
            Ok(ControlFlow::Continue(()))
        })?;
        for (tenant, head) in self.heads() {
            let ledger = ledgers.remove(&tenant).unwrap_or_default();
            if (ledger.count(), ledger.hash()) != (head.hot_rows, head.hot_hash) {
                return Err(EnvelopeError {
                    table: HEADS.name,
                    tenant,
                    key: Vec::new(),
                    why: "its hot rows are not those that it says",
                }
                .into());
            }
        }
        Ok(())
    }

    /// Reads tables that it builds in `scratch`, an empty directory that the caller removes afterwards.
    pub fn reader(&self, scratch: &Path) -> Result<Reader, OpenError> {
        let disk = Arc::new(ReadOnlyDisk {
            disk: Arc::new(RealDisk),
            writable: Some(scratch.to_owned()),
        });
        let rebuild = Rebuild {
            wal: Wal::new(&DataDir::new(disk.clone(), self.dir.path()), 0),
            data: DataDir::new(disk, scratch),
            schema: self.schema.clone(),
            snapshots: self.snapshots.clone(),
            end: self.scan.tail,
        };
        // For the runs of a long log.
        let runs = rebuild.data.snapshots();
        RealDisk
            .create_dir(&runs)
            .map_err(|error| OpenError::io(&runs, error))?;
        let cache_bytes = StoreConfig::new(self.dir.path()).table_cache_bytes;
        let dir = rebuild.data.tables();
        let tables = (Env::real().open_tables)(&dir, &self.schema, cache_bytes)?;
        rebuild.fill(Part::Whole, tables.as_ref())?;
        replay::check_heads(&self.scan, tables.as_ref())?;
        let view = TableView::new(self.schema.clone(), tables, self.scan.through, false);
        Ok(Reader::new(Arc::new(view)))
    }
}

/// The newest of these snapshots without damage; `None` if the log goes back to its beginning.
pub(super) fn newest_whole<'a>(
    wal: &Wal,
    snapshots: &'a [Snapshot],
    stopped: &dyn Fn() -> bool,
    progress: Progress<'_>,
) -> Result<Option<&'a Snapshot>, OpenError> {
    let mut first_damage = None;
    for snapshot in snapshots.iter().rev() {
        progress("checking the snapshot", 0, snapshot.bytes);
        match snapshot.check_frames(&wal.disk, stopped) {
            Ok(()) => return Ok(Some(snapshot)),
            Err(damage @ LogError::Damaged { .. }) => drop(first_damage.get_or_insert(damage)),
            Err(other) => return Err(other.into()),
        }
    }
    let numbers = wal
        .numbers()
        .map_err(|error| OpenError::io(&wal.dir, error))?;
    match first_damage {
        // What the log no longer holds was in this file.
        Some(damage) if numbers.first() != Some(&Tail::START.segment) => Err(damage.into()),
        Some(_) | None => Ok(None),
    }
}

impl std::fmt::Debug for ReadOnly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ReadOnly").field(&self.dir.path()).finish()
    }
}

/// Checks the envelope of a row that is put.
fn check(op: &Op<'_>) -> Result<(), EnvelopeError> {
    op.envelope().map_or(Ok(()), |envelope| {
        check_envelope(op.tenant, op.table, &op.key, envelope).map(drop)
    })
}
