//! From the memtable to the tables: the thread that flushes one to the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backfill::{Backfill, Tombstones};
use super::layout::Layout;
use super::queue::{End, FailOnPanic, Work};
use super::replay;
use super::stamp::TableStamp;
use super::view::TableView;
use crate::store::ReadError;
use crate::store::local::counters::Counters;
use crate::store::local::dir::{DataDir, Marker};
use crate::store::local::log::frame::Position;
use crate::store::local::log::inbox::Inbox;
use crate::store::local::stopwatch;

/// The thread that writes the tables.
pub struct Applier {
    pub view: Arc<TableView>,
    pub data: DataDir,
    /// Takes the CHECKPOINT records.
    pub inbox: Arc<Inbox>,
    pub counters: Arc<Counters>,
    /// How long rows are collected, and how many bytes of them at most, before they are written.
    pub every: Duration,
    pub bytes: usize,
    /// How long the tables go without a sync.
    pub checkpoint_every: Duration,
    /// Everything up to here is in the tables.
    pub applied: Position,
    /// When the tables are next synced, if they hold anything that is not.
    pub checkpoint: Option<Instant>,
    /// What was deleted since a rebuild began, as long as it goes on.
    pub tombstones: Option<Tombstones>,
}

impl Applier {
    /// Applies until the queue ends.
    pub fn run(mut self) {
        let view = Arc::clone(&self.view);
        let _fail = FailOnPanic(&view.memtable);
        loop {
            match view.memtable.next(self.every, self.bytes, self.checkpoint) {
                Work::Apply => self.apply(),
                Work::Checkpoint => self.checkpoint(),
                Work::Backfill(chunk) => self.backfill(chunk),
                Work::End(End::Finish) => {
                    if !view.memtable.failed() {
                        self.apply();
                        self.checkpoint();
                    }
                    return;
                }
                Work::End(End::Abandon) => return,
            }
        }
    }

    /// Writes what is in the memtable. It stays readable there until all of it is in the tables.
    fn apply(&mut self) {
        let memtable = self.view.freeze();
        if let Some(tombstones) = &mut self.tombstones {
            tombstones.add(&memtable);
        }
        let applied = self
            .view
            .with_tables(|tables| replay::apply(Layout(tables), &memtable));
        if let Err(error) = applied {
            return self.fail(&error);
        }
        self.view.memtable.set_flushed();
        self.applied = memtable.through;
        self.counters.set_applied(self.applied.lsn);
        if !memtable.is_empty() && self.checkpoint.is_none() {
            self.checkpoint = Some(stopwatch::now() + self.checkpoint_every);
        }
    }

    /// Writes rows of a rebuild where nothing newer is. After the last of them the tables are whole.
    fn backfill(&mut self, chunk: Backfill) {
        let Some(tombstones) = &self.tombstones else {
            return;
        };
        let filled = match chunk {
            Backfill::Rows(mut chunk) => {
                tombstones.filter(&mut chunk);
                self.view
                    .with_tables(|tables| Layout(tables).fill(chunk.table, &chunk.rows))
            }
            Backfill::Done => self.sync(true).map(|()| self.end_rebuild()),
        };
        if let Err(error) = filled {
            self.fail(&error);
        }
    }

    fn end_rebuild(&mut self) {
        self.tombstones = None;
        if let Err(error) = self.data.unmark(Marker::Rebuilding) {
            tracing::warn!(%error, "cannot remove the rebuild marker: the next start rebuilds the tables again");
        }
        self.view.end_rebuild();
    }

    /// Syncs the tables and has the log say so.
    fn checkpoint(&mut self) {
        if self.checkpoint.take().is_none() {
            return;
        }
        match self.sync(self.tombstones.is_none()) {
            Ok(()) => self.inbox.push_checkpoint(self.applied),
            Err(error) => self.fail(&error),
        }
    }

    fn sync(&self, whole: bool) -> Result<(), ReadError> {
        let applied = self.applied.lsn;
        self.view.with_tables(|tables| {
            TableStamp { applied, whole }.write(tables)?;
            Ok(tables.sync()?)
        })
    }

    /// The tables are not what the log says any more. Reads go on from what is there and the
    /// memtable; the next start rebuilds them.
    fn fail(&mut self, error: &ReadError) {
        tracing::error!(%error, "cannot write the tables: writes stop until the next start");
        self.checkpoint = None;
        self.view.memtable.fail();
        if let Err(error) = self.data.mark(Marker::Doubtful) {
            tracing::warn!(%error, "cannot mark the tables as doubtful");
        }
    }
}
