//! The store of one node: a write-ahead log, which is the truth, and sled tables, which follow it.
//!
//! | folder | holds |
//! | --- | --- |
//! | [`log`] | what happened: frames in segments, written by the committer |
//! | [`tables`] | every row where a read finds it: memtables, sled behind them, and their recovery |
//! | [`snapshot`] | all rows in a file, so that the log before it may go |
//! | [`rescue`] | a data directory that is looked at, copied or mended |
//!
//! A record's way: [`log::commit`] makes it durable, [`tables::memtable`] keeps its rows readable,
//! [`tables::apply`] brings them to the tables. A start's way: [`recover`](mod@recover) locks the
//! [`dir`](mod@dir) and reads its [`manifest`] and snapshots, [`log::scan`] reads the log behind them,
//! [`tables::recovery`] brings the tables to its end.
//!
//! For all of them: the [`disk`], which tests replace, the [`space`] on it, the [`schema`], full
//! [`key`]s and the [`counters`]. [`LocalStore`] starts and ends the threads and gives each its parts.
//!
//! In a folder `pub` reaches as far as this one, because the folders are private to it.

mod counters;
mod dir;
mod disk;
mod env;
#[cfg(fuzzing)]
pub mod fuzz;
mod key;
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
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::config::StoreConfig;
use super::durable::Durable;
use super::error::{CloseError, OpenError};
use super::owner::Owner;
use super::record::{Lsn, Record};
use super::row::Op;
use super::stats::{OpenStats, StoreStats};
use super::table::TableSpec;
use crate::id::TenantId;
use crate::time::Timestamp;
use counters::Counters;
use dir::DataDir;
use env::Env;
use log::commit::{Committer, Downstream};
use log::frame::{Kind, Position, Tail};
use log::inbox::{Inbox, PendingRecord};
use log::owners::Owners;
use log::scan::SealedSegment;
use log::segment::{SegmentPreallocator, Wal};
use recover::{RecoveredStore, recover};
use rescue::{BackupSource, BackupWriter};
use schema::Schema;
use snapshot::build::Snapshotter;
use snapshot::from_tables::TableReader;
use snapshot::manager::SnapshotManager;
use space::Space;
use tables::apply::Applier;
use tables::backfill::Tombstones;
use tables::memtable::MemtableList;

pub use dir::TablesState;
pub use manifest::FORMAT;
pub use rescue::{
    Backup, BackupError, BackupFile, DamagedRange, DirectoryInfo, DirectorySummary, LogGap,
    PendingRestore, Progress, ReadOnly, Repair, RepairError, RepairReport, Salvage, SalvageReport,
    TenantLoss, Visit, backups_in, remove_old_backups,
};
pub use tables::TableError;
pub use tables::view::{HotRowVisitor, TableView};

/// The open store of one node.
pub struct LocalStore {
    config: StoreConfig,
    data: DataDir,
    schema: Schema,
    wal: Wal,
    inbox: Arc<Inbox>,
    owners: Arc<Owners>,
    view: Arc<TableView>,
    preallocator: Arc<SegmentPreallocator>,
    space: Arc<Space>,
    snapshots: Arc<SnapshotManager>,
    /// Where the log goes on: everything before it is durable.
    end: Arc<Mutex<Tail>>,
    counters: Arc<Counters>,
    open_stats: OpenStats,
    /// `None` once closed.
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    /// Whether it wrote a SHUTDOWN frame.
    committer: JoinHandle<bool>,
    applier: JoinHandle<()>,
    /// Those that preallocate segments, make snapshots and rebuild tables.
    background: Vec<JoinHandle<()>>,
    /// Held as long as the data directory is open.
    lock: File,
}

/// The memtable, the snapshots and the limit on what the tables lag behind.
struct Followers {
    view: Arc<TableView>,
    snapshots: Arc<SnapshotManager>,
    memtable_bytes: usize,
}

impl Downstream for Followers {
    fn wait_for_room(&self) {
        self.view.memtable.wait_for_room(self.memtable_bytes);
    }

    fn committed(&self, ops: Vec<Op<'static>>, through: Position) {
        self.view.memtable.absorb(ops, through);
    }

    fn checkpointed(&self, applied: Lsn) {
        self.snapshots.checkpointed(applied);
    }

    fn sealed(&self, segment: SealedSegment) {
        self.snapshots.sealed(segment);
    }
}

impl LocalStore {
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
        let RecoveredStore {
            lock,
            scan,
            rebuild,
            tail,
            file,
            next_segment,
            tables,
            clean,
        } = recover(config, &schema, &env)?;
        let open_stats = OpenStats {
            first_start: scan.through.lsn == Lsn::ZERO,
            clean,
            rebuilt: tables.replaced,
            records: scan.through.lsn.get(),
            replayed: scan.through.lsn.get() - tables.known.get(),
        };
        let rebuilding = tables.rebuilding;
        let wal = rebuild.wal.clone();
        let preallocator =
            SegmentPreallocator::new(tail.segment + 1, wal.segment_bytes, next_segment);
        let snapshots = rebuild.snapshots.clone();
        let store = Self {
            config: config.clone(),
            data: rebuild.data.clone(),
            inbox: Arc::new(Inbox::new()),
            owners: Arc::default(),
            view: Arc::new(TableView::new(
                schema.clone(),
                tables.tables,
                scan.through,
                rebuilding,
            )),
            schema,
            preallocator: Arc::new(preallocator),
            space: Arc::new(Space::new()),
            snapshots: Arc::new(SnapshotManager::new(snapshots, scan.sealed, scan.applied)),
            end: Arc::new(Mutex::new(tail)),
            counters: Arc::new(Counters::new(scan.through.lsn, scan.heads.len())),
            wal,
            open_stats,
            threads: Mutex::new(None),
        };
        let committer = Committer {
            inbox: store.inbox.clone(),
            owners: store.owners.clone(),
            wal: store.wal.clone(),
            preallocator: store.preallocator.clone(),
            downstream: Box::new(Followers {
                view: store.view.clone(),
                snapshots: store.snapshots.clone(),
                memtable_bytes: config.memtable_bytes,
            }),
            counters: store.counters.clone(),
            end: store.end.clone(),
            on_fatal: env.on_fatal,
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
            view: store.view.clone(),
            data: store.data.clone(),
            inbox: store.inbox.clone(),
            counters: store.counters.clone(),
            every: config.tables_every,
            bytes: config.memtable_bytes / 2,
            checkpoint_every: config.checkpoint_every,
            applied: scan.through,
            // What was replayed is in the tables and not synced.
            checkpoint: (scan.applied < scan.through.lsn).then(stopwatch::now),
            tombstones: rebuilding.then(Tombstones::default),
        };
        let snapshotter = Snapshotter {
            manager: store.snapshots.clone(),
            data: store.data.clone(),
            wal: store.wal.clone(),
            schema: store.schema.clone(),
            epoch: tail.epoch,
            snapshot_bytes: config.snapshot_bytes,
            counters: store.counters.clone(),
            tables: TableReader {
                view: store.view.clone(),
            },
        };
        let mut background = Vec::new();
        if rebuilding {
            let (view, hold) = (store.view.clone(), store.snapshots.hold_files());
            let backfill = move || rebuild.backfill(&view, hold);
            background.push(spawn(config, "arf-rebuild", backfill)?);
        }
        let check_space = store.space_check();
        check_space();
        let (preallocator, wal) = (store.preallocator.clone(), store.wal.clone());
        let preallocate = move || preallocator.run(&wal, check_space);
        background.push(spawn(config, "arf-segments", preallocate)?);
        background.push(spawn(config, "arf-snapshots", move || snapshotter.run())?);
        let threads = Threads {
            committer: spawn(config, "arf-commit", move || committer.run())?,
            applier: spawn(config, "arf-tables", move || applier.run())?,
            background,
            lock,
        };
        store.lock_threads().replace(threads);
        Ok(store)
    }

    /// Checks whether the disk has space for what writes entail.
    fn space_check(&self) -> impl Fn() + Send + use<> {
        let (space, snapshots) = (self.space.clone(), self.snapshots.clone());
        let (disk, config) = (self.data.disk().clone(), self.config.clone());
        move || {
            let snapshot = snapshots.newest().map_or(0, |newest| newest.bytes);
            space.check(disk.as_ref(), &config, snapshot);
        }
    }

    pub fn view(&self) -> &Arc<TableView> {
        &self.view
    }

    pub fn open_stats(&self) -> OpenStats {
        self.open_stats
    }

    /// Makes a new owner of a tenant; see [`Owners::claim`].
    pub fn claim(&self, tenant: TenantId) -> Owner {
        self.owners.claim(tenant)
    }

    /// Queues a record for the committer.
    pub fn append(&self, record: Record, hold: Box<dyn Send>) -> Durable {
        let (done, outcome) = oneshot::channel();
        self.inbox.push(PendingRecord { record, done, hold });
        Durable(outcome)
    }

    /// The last durable record.
    pub fn durable(&self) -> Lsn {
        self.counters.durable()
    }

    /// How many tenants have records.
    pub fn tenants(&self) -> u64 {
        self.counters.tenants()
    }

    /// Whether records can be expected to become durable.
    pub fn writable(&self) -> bool {
        !self.preallocator.failed() && !self.space.low() && !self.view.memtable.failed()
    }

    pub fn stats(&self) -> StoreStats {
        let counters = &self.counters;
        let load = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
        let newest = self.snapshots.newest();
        StoreStats {
            durable: counters.durable(),
            applied: counters.applied(),
            memtable_bytes: self.view.memtable.read(MemtableList::bytes),
            groups: load(&counters.groups),
            syncs: load(&counters.syncs),
            sync_time: Duration::from_nanos(load(&counters.sync_nanos)),
            log_bytes: load(&counters.log_bytes),
            free_bytes: self.space.free().0,
            watermark_bytes: self.space.free().1,
            log_on_disk: self.wal.on_disk(),
            snapshots_made: load(&counters.snapshots_made),
            snapshots_failed: load(&counters.snapshots_failed),
            snapshot: newest.as_ref().map(|newest| newest.prefix.lsn),
            snapshot_bytes: newest.map_or(0, |newest| newest.bytes),
            rebuilding: self.view.is_rebuilding(),
        }
    }

    /// Copies what is durable now, while commits go on.
    pub fn backup(
        &self,
        dir: &Path,
        made_at: Timestamp,
        secrets: &[&str],
        progress: Progress<'_>,
    ) -> Result<Backup, BackupError> {
        let open = || self.inbox.is_open();
        let writer = BackupWriter::create(dir, self.data.path(), &open)?;
        self.backup_with(writer, made_at, secrets, progress)
    }

    fn backup_with(
        &self,
        writer: BackupWriter<'_>,
        made_at: Timestamp,
        secrets: &[&str],
        progress: Progress<'_>,
    ) -> Result<Backup, BackupError> {
        let _hold = self.snapshots.hold_files();
        // In this order: what a snapshot covers is before the end of the log.
        let snapshots = self.snapshots.all();
        let newest = snapshots.last().map_or(0, |newest| newest.bytes);
        let source = BackupSource {
            data: self.data.clone(),
            snapshots: &snapshots,
            end: *self.end.lock().expect(NO_PANIC),
            ended: false,
            secrets,
            schema: &self.schema,
            // It may be the same disk.
            reserve: self.config.watermark(newest),
            open: &|| self.inbox.is_open(),
        };
        source.copy_with(writer, made_at, progress)
    }

    /// Brings everything to disk, tables included, and closes the data directory.
    pub fn close(&self) -> Result<(), CloseError> {
        let Some(threads) = self.lock_threads().take() else {
            return Ok(());
        };
        self.snapshots.stop();
        self.inbox.close();
        self.view.memtable.finish();
        let applied = threads.applier.join().is_ok() && !self.view.memtable.failed();
        self.inbox.finish();
        let shut_down = threads.committer.join().unwrap_or(false);
        self.release(threads.background, threads.lock);
        match (shut_down, applied) {
            (false, _) => Err(CloseError::Log),
            (true, false) => Err(CloseError::Tables),
            (true, true) => Ok(()),
        }
    }

    fn lock_threads(&self) -> std::sync::MutexGuard<'_, Option<Threads>> {
        self.threads.lock().expect(NO_PANIC)
    }

    /// The last steps of every end. The lock goes last: its next holder finds nothing open.
    fn release(&self, background: Vec<JoinHandle<()>>, lock: File) {
        self.preallocator.stop();
        for thread in background {
            drop(thread.join());
        }
        self.view.close();
        drop(lock);
    }
}

impl Drop for LocalStore {
    /// Without [`LocalStore::close`], an end like a crash: what was acknowledged is in the log.
    fn drop(&mut self) {
        let threads = self.lock_threads().take();
        if let Some(threads) = threads {
            self.snapshots.stop();
            self.inbox.abandon();
            self.view.memtable.abandon();
            drop(threads.committer.join());
            drop(threads.applier.join());
            self.release(threads.background, threads.lock);
        }
    }
}

const NO_PANIC: &str = "no holder of this lock panics";

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
