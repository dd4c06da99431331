//! The store of one node: a write-ahead log, which is the truth, and sled tables, which follow it.
//!
//! | room | holds |
//! | --- | --- |
//! | [`log`] | what happened: frames in segments, written by the committer |
//! | [`tables`] | every row where a read finds it: the lag, sled behind it, and both at a start |
//! | [`snapshot`] | all rows in a file, so that the log before it may go |
//! | [`rescue`] | a data directory that is looked at, copied or mended |
//! | `tests` | the store as a whole; what concerns one file stands in that file |
//!
//! A record's way: [`log::commit`] makes it durable, [`tables::memtable`] keeps its rows readable,
//! [`tables::apply`] brings them to the tables. A start's way: [`recover`](mod@recover) takes the
//! directory and its [`manifest`], [`snapshot::keep`] says which snapshots count, [`log::scan`] reads
//! the log behind them, [`tables::settle`] brings the tables to its end.
//!
//! Here, for all rooms: the [`disk`], which tests take the place of, the [`space`] on it, the
//! [`schema`] and the [`stopwatch`]; and [`Local`], which starts and ends the threads that share a
//! [`Shared`].
//!
//! In a room `pub` reaches as far as this folder, because the rooms are private to it, and
//! `pub(super)` as far as the room.

mod dir;
mod disk;
#[cfg(fuzzing)]
pub mod fuzz;
mod log;
mod manifest;
mod recover;
mod rescue;
mod schema;
#[cfg(test)]
mod simulation;
mod snapshot;
mod space;
mod stopwatch;
mod tables;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::store::record::{Lsn, Record};
use crate::store::{CloseError, Mark, OpenError, Opened, StoreConfig, StoreStats, TableSpec};
use crate::sync::RwLock;
use dir::DataDir;
use disk::{Disk, RealDisk};
use log::commit::{Committer, Fatal, Inbox, Pending};
use log::frame::{Kind, Tail};
use log::scan::Scan;
use log::segment::{SegmentPreallocator, Wal};
use recover::{Recovered, recover};
use schema::Schema;
use snapshot::keep::{self, SnapshotManager};
use space::Space;
use tables::Tables;
use tables::apply::{Applier, MemtableQueue};
use tables::memtable::Memtable;
use tables::rebuild::{self, Erased};
use tables::sled::SledTables;

pub use dir::TablesState;
pub use manifest::FORMAT;
pub use rescue::{
    Backup, BackupError, Copied, DamagedRange, Facts, Gap, Progress, ReadOnly, Repair, RepairError,
    Repaired, Restoring, Salvage, SalvageReport, Survey, TenantLoss, Visit, backups_in,
    remove_old_backups,
};
pub use tables::TableError;
pub(super) use tables::layout::{full_key, split_key, successor, tenant_end};

/// Opens the tables in a directory.
type OpenTables = dyn Fn(&Path, &Schema, u64) -> Result<Box<dyn Tables>, TableError> + Send + Sync;

/// Where tests take the place of the world.
struct Env {
    disk: Arc<dyn Disk>,
    open_tables: Box<OpenTables>,
    /// Told that the log cannot be written. The real one does not return.
    fatal: Box<dyn Fn(&Fatal) + Send + Sync>,
}

impl Env {
    /// The world.
    fn real() -> Self {
        Self {
            disk: Arc::new(RealDisk),
            open_tables: Box::new(|dir, schema, cache_bytes| {
                let tables: Vec<_> = schema.all().collect();
                // sled that was opened syncs when it is dropped, and panics where it cannot.
                let open = || SledTables::open(dir, &tables, cache_bytes);
                let opened = catch_unwind(AssertUnwindSafe(open));
                Ok(Box::new(opened.unwrap_or(Err(TableError::Panicked))?))
            }),
            fatal: Box::new(|fatal| {
                tracing::error!(%fatal, "the log cannot be trusted any more: stopping at once");
                last_words(format!("arf: {fatal}: stopping at once\n"));
                std::process::abort()
            }),
        }
    }
}

/// Says why the process ends. The log's lines are written by a thread that may not get to it any more;
/// and whoever does not read them must not keep the process.
fn last_words(line: String) {
    let (done, said) = std::sync::mpsc::channel();
    let say = move || {
        let _ = std::io::stderr().write_all(line.as_bytes());
        let _ = done.send(());
    };
    if std::thread::Builder::new().spawn(say).is_ok() {
        let _ = said.recv_timeout(Duration::from_secs(1));
    }
}

/// What the threads and the readers share.
pub(super) struct Shared {
    config: StoreConfig,
    data: DataDir,
    schema: Schema,
    env: Env,
    wal: Wal,
    inbox: Inbox,
    memtable_queue: MemtableQueue,
    preallocator: SegmentPreallocator,
    space: Space,
    /// Where the log goes on: everything before it is durable.
    position: Mutex<Tail>,
    /// `None` once closed. Locked for writing while a generation begins to drain, and to close.
    tables: RwLock<Option<Box<dyn Tables>>>,
    /// Whether old rows are still to come to the tables.
    rebuilding: AtomicBool,
    snapshot_manager: SnapshotManager,
    /// The number of this start.
    epoch: u32,
    counters: Counters,
}

/// What has been reached and what it took.
#[derive(Default)]
struct Counters {
    durable: AtomicU64,
    applied: AtomicU64,
    tenants: AtomicU64,
    groups: AtomicU64,
    syncs: AtomicU64,
    sync_nanos: AtomicU64,
    log_bytes: AtomicU64,
    snapshots_made: AtomicU64,
    snapshots_failed: AtomicU64,
}

impl Counters {
    /// Of a log whose every record is in the tables.
    fn at(scan: &Scan) -> Self {
        let through = scan.through.lsn.get();
        Self {
            durable: through.into(),
            applied: through.into(),
            tenants: u64::try_from(scan.heads.len()).unwrap_or(u64::MAX).into(),
            ..Self::default()
        }
    }

    fn synced(&self, took: Duration, bytes: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.log_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The open store.
pub(super) struct Local {
    shared: Arc<Shared>,
    opened: Opened,
    /// `None` once closed.
    running: Mutex<Option<Running>>,
}

struct Running {
    /// Ends with whether it wrote a SHUTDOWN frame.
    committer: JoinHandle<bool>,
    applier: JoinHandle<()>,
    /// Those that make segments, make snapshots and bring back rows that a start left for later.
    helpers: Vec<JoinHandle<()>>,
    /// Held as long as the data directory is ours.
    lock: File,
}

impl Local {
    /// Opens the data directory and starts the threads.
    pub fn open(config: &StoreConfig, schema: &'static [TableSpec]) -> Result<Self, OpenError> {
        Self::open_with(config, schema, Env::real())
    }

    fn open_with(
        config: &StoreConfig,
        schema: &'static [TableSpec],
        env: Env,
    ) -> Result<Self, OpenError> {
        let schema = Schema::new(schema);
        let recovered = recover(config, &schema, &env)?;
        let Recovered {
            lock,
            wal,
            scan,
            origin,
            tail,
            file,
            preallocator,
            settled,
            clean,
        } = recovered;
        let opened = Opened {
            first_start: scan.through.lsn == Lsn::ZERO,
            clean,
            rebuilt: settled.replaced,
            records: scan.through.lsn.get(),
            replayed: scan.through.lsn.get() - settled.known.get(),
        };
        let counters = Counters::at(&scan);
        let shared = Arc::new(Shared {
            config: config.clone(),
            data: DataDir::new(env.disk.clone(), &config.data),
            schema,
            env,
            inbox: Inbox::new(),
            memtable_queue: MemtableQueue::new(scan.through),
            preallocator: SegmentPreallocator::new(
                tail.segment + 1,
                wal.segment_bytes,
                preallocator,
            ),
            space: Space::new(),
            wal,
            position: Mutex::new(tail),
            tables: RwLock::new(Some(settled.tables)),
            rebuilding: AtomicBool::new(settled.rebuilding),
            snapshot_manager: SnapshotManager::new(
                origin.snapshots.clone(),
                scan.sealed,
                scan.applied,
            ),
            epoch: tail.epoch,
            counters,
        });
        shared.look_at_space();
        let committer = Committer {
            shared: Arc::clone(&shared),
            file,
            tail,
            heads: scan
                .heads
                .into_iter()
                .map(|(tenant, head)| (tenant, head.sequence))
                .collect(),
            frame: Vec::new(),
            sealed: matches!(scan.last, None | Some(Kind::Seal | Kind::Shutdown)),
        };
        let applier = Applier {
            shared: Arc::clone(&shared),
            applied: scan.through,
            // What was replayed is in the tables and not synced.
            checkpoint: (scan.applied < scan.through.lsn).then(stopwatch::now),
            erased: settled.rebuilding.then(Erased::default),
        };
        let mut helpers = Vec::new();
        if settled.rebuilding {
            let (shared, hold) = (Arc::clone(&shared), shared.hold_files());
            let back = move || rebuild::back(&shared, &origin, hold);
            helpers.push(spawn(config, "arf-rebuild", back)?);
        }
        let filler = Arc::clone(&shared);
        let fill = move || {
            filler
                .preallocator
                .run(&filler.wal, || filler.look_at_space())
        };
        helpers.push(spawn(config, "arf-segments", fill)?);
        let snapshot_manager = Arc::clone(&shared);
        helpers.push(spawn(config, "arf-snapshots", move || {
            keep::run(&snapshot_manager)
        })?);
        let running = Running {
            committer: spawn(config, "arf-commit", move || committer.run())?,
            applier: spawn(config, "arf-tables", move || applier.run())?,
            helpers,
            lock,
        };
        Ok(Self {
            shared,
            opened,
            running: Mutex::new(Some(running)),
        })
    }

    /// What the readers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What was found when it was opened.
    pub fn opened(&self) -> Opened {
        self.opened
    }

    /// Puts a record into the committer's queue.
    pub fn append(&self, record: Record, hold: Box<dyn Send>) -> oneshot::Receiver<Mark> {
        let (done, durable) = oneshot::channel();
        self.shared.inbox.push(Pending { record, done, hold });
        durable
    }

    /// Brings everything to disk, tables included, and lets go of the data directory.
    pub fn close(&self) -> Result<(), CloseError> {
        let Some(running) = self.take_running() else {
            return Ok(());
        };
        let shared = &self.shared;
        shared.snapshot_manager.stop();
        shared.inbox.close();
        shared.memtable_queue.finish();
        let applied = running.applier.join().is_ok() && !shared.memtable_queue.failed();
        shared.inbox.finish();
        let shut_down = running.committer.join().unwrap_or(false);
        self.let_go(running.helpers, running.lock);
        match (shut_down, applied) {
            (false, _) => Err(CloseError::Log),
            (true, false) => Err(CloseError::Tables),
            (true, true) => Ok(()),
        }
    }

    fn take_running(&self) -> Option<Running> {
        self.running
            .lock()
            .expect("no holder of this lock panics")
            .take()
    }

    /// The last steps of every end. The lock goes last: whoever gets it finds nothing open.
    fn let_go(&self, helpers: Vec<JoinHandle<()>>, lock: File) {
        self.shared.preallocator.stop();
        for helper in helpers {
            drop(helper.join());
        }
        drop(
            self.shared
                .tables
                .write()
                .expect("no holder of this lock panics")
                .take(),
        );
        drop(lock);
    }
}

impl Drop for Local {
    /// Without [`Local::close`], an end like a crash: what was acknowledged is in the log.
    fn drop(&mut self) {
        if let Some(running) = self.take_running() {
            self.shared.snapshot_manager.stop();
            self.shared.inbox.abandon();
            self.shared.memtable_queue.abandon();
            drop(running.committer.join());
            drop(running.applier.join());
            self.let_go(running.helpers, running.lock);
        }
    }
}

impl Shared {
    /// The last durable record.
    pub fn durable(&self) -> Lsn {
        Lsn::new(self.counters.durable.load(Ordering::Acquire))
    }

    /// How many tenants have records.
    pub fn tenants(&self) -> u64 {
        self.counters.tenants.load(Ordering::Relaxed)
    }

    /// Whether writing makes sense.
    pub fn writable(&self) -> bool {
        !self.preallocator.failed() && !self.space.low() && !self.memtable_queue.failed()
    }

    /// Finds out whether there is room for what writes bring with them.
    fn look_at_space(&self) {
        let snapshot = self
            .snapshot_manager
            .newest()
            .map_or(0, |newest| newest.bytes);
        self.space
            .look(self.env.disk.as_ref(), &self.config, snapshot);
    }

    /// Numbers for whoever watches.
    pub fn stats(&self) -> StoreStats {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let counters = &self.counters;
        let newest = self.snapshot_manager.newest();
        StoreStats {
            durable: self.durable(),
            applied: Lsn::new(load(&counters.applied)),
            lag_bytes: self.memtable_queue.with_memtable(Memtable::bytes),
            groups: load(&counters.groups),
            syncs: load(&counters.syncs),
            sync_time: Duration::from_nanos(load(&counters.sync_nanos)),
            log_bytes: load(&counters.log_bytes),
            free_bytes: self.space.free().0,
            watermark_bytes: self.space.free().1,
            log_on_disk: self.wal.on_disk(),
            snapshots_made: load(&counters.snapshots_made),
            snapshots_failed: load(&counters.snapshots_failed),
            snapshot: newest.as_ref().map(|newest| newest.cover.lsn),
            snapshot_bytes: newest.map_or(0, |newest| newest.bytes),
            rebuilding: self.rebuilding.load(Ordering::Relaxed),
        }
    }
}

fn spawn<T: Send + 'static>(
    config: &StoreConfig,
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, OpenError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| OpenError::io(&config.data, error))
}
