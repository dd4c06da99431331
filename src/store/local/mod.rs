//! The store of one node: a write-ahead log, which is the truth, and sled tables, which follow it.
//!
//! A record's way, a file a step: [`commit`] makes it durable ([`frame`] in a [`segment`] of the
//! [`disk`]), [`lag`] keeps its rows readable, [`apply`] brings them to the [`tables`], whose
//! [`layout`] packs them into [`block`]s. [`read`] looks at lag and tables as one. After a stop
//! [`recover`](mod@recover) has the log [`scan`]ned and what the tables lack [`replay`]ed.

mod apply;
mod block;
mod commit;
mod disk;
mod frame;
mod lag;
mod layout;
mod manifest;
#[cfg(all(test, feature = "shuttle"))]
mod races;
mod read;
mod recover;
mod replay;
mod scan;
mod schema;
mod segment;
mod stopwatch;
mod tables;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::record::{Lsn, Record};
use super::{CloseError, Mark, OpenError, Opened, StoreConfig, StoreStats, TableSpec};
use crate::sync::RwLock;
use apply::{Applier, Gate};
use commit::{Committer, Fatal, Inbox, Pending};
use disk::{Disk, RealDisk};
use frame::Kind;
use recover::{Recovered, recover};
use schema::Schema;
use segment::{Spare, Wal};
use tables::{SledTables, Tables};

pub(super) use layout::{full_key, split_key, successor, tenant_end};
pub use tables::TableError;

/// Opens the tables in a directory.
type OpenTables = dyn Fn(&Path, &Schema, u64) -> Result<Box<dyn Tables>, TableError> + Send + Sync;

/// Where tests take the place of the world.
struct Seams {
    disk: Arc<dyn Disk>,
    open_tables: Box<OpenTables>,
    /// Told that the log cannot be written. The real one does not return.
    fatal: Box<dyn Fn(&Fatal) + Send + Sync>,
}

impl Seams {
    /// The world.
    fn real() -> Self {
        Self {
            disk: Arc::new(RealDisk),
            open_tables: Box::new(|dir, schema, cache_bytes| {
                let tables: Vec<_> = schema.all().collect();
                Ok(Box::new(SledTables::open(dir, &tables, cache_bytes)?))
            }),
            fatal: Box::new(|fatal| {
                tracing::error!(%fatal, "the log cannot be trusted any more: stopping at once");
                std::process::abort()
            }),
        }
    }
}

/// What the threads and the readers share.
pub(super) struct Shared {
    config: StoreConfig,
    schema: Schema,
    seams: Seams,
    wal: Wal,
    inbox: Inbox,
    gate: Gate,
    spare: Spare,
    /// `None` once closed. Locked for writing while a generation begins to drain, and to close.
    tables: RwLock<Option<Box<dyn Tables>>>,
    progress: Progress,
}

/// What has been reached and what it took.
#[derive(Default)]
struct Progress {
    durable: AtomicU64,
    applied: AtomicU64,
    tenants: AtomicU64,
    groups: AtomicU64,
    syncs: AtomicU64,
    sync_nanos: AtomicU64,
    log_bytes: AtomicU64,
}

impl Progress {
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
    segments: JoinHandle<()>,
    /// Held as long as the data directory is ours.
    lock: File,
}

impl Local {
    /// Opens the data directory and starts the threads.
    pub fn open(config: &StoreConfig, schema: &'static [TableSpec]) -> Result<Self, OpenError> {
        Self::open_with(config, schema, Seams::real())
    }

    fn open_with(
        config: &StoreConfig,
        schema: &'static [TableSpec],
        seams: Seams,
    ) -> Result<Self, OpenError> {
        let schema = Schema::new(schema);
        let recovered = recover(config, &schema, &seams)?;
        let Recovered {
            lock,
            wal,
            scan,
            tail,
            file,
            spare,
            tables,
            clean,
            rebuilt,
        } = recovered;
        let opened = Opened {
            first_start: scan.through.lsn == Lsn::ZERO,
            clean,
            rebuilt,
            records: scan.through.lsn.get(),
            replayed: scan.through.lsn.get() - if rebuilt { 0 } else { scan.applied.get() },
        };
        let progress = Progress::default();
        progress
            .durable
            .store(scan.through.lsn.get(), Ordering::Relaxed);
        progress
            .applied
            .store(scan.through.lsn.get(), Ordering::Relaxed);
        let tenants = u64::try_from(scan.heads.len()).unwrap_or(u64::MAX);
        progress.tenants.store(tenants, Ordering::Relaxed);
        let shared = Arc::new(Shared {
            config: config.clone(),
            schema,
            seams,
            inbox: Inbox::new(),
            gate: Gate::new(scan.through),
            spare: Spare::new(tail.segment + 1, wal.segment_bytes, spare),
            wal,
            tables: RwLock::new(Some(tables)),
            progress,
        });
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
        };
        let filler = Arc::clone(&shared);
        let running = Running {
            committer: spawn(config, "arf-commit", move || committer.run())?,
            applier: spawn(config, "arf-tables", move || applier.run())?,
            segments: spawn(config, "arf-segments", move || {
                filler.spare.run(&filler.wal)
            })?,
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
        shared.inbox.close();
        shared.gate.finish();
        let applied = running.applier.join().is_ok() && !shared.gate.failed();
        shared.inbox.finish();
        let shut_down = running.committer.join().unwrap_or(false);
        self.let_go(running.segments, running.lock);
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
    fn let_go(&self, segments: JoinHandle<()>, lock: File) {
        self.shared.spare.stop();
        drop(segments.join());
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
            self.shared.inbox.abandon();
            self.shared.gate.abandon();
            drop(running.committer.join());
            drop(running.applier.join());
            self.let_go(running.segments, running.lock);
        }
    }
}

impl Shared {
    /// The last durable record.
    pub fn durable(&self) -> Lsn {
        Lsn::new(self.progress.durable.load(Ordering::Acquire))
    }

    /// How many tenants have records.
    pub fn tenants(&self) -> u64 {
        self.progress.tenants.load(Ordering::Relaxed)
    }

    /// Whether writing makes sense.
    pub fn writable(&self) -> bool {
        !self.spare.failed() && !self.gate.failed()
    }

    /// Numbers for whoever watches.
    pub fn stats(&self) -> StoreStats {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let progress = &self.progress;
        StoreStats {
            durable: self.durable(),
            applied: Lsn::new(load(&progress.applied)),
            lag_bytes: self.gate.with_lag(lag::Lag::bytes),
            groups: load(&progress.groups),
            syncs: load(&progress.syncs),
            sync_time: Duration::from_nanos(load(&progress.sync_nanos)),
            log_bytes: load(&progress.log_bytes),
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
