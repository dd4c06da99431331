//! Where a salvage takes the rows before the log from: an intact snapshot, or the tenants that are
//! complete in a damaged one or in the tables.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use crate::id::{Sequence, TenantId};
use crate::store::local::dir::DataDir;
use crate::store::local::disk::Disk;
use crate::store::local::key::{full_key, split_key, tenant_end};
use crate::store::local::log::frame::{Kind, Tail};
use crate::store::local::log::frames::{DamagedRange, FrameReader, LogError, Policy, Step};
use crate::store::local::log::scan::records;
use crate::store::local::rescue::Progress;
use crate::store::local::schema::{Part, Schema, rank};
use crate::store::local::snapshot::completeness::Completeness;
use crate::store::local::snapshot::merge::RowSource;
use crate::store::local::snapshot::{self, Snapshot};
use crate::store::local::tables::Tables;
use crate::store::local::tables::layout::Layout;
use crate::store::record::{LogBody, LogPrefix};
use crate::store::row::{Effect, Op, check_envelope};
use crate::store::table::TableSpec;
use crate::store::{OpenError, ReadError};

pub(super) enum Origin {
    /// The log goes back to its beginning.
    Log,
    Snapshot(Snapshot),
    /// Every snapshot is damaged, and the log before them is gone.
    Partial(PartialOrigin),
}

/// What is readable of the newest damaged snapshot with an intact front, and of the tables.
#[derive(Default)]
pub(super) struct PartialOrigin {
    pub snapshot: Option<(PathBuf, LogPrefix)>,
    /// The ranges of that snapshot that cannot be read.
    pub damaged: Vec<DamagedRange>,
    /// The tenants that are complete in the snapshot, with their last sequences.
    pub in_snapshot: HashMap<TenantId, Sequence>,
    /// Those that are not, and are complete in the tables.
    pub in_tables: HashMap<TenantId, Sequence>,
    /// Those that are complete nowhere; with their last sequences, where their heads can be read.
    pub incomplete: BTreeMap<TenantId, Option<Sequence>>,
}

impl Origin {
    /// Reads every snapshot, the newest first, as far as need be; `first` is the first segment of the
    /// log.
    pub fn find(
        data: &DataDir,
        schema: &Schema,
        first: Option<u64>,
        tables: Option<&dyn Tables>,
        progress: Progress<'_>,
    ) -> Result<Self, OpenError> {
        let (disk, dir) = (data.disk(), data.snapshots());
        let paths = snapshot::list(data).map_err(|error| OpenError::io(&dir, error))?;
        let mut damaged = Vec::new();
        for path in paths.into_iter().rev() {
            progress("checking the snapshot", 0, 1);
            let whole = Snapshot::open(disk, schema, path.clone()).and_then(|snapshot| {
                snapshot.check_frames(disk, &|| false)?;
                Ok(snapshot)
            });
            match whole {
                Ok(snapshot) => return Ok(Self::Snapshot(snapshot)),
                Err(LogError::Damaged { .. }) => damaged.push(path),
                Err(other) => return Err(other.into()),
            }
        }
        if first == Some(Tail::START.segment) || first.is_none() && damaged.is_empty() {
            return Ok(Self::Log);
        }
        let mut partial = PartialOrigin::default();
        for path in damaged {
            if partial.read_snapshot(disk, schema, path, progress)? {
                break;
            }
        }
        if let Some(tables) = tables {
            partial.read_tables(schema, tables);
        }
        Ok(Self::Partial(partial))
    }

    /// What of the log the rows stand for, if a snapshot says.
    pub fn prefix(&self) -> Option<LogPrefix> {
        match self {
            Self::Log => None,
            Self::Snapshot(snapshot) => Some(snapshot.prefix),
            Self::Partial(partial) => partial.snapshot.as_ref().map(|(_, prefix)| *prefix),
        }
    }

    /// The tenants whose rows are there, with their last sequences.
    pub fn tenants(
        &self,
        disk: &Arc<dyn Disk>,
        schema: &Schema,
    ) -> Result<HashMap<TenantId, Sequence>, OpenError> {
        Ok(match self {
            Self::Log => HashMap::new(),
            Self::Snapshot(snapshot) => {
                let heads = snapshot.heads(disk, schema)?.into_iter();
                heads.map(|(id, last)| (id, last.sequence)).collect()
            }
            Self::Partial(partial) => {
                let both = partial.in_snapshot.iter().chain(&partial.in_tables);
                both.map(|(id, last)| (*id, *last)).collect()
            }
        })
    }

    /// Their rows, to be merged with the log behind them.
    pub fn sources<'a>(
        &'a self,
        disk: &'a Arc<dyn Disk>,
        schema: &'a Schema,
        tables: Option<&'a dyn Tables>,
    ) -> Vec<RowSource<'a>> {
        match self {
            Self::Log => Vec::new(),
            Self::Snapshot(snapshot) => vec![Box::new(snapshot.rows(disk, schema, Part::Whole))],
            Self::Partial(partial) => {
                let mut sources: Vec<RowSource<'a>> = Vec::new();
                if let Some((path, _)) = &partial.snapshot {
                    let rows = ReadableRows::new(disk, schema, path.clone());
                    sources.push(Box::new(rows.filter(|op| {
                        op.as_ref()
                            .map_or(true, |op| partial.in_snapshot.contains_key(&op.tenant))
                    })));
                }
                if let Some(tables) = tables {
                    sources.push(table_rows(schema, tables, &partial.in_tables));
                }
                sources
            }
        }
    }
}

impl PartialOrigin {
    /// Finds the tenants that are complete in a damaged snapshot; `false` if its front is unreadable.
    fn read_snapshot(
        &mut self,
        disk: &Arc<dyn Disk>,
        schema: &Schema,
        path: PathBuf,
        progress: Progress<'_>,
    ) -> Result<bool, OpenError> {
        let total = disk
            .len(&path)
            .map_err(|error| OpenError::io(&path, error))?;
        let mut tenants: BTreeMap<TenantId, Completeness> = BTreeMap::new();
        let mut rows = ReadableRows::new(disk, schema, path.clone());
        while let Some(op) = rows.next().transpose()? {
            progress("reading the snapshot", rows.frames.tail().offset, total);
            // Unreadable rows were skipped.
            let _ = tenants.entry(op.tenant).or_default().add(&op);
        }
        let Some(prefix) = rows.prefix else {
            return Ok(false);
        };
        self.snapshot = Some((path, prefix));
        self.damaged = rows.damaged;
        for (tenant, rows) in tenants {
            match rows.last() {
                Some(last) if rows.is_complete() => drop(self.in_snapshot.insert(tenant, last)),
                last => drop(self.incomplete.insert(tenant, last)),
            }
        }
        Ok(true)
    }

    /// Finds those of the other tenants that are complete in the tables.
    fn read_tables(&mut self, schema: &Schema, tables: &dyn Tables) {
        let known = tables_heads(tables).unwrap_or_default();
        for tenant in known.into_keys() {
            if self.in_snapshot.contains_key(&tenant) {
                continue;
            }
            // sled panics on some of what it does not understand.
            let read = catch_unwind(AssertUnwindSafe(|| complete(tenant, schema, tables)));
            let last = read.unwrap_or(Ok(None)).unwrap_or_default();
            if let Some(last) = last {
                self.incomplete.remove(&tenant);
                self.in_tables.insert(tenant, last);
            }
        }
    }
}

/// A tenant's last sequence, if its rows in the tables are complete.
fn complete(
    tenant: TenantId,
    schema: &Schema,
    tables: &dyn Tables,
) -> Result<Option<Sequence>, ReadError> {
    let (from, to) = (full_key(tenant, &[]), tenant_end(tenant));
    let mut rows = Completeness::default();
    for table in schema.logged() {
        for row in Layout(tables).rows(table, &from, to.as_deref())? {
            let (key, value) = row?;
            rows.add(&table_row(table, &key, value))?;
        }
    }
    Ok(rows.last().filter(|_| rows.is_complete()))
}

/// The sequence of every head in the tables; `None` if they cannot be read.
pub(super) fn tables_heads(tables: &dyn Tables) -> Option<HashMap<TenantId, Sequence>> {
    let read = || crate::store::local::tables::replay::heads(Layout(tables)).ok();
    catch_unwind(AssertUnwindSafe(read)).ok().flatten()
}

/// The rows of some tenants in the tables, in the order of a snapshot.
fn table_rows<'a>(
    schema: &'a Schema,
    tables: &'a dyn Tables,
    tenants: &'a HashMap<TenantId, Sequence>,
) -> RowSource<'a> {
    let mut all: Vec<_> = schema.logged().collect();
    all.sort_by_key(|table| (rank(table), table.id));
    let mut ids: Vec<_> = tenants.keys().copied().collect();
    ids.sort_unstable();
    Box::new(all.into_iter().flat_map(move |table| {
        ids.clone().into_iter().flat_map(move |tenant| {
            let (from, to) = (full_key(tenant, &[]), tenant_end(tenant));
            let op = move |row: Result<(Vec<u8>, Vec<u8>), ReadError>| {
                let (key, value) = row.map_err(|error| LogError::Tables(error.to_string()))?;
                Ok(table_row(table, &key, value))
            };
            match Layout(tables).rows(table, &from, to.as_deref()) {
                Ok(rows) => Box::new(rows.map(op)) as RowSource<'a>,
                Err(error) => Box::new(std::iter::once(Err(LogError::Tables(error.to_string())))),
            }
        })
    }))
}

fn table_row(table: &'static TableSpec, full_key: &[u8], envelope: Vec<u8>) -> Op<'static> {
    let (tenant, key) = split_key(full_key).unwrap_or((TenantId::ZERO, full_key));
    Op::new(tenant, table, key.to_vec(), Effect::Put(envelope.into()))
}

/// The rows of a damaged snapshot that can be read, in order.
struct ReadableRows<'a> {
    schema: &'a Schema,
    frames: FrameReader,
    prefix: Option<LogPrefix>,
    damaged: Vec<DamagedRange>,
    ops: std::vec::IntoIter<Op<'static>>,
    ended: bool,
}

impl<'a> ReadableRows<'a> {
    fn new(disk: &Arc<dyn Disk>, schema: &'a Schema, path: PathBuf) -> Self {
        Self {
            schema,
            frames: FrameReader::file(disk, path, snapshot::START, Policy::SkipDamage),
            prefix: None,
            damaged: Vec::new(),
            ops: Vec::new().into_iter(),
            ended: false,
        }
    }

    fn read(&mut self) -> Result<(), LogError> {
        match self.frames.step()? {
            Step::Damage(range) => self.damaged.push(range),
            Step::End => self.ended = true,
            Step::Frame => self.read_frame()?,
        }
        Ok(())
    }

    fn read_frame(&mut self) -> Result<(), LogError> {
        let Some(frame) = self.frames.frame() else {
            return Ok(());
        };
        self.ended = frame.kind == Kind::Shutdown;
        let mut ops = Vec::new();
        for record in records(&frame, self.schema) {
            // The frame's checksum matches, so this is what was written: by a newer version.
            let record = record.map_err(|error| self.frames.newer(error.why()))?;
            match record.body {
                LogBody::Snapshot(prefix) if self.frames.start().offset == 0 => {
                    self.prefix = Some(prefix);
                }
                LogBody::Rows(rows) => ops.extend(rows.into_iter().filter_map(|op| {
                    check_envelope(op.tenant, op.table, &op.key, op.envelope()?).ok()?;
                    Some(op.into_owned())
                })),
                LogBody::Snapshot(_)
                | LogBody::Tenant { .. }
                | LogBody::Side(_)
                | LogBody::Checkpoint { .. } => {}
            }
        }
        self.ops = ops.into_iter();
        Ok(())
    }
}

impl Iterator for ReadableRows<'_> {
    type Item = Result<Op<'static>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(op) = self.ops.next() {
                return Some(Ok(op));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.read() {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ledger::Ledger;
    use crate::store::local::dir;
    use crate::store::local::disk::RealDisk;
    use crate::store::local::snapshot::{Writer, place};
    use crate::store::table::{ENTRIES, HEADS, KeyKind, Load};
    use crate::store::{Head, Lsn};
    use crate::time::Timestamp;

    static SCHEMA: [TableSpec; 1] = [TableSpec {
        id: 1,
        name: "facts",
        load: Load::Hot,
        key_kind: KeyKind::Natural,
        version: 1,
    }];

    /// The rows of many tenants, in order.
    fn rows() -> Vec<Op<'static>> {
        let mut rows = Vec::new();
        for number in 0..4_000_u128 {
            let id = TenantId::from_bytes(number.to_be_bytes());
            let fact = Op::put(id, &SCHEMA[0], vec![1], 1, &[7; 100]);
            let mut ledger = Ledger::new();
            ledger.fold(&fact);
            let head = Head {
                sequence: Sequence::FIRST,
                at: Timestamp::MIN,
                log_base: Sequence::FIRST,
                next_due: None,
                hot_rows: ledger.count(),
                hot_hash: ledger.hash(),
                root: [0; 32],
                range: Vec::new(),
            };
            let entry = Op::put(id, &ENTRIES, vec![0; 8], 1, b"entry");
            let head = Op::put(id, &HEADS, Vec::new(), 1, &head.encode());
            rows.extend([head, fact, entry]);
        }
        rows.sort_by(|a, b| place(a).cmp(&place(b)));
        rows
    }

    #[test]
    fn tenants_whose_every_frame_can_be_read_are_complete() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::real(dir.path());
        let schema = Schema::new(&SCHEMA);
        let prefix = LogPrefix {
            lsn: Lsn::new(9_000),
            chain: 7,
            segment: 3,
            epoch: 1,
        };
        std::fs::create_dir(data.snapshots()).unwrap();
        let path = data.snapshots().join(dir::snapshot_name(prefix.lsn));
        let mut writer = Writer::create(&RealDisk, &path, 1, Some(prefix)).unwrap();
        rows().iter().for_each(|row| writer.push(row).unwrap());
        writer.finish().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let find = || Origin::find(&data, &schema, Some(4), None, &mut |_, _, _| {}).unwrap();
        assert!(matches!(find(), Origin::Snapshot(_)));

        // In the second frame of rows, in the middle of the heads; and in the last of all.
        for places in [
            vec![300_000],
            vec![whole.len() - 200],
            vec![300_000, whole.len() - 200],
        ] {
            let mut bytes = whole.clone();
            places.iter().for_each(|at| bytes[*at] ^= 1);
            std::fs::write(&path, bytes).unwrap();
            let origin = find();
            assert_eq!(origin.prefix(), Some(prefix));
            let Origin::Partial(partial) = &origin else {
                panic!("a damaged snapshot counts")
            };
            assert_eq!(partial.damaged.len(), places.len());
            let (kept, lost) = (partial.in_snapshot.len(), partial.incomplete.len());
            assert!(
                kept > 500 && lost > 50 && kept + lost == 4_000,
                "{kept} and {lost}"
            );
            let mut sources = origin.sources(data.disk(), &schema, None);
            let heads = sources.remove(0).map(Result::unwrap);
            let heads = heads.filter(|row| row.table.id == HEADS.id);
            let heads: Vec<_> = heads.map(|row| row.tenant).collect();
            assert!(heads.len() == kept && heads.is_sorted());
            let known = |id| partial.in_snapshot.contains_key(id);
            assert!(heads.iter().all(known));
        }
        // Without the front nothing says what it stands for.
        let mut bytes = whole;
        bytes[70] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(find().prefix(), None);
    }
}
