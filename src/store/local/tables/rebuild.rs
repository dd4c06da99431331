//! Rebuilding tables: first the rows that tenants cannot be loaded without, then, with the store open,
//! all others.
//!
//! Both parts come from the newest snapshot and the log behind it, or, if that snapshot is damaged,
//! from the one before it and a longer log. The tables take new rows meanwhile: an old row is added
//! only where there is none and nothing was deleted since.

use std::sync::Arc;
use std::time::Duration;

use super::Tables;
use super::backfill::{Backfill, Chunk};
use super::layout::Layout;
use super::view::TableView;
use crate::store::local::dir::DataDir;
use crate::store::local::key::full_key;
use crate::store::local::log::frame::Tail;
use crate::store::local::log::frames::{LogError, go_on};
use crate::store::local::log::segment::Wal;
use crate::store::local::schema::{Part, Schema};
use crate::store::local::snapshot::Snapshot;
use crate::store::local::snapshot::merge::{MergeInput, MergeOutput};
use crate::store::local::stopwatch;
use crate::store::record::Lsn;
use crate::store::row::Effect;
use crate::store::{OpenError, ReadError};

/// What the names of a rebuild's runs begin with.
const RUNS: &str = "rebuild";
/// How many bytes of rows are written together.
const CHUNK_BYTES: usize = 1 << 20;
/// How long after a failure the rebuild is retried.
const RETRY: Duration = Duration::from_secs(30);

/// What tables are built from.
#[derive(Clone)]
pub struct Rebuild {
    /// Where runs are written, if the log is long.
    pub data: DataDir,
    pub wal: Wal,
    pub schema: Schema,
    /// The oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Where the log ended when the store was opened.
    pub end: Tail,
}

/// Why tables could not be built.
pub enum RebuildError {
    /// The snapshot or the log cannot be read.
    Log(LogError),
    /// The tables cannot be written.
    Tables(ReadError),
}

impl From<LogError> for RebuildError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<RebuildError> for OpenError {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Log(error) => error.into(),
            RebuildError::Tables(error) => Self::Rebuild {
                why: error.to_string(),
            },
        }
    }
}

impl Rebuild {
    /// Passes the rows of a part, in chunks, to `take`; the first record that came from the log. If a
    /// snapshot turns out to be damaged, rows are passed again from another one.
    pub fn rows(
        &self,
        part: Part,
        stopped: &(dyn Fn() -> bool + Sync),
        take: &mut dyn FnMut(Chunk) -> Result<(), RebuildError>,
    ) -> Result<Lsn, RebuildError> {
        let mut first_error = None;
        for base in self.snapshots.iter().rev().map(Some).chain([None]) {
            let fold = MergeInput {
                wal: &self.wal,
                schema: &self.schema,
                base,
                end: self.end,
                part,
                runs: self.data.snapshots().join(RUNS),
                stopped,
            };
            let checked = base.map_or(Ok(()), |base| base.check_frames(&self.wal.disk, stopped));
            let passed = checked
                .and_then(|()| fold.run())
                .map_err(RebuildError::from)
                .and_then(|merged| pass(&fold, merged, take));
            match passed {
                Ok(()) => return Ok(base.map_or(Lsn::ZERO, |base| base.prefix.lsn)),
                Err(RebuildError::Log(error @ LogError::Damaged { .. })) => {
                    tracing::error!(%error, "cannot build the tables from this snapshot");
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(first_error.unwrap_or(LogError::Stopped).into())
    }

    /// Writes rows to tables that nothing reads yet; the last record that came from a snapshot.
    pub fn fill(&self, part: Part, tables: &dyn Tables) -> Result<Lsn, RebuildError> {
        self.rows(part, &|| false, &mut |chunk| {
            let filled = Layout(tables).fill(chunk.table, &chunk.rows);
            filled.map_err(RebuildError::Tables)
        })
    }

    /// The thread that sends the second part to the applier. While `_hold` lives, no file is removed.
    pub fn backfill(&self, view: &Arc<TableView>, _hold: impl Send) {
        let began = stopwatch::now();
        let stopped = || view.memtable.ended();
        let mut push = |chunk| {
            if view.memtable.push_backfill(Backfill::Rows(chunk)) {
                Ok(())
            } else {
                Err(LogError::Stopped.into())
            }
        };
        loop {
            match self.rows(Part::Back, &stopped, &mut push) {
                Ok(_) => {
                    view.memtable.push_backfill(Backfill::Done);
                    tracing::info!(took = ?began.elapsed(), "the tables are rebuilt");
                    return;
                }
                Err(RebuildError::Log(error @ LogError::Io { .. })) => {
                    tracing::error!(%error, "cannot rebuild the tables: retrying");
                    if !view.memtable.pause(RETRY) {
                        return;
                    }
                }
                Err(RebuildError::Log(LogError::Stopped) | RebuildError::Tables(_)) => return,
                Err(RebuildError::Log(error)) => {
                    tracing::error!(%error, "cannot rebuild the tables: reads of old rows answer `rebuilding`");
                    return;
                }
            }
        }
    }
}

fn pass(
    fold: &MergeInput<'_>,
    merged: MergeOutput<'_>,
    take: &mut dyn FnMut(Chunk) -> Result<(), RebuildError>,
) -> Result<(), RebuildError> {
    let mut chunk: Option<Chunk> = None;
    let mut bytes = 0;
    for op in merged.rows {
        let op = op?;
        let Effect::Put(envelope) = op.effect else {
            continue;
        };
        let fits = |chunk: &Chunk| chunk.table.id == op.table.id && bytes < CHUNK_BYTES;
        if !chunk.as_ref().is_some_and(fits) {
            go_on(fold.stopped)?;
            let table = op.table;
            let rows = Vec::new();
            if let Some(full) = chunk.replace(Chunk { table, rows }) {
                take(full)?;
            }
            bytes = 0;
        }
        bytes += op.key.len() + envelope.len();
        if let Some(chunk) = &mut chunk {
            let key = full_key(op.tenant, &op.key);
            chunk.rows.push((key, envelope.into_owned()));
        }
    }
    chunk.map_or(Ok(()), take)
}
