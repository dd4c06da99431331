//! A snapshot merged with the log behind it, as sorted rows (an external merge sort).
//!
//! The log's changes are collected until they take [`RUN_BYTES`] of memory; sorted, they are a run,
//! and all runs but the last are written to files. Snapshot and runs are then merged: of all changes of
//! a row the newest counts.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{Rows, Snapshot, Writer, place};
use crate::id::TenantId;
use crate::store::local::dir;
use crate::store::local::disk::Disk;
use crate::store::local::key::split_key;
use crate::store::local::log::frame::Tail;
use crate::store::local::log::frames::{FrameReader, LogError, Step, go_on};
use crate::store::local::log::scan::{LastHead, records};
use crate::store::local::log::segment::Wal;
use crate::store::local::schema::{Part, Schema};
use crate::store::local::tables::memtable::{KeyRanges, Memtable};
use crate::store::record::LogBody;
use crate::store::row::{Effect, Op};
use crate::store::table::TableSpec;

/// Memory of one run; little in tests, so that there are several.
const RUN_BYTES: usize = if cfg!(test) { 64 << 10 } else { 64 << 20 };

/// A file that is removed when this is dropped, unless it was renamed.
pub(super) struct TempFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl TempFile {
    pub fn new(disk: &Arc<dyn Disk>, path: PathBuf) -> Self {
        Self {
            disk: disk.clone(),
            path,
        }
    }
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Err(error) = self.disk.remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a temporary file could not be removed");
        }
    }
}

/// Changes of the log, sorted: in memory up to [`RUN_BYTES`], in files beyond that.
pub struct Runs<'a> {
    disk: &'a Arc<dyn Disk>,
    schema: &'a Schema,
    /// Directory and prefix of their files.
    file_prefix: PathBuf,
    last: Memtable,
    files: Vec<TempFile>,
    stopped: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Runs<'a> {
    pub fn new(
        disk: &'a Arc<dyn Disk>,
        schema: &'a Schema,
        file_prefix: PathBuf,
        stopped: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        Self {
            disk,
            schema,
            file_prefix,
            last: Memtable::default(),
            files: Vec::new(),
            stopped,
        }
    }

    /// Adds the changes of the next record.
    pub fn add<'o>(&mut self, ops: impl IntoIterator<Item = Op<'o>>) -> Result<(), LogError> {
        self.last.absorb(ops);
        if self.last.bytes() > RUN_BYTES {
            let run = std::mem::take(&mut self.last);
            self.files.push(self.write(run)?);
        }
        Ok(())
    }

    /// Merges them over sources that are older, the oldest first.
    pub fn merge_onto(
        self,
        mut sources: Vec<RowSource<'a>>,
    ) -> Result<MergingIterator<'a>, LogError> {
        for file in &self.files {
            let path = file.path().to_owned();
            sources.push(Box::new(Rows::new(
                self.disk,
                self.schema,
                path,
                Part::Whole,
            )));
        }
        sources.push(Box::new(sorted(self.last).into_iter().map(Ok)));
        MergingIterator::new(sources, self.files)
    }

    /// Writes a run to a file, sorted.
    fn write(&self, run: Memtable) -> Result<TempFile, LogError> {
        let mut path = self.file_prefix.clone().into_os_string();
        path.push(format!("-{}.{}", self.files.len(), dir::NEW));
        let file = TempFile::new(self.disk, path.into());
        let io = LogError::io(file.path());
        let mut writer = Writer::create(self.disk.as_ref(), file.path(), 0, None).map_err(&io)?;
        for op in sorted(run) {
            go_on(self.stopped)?;
            writer.push(&op).map_err(&io)?;
        }
        writer.finish().map_err(&io)?;
        drop(io);
        Ok(file)
    }
}

/// A snapshot and the log behind it.
pub struct MergeInput<'a> {
    pub wal: &'a Wal,
    pub schema: &'a Schema,
    /// Without it, the log from its beginning.
    pub base: Option<&'a Snapshot>,
    /// Where to stop in the log.
    pub end: Tail,
    pub part: Part,
    /// Directory and prefix of the runs.
    pub runs: PathBuf,
    pub stopped: &'a (dyn Fn() -> bool + Sync),
}

pub struct MergeOutput<'a> {
    /// The rows, by rank, table, tenant and key.
    pub rows: MergingIterator<'a>,
    /// The last head of every tenant with records behind the base.
    pub heads: HashMap<TenantId, LastHead>,
    /// Where the log is left, as its own frames tell.
    pub end: Tail,
}

impl<'a> MergeInput<'a> {
    /// Reads the log and sets out to merge it with the base.
    pub fn run(&self) -> Result<MergeOutput<'a>, LogError> {
        let begin = self.base.map_or(Tail::START, |base| base.prefix.tail());
        let base = self.base.map(|base| {
            let rows = base.rows(&self.wal.disk, self.schema, self.part);
            Box::new(rows) as RowSource<'a>
        });
        self.run_over(begin, base.into_iter().collect())
    }

    /// The same over other sources that hold everything before `begin`.
    pub fn run_over(
        &self,
        begin: Tail,
        sources: Vec<RowSource<'a>>,
    ) -> Result<MergeOutput<'a>, LogError> {
        let mut frames = FrameReader::log(self.wal, begin, self.end);
        let mut heads = HashMap::new();
        let file_prefix = self.runs.clone();
        let mut runs = Runs::new(&self.wal.disk, self.schema, file_prefix, self.stopped);
        while frames.step()? != Step::End {
            go_on(self.stopped)?;
            let Some(frame) = frames.frame() else {
                continue;
            };
            for record in records(&frame, self.schema) {
                let record = record.map_err(|error| frames.unreadable(error))?;
                let tenant = record.tenant;
                let ops = match record.body {
                    LogBody::Tenant {
                        sequence,
                        head,
                        ops,
                    } => {
                        let envelope = head.to_vec();
                        heads.insert(tenant, LastHead { sequence, envelope });
                        ops
                    }
                    LogBody::Side(ops) => ops,
                    LogBody::Checkpoint { .. } => continue,
                    LogBody::Snapshot(_) | LogBody::Rows(_) => {
                        return Err(frames.damaged("a record of a snapshot in the log"));
                    }
                };
                runs.add(ops.into_iter().filter(|op| self.part.has(op.table)))?;
            }
        }
        Ok(MergeOutput {
            rows: runs.merge_onto(sources)?,
            heads,
            end: frames.tail(),
        })
    }
}

/// The changes of a memtable as a file has them. Ranges do not overlap, so of each file at most one
/// covers a row.
fn sorted(changes: Memtable) -> Vec<Op<'static>> {
    let mut ops = Vec::new();
    for (table, changes) in changes.into_tables() {
        let (tombstones, rows) = changes.into_parts();
        let ranges = apart(tombstones).into_iter();
        ops.extend(ranges.map(|(from, to)| {
            let to = split_key(&to).map_or(to.as_slice(), |(_, to)| to);
            op(table, &from, Effect::DeleteTo(to.to_vec().into()))
        }));
        ops.extend(rows.into_iter().map(|(key, value)| {
            let put = |envelope: Vec<u8>| Effect::Put(envelope.into());
            op(table, &key, value.map_or(Effect::Delete, put))
        }));
    }
    // Made of a few sorted stretches, which this sort finds.
    ops.sort_by(|a, b| place(a).cmp(&place(b)));
    ops
}

fn op(table: &'static TableSpec, full_key: &[u8], effect: Effect<'static>) -> Op<'static> {
    let (tenant, key) = split_key(full_key).unwrap_or((TenantId::ZERO, full_key));
    Op::new(tenant, table, key.to_vec(), effect)
}

/// The same places in ranges that do not overlap, in order.
fn apart(mut ranges: KeyRanges) -> KeyRanges {
    ranges.retain(|(from, to)| from < to);
    ranges.sort_unstable();
    let mut apart = KeyRanges::new();
    for (from, to) in ranges {
        match apart.last_mut() {
            Some((_, end)) if from <= *end => {
                if to > *end {
                    *end = to;
                }
            }
            _ => apart.push((from, to)),
        }
    }
    apart
}

/// Operations in order of their places.
pub type RowSource<'a> = Box<dyn Iterator<Item = Result<Op<'static>, LogError>> + 'a>;

/// Sources as one: the rows there are in the end, in order of their places.
pub struct MergingIterator<'a> {
    /// The oldest first.
    sources: Vec<RowSource<'a>>,
    /// The next operation of each source.
    next: BinaryHeap<Next>,
    /// The ranges that began and did not end yet, and the sources they are from.
    ranges: Vec<(usize, Op<'static>)>,
    /// The row that was decided on last.
    decided: Option<(u8, TenantId, Vec<u8>)>,
    /// The files that sources read.
    _files: Vec<TempFile>,
}

/// The next operation of a source.
struct Next {
    op: Op<'static>,
    source: usize,
}

impl<'a> MergingIterator<'a> {
    /// Of sources that are given the oldest first.
    fn new(sources: Vec<RowSource<'a>>, files: Vec<TempFile>) -> Result<Self, LogError> {
        let mut merge = Self {
            next: BinaryHeap::with_capacity(sources.len()),
            sources,
            ranges: Vec::new(),
            decided: None,
            _files: files,
        };
        (0..merge.sources.len()).try_for_each(|source| merge.refill(source))?;
        Ok(merge)
    }

    fn refill(&mut self, source: usize) -> Result<(), LogError> {
        let rows = self.sources.get_mut(source);
        if let Some(op) = rows.and_then(Iterator::next).transpose()? {
            self.next.push(Next { op, source });
        }
        Ok(())
    }

    /// The next row, if there is one more.
    fn row(&mut self) -> Result<Option<Op<'static>>, LogError> {
        while let Some(Next { op, source }) = self.next.pop() {
            self.refill(source)?;
            if let Effect::DeleteTo(_) = op.effect {
                self.ranges.push((source, op));
                continue;
            }
            let same = |(table, tenant, key): &(u8, TenantId, Vec<u8>)| {
                (*table, *tenant, key.as_slice()) == (op.table.id, op.tenant, &op.key)
            };
            if self.decided.as_ref().is_some_and(same) {
                continue;
            }
            self.decided = Some((op.table.id, op.tenant, op.key.to_vec()));
            self.ranges.retain(|(_, range)| covers(range, &op));
            let deleted = self.ranges.iter().any(|(newer, _)| *newer > source);
            if !deleted && op.effect != Effect::Delete {
                return Ok(Some(op));
            }
        }
        Ok(None)
    }
}

/// Whether a range that began at or before a row goes beyond it.
fn covers(range: &Op<'_>, row: &Op<'_>) -> bool {
    let Effect::DeleteTo(to) = &range.effect else {
        return false;
    };
    (range.table.id, range.tenant) == (row.table.id, row.tenant) && row.key < *to
}

impl Iterator for MergingIterator<'_> {
    type Item = Result<Op<'static>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.row().transpose()
    }
}

/// What is greatest comes off the heap first: of all places the first, and there the newest source.
impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = place(&other.op).cmp(&place(&self.op));
        place.then(self.source.cmp(&other.source))
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Next {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::local::key::full_key;
    use crate::store::table::{KeyKind, Load};

    const TENANT: TenantId = TenantId::from_bytes([7; 16]);

    static TABLES: [TableSpec; 2] = [
        TableSpec {
            id: 9,
            name: "first, for it is hot",
            load: Load::Hot,
            key_kind: KeyKind::Natural,
            version: 1,
        },
        TableSpec {
            id: 1,
            name: "second",
            load: Load::Cold,
            key_kind: KeyKind::Natural,
            version: 1,
        },
    ];

    #[derive(Debug, Clone)]
    enum Step {
        Put(usize, u8, u8),
        Delete(usize, u8),
        DeleteRange(usize, u8, u8),
        /// What follows is in the next source.
        Next,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..2usize, 0..30u8, any::<u8>()).prop_map(|(t, k, v)| Step::Put(t, k, v)),
            2 => (0..2usize, 0..30u8).prop_map(|(t, k)| Step::Delete(t, k)),
            2 => (0..2usize, 0..30u8, 0..30u8).prop_map(|(t, a, b)| Step::DeleteRange(t, a, b)),
            1 => Just(Step::Next),
        ]
    }

    proptest! {
        #[test]
        fn what_is_merged_is_what_was_done(steps in prop::collection::vec(step(), 0..150)) {
            let mut model: BTreeMap<(usize, Vec<u8>), Vec<u8>> = BTreeMap::new();
            let mut runs = vec![Memtable::default()];
            for step in steps {
                let Some(run) = runs.last_mut() else { unreachable!() };
                match step {
                    Step::Put(table, key, value) => {
                        model.insert((table, vec![key]), vec![value]);
                        run.put(&TABLES[table], full_key(TENANT, &[key]), vec![value]);
                    }
                    Step::Delete(table, key) => {
                        model.remove(&(table, vec![key]));
                        run.delete(&TABLES[table], full_key(TENANT, &[key]));
                    }
                    Step::DeleteRange(table, from, to) => {
                        model.retain(|(of, key), _| *of != table || !(from..to).contains(&key[0]));
                        run.delete_range(&TABLES[table], full_key(TENANT, &[from]), full_key(TENANT, &[to]));
                    }
                    Step::Next => runs.push(Memtable::default()),
                }
            }
            let sources = runs.into_iter().map(|run| {
                let ops: Vec<_> = sorted(run).into_iter().map(Ok).collect();
                Box::new(ops.into_iter()) as RowSource<'_>
            });
            let merge = MergingIterator::new(sources.collect(), Vec::new()).map_err(|_| TestCaseError::fail("an error"))?;
            let rows: Vec<_> = merge.map(|op| op.unwrap()).collect();
            let expected: Vec<_> = model.into_iter().map(|((table, key), value)| {
                Op::new(TENANT, &TABLES[table], key, Effect::Put(value.into()))
            }).collect();
            prop_assert_eq!(rows, expected);
        }
    }
}
