//! From the log to the tables: the same for the last seconds before a crash and for everything.

use std::collections::HashMap;

use super::super::record::{Logged, LoggedBody, LoggedOp, Lsn};
use super::super::row::{HEADS, open_envelope};
use super::super::{OpenError, ReadError};
use super::lag::Generation;
use super::layout::{Layout, full_key, split_key};
use super::scan::{Scan, records};
use super::schema::Schema;
use super::segment::Wal;
use super::stamp;
use super::tables::Tables;
use crate::id::{Sequence, TenantId};
use crate::store::head::Head;

/// How much of the log is brought together before it is written to the tables.
const BATCH_BYTES: usize = 8 << 20;

/// Why tables cannot be gone on with.
pub(super) enum Doubt {
    /// They are to be built anew from the log.
    Rebuild(String),
    /// The store must not open.
    Refuse(OpenError),
}

impl From<ReadError> for Doubt {
    fn from(error: ReadError) -> Self {
        Self::Rebuild(error.to_string())
    }
}

/// Brings tables that hold everything up to `scan.applied`, and perhaps more, to the end of the
/// log, and checks that they are what the log says.
pub(super) fn catch_up(
    wal: &Wal,
    scan: &Scan,
    schema: &Schema,
    tables: &dyn Tables,
) -> Result<(), Doubt> {
    let layout = Layout(tables);
    let known = heads(layout)?;
    for (tenant, head) in &known {
        // Rows come to the tables after their record is synced, so the log has lost what it had.
        if scan
            .heads
            .get(tenant)
            .is_none_or(|last| last.sequence < *head)
        {
            let path = wal.path(scan.tail.segment);
            let why = "the tables hold what is not in the log";
            return Err(Doubt::Refuse(scan.damaged(
                path,
                scan.tail.offset,
                None,
                why,
            )));
        }
    }
    if scan.through.lsn == Lsn::ZERO && !empty(tables, schema)? {
        let why = "the log is empty and the tables are not";
        return Err(Doubt::Refuse(scan.damaged(wal.path(1), 0, None, why)));
    }
    let stamp = stamp::read(tables).map_err(ReadError::from)?;
    if stamp > scan.through.lsn {
        let why = "the tables were synced with what is not in the log";
        let (path, offset) = (wal.path(scan.tail.segment), scan.tail.offset);
        return Err(Doubt::Refuse(scan.damaged(path, offset, None, why)));
    }
    if stamp < scan.applied {
        let why = "they are older than their last sync";
        return Err(Doubt::Rebuild(why.to_owned()));
    }
    replay(wal, scan, schema, layout, scan.applied, Some(&known))?;
    check_heads(scan, layout)
}

/// Fills empty tables with the whole log.
pub(super) fn fill(
    wal: &Wal,
    scan: &Scan,
    schema: &Schema,
    tables: &dyn Tables,
) -> Result<(), Doubt> {
    let layout = Layout(tables);
    replay(wal, scan, schema, layout, Lsn::ZERO, None)?;
    check_heads(scan, layout)?;
    Ok(stamp::write(tables, scan.through.lsn).map_err(ReadError::from)?)
}

/// Every record after `after`. A tenant that the tables know less of than they were known to hold
/// has lost rows in them.
fn replay(
    wal: &Wal,
    scan: &Scan,
    schema: &Schema,
    layout: Layout<'_>,
    after: Lsn,
    known: Option<&HashMap<TenantId, Sequence>>,
) -> Result<(), Doubt> {
    let mut met = HashMap::new();
    let mut batch = Generation::default();
    let follow = scan.segments.iter().skip(1).map(Some).chain([None]);
    for (start, following) in scan.segments.iter().zip(follow) {
        if following.is_some_and(|following| following.next <= after.plus(1)) {
            continue;
        }
        let mut tail = *start;
        let path = wal.path(tail.segment);
        let bytes = wal
            .disk
            .read(&path)
            .map_err(|error| Doubt::Refuse(OpenError::io(&path, error)))?;
        let mut lsn = tail.next;
        // The scan went this way before: what ends a segment here ended it there.
        while let Some(Ok(frame)) = usize::try_from(tail.offset)
            .ok()
            .and_then(|at| bytes.get(at..))
            .map(|rest| tail.accept(rest))
        {
            for record in records(&frame, schema) {
                let damaged =
                    |why| Doubt::Refuse(scan.damaged(path.clone(), tail.offset, None, why));
                let record = record.map_err(damaged)?;
                if lsn > after {
                    if let (Some(known), LoggedBody::Tenant { sequence, head, .. }) =
                        (known, &record.body)
                        && met.insert(record.tenant, ()).is_none()
                    {
                        check_known(record.tenant, *sequence, head, known)?;
                    }
                    absorb(&mut batch, record);
                }
                lsn = lsn.plus(1);
            }
            if batch.bytes() > BATCH_BYTES {
                apply(layout, &std::mem::take(&mut batch))?;
            }
        }
    }
    Ok(apply(layout, &batch)?)
}

/// Writes a generation to the tables, the heads last.
pub(super) fn apply(layout: Layout<'_>, generation: &Generation) -> Result<(), ReadError> {
    generation
        .tables()
        .try_for_each(|(table, changes)| layout.apply(table, changes))
}

fn absorb(batch: &mut Generation, record: Logged<'_>) {
    let (LoggedBody::Tenant { ops, .. } | LoggedBody::Side(ops)) = record.body else {
        return;
    };
    let full = |key| full_key(record.tenant, key);
    for op in ops {
        match op {
            LoggedOp::Put { table, key, value } => batch.put(table, full(key), value.to_vec()),
            LoggedOp::Delete { table, key } => batch.delete(table, full(key)),
            LoggedOp::DeleteRange { table, from, to } => {
                batch.delete_range(table, full(from), full(to));
            }
        }
    }
}

/// The tables must know the record before the first that is replayed.
fn check_known(
    tenant: TenantId,
    sequence: Sequence,
    head: &[u8],
    known: &HashMap<TenantId, Sequence>,
) -> Result<(), Doubt> {
    let first = super::scan::open_head(tenant, head).is_some_and(|head| head.log_base == sequence);
    let reached = known
        .get(&tenant)
        .is_some_and(|known| known.next() >= sequence);
    if first || reached {
        Ok(())
    } else {
        Err(Doubt::Rebuild(format!(
            "the tables lost rows of tenant {tenant}"
        )))
    }
}

/// The sequence of every head in the tables.
fn heads(layout: Layout<'_>) -> Result<HashMap<TenantId, Sequence>, Doubt> {
    let mut heads = HashMap::new();
    for row in layout.rows(&HEADS, &[], None)? {
        let (key, value) = row?;
        let (tenant, row) =
            split_key(&key).ok_or_else(|| Doubt::Rebuild("a head without a tenant".to_owned()))?;
        let stored = open_envelope(tenant, &HEADS, row, &value).map_err(ReadError::from)?;
        let head = Head::decode(&stored.payload)
            .ok_or_else(|| Doubt::Rebuild(format!("the head of tenant {tenant} is unreadable")))?;
        heads.insert(tenant, head.sequence);
    }
    Ok(heads)
}

/// Every tenant's head must be the last that the log has, and there must be no other.
fn check_heads(scan: &Scan, layout: Layout<'_>) -> Result<(), Doubt> {
    let doubt = |tenant| Doubt::Rebuild(format!("the head of tenant {tenant} is not the log's"));
    let mut left: HashMap<_, _> = scan.heads.iter().collect();
    for row in layout.rows(&HEADS, &[], None)? {
        let (key, value) = row?;
        let tenant = split_key(&key).map_or(TenantId::ZERO, |(tenant, _)| tenant);
        if left
            .remove(&tenant)
            .is_none_or(|last| last.envelope != value)
        {
            return Err(doubt(tenant));
        }
    }
    left.keys()
        .next()
        .map_or(Ok(()), |tenant| Err(doubt(**tenant)))
}

fn empty(tables: &dyn Tables, schema: &Schema) -> Result<bool, Doubt> {
    for table in schema.all() {
        if let Some(row) = tables.range(table, &[], None).next() {
            row.map_err(ReadError::from)?;
            return Ok(false);
        }
    }
    Ok(true)
}
