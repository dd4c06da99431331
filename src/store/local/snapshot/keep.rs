//! Snapshots while the store is open: when one is due, which stay, and what of the log may go.
//!
//! A snapshot is made of the one before it and the segments that were sealed since; the tables are
//! never asked. Two are kept, so that one may be damaged; the log goes only as far as the older of
//! them covers it.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::file::{self, Snapshot};
use super::merge::{Fold, Unfinished};
use crate::id::TenantId;
use crate::store::OpenError;
use crate::store::local::counters::Counters;
use crate::store::local::dir::{self, DataDir};
use crate::store::local::log::frame::Tail;
use crate::store::local::log::frames::LogError;
use crate::store::local::log::scan::{Base, LastHead, Sealed};
use crate::store::local::log::segment::Wal;
use crate::store::local::schema::{Part, Schema};
use crate::store::local::stopwatch;
use crate::store::record::{Cover, Lsn};

/// How many snapshots stay.
const KEPT: usize = 2;
/// How long after a snapshot that could not be made the next one is tried, if no segment is sealed
/// before.
const RETRY: Duration = Duration::from_secs(30);
/// How much the thread that makes them lets others go first.
const NICE: i32 = 10;
/// What the names of a snapshot's runs begin with.
const RUNS: &str = "run";

/// What a start finds of snapshots.
pub struct Found {
    /// Those that count, the oldest first.
    pub snapshots: Vec<Snapshot>,
    /// What the newest says of the log before it.
    pub base: Option<Base>,
    /// Those that are damaged.
    pub damaged: Vec<PathBuf>,
}

/// Looks at every snapshot's front. Files that were never finished are removed.
pub fn find(data: &DataDir, wal: &Wal, schema: &Schema) -> Result<Found, OpenError> {
    let (disk, dir) = (data.disk(), data.snapshots());
    let io = |error| OpenError::io(&dir, error);
    for name in disk.list(&dir).map_err(io)? {
        if dir::is_unfinished(&name) {
            disk.remove(&dir.join(name)).map_err(io)?;
        }
    }
    let mut found = Found {
        snapshots: Vec::new(),
        base: None,
        damaged: Vec::new(),
    };
    let mut trouble = None;
    let paths = file::list(data).map_err(io)?;
    for path in paths.into_iter().rev() {
        let front = Snapshot::open(disk, schema, path.clone()).and_then(|snapshot| {
            if found.base.is_none() {
                found.base = Some(Base {
                    cover: snapshot.cover,
                    heads: snapshot.heads(disk, schema)?,
                });
            }
            Ok(snapshot)
        });
        match front {
            Ok(snapshot) => found.snapshots.insert(0, snapshot),
            Err(damage @ LogError::Damaged { .. }) => {
                tracing::error!(%damage, "a snapshot is of no use");
                found.damaged.push(path);
                trouble.get_or_insert(damage);
            }
            Err(other) => return Err(other.into()),
        }
    }
    let numbers = wal
        .numbers()
        .map_err(|error| OpenError::io(&wal.dir, error))?;
    match trouble {
        // What the log does not hold any more was in this file.
        Some(damage) if found.base.is_none() && numbers.first() != Some(&Tail::START.segment) => {
            Err(damage.into())
        }
        _ => Ok(found),
    }
}

/// Puts a damaged snapshot where nobody takes it for one any more.
pub fn quarantine(data: &DataDir, path: &Path, epoch: u32) -> std::io::Result<()> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    data.move_to_quarantine(path, &format!("snapshot-{epoch}-{name}"))
}

/// What is known of snapshots and of the log that they may take the place of.
pub struct SnapshotManager {
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
}

struct State {
    /// The snapshots that count, the oldest first.
    kept: Vec<Snapshot>,
    /// The segments behind the newest that are written full.
    sealed: VecDeque<Sealed>,
    /// The last record that the log says is in the tables.
    applied: Lsn,
    /// The last segment that was sealed when a snapshot could not be made, and when that was.
    failed: Option<(u64, Instant)>,
    /// There may be files that are of no use any more.
    untidy: bool,
    /// Files are being removed.
    removing: bool,
    /// How many want all files to stay.
    holds: usize,
}

/// What is to be done next.
enum Turn {
    /// Make a snapshot up to the end of this segment.
    Make(Sealed),
    /// Remove what is of no use any more.
    Tidy,
    Stop,
}

/// As long as there is one, no snapshot and no segment is removed.
pub struct FileHold(Arc<SnapshotManager>);

impl Drop for FileHold {
    fn drop(&mut self) {
        self.0.lock().holds -= 1;
        self.0.changed.notify_all();
    }
}

const NO_PANIC: &str = "no holder of this lock panics";

impl SnapshotManager {
    /// With what a start found.
    pub fn new(mut kept: Vec<Snapshot>, sealed: Vec<Sealed>, applied: Lsn) -> Self {
        kept.drain(..kept.len().saturating_sub(KEPT));
        Self {
            state: Mutex::new(State {
                kept,
                sealed: sealed.into(),
                applied,
                failed: None,
                untidy: true,
                removing: false,
                holds: 0,
            }),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Nothing more is written to a segment.
    pub fn sealed(&self, sealed: Sealed) {
        self.lock().sealed.push_back(sealed);
        self.changed.notify_all();
    }

    /// The log says that the tables hold everything up to here.
    pub fn checkpointed(&self, applied: Lsn) {
        self.lock().applied = applied;
        self.changed.notify_all();
    }

    /// The snapshots that count, the oldest first.
    pub fn kept(&self) -> Vec<Snapshot> {
        self.lock().kept.clone()
    }

    /// The newest of them.
    pub fn newest(&self) -> Option<Snapshot> {
        self.lock().kept.last().cloned()
    }

    /// Keeps all snapshots and segments where they are, for whoever reads them.
    pub fn hold_files(self: &Arc<Self>) -> FileHold {
        let removing = |state: &mut State| state.removing;
        let state = self.changed.wait_while(self.lock(), removing);
        state.expect(NO_PANIC).holds += 1;
        FileHold(Arc::clone(self))
    }

    /// Ends [`Snapshotter::run`].
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        drop(self.lock());
        self.changed.notify_all();
    }

    /// A snapshot up to `end` counts from now on.
    fn made(&self, snapshot: Snapshot, end: Sealed) {
        let mut state = self.lock();
        state.sealed.retain(|sealed| sealed.segment > end.segment);
        state.kept.push(snapshot);
        let surplus = state.kept.len().saturating_sub(KEPT);
        state.kept.drain(..surplus);
        state.failed = None;
        state.untidy = true;
    }

    /// A snapshot up to `end`, or further, could not be made.
    fn failed(&self, end: Sealed) {
        let mut state = self.lock();
        let last = state.sealed.back().map_or(end.segment, |last| last.segment);
        state.failed = Some((last, stopwatch::now()));
    }

    /// A snapshot does not count any more.
    fn forget(&self, snapshot: &Snapshot) {
        self.lock().kept.retain(|kept| kept != snapshot);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Waits for something to do.
    fn next(&self, snapshot_bytes: u64) -> Turn {
        let mut state = self.lock();
        loop {
            if self.is_stopped() {
                return Turn::Stop;
            }
            if state.untidy && state.holds == 0 {
                state.untidy = false;
                state.removing = true;
                return Turn::Tidy;
            }
            if let Some(sealed) = state.due(snapshot_bytes) {
                return Turn::Make(sealed);
            }
            state = self.changed.wait(state).expect(NO_PANIC);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(NO_PANIC)
    }
}

impl State {
    /// How far a snapshot would go, if one is due.
    fn due(&self, snapshot_bytes: u64) -> Option<Sealed> {
        let newest = self.kept.last();
        // So the log behind a snapshot always says from where the tables have to catch up.
        let in_tables = || {
            self.sealed
                .iter()
                .take_while(|s| s.through.lsn <= self.applied)
        };
        let end = in_tables().last().copied()?;
        let least = snapshot_bytes.max(newest.map_or(0, |newest| newest.bytes / 2));
        let due = in_tables().map(|sealed| sealed.bytes).sum::<u64>() > least
            && newest.is_none_or(|newest| newest.cover.lsn < end.through.lsn);
        let again = self.failed.is_none_or(|(segment, at)| {
            self.sealed
                .back()
                .is_some_and(|last| last.segment > segment)
                || at.elapsed() >= RETRY
        });
        (due && again).then_some(end)
    }
}

/// The thread that makes snapshots.
pub struct Snapshotter {
    pub manager: Arc<SnapshotManager>,
    pub data: DataDir,
    pub wal: Wal,
    pub schema: Schema,
    /// The number of this start.
    pub epoch: u32,
    /// How much log makes a snapshot due.
    pub snapshot_bytes: u64,
    pub counters: Arc<Counters>,
}

impl Snapshotter {
    /// Runs until stopped.
    pub fn run(&self) {
        // Elsewhere this would be about the whole process.
        if cfg!(target_os = "linux")
            && let Err(error) = rustix::process::setpriority_process(None, NICE)
        {
            tracing::debug!(%error, "snapshots are made as if they were urgent");
        }
        loop {
            match self.manager.next(self.snapshot_bytes) {
                Turn::Make(end) => self.make(end),
                Turn::Tidy => self.tidy(),
                Turn::Stop => return,
            }
        }
    }

    /// Makes a snapshot that is due. What goes wrong is not the trouble of those who write: it is tried
    /// again.
    fn make(&self, end: Sealed) {
        let (manager, counters) = (&self.manager, &self.counters);
        loop {
            let base = manager.newest();
            let merged = catch_unwind(AssertUnwindSafe(|| self.merge(base.as_ref(), end)));
            let trouble = match merged {
                Ok(Ok(snapshot)) => {
                    let (lsn, bytes) = (snapshot.cover.lsn.get(), snapshot.bytes);
                    tracing::info!(lsn, bytes, "a snapshot was made");
                    manager.made(snapshot, end);
                    counters.snapshots_made.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Ok(Err(LogError::Stopped)) => return,
                Ok(Err(trouble)) => Some(trouble),
                Err(_panic) => None,
            };
            let why = trouble.as_ref().map(ToString::to_string);
            let why = why.as_deref().unwrap_or("a panic");
            tracing::error!(why, "no snapshot was made: the log stays as it is");
            counters.snapshots_failed.fetch_add(1, Ordering::Relaxed);
            match (trouble, base) {
                (Some(LogError::Damaged { path, .. }), Some(base)) if path == base.path => {
                    // The one before it, and the log from there, come to the same.
                    manager.forget(&base);
                    if let Err(error) = quarantine(&self.data, &path, self.epoch) {
                        tracing::warn!(%error, "a damaged snapshot could not be quarantined");
                    }
                }
                _ => return manager.failed(end),
            }
        }
    }

    /// Merges `base` and the log behind it up to the end of a segment.
    fn merge(&self, base: Option<&Snapshot>, end: Sealed) -> Result<Snapshot, LogError> {
        let disk = &self.wal.disk;
        let dir = self.data.snapshots();
        let stopped = || self.manager.is_stopped();
        let fold = Fold {
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
            runs: dir.join(RUNS),
            stopped: &stopped,
        };
        let folded = fold.run()?;
        let cover = Cover::up_to(folded.end);
        let path = dir.join(dir::snapshot_name(cover.lsn));
        let new = Unfinished::new(disk, path.with_extension(dir::NEW));
        let (made, heads) = file::write(
            (disk, &self.schema, &stopped),
            new.path(),
            (self.epoch, cover),
            folded.rows,
        )?;
        let mut expected = match base {
            Some(base) => base.heads(disk, &self.schema)?,
            None => HashMap::new(),
        };
        expected.extend(folded.heads);
        if !same(&heads, &expected) {
            return Err(LogError::Damaged {
                path: made.path,
                offset: 0,
                why: "its heads are not those of the log",
                last_good: None,
                next_valid: None,
            });
        }
        disk.rename(new.path(), &path)
            .and_then(|()| disk.sync_dir(&dir))
            .map_err(LogError::io(&path))?;
        Ok(Snapshot { path, ..made })
    }

    /// Removes all snapshots but those that are kept, and the log that the older of them covers. What
    /// cannot be removed stays until the next time.
    fn tidy(&self) {
        if let Err(error) = self.remove_useless() {
            tracing::warn!(%error, "old snapshots or segments could not be removed");
        }
        self.manager.lock().removing = false;
        self.manager.changed.notify_all();
    }

    fn remove_useless(&self) -> std::io::Result<()> {
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
        segments.retain(|number| *number <= older.cover.segment);
        for number in &segments {
            self.wal.remove(*number)?;
        }
        if !segments.is_empty() {
            disk.sync_dir(&self.wal.dir)?;
        }
        Ok(())
    }
}

fn same(some: &HashMap<TenantId, LastHead>, others: &HashMap<TenantId, LastHead>) -> bool {
    let same = |(tenant, head): (_, &LastHead)| {
        others
            .get(tenant)
            .is_some_and(|other| other.envelope == head.envelope)
    };
    some.len() == others.len() && some.iter().all(same)
}
