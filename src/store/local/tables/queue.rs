//! The queue of memtables: filled by the committer, flushed by the applier, read by everyone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backfill::Backfill;
use super::memtable::{Memtable, MemtableList};
use crate::store::local::log::frame::Position;
use crate::store::local::stopwatch;
use crate::store::row::Op;
use crate::sync::{Condvar, Mutex, MutexGuard};

pub struct MemtableQueue {
    state: Mutex<State>,
    /// Something for the applier.
    filled: Condvar,
    /// Something for a committer that found the memtable full.
    flushed: Condvar,
}

struct State {
    memtable: MemtableList,
    /// When the active memtable got its first row.
    since: Option<Instant>,
    end: Option<End>,
    /// A write to the tables failed; the memtable stays as it is.
    failed: bool,
    /// The next chunk of a rebuild.
    backfill: Option<Backfill>,
    /// The chunk has waited for one turn: it is next.
    backfill_next: bool,
}

#[derive(Clone, Copy)]
pub enum End {
    Finish,
    Abandon,
}

/// What the applier does next.
pub enum Work {
    Apply,
    Checkpoint,
    Backfill(Backfill),
    End(End),
}

impl MemtableQueue {
    pub fn new(through: Position) -> Self {
        let memtable = MemtableList::at(through);
        Self {
            state: Mutex::new(State {
                memtable,
                since: None,
                end: None,
                failed: false,
                backfill: None,
                backfill_next: false,
            }),
            filled: Condvar::new(),
            flushed: Condvar::new(),
        }
    }

    /// Reads the memtable. Briefly: the committer waits for it.
    pub fn read<R>(&self, read: impl FnOnce(&MemtableList) -> R) -> R {
        read(&self.lock().memtable)
    }

    /// Whether a write to the tables failed.
    pub fn failed(&self) -> bool {
        self.lock().failed
    }

    /// Whether the applier is to end.
    pub fn ended(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Queues a chunk of a rebuild once the one before it is written; `false` if the applier has ended
    /// or failed.
    pub fn push_backfill(&self, chunk: Backfill) -> bool {
        let full = |state: &mut State| state.backfill.is_some() && state.takes_backfill();
        let mut state = self.flushed.wait_while(self.lock(), full).expect(NO_PANIC);
        let taken = state.takes_backfill();
        if taken {
            state.backfill = Some(chunk);
        }
        drop(state);
        self.filled.notify_one();
        taken
    }

    /// Waits; `false` if the applier ended meanwhile.
    pub fn pause(&self, long: Duration) -> bool {
        let running = |state: &mut State| state.takes_backfill();
        let waited = self.flushed.wait_timeout_while(self.lock(), long, running);
        waited.expect(NO_PANIC).1.timed_out()
    }

    /// Waits while the memtable is full. Once nothing flushes it, it may grow: writes stop elsewhere.
    pub fn wait_for_room(&self, bytes_max: usize) {
        let full = |state: &mut State| {
            let stuck = state.failed || matches!(state.end, Some(End::Abandon));
            !stuck && state.memtable.bytes() > bytes_max
        };
        drop(self.flushed.wait_while(self.lock(), full).expect(NO_PANIC));
    }

    /// Adds what has become durable, up to `through`.
    pub fn absorb(&self, ops: Vec<Op<'static>>, through: Position) {
        let mut state = self.lock();
        let active = state.memtable.active();
        active.absorb(ops);
        active.through = through;
        let began = !active.is_empty();
        if began && state.since.is_none() {
            state.since = Some(stopwatch::now());
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Makes the applier write what is left, make a checkpoint, and end.
    pub fn finish(&self) {
        self.end(End::Finish);
    }

    /// Makes the applier end at once.
    pub fn abandon(&self) {
        self.end(End::Abandon);
    }

    fn end(&self, end: End) {
        self.lock().end = Some(end);
        self.filled.notify_one();
        self.flushed.notify_all();
    }

    /// Waits for work: rows that are older than `every` or take more than `bytes`, a checkpoint that is
    /// due, or a chunk of a rebuild; chunks alternate with everything else.
    pub fn next(&self, every: Duration, bytes: usize, checkpoint: Option<Instant>) -> Work {
        let mut state = self.lock();
        loop {
            if let Some(end) = state.end {
                return Work::End(end);
            }
            let now = stopwatch::now();
            let apply = state
                .since
                .filter(|_| !state.failed)
                .map(|since| since + every);
            // The rare one first: under load there are always rows to apply.
            let turn = if checkpoint.is_some_and(|at| at <= now) {
                Some(Work::Checkpoint)
            } else if apply.is_some_and(|at| at <= now || state.memtable.bytes() > bytes) {
                Some(Work::Apply)
            } else {
                None
            };
            if (turn.is_none() || state.backfill_next)
                && let Some(chunk) = state.backfill.take()
            {
                state.backfill_next = false;
                self.flushed.notify_all();
                return Work::Backfill(chunk);
            }
            if let Some(turn) = turn {
                state.backfill_next = true;
                return turn;
            }
            state = match apply.into_iter().chain(checkpoint).min() {
                Some(at) => self.filled.wait_timeout(state, at - now).expect(NO_PANIC).0,
                None => self.filled.wait(state).expect(NO_PANIC),
            };
        }
    }

    pub fn freeze(&self) -> Arc<Memtable> {
        let mut state = self.lock();
        state.since = None;
        state.memtable.freeze()
    }

    pub fn set_flushed(&self) {
        self.lock().memtable.remove_immutable();
        self.flushed.notify_all();
    }

    pub fn fail(&self) {
        self.lock().failed = true;
        self.flushed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(NO_PANIC)
    }
}

impl State {
    fn takes_backfill(&self) -> bool {
        self.end.is_none() && !self.failed
    }
}

const NO_PANIC: &str = "no holder of this lock panics";

/// Marks the queue as failed when the applier panics: nothing flushes it any more.
pub struct FailOnPanic<'a>(pub &'a MemtableQueue);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail();
        }
    }
}
