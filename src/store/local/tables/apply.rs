//! From the lag to the tables: the thread behind the answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::layout::Layout;
use super::memtable::{Generation, Memtable};
use super::rebuild::{Erased, Fill};
use super::replay;
use super::stamp::Stamp;
use super::{TableError, Tables};
use crate::store::ReadError;
use crate::store::local::Shared;
use crate::store::local::dir::Marker;
use crate::store::local::log::frame::Position;
use crate::store::local::stopwatch;
use crate::store::row::Op;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The lag between the committer, which fills it, the applier, which drains it, and the readers.
pub struct MemtableQueue {
    state: Mutex<State>,
    /// Something for the applier.
    filled: Condvar,
    /// Something for a committer that found the lag full.
    drained: Condvar,
}

struct State {
    memtable: Memtable,
    /// When the growing generation got its first row.
    since: Option<Instant>,
    end: Option<End>,
    /// A write to the tables failed; the lag stays as it is.
    failed: bool,
    /// What a rebuild has for the tables.
    fill: Option<Fill>,
    /// It has waited long enough: it comes before what else is due.
    fill_next: bool,
}

#[derive(Clone, Copy)]
enum End {
    Finish,
    Abandon,
}

/// What the applier is to do next.
enum Turn {
    Apply,
    Checkpoint,
    Fill(Fill),
    End(End),
}

impl MemtableQueue {
    pub fn new(through: Position) -> Self {
        let memtable = Memtable::at(through);
        Self {
            state: Mutex::new(State {
                memtable,
                since: None,
                end: None,
                failed: false,
                fill: None,
                fill_next: false,
            }),
            filled: Condvar::new(),
            drained: Condvar::new(),
        }
    }

    /// What looks at the lag does so in here, and briefly: the committer waits for it.
    pub fn with_memtable<R>(&self, look: impl FnOnce(&Memtable) -> R) -> R {
        look(&self.lock().memtable)
    }

    /// Whether a write to the tables failed.
    pub fn failed(&self) -> bool {
        self.lock().failed
    }

    /// Whether the applier is to end.
    pub fn ended(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Hands over what a rebuild has for the tables, once what it had before is there; `false` if
    /// nobody takes it any more.
    pub fn offer(&self, fill: Fill) -> bool {
        let full = |state: &mut State| state.fill.is_some() && state.takes_fill();
        let mut state = self.drained.wait_while(self.lock(), full).expect(NO_PANIC);
        let taken = state.takes_fill();
        if taken {
            state.fill = Some(fill);
        }
        drop(state);
        self.filled.notify_one();
        taken
    }

    /// Waits; `false` if the applier is to end before.
    pub fn pause(&self, long: Duration) -> bool {
        let going = |state: &mut State| state.takes_fill();
        let waited = self.drained.wait_timeout_while(self.lock(), long, going);
        waited.expect(NO_PANIC).1.timed_out()
    }

    /// Waits while the lag is full. Once nothing drains it, it may grow: its callers stop by
    /// themselves.
    pub fn wait_for_room(&self, bytes_max: usize) {
        let full = |state: &mut State| {
            let stuck = state.failed || matches!(state.end, Some(End::Abandon));
            !stuck && state.memtable.bytes() > bytes_max
        };
        drop(self.drained.wait_while(self.lock(), full).expect(NO_PANIC));
    }

    /// Takes in what has become durable, up to `through`.
    pub fn absorb(&self, ops: Vec<Op<'static>>, through: Position) {
        let mut state = self.lock();
        let growing = state.memtable.growing();
        growing.absorb(ops);
        growing.through = through;
        let began = !growing.is_empty();
        if began && state.since.is_none() {
            state.since = Some(stopwatch::now());
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Has the applier write what is left, make a checkpoint, and end.
    pub fn finish(&self) {
        self.end(End::Finish);
    }

    /// Has the applier end at once.
    pub fn abandon(&self) {
        self.end(End::Abandon);
    }

    fn end(&self, end: End) {
        self.lock().end = Some(end);
        self.filled.notify_one();
        self.drained.notify_all();
    }

    /// Waits for work: rows that are old enough, or so many that they should not wait, or the time
    /// of a checkpoint, or rows of a rebuild; those in turn with all else.
    fn next(&self, every: Duration, bytes: usize, checkpoint: Option<Instant>) -> Turn {
        let mut state = self.lock();
        loop {
            if let Some(end) = state.end {
                return Turn::End(end);
            }
            let now = stopwatch::now();
            let apply = state
                .since
                .filter(|_| !state.failed)
                .map(|since| since + every);
            // First what comes rarely: with enough load there are always rows to be applied.
            let turn = if checkpoint.is_some_and(|at| at <= now) {
                Some(Turn::Checkpoint)
            } else if apply.is_some_and(|at| at <= now || state.memtable.bytes() > bytes) {
                Some(Turn::Apply)
            } else {
                None
            };
            if (turn.is_none() || state.fill_next)
                && let Some(fill) = state.fill.take()
            {
                state.fill_next = false;
                self.drained.notify_all();
                return Turn::Fill(fill);
            }
            if let Some(turn) = turn {
                state.fill_next = true;
                return turn;
            }
            state = match apply.into_iter().chain(checkpoint).min() {
                Some(at) => self.filled.wait_timeout(state, at - now).expect(NO_PANIC).0,
                None => self.filled.wait(state).expect(NO_PANIC),
            };
        }
    }

    fn drain(&self) -> Arc<Generation> {
        let mut state = self.lock();
        state.since = None;
        state.memtable.drain()
    }

    fn drained(&self) {
        self.lock().memtable.drained();
        self.drained.notify_all();
    }

    fn fail(&self) {
        self.lock().failed = true;
        self.drained.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(NO_PANIC)
    }
}

impl State {
    fn takes_fill(&self) -> bool {
        self.end.is_none() && !self.failed
    }
}

const NO_PANIC: &str = "no holder of this lock panics";

/// Fails the tables when their thread panics: nothing drains the lag any more.
struct FailIfPanicked<'a>(&'a MemtableQueue);

impl Drop for FailIfPanicked<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail();
        }
    }
}

/// The thread that writes the tables.
pub struct Applier {
    pub shared: Arc<Shared>,
    /// Everything up to here is in the tables.
    pub applied: Position,
    /// When what is in the tables is to be synced, if anything is not.
    pub checkpoint: Option<Instant>,
    /// What was deleted since a rebuild began, while it goes on.
    pub erased: Option<Erased>,
}

impl Applier {
    /// Applies until told to end.
    pub fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _nobody_waits_in_vain = FailIfPanicked(&shared.memtable_queue);
        let config = &shared.config;
        loop {
            match self.shared.memtable_queue.next(
                config.tables_every,
                config.lag_bytes / 2,
                self.checkpoint,
            ) {
                Turn::Apply => self.apply(),
                Turn::Checkpoint => self.checkpoint(),
                Turn::Fill(fill) => self.fill(fill),
                Turn::End(End::Finish) => {
                    if !self.shared.memtable_queue.failed() {
                        self.apply();
                        self.checkpoint();
                    }
                    return;
                }
                Turn::End(End::Abandon) => return,
            }
        }
    }

    /// Writes what is in the lag. It stays readable there until all of it is in the tables.
    fn apply(&mut self) {
        // No read is under way while the generations change, so none sees half of a generation that
        // it did not find in the lag.
        let generation = {
            let _no_read = self.shared.tables.write().expect(NO_PANIC);
            self.shared.memtable_queue.drain()
        };
        if let Some(erased) = &mut self.erased {
            erased.note(&generation);
        }
        match self.with_tables(|tables| replay::apply(Layout(tables), &generation)) {
            Ok(()) => {
                self.shared.memtable_queue.drained();
                self.applied = generation.through;
                self.shared
                    .counters
                    .applied
                    .store(self.applied.lsn.get(), Ordering::Release);
                if !generation.is_empty() && self.checkpoint.is_none() {
                    self.checkpoint = Some(stopwatch::now() + self.shared.config.checkpoint_every);
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Writes rows of a rebuild where nothing newer is. After the last of them the tables are whole.
    fn fill(&mut self, fill: Fill) {
        let Some(erased) = &self.erased else {
            return;
        };
        let filled = match fill {
            Fill::Rows(mut chunk) => {
                erased.sift(&mut chunk);
                self.with_tables(|tables| Layout(tables).fill(chunk.table, &chunk.rows))
            }
            Fill::Done => {
                let synced = self.sync(true);
                synced.map(|()| self.end_rebuild())
            }
        };
        if let Err(error) = filled {
            self.fail(&error);
        }
    }

    fn end_rebuild(&mut self) {
        self.erased = None;
        if let Err(error) = self.shared.data.unmark(Marker::Rebuilding) {
            tracing::warn!(%error, "the next start will build the tables anew, without need");
        }
        self.shared.rebuilding.store(false, Ordering::Release);
    }

    /// Syncs the tables and has the log say so.
    fn checkpoint(&mut self) {
        if self.checkpoint.take().is_none() {
            return;
        }
        match self.sync(self.erased.is_none()) {
            Ok(()) => self.shared.inbox.push_checkpoint(self.applied),
            Err(error) => self.fail(&error),
        }
    }

    fn sync(&self, whole: bool) -> Result<(), ReadError> {
        let applied = self.applied.lsn;
        self.with_tables(|tables| {
            Stamp { applied, whole }.write(tables)?;
            Ok(tables.sync()?)
        })
    }

    fn with_tables(
        &self,
        work: impl FnOnce(&dyn Tables) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let tables = self.shared.tables.read().expect(NO_PANIC);
        let tables = tables.as_deref().ok_or(ReadError::Closed)?;
        catch_unwind(AssertUnwindSafe(|| work(tables)))
            .unwrap_or(Err(ReadError::Tables(TableError::Panicked)))
    }

    /// The tables are not what the log says any more. Reads go on from what is there and the lag;
    /// the next start builds them anew.
    fn fail(&mut self, error: &ReadError) {
        tracing::error!(%error, "the tables cannot be written: writes stop until the next start");
        self.checkpoint = None;
        self.shared.memtable_queue.fail();
        if let Err(error) = self.shared.data.mark(Marker::Doubtful) {
            tracing::warn!(%error, "the tables could not be marked as doubtful");
        }
    }
}
