//! Replay of the log to tables that lack its end after a crash.

use std::collections::{HashMap, HashSet};

use super::Tables;
use super::layout::Layout;
use super::memtable::Memtable;
use super::stamp::TableStamp;
use crate::id::{Sequence, TenantId};
use crate::store::head::Head;
use crate::store::local::key::split_key;
use crate::store::local::log::frames::{FrameReader, LogError, Step};
use crate::store::local::log::scan::{Scan, records};
use crate::store::local::log::segment::Wal;
use crate::store::local::schema::Schema;
use crate::store::record::{LogBody, LogRecord, Lsn};
use crate::store::row::open_envelope;
use crate::store::table::HEADS;
use crate::store::{OpenError, ReadError};

/// How much of the log is collected before it is written to the tables.
const BATCH_BYTES: usize = 8 << 20;

/// Why tables cannot be used as they are.
pub enum CatchUpError {
    /// They must be rebuilt.
    Rebuild(String),
    /// The log is damaged: the store must not open.
    Refuse(OpenError),
}

/// Of tables that were just rebuilt: rebuilding them again would not help.
impl From<CatchUpError> for OpenError {
    fn from(error: CatchUpError) -> Self {
        match error {
            CatchUpError::Refuse(error) => error,
            CatchUpError::Rebuild(why) => Self::Rebuild { why },
        }
    }
}

impl From<LogError> for CatchUpError {
    fn from(error: LogError) -> Self {
        Self::Refuse(error.into())
    }
}

impl From<ReadError> for CatchUpError {
    fn from(error: ReadError) -> Self {
        Self::Rebuild(error.to_string())
    }
}

/// Replays the log to tables that hold everything up to `scan.applied`, and perhaps more, and checks
/// them against it.
pub(super) fn catch_up(
    wal: &Wal,
    scan: &Scan,
    schema: &Schema,
    tables: &dyn Tables,
) -> Result<(), CatchUpError> {
    let layout = Layout(tables);
    let known = heads(layout)?;
    for (tenant, head) in &known {
        // Rows are written to the tables after their record is synced, so the log lost what it had.
        if scan
            .heads
            .get(tenant)
            .is_none_or(|last| last.sequence < *head)
        {
            let path = wal.path(scan.tail.segment);
            let why = "the tables hold what is not in the log";
            return Err(CatchUpError::Refuse(scan.damaged(
                path,
                scan.tail.offset,
                None,
                why,
            )));
        }
    }
    if scan.through.lsn == Lsn::ZERO && !empty(tables, schema)? {
        let why = "the log is empty and the tables are not";
        return Err(CatchUpError::Refuse(scan.damaged(
            wal.path(1),
            0,
            None,
            why,
        )));
    }
    let stamp = TableStamp::read(tables).map_err(ReadError::from)?;
    if stamp.applied > scan.through.lsn {
        let why = "the tables were synced with what is not in the log";
        let (path, offset) = (wal.path(scan.tail.segment), scan.tail.offset);
        return Err(CatchUpError::Refuse(scan.damaged(path, offset, None, why)));
    }
    if stamp.applied < scan.applied || !stamp.whole {
        let why = "the tables are older than their last sync";
        return Err(CatchUpError::Rebuild(why.to_owned()));
    }
    replay(wal, scan, schema, layout, &known)?;
    check_heads(scan, tables)
}

/// Replays every record after the last checkpoint. The tables lost rows of a tenant if they know less
/// of it than they held at the checkpoint.
fn replay(
    wal: &Wal,
    scan: &Scan,
    schema: &Schema,
    layout: Layout<'_>,
    known: &HashMap<TenantId, Sequence>,
) -> Result<(), CatchUpError> {
    let after = scan.applied;
    let mut seen = HashSet::new();
    let mut batch = Memtable::default();
    let starts = scan.segments.iter().rev();
    let begin = starts.copied().find(|start| start.next <= after.plus(1));
    let Some(begin) = begin else {
        return Ok(());
    };
    let mut frames = FrameReader::log(wal, begin, scan.tail);
    let mut lsn = begin.next;
    while frames.step()? != Step::End {
        let Some(frame) = frames.frame() else {
            continue;
        };
        for record in records(&frame, schema) {
            let LogRecord { tenant, body } = record.map_err(|error| frames.unreadable(error))?;
            if lsn > after {
                if let LogBody::Tenant { sequence, head, .. } = body
                    && seen.insert(tenant)
                {
                    check_known(tenant, sequence, head, known)?;
                }
                if let LogBody::Tenant { ops, .. } | LogBody::Side(ops) = body {
                    batch.absorb(ops);
                }
            }
            lsn = lsn.plus(1);
        }
        if batch.bytes() > BATCH_BYTES {
            apply(layout, &std::mem::take(&mut batch))?;
        }
    }
    Ok(apply(layout, &batch)?)
}

/// Writes a memtable to the tables, the heads last.
pub fn apply(layout: Layout<'_>, memtable: &Memtable) -> Result<(), ReadError> {
    memtable
        .tables()
        .try_for_each(|(table, changes)| layout.apply(table, changes))
}

/// The tables must know the record before the first that is replayed.
fn check_known(
    tenant: TenantId,
    sequence: Sequence,
    head: &[u8],
    known: &HashMap<TenantId, Sequence>,
) -> Result<(), CatchUpError> {
    // A log that begins later was begun by a restore.
    let first = sequence == Sequence::FIRST
        && crate::store::local::log::scan::open_head(tenant, head)
            .is_some_and(|head| head.log_base == sequence);
    let reached = known
        .get(&tenant)
        .is_some_and(|known| known.next() >= sequence);
    if first || reached {
        Ok(())
    } else {
        Err(CatchUpError::Rebuild(format!(
            "the tables lost rows of tenant {tenant}"
        )))
    }
}

/// The sequence of every head in the tables.
pub fn heads(layout: Layout<'_>) -> Result<HashMap<TenantId, Sequence>, CatchUpError> {
    let mut heads = HashMap::new();
    for row in layout.rows(&HEADS, &[], None)? {
        let (key, value) = row?;
        let (tenant, row) = split_key(&key)
            .ok_or_else(|| CatchUpError::Rebuild("a head without a tenant".to_owned()))?;
        let stored = open_envelope(tenant, &HEADS, row, &value).map_err(ReadError::from)?;
        let head = Head::decode(&stored.payload).ok_or_else(|| {
            CatchUpError::Rebuild(format!("the head of tenant {tenant} is unreadable"))
        })?;
        heads.insert(tenant, head.sequence);
    }
    Ok(heads)
}

/// Every tenant's head must be the last that the log has, and there must be no other.
pub fn check_heads(scan: &Scan, tables: &dyn Tables) -> Result<(), CatchUpError> {
    let differs =
        |tenant| CatchUpError::Rebuild(format!("the head of tenant {tenant} is not the log's"));
    let mut left: HashMap<_, _> = scan.heads.iter().collect();
    for row in Layout(tables).rows(&HEADS, &[], None)? {
        let (key, value) = row?;
        let tenant = split_key(&key).map_or(TenantId::ZERO, |(tenant, _)| tenant);
        if left
            .remove(&tenant)
            .is_none_or(|last| last.envelope != value)
        {
            return Err(differs(tenant));
        }
    }
    left.keys()
        .next()
        .map_or(Ok(()), |tenant| Err(differs(**tenant)))
}

fn empty(tables: &dyn Tables, schema: &Schema) -> Result<bool, CatchUpError> {
    for table in schema.all() {
        if let Some(row) = tables.range(table, &[], None).next() {
            row.map_err(ReadError::from)?;
            return Ok(false);
        }
    }
    Ok(true)
}
