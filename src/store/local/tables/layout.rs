//! How rows lie in the tables: whole, packed into blocks, or cut into pieces.
//!
//! - A row of a natural table is one value under `tenant ‖ key`.
//! - Rows of a sequence table are packed into blocks (`block.rs`). A row is in the last block of
//!   its tenant whose key is not above its own, or, if there is none, in a new one. A block keeps
//!   its key when rows in it go, and goes with its last row.
//! - A payload over [`PIECE`] bytes is cut: its row's place holds the bare envelope fields, and the
//!   bytes lie in the `_pieces` table under `tenant ‖ table ‖ key ‖ number` (u8, u16 big-endian,
//!   from 1). So no value is ever long enough for sled's unsynced blob files, blocks stay blocks,
//!   and no piece can take the place of a row.
//!
//! Values here are whole envelopes; keys begin with the tenant.

#![deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use super::block::{self, PIECE, Rows, inline_len};
use super::memtable::TableChanges;
use super::{KeyWrite, Pair, Tables};
use crate::id::TenantId;
use crate::store::ReadError;
use crate::store::local::key::{full_key, split_key, successor, tenant_end};
use crate::store::row::{ENVELOPE, Envelope, EnvelopeError};
use crate::store::table::{KeyKind, PIECES, TableSpec};

/// What of a whole envelope lies in its row's place.
fn inline_of(value: &[u8]) -> &[u8] {
    inline_len(value)
        .and_then(|len| value.get(..len))
        .unwrap_or(value)
}

/// How many pieces the payload of this row is cut into.
fn piece_count(value: &[u8]) -> usize {
    let len = Envelope::read(value).map_or(0, |envelope| envelope.len);
    if len > PIECE { len.div_ceil(PIECE) } else { 0 }
}

/// Rows over bare keys and values.
#[derive(Clone, Copy)]
pub struct Layout<'a>(pub &'a dyn Tables);

impl<'a> Layout<'a> {
    /// The row under a full key.
    pub fn get(self, table: &TableSpec, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let inline = match table.key_kind {
            KeyKind::Natural => self.0.get(table, key)?,
            KeyKind::Sequence => match self.block_of(table, key)? {
                Some((at, bytes)) => {
                    let (_, row) = split_key(key).unwrap_or((TenantId::ZERO, key));
                    open_block(table, &at, &bytes)?.remove(row)
                }
                None => None,
            },
        };
        inline
            .map(|inline| self.whole(table, key, inline))
            .transpose()
    }

    /// The rows from one full key up to, and without, another.
    pub fn rows(
        self,
        table: &'static TableSpec,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<Pair, ReadError>> + use<'a>, ReadError> {
        let start = match table.key_kind {
            KeyKind::Natural => None,
            KeyKind::Sequence => self.block_of(table, from)?.map(|(at, _)| at),
        };
        let pairs = self.0.range(table, start.as_deref().unwrap_or(from), to);
        let (from, to) = (from.to_vec(), to.map(<[u8]>::to_vec));
        let inside =
            move |key: &[u8]| key >= from.as_slice() && to.as_deref().is_none_or(|to| key < to);
        let mut pairs = pairs.peekable();
        let rows = std::iter::from_fn(move || {
            Some(match (pairs.next()?, table.key_kind) {
                (Err(error), _) => vec![Err(error.into())],
                (Ok(pair), KeyKind::Natural) => vec![Ok(pair)],
                (Ok((at, bytes)), KeyKind::Sequence) => {
                    let mut rows = block_rows(table, &at, &bytes);
                    // Rows that moved to a block of their own since this one was read.
                    if let Some(Ok((next, _))) = pairs.peek() {
                        rows.retain(|row| row.as_ref().map_or(true, |(key, _)| key < next));
                    }
                    rows
                }
            })
        });
        let rows = rows.flatten();
        Ok(rows
            .filter(move |row| row.as_ref().map_or(true, |(key, _)| inside(key)))
            .map(move |row| {
                let (key, inline) = row?;
                let whole = self.whole(table, &key, inline)?;
                Ok((key, whole))
            }))
    }

    /// How many rows a table has. Rows of an unreadable block are not counted: their tenant fails to
    /// load, and nothing else does.
    pub fn count(self, table: &'static TableSpec) -> Result<u64, ReadError> {
        let pairs = self.0.range(table, &[], None);
        let mut count = 0;
        for pair in pairs {
            let (at, bytes) = pair?;
            count += match table.key_kind {
                KeyKind::Natural => 1,
                KeyKind::Sequence => block::count(&bytes).unwrap_or_else(|| {
                    let tenant = split_key(&at).map_or(TenantId::ZERO, |(tenant, _)| tenant);
                    tracing::error!(%tenant, table = table.name, "a block cannot be read");
                    0
                }),
            };
        }
        Ok(count)
    }

    /// Writes the changes of one table.
    pub fn apply(self, table: &'static TableSpec, changes: &TableChanges) -> Result<(), ReadError> {
        for (from, to) in changes.tombstones() {
            let rows = self.rows(table, from, Some(to))?;
            let deleted = rows
                .map(|row| Ok((row?.0, None)))
                .collect::<Result<Vec<KeyWrite>, ReadError>>()?;
            self.write(table, deleted.iter().map(|(key, _)| (key.as_slice(), None)))?;
        }
        self.write(table, changes.rows())
    }

    /// Adds rows, in order of their keys, where there are none. Concurrent readers see each of them
    /// whole or not at all.
    pub fn fill(self, table: &TableSpec, rows: &[Pair]) -> Result<(), ReadError> {
        let mut open: Option<OpenBlock> = None;
        for (key, value) in rows {
            let inline = inline_of(value);
            match table.key_kind {
                KeyKind::Natural => {
                    if self.0.get(table, key)?.is_none() {
                        self.write_pieces(table, key, None, Some(value))?;
                        self.0.write(table, key, Some(inline))?;
                    }
                }
                KeyKind::Sequence => {
                    let block = self.turn_to(&mut open, table, key)?;
                    if !block.has(key) {
                        self.write_pieces(table, key, None, Some(value))?;
                        block.set(key, Some(inline));
                    }
                }
            }
        }
        open.map_or(Ok(()), |block| block.close(table, self.0))
    }

    /// Writes rows that come in order of their keys.
    fn write<'r>(
        self,
        table: &TableSpec,
        rows: impl Iterator<Item = (&'r [u8], Option<&'r [u8]>)>,
    ) -> Result<(), ReadError> {
        let mut open: Option<OpenBlock> = None;
        for (key, value) in rows {
            let inline = value.map(inline_of);
            let before = match table.key_kind {
                KeyKind::Natural => self.0.write(table, key, inline)?,
                KeyKind::Sequence => self.turn_to(&mut open, table, key)?.set(key, inline),
            };
            self.write_pieces(table, key, before.as_deref(), value)?;
        }
        open.map_or(Ok(()), |block| block.close(table, self.0))
    }

    /// The block that a row belongs in: the open one, or another that is opened instead.
    fn turn_to<'o>(
        self,
        open: &'o mut Option<OpenBlock>,
        table: &TableSpec,
        key: &[u8],
    ) -> Result<&'o mut OpenBlock, ReadError> {
        let block = match open.take() {
            Some(block) if block.covers(key) => block,
            other => {
                if let Some(full) = other {
                    full.close(table, self.0)?;
                }
                self.open_block(table, key)?
            }
        };
        Ok(open.insert(block))
    }

    /// Writes the pieces of `now`, if it is long, and removes those of `before` that are left over.
    fn write_pieces(
        self,
        table: &TableSpec,
        key: &[u8],
        before: Option<&[u8]>,
        now: Option<&[u8]>,
    ) -> Result<(), ReadError> {
        let count = now.map_or(0, piece_count);
        let payload = now
            .and_then(|value| value.get(ENVELOPE..))
            .unwrap_or_default();
        for (number, piece) in (1..=count).zip(payload.chunks(PIECE)) {
            self.0
                .write(&PIECES, &piece_key(table, key, number), Some(piece))?;
        }
        for number in count + 1..=before.map_or(0, piece_count) {
            self.0
                .write(&PIECES, &piece_key(table, key, number), None)?;
        }
        Ok(())
    }

    /// The whole envelope of a row whose place holds `inline`. Missing pieces make it too short, which
    /// fails when it is opened.
    fn whole(self, table: &TableSpec, key: &[u8], inline: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        let mut value = inline;
        for number in 1..=piece_count(&value) {
            match self.0.get(&PIECES, &piece_key(table, key, number))? {
                Some(piece) => value.extend(piece),
                None => break,
            }
        }
        Ok(value)
    }

    /// The last block of the key's tenant whose key is not above it.
    fn block_of(self, table: &TableSpec, key: &[u8]) -> Result<Option<Pair>, ReadError> {
        let Some((tenant, _)) = split_key(key) else {
            return Ok(None);
        };
        Ok(self.0.last(table, tenant.as_bytes(), &successor(key))?)
    }

    /// Opens the block that a row with this key belongs in; a new one if there is none.
    fn open_block(self, table: &TableSpec, key: &[u8]) -> Result<OpenBlock, ReadError> {
        let (tenant, _) = split_key(key).unwrap_or((TenantId::ZERO, key));
        let found = self.block_of(table, key)?;
        let at = found.as_ref().map_or(key, |(at, _)| at).to_vec();
        let end = tenant_end(tenant);
        let mut above = self.0.range(table, &successor(&at), end.as_deref());
        let until = above.next().transpose()?.map(|(key, _)| key).or(end);
        let rows = match &found {
            Some((at, bytes)) => open_block(table, at, bytes)?,
            None => Rows::new(),
        };
        Ok(OpenBlock {
            tenant,
            at,
            until,
            before: found.map(|(_, bytes)| bytes),
            rows,
        })
    }
}

/// A block that is being changed.
struct OpenBlock {
    tenant: TenantId,
    /// Its full key.
    at: Vec<u8>,
    /// The full key at which it ends.
    until: Option<Vec<u8>>,
    /// Its bytes as they lie in the table; none if it is new.
    before: Option<Vec<u8>>,
    rows: Rows,
}

impl OpenBlock {
    fn covers(&self, key: &[u8]) -> bool {
        key >= self.at.as_slice() && self.until.as_deref().is_none_or(|until| key < until)
    }

    fn has(&self, key: &[u8]) -> bool {
        split_key(key).is_some_and(|(_, row)| self.rows.contains_key(row))
    }

    /// Sets or removes a row; what was there before.
    fn set(&mut self, key: &[u8], inline: Option<&[u8]>) -> Option<Vec<u8>> {
        let (_, row) = split_key(key)?;
        match inline {
            Some(inline) => self.rows.insert(row.to_vec(), inline.to_vec()),
            None => self.rows.remove(row),
        }
    }

    /// Writes it back, split into several if it became too full. Atomically: unchanged rows move from
    /// one block to the next, and no replay would restore them.
    fn close(self, table: &TableSpec, tables: &dyn Tables) -> Result<(), ReadError> {
        let mut blocks = block::pack(&self.rows).into_iter();
        let mut changes: Vec<KeyWrite> = Vec::new();
        match blocks.next().map(|(_, bytes)| bytes) {
            // A full block that only had rows added behind it.
            first if first == self.before => {}
            first => changes.push((self.at, first)),
        }
        let further = |(first, bytes)| (full_key(self.tenant, first), Some(bytes));
        changes.extend(blocks.map(further));
        match changes.as_slice() {
            [] => {}
            [(key, value)] => drop(tables.write(table, key, value.as_deref())?),
            several => tables.write_together(table, several)?,
        }
        Ok(())
    }
}

fn open_block(table: &TableSpec, at: &[u8], bytes: &[u8]) -> Result<Rows, ReadError> {
    block::decode(bytes).ok_or_else(|| {
        let (tenant, key) = split_key(at).unwrap_or((TenantId::ZERO, at));
        let why = "the block that begins with it is unreadable";
        ReadError::Damaged(EnvelopeError {
            table: table.name,
            tenant,
            key: key.to_vec(),
            why,
        })
    })
}

/// The rows of a block, in order, under their full keys.
fn block_rows(table: &TableSpec, at: &[u8], bytes: &[u8]) -> Vec<Result<Pair, ReadError>> {
    let rows = match open_block(table, at, bytes) {
        Ok(rows) => rows,
        Err(error) => return vec![Err(error)],
    };
    let tenant = split_key(at).map_or(TenantId::ZERO, |(tenant, _)| tenant);
    let full = |(key, value): (Vec<u8>, Vec<u8>)| Ok((full_key(tenant, &key), value));
    rows.into_iter().map(full).collect()
}

/// `tenant ‖ table ‖ key ‖ number`. As numbers have a fixed length, no two rows share one.
fn piece_key(table: &TableSpec, key: &[u8], number: usize) -> Vec<u8> {
    let number = u16::try_from(number).expect("a row is shorter than 65,536 pieces");
    let (tenant, row) = split_key(key).unwrap_or((TenantId::ZERO, key));
    [
        tenant.as_bytes().as_slice(),
        &[table.id],
        row,
        &number.to_be_bytes(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::memory::MemoryTables;
    use super::super::memtable::Memtable;
    use super::*;
    use crate::store::row::{Op, open_envelope};
    use crate::store::table::Load;

    static NATURAL: TableSpec = TableSpec {
        id: 1,
        name: "natural",
        load: Load::Hot,
        key_kind: KeyKind::Natural,
        version: 1,
    };
    static SEQUENCE: TableSpec = TableSpec {
        id: 2,
        name: "sequence",
        load: Load::Cold,
        key_kind: KeyKind::Sequence,
        version: 1,
    };

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, u8, usize),
        Delete(u8, u8),
        DeleteRange(u8, u8, u8),
        /// Apply what was collected so far.
        Drain,
        /// Rows of these numbers come where there are none.
        Fill(u8, u8, u8, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Tenants next to each other and at the very end; lengths on both sides of every limit.
        let tenant = prop::sample::select(vec![0u8, 1, 255]);
        let len = prop_oneof![
            6 => 0..200usize,
            2 => 3_900..4_100usize,
            1 => Just(PIECE), 1 => Just(PIECE + 1), 1 => 8_000..12_200usize,
        ];
        prop_oneof![
            8 => (tenant.clone(), 0..80u8, len).prop_map(|(t, k, l)| Step::Put(t, k, l)),
            2 => (tenant.clone(), 0..80u8).prop_map(|(t, k)| Step::Delete(t, k)),
            1 => (tenant, 0..80u8, 0..80u8).prop_map(|(t, a, b)| Step::DeleteRange(t, a, b)),
            2 => Just(Step::Drain),
            1 => (prop::sample::select(vec![0u8, 1, 255]), 0..80u8, 0..80u8, 0..9_000usize)
                .prop_map(|(t, a, b, l)| Step::Fill(t, a, b, l)),
        ]
    }

    /// The full key and the envelope of a row.
    fn put(op: Op<'_>) -> (Vec<u8>, Vec<u8>) {
        let envelope = op.envelope().unwrap().to_vec();
        (full_key(op.tenant, &op.key), envelope)
    }

    fn key(table: &TableSpec, number: u8) -> Vec<u8> {
        match table.key_kind {
            KeyKind::Sequence => u64::from(number).to_be_bytes().to_vec(),
            // Of several lengths, one the beginning of the next.
            KeyKind::Natural => vec![number / 3; usize::from(number % 3)],
        }
    }

    fn check(
        table: &'static TableSpec,
        steps: &[Step],
        from: u8,
        to: u8,
    ) -> Result<(), TestCaseError> {
        let tables = MemoryTables::default();
        let layout = Layout(&tables);
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut pending = Memtable::default();
        for step in steps.iter().chain([&Step::Drain]) {
            match *step {
                Step::Put(tenant, number, len) => {
                    let tenant = TenantId::from_bytes([tenant; 16]);
                    let payload = vec![number; len];
                    let (key, value) = put(Op::put(tenant, table, key(table, number), 1, &payload));
                    model.insert(key.clone(), value.clone());
                    pending.put(table, key, value);
                }
                Step::Delete(tenant, number) => {
                    let full = full_key(TenantId::from_bytes([tenant; 16]), &key(table, number));
                    model.remove(&full);
                    pending.delete(table, full);
                }
                Step::DeleteRange(tenant, a, b) => {
                    let full = |n| full_key(TenantId::from_bytes([tenant; 16]), &key(table, n));
                    let (from, to) = (full(a), full(b));
                    model.retain(|key, _| !(*key >= from && *key < to));
                    pending.delete_range(table, from, to);
                }
                Step::Fill(tenant, a, b, len) => {
                    let tenant = TenantId::from_bytes([tenant; 16]);
                    let mut rows: Vec<_> = (a..b)
                        .map(|number| {
                            let key = key(table, number);
                            let op = Op::put(tenant, table, key, 1, &vec![number; len]);
                            put(op)
                        })
                        .collect();
                    rows.sort();
                    // Only between memtables.
                    for (table, changes) in std::mem::take(&mut pending).tables() {
                        layout.apply(table, changes).unwrap();
                    }
                    layout.fill(table, &rows).unwrap();
                    for (key, value) in rows {
                        model.entry(key).or_insert(value);
                    }
                }
                Step::Drain => {
                    for (table, changes) in std::mem::take(&mut pending).tables() {
                        layout.apply(table, changes).unwrap();
                    }
                }
            }
        }
        for number in 0..80 {
            let tenant = TenantId::from_bytes([1; 16]);
            let full = full_key(tenant, &key(table, number));
            let got = layout.get(table, &full).unwrap();
            prop_assert_eq!(got.as_ref(), model.get(&full));
            if let Some(value) = got {
                prop_assert!(open_envelope(tenant, table, &key(table, number), &value).is_ok());
            }
        }
        prop_assert_eq!(layout.count(table).unwrap(), model.len() as u64);
        let tenant = TenantId::from_bytes([1; 16]);
        let (from, to) = (
            full_key(tenant, &key(table, from)),
            full_key(tenant, &key(table, to)),
        );
        for to in [Some(to.as_slice()), tenant_end(tenant).as_deref(), None] {
            let expected: Vec<_> = model
                .iter()
                .filter(|(key, _)| **key >= from && to.is_none_or(|to| key.as_slice() < to))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            let rows = layout.rows(table, &from, to).unwrap();
            prop_assert_eq!(rows.collect::<Result<Vec<_>, _>>().unwrap(), expected);
        }
        let pairs = |table| tables.range(table, &[], None).map(Result::unwrap);
        let pieces: usize = model.values().map(|value| piece_count(value)).sum();
        prop_assert_eq!(pairs(&PIECES).count(), pieces, "pieces left behind");
        prop_assert!(
            pairs(table)
                .chain(pairs(&PIECES))
                .all(|(_, value)| value.len() <= 4096)
        );
        if model.is_empty() {
            prop_assert_eq!(pairs(table).count(), 0, "an empty block stayed");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn rows_of_both_kinds_behave_like_a_map(
            steps in prop::collection::vec(step(), 0..150), from in 0..80u8, to in 0..80u8,
        ) {
            check(&NATURAL, &steps, from, to)?;
            check(&SEQUENCE, &steps, from, to)?;
        }
    }

    #[test]
    fn small_rows_share_a_block_of_32() {
        let tables = MemoryTables::default();
        let tenant = TenantId::from_bytes([1; 16]);
        for number in 0..100u64 {
            let mut one = Memtable::default();
            let key = number.to_be_bytes().to_vec();
            let (key, value) = put(Op::put(tenant, &SEQUENCE, key, 1, b"row"));
            one.put(&SEQUENCE, key, value);
            one.tables()
                .for_each(|(table, changes)| Layout(&tables).apply(table, changes).unwrap());
        }
        assert_eq!(tables.range(&SEQUENCE, &[], None).count(), 4);
    }

    #[test]
    fn an_unreadable_block_is_an_error_and_not_an_absence() {
        let tables = MemoryTables::default();
        let at = full_key(TenantId::from_bytes([1; 16]), &0u64.to_be_bytes());
        tables.write(&SEQUENCE, &at, Some(b"\x08garbage")).unwrap();
        assert!(matches!(
            Layout(&tables).get(&SEQUENCE, &at),
            Err(ReadError::Damaged(_))
        ));
    }
}
