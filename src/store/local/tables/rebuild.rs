//! Tables from nothing: the rows that tenants cannot do without at once, all others behind them.
//!
//! Either part is what the newest snapshot and the log behind it come to; if that snapshot is
//! damaged, the one before it and a longer log come to the same. While the second part is under way
//! the tables take new rows as ever: an old row comes only where there is none yet and nothing was
//! deleted since.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Tables;
use super::layout::{Layout, full_key};
use super::memtable::{Generation, Ranges};
use crate::store::local::Shared;
use crate::store::local::dir::DataDir;
use crate::store::local::log::frame::Tail;
use crate::store::local::log::frames::{LogError, go_on};
use crate::store::local::log::segment::Wal;
use crate::store::local::schema::{Part, Schema};
use crate::store::local::snapshot::Snapshot;
use crate::store::local::snapshot::keep::FileHold;
use crate::store::local::snapshot::merge::{Fold, Folded};
use crate::store::record::Lsn;
use crate::store::row::{Effect, TableSpec};
use crate::store::{OpenError, ReadError};

/// What the names of a rebuild's runs begin with.
const RUNS: &str = "rebuild";
/// How many bytes of rows go to the tables together.
const CHUNK_BYTES: usize = 1 << 20;
/// How long after a failure the rest of the rows is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// What tables are built from.
#[derive(Clone)]
pub struct Origin {
    /// The oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Where the log was left when the store was opened.
    pub end: Tail,
}

/// Rows of one table, in order of their full keys.
pub struct Chunk {
    pub table: &'static TableSpec,
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Something for the tables that is older than everything in the lag.
pub enum Fill {
    /// Rows, to be written where there are none.
    Rows(Chunk),
    /// No more.
    Done,
}

/// Why rows did not come.
pub enum RebuildError {
    /// They cannot be read.
    LogError(LogError),
    /// They cannot be written.
    Tables(ReadError),
}

impl From<LogError> for RebuildError {
    fn from(trouble: LogError) -> Self {
        Self::LogError(trouble)
    }
}

/// Of tables that are built anew.
impl From<RebuildError> for OpenError {
    fn from(halt: RebuildError) -> Self {
        match halt {
            RebuildError::LogError(trouble) => trouble.into(),
            RebuildError::Tables(error) => Self::Rebuild {
                why: error.to_string(),
            },
        }
    }
}

impl Origin {
    /// Shows the rows of a part, in chunks, to `take`; the first record that came from the log. What
    /// was shown already comes again if a snapshot turns out to be damaged.
    pub fn rows(
        &self,
        (wal, schema, data): (&Wal, &Schema, &DataDir),
        part: Part,
        stopped: &(dyn Fn() -> bool + Sync),
        take: &mut dyn FnMut(Chunk) -> Result<(), RebuildError>,
    ) -> Result<Lsn, RebuildError> {
        let mut first_trouble = None;
        for base in self.snapshots.iter().rev().map(Some).chain([None]) {
            let fold = Fold {
                wal,
                schema,
                base,
                end: self.end,
                part,
                runs: data.snapshots().join(RUNS),
                stopped,
            };
            let whole = base.map_or(Ok(()), |base| base.check_frames(&wal.disk, stopped));
            let shown = whole
                .and_then(|()| fold.run())
                .map_err(RebuildError::from)
                .and_then(|folded| show(&fold, folded, take));
            match shown {
                Ok(()) => return Ok(base.map_or(Lsn::ZERO, |base| base.cover.lsn)),
                Err(RebuildError::LogError(trouble @ LogError::Damaged { .. })) => {
                    tracing::error!(%trouble, "the tables cannot be built from this");
                    first_trouble.get_or_insert(trouble);
                }
                Err(halt) => return Err(halt),
            }
        }
        Err(first_trouble.unwrap_or(LogError::Stopped).into())
    }
}

fn show(
    fold: &Fold<'_>,
    folded: Folded<'_>,
    take: &mut dyn FnMut(Chunk) -> Result<(), RebuildError>,
) -> Result<(), RebuildError> {
    let mut chunk: Option<Chunk> = None;
    let mut bytes = 0;
    for op in folded.rows {
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

/// Writes the first part to empty tables; the last record that came from a snapshot.
pub(super) fn front(
    origin: &Origin,
    wal: &Wal,
    schema: &Schema,
    data: &DataDir,
    tables: &dyn Tables,
) -> Result<Lsn, RebuildError> {
    origin.rows((wal, schema, data), Part::Front, &|| false, &mut |chunk| {
        Layout(tables)
            .fill(chunk.table, &chunk.rows)
            .map_err(RebuildError::Tables)
    })
}

/// The thread that brings the second part to whoever writes the tables. Meanwhile no file goes.
pub fn back(shared: &Shared, origin: &Origin, _hold: FileHold) {
    let began = crate::store::local::stopwatch::now();
    let place = (&shared.wal, &shared.schema, &shared.data);
    let stopped = || shared.memtable_queue.ended();
    let mut offer = |chunk| {
        if shared.memtable_queue.offer(Fill::Rows(chunk)) {
            Ok(())
        } else {
            Err(LogError::Stopped.into())
        }
    };
    loop {
        match origin.rows(place, Part::Back, &stopped, &mut offer) {
            Ok(_) => {
                shared.memtable_queue.offer(Fill::Done);
                tracing::info!(took = ?began.elapsed(), "all rows are back in the tables");
                return;
            }
            Err(RebuildError::LogError(trouble @ LogError::Io { .. })) => {
                tracing::error!(%trouble, "the tables stay unfinished; it is tried again");
                if !shared.memtable_queue.pause(RETRY) {
                    return;
                }
            }
            Err(RebuildError::LogError(LogError::Stopped)) => return,
            Err(RebuildError::LogError(trouble)) => {
                tracing::error!(%trouble, "the tables stay unfinished: reads of old rows answer `rebuilding`");
                return;
            }
            Err(RebuildError::Tables(_)) => return,
        }
    }
}

/// What was deleted from the tables while older rows were still to come: keys and ranges, by table.
#[derive(Default)]
pub struct Erased(BTreeMap<u8, (BTreeSet<Vec<u8>>, Ranges)>);

impl Erased {
    /// Remembers what a generation deletes.
    pub fn note(&mut self, generation: &Generation) {
        for (table, changes) in generation.tables() {
            if !Part::Back.has(table) {
                continue;
            }
            let (keys, ranges) = self.0.entry(table.id).or_default();
            ranges.extend(
                changes
                    .gone()
                    .map(|(from, to)| (from.to_vec(), to.to_vec())),
            );
            let deleted = changes.rows().filter(|(_, value)| value.is_none());
            keys.extend(deleted.map(|(key, _)| key.to_vec()));
        }
    }

    /// Takes out the rows that must not come back.
    pub fn sift(&self, chunk: &mut Chunk) {
        let Some((keys, ranges)) = self.0.get(&chunk.table.id) else {
            return;
        };
        let inside = |key: &Vec<u8>| ranges.iter().any(|(from, to)| key >= from && key < to);
        chunk
            .rows
            .retain(|(key, _)| !keys.contains(key) && !inside(key));
    }
}
