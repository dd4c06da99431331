//! A data directory, or a backup, that is read and left exactly as it is.
//!
//! Everything a start would check is checked; nothing a start would write is written, so it works
//! on media that cannot be written. Tables are built elsewhere, from the log, when somebody wants
//! them.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use super::super::head::Head;
use super::super::ledger::Ledger;
use super::super::record::{LoggedBody, LoggedOp};
use super::super::row::{Damaged, Envelope, HEADS, Load, Op, Stored, TableSpec, open_envelope};
use super::super::{OpenError, Reader, StoreConfig};
use super::apply::Gate;
use super::commit::Inbox;
use super::disk::{Disk, LogFile, RealDisk, len_u64};
use super::frame::Tail;
use super::manifest;
use super::recover::{self, Before, LOCK, WAL};
use super::replay::{self, Doubt};
use super::scan::{Scan, open_head, records};
use super::schema::Schema;
use super::segment::{Spare, Wal};
use super::tables::Tables;
use super::{Progress, Seams, Shared};
use crate::id::TenantId;
use crate::store::Lsn;

/// What an opened directory is like; see [`ReadOnly`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The format of the directory.
    pub format: u32,
    /// How often it was started; `None` if it never was.
    pub boot_epoch: Option<u32>,
    /// The last stop was an orderly one, or there was none.
    pub clean: bool,
    /// How many segments of the log hold frames.
    pub segments: usize,
    /// The last record.
    pub last: Lsn,
    /// The last record that the tables were known to hold.
    pub checkpoint: Lsn,
    /// How many tenants have records.
    pub tenants: usize,
    /// Where the log ends in a write that was cut short, and why that is not a frame. A start sets
    /// it aside: nothing that was acknowledged is in it.
    pub torn: Option<(PathBuf, u64, &'static str)>,
}

/// What [`ReadOnly::walk`] shows: one change of one row, its envelope checked.
#[derive(Debug)]
pub enum Change<'a> {
    /// The row is now this.
    Put {
        /// The row's table.
        table: &'static TableSpec,
        /// Its key, without the tenant.
        key: &'a [u8],
        /// Its whole envelope.
        envelope: &'a [u8],
        /// The row in it.
        stored: Stored,
    },
    /// The row is gone.
    Delete {
        /// The row's table.
        table: &'static TableSpec,
        /// Its key, without the tenant.
        key: &'a [u8],
    },
    /// Every row from `from` up to, and without, `to` is gone.
    DeleteRange {
        /// The rows' table.
        table: &'static TableSpec,
        /// The first key that goes.
        from: &'a [u8],
        /// The first key that stays.
        to: &'a [u8],
    },
}

/// What [`ReadOnly::walk`] shows changes to.
pub type Visit<'a> = &'a mut dyn FnMut(TenantId, Change<'_>) -> ControlFlow<()>;

/// What long work tells of how far it is: what it does, bytes done, bytes in all.
pub type Told<'a> = &'a mut dyn FnMut(&'static str, u64, u64);

/// An opened directory. As long as it lives, no start takes the directory.
pub struct ReadOnly {
    pub(super) data: PathBuf,
    pub(super) schema: Schema,
    pub(super) wal: Wal,
    pub(super) scan: Scan,
    before: Before,
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
        Self::open_locked(data, schema, lock(data)?)
    }

    /// Of a directory that is locked already.
    pub(super) fn open_locked(
        data: &Path,
        schema: Schema,
        lock: Option<File>,
    ) -> Result<Self, OpenError> {
        let wal = Wal {
            disk: Arc::new(Untouched),
            dir: data.join(WAL),
            segment_bytes: 0,
        };
        let (scan, before) = recover::examine(data, &wal, &schema)?;
        Ok(Self {
            data: data.to_owned(),
            schema,
            wal,
            scan,
            before,
            _lock: lock,
        })
    }

    /// What it is like.
    pub fn facts(&self) -> Facts {
        let torn = self.scan.torn.as_ref();
        Facts {
            format: manifest::FORMAT,
            boot_epoch: self.before.epoch,
            clean: self.before.clean,
            segments: self.scan.segments.len(),
            last: self.scan.through.lsn,
            checkpoint: self.scan.applied,
            tenants: self.scan.heads.len(),
            torn: torn.map(|torn| (torn.file.clone(), torn.offset, torn.why)),
        }
    }

    /// Where the log ends, in the epoch of the last start, and whether that is in order already;
    /// `None` if there is no log.
    pub(super) fn end(&self) -> Option<(Tail, bool)> {
        let epoch = self.before.epoch.filter(|_| self.scan.last.is_some())?;
        Some((
            Tail {
                epoch,
                ..self.scan.tail
            },
            self.before.clean,
        ))
    }

    /// Every tenant's head.
    pub fn heads(&self) -> impl Iterator<Item = (TenantId, Head)> {
        // The scan opened each of them.
        self.scan
            .heads
            .iter()
            .filter_map(|(tenant, last)| Some((*tenant, open_head(*tenant, &last.envelope)?)))
    }

    /// Shows every change of every row, the store's own included, in the order in which they were
    /// made, until `visit` breaks. What it shows of one tenant is in that tenant's order.
    pub fn walk(&self, told: Told<'_>, visit: Visit<'_>) -> Result<(), OpenError> {
        let len = |tail: &Tail| self.wal.disk.len(&self.wal.path(tail.segment));
        let total = self
            .scan
            .segments
            .iter()
            .map(|tail| len(tail).unwrap_or(0))
            .sum();
        let mut before = 0;
        for start in &self.scan.segments {
            let mut tail = *start;
            let path = self.wal.path(tail.segment);
            let bytes = self
                .wal
                .disk
                .read(&path)
                .map_err(|error| OpenError::io(&path, error))?;
            // The scan went this way before: what ends a segment here ended it there.
            while let Some(Ok(frame)) = usize::try_from(tail.offset)
                .ok()
                .and_then(|at| bytes.get(at..))
                .map(|rest| tail.accept(rest))
            {
                for record in records(&frame, &self.schema) {
                    let damaged = |why| self.scan.damaged(path.clone(), tail.offset, None, why);
                    let record = record.map_err(damaged)?;
                    let (LoggedBody::Tenant { ops, .. } | LoggedBody::Side(ops)) = record.body
                    else {
                        continue;
                    };
                    for op in ops {
                        if visit(record.tenant, change(record.tenant, op)?).is_break() {
                            return Ok(());
                        }
                    }
                }
                told("reading the log", before + tail.offset, total);
            }
            before += len_u64(&bytes);
        }
        told("reading the log", total, total);
        Ok(())
    }

    /// Checks every row, and every tenant's hot rows against its head.
    pub fn check_rows(&self, told: Told<'_>) -> Result<(), OpenError> {
        let mut ledgers: HashMap<TenantId, Ledger> = HashMap::new();
        self.walk(told, &mut |tenant, change| {
            let ledger = ledgers.entry(tenant).or_default();
            match change {
                Change::Put {
                    table,
                    key,
                    envelope,
                    ..
                } if table.load == Load::Hot => {
                    if let Some(envelope) = Envelope::read(envelope) {
                        ledger.put(tenant, table, key, envelope.crc);
                    }
                }
                Change::Delete { table, key } => {
                    let key = key.to_vec();
                    ledger.fold(tenant, &Op::Delete { table, key });
                }
                Change::Put { .. } | Change::DeleteRange { .. } => {}
            }
            ControlFlow::Continue(())
        })?;
        for (tenant, head) in self.heads() {
            let ledger = ledgers.remove(&tenant).unwrap_or_default();
            if (ledger.count(), ledger.hash()) != (head.hot_rows, head.hot_hash) {
                return Err(Damaged {
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

    /// Builds the tables in `scratch`, a directory of its own that the caller removes when nobody
    /// reads any more, and reads them.
    pub fn reader(&self, scratch: &Path) -> Result<Reader, OpenError> {
        let config = StoreConfig::new(&self.data);
        let seams = Seams::real();
        let tables = (seams.open_tables)(scratch, &self.schema, config.table_cache_bytes)?;
        self.fill(tables.as_ref())?;
        let shared = Shared {
            inbox: Inbox::new(),
            gate: Gate::new(self.scan.through),
            spare: Spare::new(0, 0, None),
            position: Mutex::new(self.scan.tail),
            wal: self.wal.clone(),
            tables: RwLock::new(Some(tables)),
            progress: Progress::at(&self.scan),
            schema: self.schema.clone(),
            config,
            seams,
        };
        shared.inbox.abandon();
        shared.spare.stop();
        Ok(Reader(Arc::new(shared)))
    }

    fn fill(&self, tables: &dyn Tables) -> Result<(), OpenError> {
        replay::fill(&self.wal, &self.scan, &self.schema, tables).map_err(|doubt| match doubt {
            Doubt::Refuse(error) => error,
            Doubt::Rebuild(why) => OpenError::Rebuild { why },
        })
    }
}

impl std::fmt::Debug for ReadOnly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ReadOnly").field(&self.data).finish()
    }
}

/// An operation with its envelope opened.
fn change(tenant: TenantId, op: LoggedOp<'_>) -> Result<Change<'_>, Damaged> {
    Ok(match op {
        LoggedOp::Put { table, key, value } => Change::Put {
            table,
            key,
            envelope: value,
            stored: open_envelope(tenant, table, key, value)?,
        },
        LoggedOp::Delete { table, key } => Change::Delete { table, key },
        LoggedOp::DeleteRange { table, from, to } => Change::DeleteRange { table, from, to },
    })
}

/// Keeps starts out for as long as it is held. Nothing is made: where there is no `LOCK`, nobody
/// has started here.
fn lock(data: &Path) -> Result<Option<File>, OpenError> {
    let path = data.join(LOCK);
    let io = |error| OpenError::io(&path, error);
    if let Err(error) = std::fs::read_dir(data) {
        return Err(OpenError::io(data, error));
    }
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse {
            data: data.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(error)) => Err(io(error)),
    }
}

impl Wal {
    /// The same log, to be read only.
    pub fn untouched(&self) -> Self {
        Self {
            disk: Arc::new(Untouched),
            ..self.clone()
        }
    }
}

/// The disk there is, of which nothing is changed. What a start would clear away stays.
struct Untouched;

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for Untouched {
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

    fn create(&self, _: &Path, _: &[u8], _: u64) -> io::Result<Box<dyn LogFile>> {
        refused()
    }

    fn open(&self, _: &Path) -> io::Result<Box<dyn LogFile>> {
        refused()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }
}
