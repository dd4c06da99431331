//! Records: what one command changes, as one unit that is in the log whole or not at all.

#![deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::borrow::Cow;

use super::cursor::Cursor;
use super::head::{self, Head};
use super::owner::Owner;
use super::row::{ENVELOPE, Effect, Envelope, Op};
use super::table::{ENTRIES, HEADS, Load, OPENINGS, TableSpec};
use crate::id::{Sequence, TenantId};

/// The log sequence number of a record, counted over all tenants from 1 without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(u64);

impl Lsn {
    /// Before the first record.
    pub(super) const ZERO: Self = Self(0);

    pub(super) const fn new(number: u64) -> Self {
        Self(number)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    pub(super) const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

/// The unit of the log. See [`Record::new`] and [`Record::side`].
#[derive(Debug)]
pub struct Record {
    pub(super) tenant: TenantId,
    pub(super) body: Body,
    bytes: usize,
}

/// The kinds of records.
#[derive(Debug)]
pub(super) enum Body {
    /// One step in a tenant's order.
    Tenant {
        /// Must be the tenant's current one.
        owner: Owner,
        sequence: Sequence,
        /// Its first sequence.
        log_base: Sequence,
        /// Its rows, then its entry, its opening and its head.
        ops: Vec<Op<'static>>,
    },
    /// Rows outside of any order.
    Side(Vec<Op<'static>>),
    /// Everything up to `applied` is in the tables and synced.
    Checkpoint {
        applied: Lsn,
        /// The chain value of the frame which ends with it.
        chain: u32,
    },
    /// The first record of a snapshot.
    Snapshot(LogPrefix),
}

/// What a snapshot covers of the log: everything up to the end of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogPrefix {
    /// The last record.
    pub lsn: Lsn,
    /// The chain value of the frame which ends with it.
    pub chain: u32,
    /// The segment, which is covered whole.
    pub segment: u64,
    /// The epoch of the last frame.
    pub epoch: u32,
}

/// Bytes of `len` and `crc`, which are not counted in `len`.
const PREFIX: usize = 8;
/// Bytes of kind, tenant, sequence and count of operations.
const FIXED: usize = 1 + 16 + 8 + 2;

const TENANT: u8 = 1;
const SIDE: u8 = 2;
const CONTROL: u8 = 3;
const ROWS: u8 = 4;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;

const CHECKPOINT: u8 = 1;
const SNAPSHOT: u8 = 2;

/// The schema version of entries and openings: their payloads have layouts of their own.
const OPAQUE: u16 = 1;

impl Record {
    /// One command's effects: its rows, its entry, the opening behind the entry, and the new head.
    ///
    /// # Panics
    /// If an operation cannot be stored: a range of a hot table, or a key too long for its table.
    pub fn new(
        owner: Owner,
        sequence: Sequence,
        rows: Vec<Op<'static>>,
        entry: Vec<u8>,
        opening: Option<Vec<u8>>,
        head: Head,
    ) -> Self {
        assert_eq!(
            head.sequence, sequence,
            "the head is the one of this record"
        );
        let tenant = owner.tenant();
        let key = || sequence.get().to_be_bytes().to_vec();
        let mut ops = rows;
        ops.push(Op::put(tenant, &ENTRIES, key(), OPAQUE, &entry));
        if let Some(opening) = opening {
            ops.push(Op::put(tenant, &OPENINGS, key(), OPAQUE, &opening));
        }
        ops.push(Op::put(
            tenant,
            &HEADS,
            Vec::new(),
            head::VERSION,
            &head.encode(),
        ));
        Self::of(
            tenant,
            Body::Tenant {
                owner,
                sequence,
                log_base: head.log_base,
                ops,
            },
        )
    }

    /// Rows of side tables, outside of any order.
    ///
    /// # Panics
    /// If a row's table is not [`Load::Side`], or an operation cannot be stored.
    pub fn side(tenant: TenantId, rows: Vec<Op<'static>>) -> Self {
        let side = rows.iter().all(|op| op.table.load == Load::Side);
        assert!(side, "a side record has rows of side tables only");
        Self::of(tenant, Body::Side(rows))
    }

    /// The note that the tables hold everything up to `applied`.
    pub(super) fn checkpoint(applied: Lsn, chain: u32) -> Self {
        Self::of(TenantId::ZERO, Body::Checkpoint { applied, chain })
    }

    /// The beginning of a snapshot.
    pub(super) fn snapshot(prefix: LogPrefix) -> Self {
        Self::of(TenantId::ZERO, Body::Snapshot(prefix))
    }

    fn of(tenant: TenantId, body: Body) -> Self {
        let mut record = Self {
            tenant,
            body,
            bytes: PREFIX + FIXED,
        };
        let ops = record.ops();
        assert!(
            ops.len() <= usize::from(u16::MAX),
            "at most 65,535 operations a record"
        );
        assert!(
            ops.iter().all(|op| op.tenant == tenant),
            "a record's rows are its tenant's"
        );
        record.bytes += record.ops().iter().map(op_bytes).sum::<usize>();
        record.bytes += match record.body {
            Body::Tenant { .. } | Body::Side(_) => 0,
            Body::Checkpoint { .. } => 1 + 8 + 4,
            Body::Snapshot(_) => 1 + 8 + 4 + 8 + 4,
        };
        record
    }

    /// Its length in the log.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn ops(&self) -> &[Op<'static>] {
        match &self.body {
            Body::Tenant { ops, .. } | Body::Side(ops) => ops,
            Body::Checkpoint { .. } | Body::Snapshot(_) => &[],
        }
    }

    pub(super) fn into_ops(self) -> Vec<Op<'static>> {
        match self.body {
            Body::Tenant { ops, .. } | Body::Side(ops) => ops,
            Body::Checkpoint { .. } | Body::Snapshot(_) => Vec::new(),
        }
    }

    /// Appends the record's bytes to a frame's.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, sequence) = match self.body {
            Body::Tenant { sequence, .. } => (TENANT, sequence.get()),
            Body::Side(_) => (SIDE, 0),
            Body::Checkpoint { .. } | Body::Snapshot(_) => (CONTROL, 0),
        };
        let start = begin(kind, self.tenant, sequence, out);
        for op in self.ops() {
            encode_op(op, out);
        }
        match self.body {
            Body::Tenant { .. } | Body::Side(_) => {}
            Body::Checkpoint { applied, chain } => {
                out.push(CHECKPOINT);
                out.extend(applied.get().to_le_bytes());
                out.extend(chain.to_le_bytes());
            }
            Body::Snapshot(prefix) => {
                out.push(SNAPSHOT);
                out.extend(prefix.lsn.get().to_le_bytes());
                out.extend(prefix.chain.to_le_bytes());
                out.extend(prefix.segment.to_le_bytes());
                out.extend(prefix.epoch.to_le_bytes());
            }
        }
        end(start, self.ops().len(), out);
    }
}

/// A record of rows at the end of a frame's bytes, which grows there. Only snapshots have them.
pub(super) struct RowsRecord {
    start: usize,
    count: usize,
}

impl RowsRecord {
    pub fn begin(tenant: TenantId, out: &mut Vec<u8>) -> Self {
        let start = begin(ROWS, tenant, 0, out);
        Self { start, count: 0 }
    }

    /// Whether it holds as many operations as it can.
    pub fn is_full(&self) -> bool {
        self.count == usize::from(u16::MAX)
    }

    pub fn push(&mut self, op: &Op<'_>, out: &mut Vec<u8>) {
        encode_op(op, out);
        self.count += 1;
    }

    pub fn end(self, out: &mut [u8]) {
        end(self.start, self.count, out);
    }
}

/// Appends what comes before a record's operations; where the record begins.
fn begin(kind: u8, tenant: TenantId, sequence: u64, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend([0; PREFIX]);
    out.push(kind);
    out.extend(tenant.as_bytes());
    out.extend(sequence.to_le_bytes());
    out.extend([0; 2]);
    start
}

/// Fills in the fields of the record's beginning that depend on all of it.
fn end(start: usize, count: usize, out: &mut [u8]) {
    let set = |place: Option<&mut [u8]>, bytes: &[u8]| {
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
    };
    let record = out.get_mut(start..).unwrap_or_default();
    set(
        record.get_mut(PREFIX + FIXED - 2..PREFIX + FIXED),
        &len_u16(count),
    );
    if let Some((prefix, rest)) = record.split_at_mut_checked(PREFIX) {
        set(prefix.get_mut(..4), &len_u32(rest.len()));
        set(prefix.get_mut(4..), &crc32fast::hash(rest).to_le_bytes());
    }
}

fn len_u16(len: usize) -> [u8; 2] {
    u16::try_from(len)
        .expect("lengths are checked when a record is made")
        .to_le_bytes()
}

fn len_u32(len: usize) -> [u8; 4] {
    u32::try_from(len)
        .expect("a record is shorter than 4 GiB")
        .to_le_bytes()
}

/// The length of an operation. Panics if it cannot be stored.
fn op_bytes(op: &Op<'_>) -> usize {
    let key_max = op.table.key_max();
    let fits = |key: &[u8]| assert!(key.len() <= key_max, "a key of `{}` fits", op.table.name);
    fits(&op.key);
    let fixed = 1 + 1 + 2 + op.key.len();
    match &op.effect {
        Effect::Put(value) => {
            let whole = Envelope::read(value).map(|envelope| ENVELOPE + envelope.len);
            assert_eq!(whole, Some(value.len()), "a put holds a whole envelope");
            fixed + 4 + value.len()
        }
        Effect::Delete => fixed,
        Effect::DeleteTo(to) => {
            assert!(
                op.table.load != Load::Hot,
                "hot rows are deleted one by one"
            );
            fits(to);
            fixed + 2 + to.len()
        }
    }
}

fn encode_op(op: &Op<'_>, out: &mut Vec<u8>) {
    out.push(match op.effect {
        Effect::Put(_) => PUT,
        Effect::Delete => DELETE,
        Effect::DeleteTo(_) => DELETE_RANGE,
    });
    out.push(op.table.id);
    out.extend(len_u16(op.key.len()));
    out.extend_from_slice(&op.key);
    match &op.effect {
        Effect::Put(value) => {
            out.extend(len_u32(value.len()));
            out.extend_from_slice(value);
        }
        Effect::Delete => {}
        Effect::DeleteTo(to) => {
            out.extend(len_u16(to.len()));
            out.extend_from_slice(to);
        }
    }
}

/// A record as it lies in the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogRecord<'a> {
    pub tenant: TenantId,
    pub body: LogBody<'a>,
}

/// What a logged record is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LogBody<'a> {
    /// A step of a tenant's order; `head` is the envelope of its `_heads` row, which is in `ops`
    /// too.
    Tenant {
        sequence: Sequence,
        head: &'a [u8],
        ops: Vec<Op<'a>>,
    },
    /// Rows outside of any order.
    Side(Vec<Op<'a>>),
    /// See [`Body::Checkpoint`].
    Checkpoint { applied: Lsn, chain: u32 },
    /// See [`Body::Snapshot`].
    Snapshot(LogPrefix),
    /// Rows of a snapshot.
    Rows(Vec<Op<'a>>),
}

/// Why a record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordError {
    /// It is not what was written.
    Damaged(&'static str),
    /// Its checksums hold, and it says what this version does not know.
    Newer(&'static str),
}

impl RecordError {
    pub const fn why(self) -> &'static str {
        match self {
            Self::Damaged(why) | Self::Newer(why) => why,
        }
    }
}

/// Takes the next record off a frame's body.
pub(super) fn next_record<'a>(
    body: &mut Cursor<'a>,
    table: impl Fn(u8) -> Option<&'static TableSpec>,
) -> Result<LogRecord<'a>, RecordError> {
    const SHORT: RecordError = RecordError::Damaged("a record is cut short");
    let len = body
        .u32()
        .and_then(|len| usize::try_from(len).ok())
        .ok_or(SHORT)?;
    let crc = body.u32().ok_or(SHORT)?;
    let bytes = body.slice(len).ok_or(SHORT)?;
    if crc32fast::hash(bytes) != crc {
        return Err(RecordError::Damaged("a record's checksum does not match"));
    }
    let mut cursor = Cursor::new(bytes);
    let kind = cursor.u8().ok_or(SHORT)?;
    if !(TENANT..=ROWS).contains(&kind) {
        return Err(RecordError::Newer("a record of an unknown kind"));
    }
    let tenant = TenantId::from_bytes(cursor.array().ok_or(SHORT)?);
    let sequence = Sequence::new(cursor.u64().ok_or(SHORT)?);
    let count = cursor.u16().ok_or(SHORT)?;
    let ops = (0..count)
        .map(|_| next_op(&mut cursor, tenant, &table))
        .collect::<Result<Vec<_>, _>>()?;
    let the_only_put = |table, why| the_only_put(&ops, table).ok_or(RecordError::Damaged(why));
    let body = match kind {
        TENANT => {
            the_only_put(&ENTRIES, "a tenant's record without exactly one entry")?;
            LogBody::Tenant {
                sequence,
                head: the_only_put(&HEADS, "a tenant's record without exactly one head")?,
                ops,
            }
        }
        SIDE => LogBody::Side(ops),
        ROWS => LogBody::Rows(ops),
        _control => match cursor.u8().ok_or(SHORT)? {
            CHECKPOINT => LogBody::Checkpoint {
                applied: Lsn(cursor.u64().ok_or(SHORT)?),
                chain: cursor.u32().ok_or(SHORT)?,
            },
            SNAPSHOT => LogBody::Snapshot(LogPrefix {
                lsn: Lsn(cursor.u64().ok_or(SHORT)?),
                chain: cursor.u32().ok_or(SHORT)?,
                segment: cursor.u64().ok_or(SHORT)?,
                epoch: cursor.u32().ok_or(SHORT)?,
            }),
            _ => return Err(RecordError::Newer("a control record of an unknown kind")),
        },
    };
    if !cursor.rest().is_empty() {
        return Err(RecordError::Damaged(
            "a record is longer than what it holds",
        ));
    }
    Ok(LogRecord { tenant, body })
}

fn next_op<'a>(
    cursor: &mut Cursor<'a>,
    tenant: TenantId,
    table: impl Fn(u8) -> Option<&'static TableSpec>,
) -> Result<Op<'a>, RecordError> {
    const SHORT: RecordError = RecordError::Damaged("an operation is cut short");
    let kind = cursor.u8().ok_or(SHORT)?;
    if !(PUT..=DELETE_RANGE).contains(&kind) {
        return Err(RecordError::Newer("an operation of an unknown kind"));
    }
    let table =
        table(cursor.u8().ok_or(SHORT)?).ok_or(RecordError::Newer("a row of an unknown table"))?;
    let key = cursor.slice_u16().ok_or(SHORT)?.into();
    let effect = match kind {
        PUT => {
            let envelope = cursor.slice_u32().ok_or(SHORT)?;
            if Envelope::read(envelope).is_some_and(|fields| fields.version > table.version) {
                return Err(RecordError::Newer("a row of an unknown version"));
            }
            Effect::Put(envelope.into())
        }
        DELETE => Effect::Delete,
        _range if table.load == Load::Hot => {
            return Err(RecordError::Damaged("a range of a hot table"));
        }
        _range => Effect::DeleteTo(cursor.slice_u16().ok_or(SHORT)?.into()),
    };
    Ok(Op {
        tenant,
        table,
        key,
        effect,
    })
}

/// The envelope of the one row that `ops`, which borrow it, put into `table`, if it is one.
fn the_only_put<'a>(ops: &[Op<'a>], table: &TableSpec) -> Option<&'a [u8]> {
    let mut puts = ops.iter().filter_map(|op| match op.effect {
        Effect::Put(Cow::Borrowed(envelope)) if op.table.id == table.id => Some(envelope),
        Effect::Put(_) | Effect::Delete | Effect::DeleteTo(_) => None,
    });
    let only = puts.next()?;
    puts.next().is_none().then_some(only)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;
    use crate::store::table::KeyKind;
    use crate::time::Timestamp;

    static HOT: TableSpec = TableSpec {
        id: 1,
        name: "hot",
        load: Load::Hot,
        key_kind: KeyKind::Natural,
        version: 1,
    };
    static SIDE_TABLE: TableSpec = TableSpec {
        id: 2,
        name: "side",
        load: Load::Side,
        key_kind: KeyKind::Natural,
        version: 1,
    };
    const TENANT: TenantId = TenantId::from_bytes([7; 16]);

    fn table(id: u8) -> Option<&'static TableSpec> {
        [&HOT, &SIDE_TABLE, &ENTRIES, &OPENINGS, &HEADS]
            .into_iter()
            .find(|t| t.id == id)
    }

    fn records() -> Vec<Record> {
        let head = Head {
            sequence: Sequence::new(3),
            at: Timestamp::from_micros(1_764_000_000_000_000),
            log_base: Sequence::FIRST,
            next_due: None,
            hot_rows: 1,
            hot_hash: 2,
            root: [3; 32],
            range: vec![[4; 32]],
        };
        let rows = vec![
            Op::put(TENANT, &HOT, b"kept".to_vec(), 1, b"value"),
            Op::delete(TENANT, &HOT, b"gone".to_vec()),
            Op::delete_range(TENANT, &OPENINGS, vec![0; 8], vec![1; 8]),
        ];
        let (entry, opening) = (b"entry".to_vec(), Some(b"opening".to_vec()));
        vec![
            Record::new(
                Owner::unclaimed(TENANT),
                Sequence::new(3),
                rows,
                entry,
                opening,
                head,
            ),
            Record::side(
                TENANT,
                vec![Op::put(TENANT, &SIDE_TABLE, vec![], 1, b"used")],
            ),
            Record::checkpoint(Lsn::new(41), 0xDEAD_BEEF),
        ]
    }

    #[test]
    fn records_are_frozen_and_know_their_length() {
        let mut bytes = Vec::new();
        for record in records() {
            let before = bytes.len();
            record.encode(&mut bytes);
            assert_eq!(bytes.len() - before, record.bytes());
        }
        golden::check("store_record.hex", &golden::hex(&bytes));
    }

    #[test]
    fn records_come_back() {
        let mut bytes = Vec::new();
        records()
            .iter()
            .for_each(|record| record.encode(&mut bytes));
        let mut body = Cursor::new(&bytes);
        for record in records() {
            let logged = next_record(&mut body, table).unwrap();
            assert_eq!(logged.tenant, record.tenant);
            let ops = match logged.body {
                LogBody::Tenant { sequence, ops, .. } => {
                    assert_eq!(sequence, Sequence::new(3));
                    ops
                }
                LogBody::Side(ops) => ops,
                LogBody::Checkpoint { applied, chain } => {
                    assert_eq!((applied.get(), chain), (41, 0xDEAD_BEEF));
                    continue;
                }
                LogBody::Snapshot(_) | LogBody::Rows(_) => unreachable!(),
            };
            assert_eq!(ops, record.ops());
        }
        assert!(body.rest().is_empty());
    }

    #[test]
    fn no_cut_and_no_changed_bit_passes() {
        let mut bytes = Vec::new();
        records()[0].encode(&mut bytes);
        for len in 0..bytes.len() {
            assert!(next_record(&mut Cursor::new(&bytes[..len]), table).is_err());
        }
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(
                next_record(&mut Cursor::new(&changed), table).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_table_of_the_future_is_named_as_such() {
        let mut bytes = Vec::new();
        records()[1].encode(&mut bytes);
        let error = next_record(&mut Cursor::new(&bytes), |_| None).unwrap_err();
        assert_eq!(error, RecordError::Newer("a row of an unknown table"));
    }
}
