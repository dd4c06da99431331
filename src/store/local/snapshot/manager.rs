//! Which snapshots count, when the next one is due, and which files have to stay.
//!
//! Two are kept, so that one may be damaged; the log goes only as far as the older of them covers it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::file::Snapshot;
use crate::store::local::log::scan::SealedSegment;
use crate::store::local::stopwatch;
use crate::store::record::Lsn;

/// Snapshots to keep.
const KEPT: usize = 2;
/// The pause after a failure, unless a segment is sealed before.
const RETRY: Duration = Duration::from_secs(30);

/// The snapshots, and the sealed segments behind them.
pub struct SnapshotManager {
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
}

struct State {
    /// The snapshots that count, the oldest first.
    kept: Vec<Snapshot>,
    /// The damaged ones, the oldest first. They stay until another counts: only their fronts say where
    /// the log begins.
    damaged: Vec<Snapshot>,
    /// The sealed segments behind the newest.
    sealed: VecDeque<SealedSegment>,
    /// The last record that the log says is in the tables.
    applied: Lsn,
    /// The last sealed segment at the last failure, and its time.
    failed: Option<(u64, Instant)>,
    has_obsolete: bool,
    removing: bool,
    /// Readers that need all files.
    holds: usize,
}

pub(super) enum Task {
    /// A snapshot up to the end of this segment.
    Build(SealedSegment),
    RemoveObsolete,
    Stop,
}

/// While one lives, no snapshot and no segment is removed.
pub struct FileHold(Arc<SnapshotManager>);

impl Drop for FileHold {
    fn drop(&mut self) {
        self.0.lock().holds -= 1;
        self.0.changed.notify_all();
    }
}

const NO_PANIC: &str = "no holder of this lock panics";

impl SnapshotManager {
    pub fn new(mut kept: Vec<Snapshot>, sealed: Vec<SealedSegment>, applied: Lsn) -> Self {
        kept.drain(..kept.len().saturating_sub(KEPT));
        Self {
            state: Mutex::new(State {
                kept,
                damaged: Vec::new(),
                sealed: sealed.into(),
                applied,
                failed: None,
                has_obsolete: true,
                removing: false,
                holds: 0,
            }),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
        }
    }

    pub fn sealed(&self, sealed: SealedSegment) {
        self.lock().sealed.push_back(sealed);
        self.changed.notify_all();
    }

    /// A CHECKPOINT says that the tables hold everything up to here.
    pub fn checkpointed(&self, applied: Lsn) {
        self.lock().applied = applied;
        self.changed.notify_all();
    }

    /// The snapshots that count, the oldest first.
    pub fn kept(&self) -> Vec<Snapshot> {
        self.lock().kept.clone()
    }

    /// The same and the damaged ones, the oldest first.
    pub fn all(&self) -> Vec<Snapshot> {
        let state = self.lock();
        let mut all = [state.damaged.as_slice(), state.kept.as_slice()].concat();
        all.sort_by_key(|snapshot| snapshot.prefix.lsn);
        all
    }

    /// The newest that counts.
    pub fn newest(&self) -> Option<Snapshot> {
        self.lock().kept.last().cloned()
    }

    /// Keeps all snapshots and segments for a reader.
    pub fn hold_files(self: &Arc<Self>) -> FileHold {
        let removing = |state: &mut State| state.removing;
        let state = self.changed.wait_while(self.lock(), removing);
        state.expect(NO_PANIC).holds += 1;
        FileHold(Arc::clone(self))
    }

    /// Ends [`Snapshotter::run`](super::build::Snapshotter::run).
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        drop(self.lock());
        self.changed.notify_all();
    }

    /// A snapshot up to `end` was built.
    pub(super) fn made(&self, snapshot: Snapshot, end: SealedSegment) {
        let mut state = self.lock();
        state.sealed.retain(|sealed| sealed.segment > end.segment);
        state.kept.push(snapshot);
        let surplus = state.kept.len().saturating_sub(KEPT);
        state.kept.drain(..surplus);
        state.failed = None;
        state.has_obsolete = true;
    }

    /// A snapshot up to `end`, or further, could not be built.
    pub(super) fn failed(&self, end: SealedSegment) {
        let mut state = self.lock();
        let last = state.sealed.back().map_or(end.segment, |last| last.segment);
        state.failed = Some((last, stopwatch::now()));
    }

    /// A snapshot is damaged, and no longer counts.
    pub(super) fn note_damaged(&self, snapshot: &Snapshot) {
        let mut state = self.lock();
        state.kept.retain(|kept| kept != snapshot);
        state.damaged.insert(0, snapshot.clone());
    }

    pub(super) fn newest_damaged(&self) -> Option<Snapshot> {
        self.lock().damaged.last().cloned()
    }

    pub(super) fn take_damaged(&self) -> Vec<Snapshot> {
        std::mem::take(&mut self.lock().damaged)
    }

    pub(super) fn removed(&self) {
        self.lock().removing = false;
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn next(&self, snapshot_bytes: u64) -> Task {
        let mut state = self.lock();
        loop {
            if self.is_stopped() {
                return Task::Stop;
            }
            if state.has_obsolete && state.holds == 0 {
                state.has_obsolete = false;
                state.removing = true;
                return Task::RemoveObsolete;
            }
            if let Some(sealed) = state.due(snapshot_bytes) {
                return Task::Build(sealed);
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
    fn due(&self, snapshot_bytes: u64) -> Option<SealedSegment> {
        let newest = self.kept.last();
        // So the log behind a snapshot always has the CHECKPOINT from which the tables catch up.
        let in_tables = || {
            self.sealed
                .iter()
                .take_while(|s| s.through.lsn <= self.applied)
        };
        let end = in_tables().last().copied()?;
        let least = snapshot_bytes.max(newest.map_or(0, |newest| newest.bytes / 2));
        let due = in_tables().map(|sealed| sealed.bytes).sum::<u64>() > least
            && newest.is_none_or(|newest| newest.prefix.lsn < end.through.lsn);
        let again = self.failed.is_none_or(|(segment, at)| {
            self.sealed
                .back()
                .is_some_and(|last| last.segment > segment)
                || at.elapsed() >= RETRY
        });
        (due && again).then_some(end)
    }
}
