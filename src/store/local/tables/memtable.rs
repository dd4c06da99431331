//! Memtables: rows that are durable in the log and not yet in the tables.
//!
//! Readers look here first and see every durable row at once, so neither answers nor reads wait for
//! the tables, and a row that changes ten times meanwhile is written to them once.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use super::{KeyWrite, Pair};
use crate::store::ReadError;
use crate::store::local::key::full_key;
use crate::store::local::log::frame::Position;
use crate::store::row::{Effect, Op};
use crate::store::table::TableSpec;

/// Ranges of full keys: the first that is deleted, and the first that is not.
pub type KeyRanges = Vec<(Vec<u8>, Vec<u8>)>;
/// Rows that change, by full key.
pub(super) type RowChanges = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What one entry costs in memory besides its bytes, roughly.
const ENTRY_BYTES: usize = 96;

/// The changes of one table: the range tombstones first, then the rows.
#[derive(Default)]
pub struct TableChanges {
    tombstones: KeyRanges,
    rows: RowChanges,
}

impl TableChanges {
    /// The range tombstones, and the rows that change after them.
    pub fn into_parts(self) -> (KeyRanges, RowChanges) {
        (self.tombstones, self.rows)
    }

    /// The ranges that are deleted before [`TableChanges::rows`] change.
    pub fn tombstones(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.tombstones
            .iter()
            .map(|(from, to)| (from.as_slice(), to.as_slice()))
    }

    /// The rows that change, in order of their full keys.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.rows
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// The row under a key, or that it is deleted; `None` if the key does not change.
    fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let row = self.rows.get(key).map(Option::as_deref);
        row.or_else(|| inside_any(&self.tombstones, key).then_some(None))
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>) -> BoxedChanges<'_> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        if to.is_some_and(|to| from >= to) {
            return Box::new(std::iter::empty());
        }
        let bounds = (Included(from), to.map_or(Unbounded, Excluded));
        let rows = self.rows.range::<[u8], _>(bounds);
        Box::new(rows.map(|(key, value)| Ok((key.clone(), value.clone()))))
    }
}

type BoxedChanges<'a> = Box<dyn Iterator<Item = Result<KeyWrite, ReadError>> + 'a>;

fn inside_any(ranges: &[(Vec<u8>, Vec<u8>)], key: &[u8]) -> bool {
    ranges
        .iter()
        .any(|(from, to)| key >= from.as_slice() && key < to.as_slice())
}

/// Changes that are written to the tables together.
#[derive(Default)]
pub struct Memtable {
    tables: BTreeMap<u8, (&'static TableSpec, TableChanges)>,
    bytes: usize,
    /// Everything up to here is in this memtable or in an earlier one.
    pub through: Position,
}

impl Memtable {
    /// Adds operations, in their order.
    pub fn absorb<'o>(&mut self, ops: impl IntoIterator<Item = Op<'o>>) {
        for op in ops {
            let key = full_key(op.tenant, &op.key);
            match op.effect {
                Effect::Put(envelope) => self.put(op.table, key, envelope.into_owned()),
                Effect::Delete => self.delete(op.table, key),
                Effect::DeleteTo(to) => {
                    self.delete_range(op.table, key, full_key(op.tenant, &to));
                }
            }
        }
    }

    pub fn put(&mut self, table: &'static TableSpec, key: Vec<u8>, value: Vec<u8>) {
        self.set(table, key, Some(value));
    }

    pub fn delete(&mut self, table: &'static TableSpec, key: Vec<u8>) {
        self.set(table, key, None);
    }

    /// Deletes a range, and what this memtable put into it before.
    pub fn delete_range(&mut self, table: &'static TableSpec, from: Vec<u8>, to: Vec<u8>) {
        let changes = changes_of(&mut self.tables, table);
        let bytes = &mut self.bytes;
        changes.rows.retain(|key, value| {
            let deleted = *key >= from && *key < to;
            if deleted {
                *bytes -= cost(key, value.as_ref());
            }
            !deleted
        });
        *bytes += ENTRY_BYTES + from.len() + to.len();
        changes.tombstones.push((from, to));
    }

    fn set(&mut self, table: &'static TableSpec, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += cost(&key, value.as_ref());
        let key_len = key.len();
        if let Some(old) = changes_of(&mut self.tables, table).rows.insert(key, value) {
            self.bytes -= ENTRY_BYTES + key_len + old.map_or(0, |old| old.len());
        }
    }

    /// Approximate memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The changes by table, the heads last: a head in the tables means its rows are there.
    pub fn tables(&self) -> impl Iterator<Item = (&'static TableSpec, &TableChanges)> {
        self.tables
            .values()
            .map(|(table, changes)| (*table, changes))
    }

    pub fn into_tables(self) -> impl Iterator<Item = (&'static TableSpec, TableChanges)> {
        self.tables.into_values()
    }

    fn of(&self, table: &TableSpec) -> Option<&TableChanges> {
        self.tables.get(&table.id).map(|(_, changes)| changes)
    }
}

fn changes_of<'a>(
    tables: &'a mut BTreeMap<u8, (&'static TableSpec, TableChanges)>,
    table: &'static TableSpec,
) -> &'a mut TableChanges {
    &mut tables
        .entry(table.id)
        .or_insert_with(|| (table, TableChanges::default()))
        .1
}

fn cost(key: &[u8], value: Option<&Vec<u8>>) -> usize {
    ENTRY_BYTES + key.len() + value.map_or(0, Vec::len)
}

/// The active memtable, and the immutable one that is being written to the tables.
#[derive(Default)]
pub struct MemtableList {
    active: Memtable,
    immutable: Option<Arc<Memtable>>,
}

/// The changes of a range, to be laid over older rows.
pub struct Overlay {
    rows: Vec<KeyWrite>,
    tombstones: KeyRanges,
}

impl MemtableList {
    /// Empty, at this place in the log.
    pub fn at(through: Position) -> Self {
        Self {
            active: Memtable {
                through,
                ..Memtable::default()
            },
            immutable: None,
        }
    }

    /// The memtable that takes new records.
    pub fn active(&mut self) -> &mut Memtable {
        &mut self.active
    }

    /// The last record whose rows are in it, or were.
    pub fn through(&self) -> Position {
        self.active.through
    }

    /// Approximate memory of both.
    pub fn bytes(&self) -> usize {
        self.active.bytes
            + self
                .immutable
                .as_ref()
                .map_or(0, |immutable| immutable.bytes)
    }

    /// Freezes the active memtable; it is immutable, and read, until [`MemtableList::remove_immutable`].
    pub fn freeze(&mut self) -> Arc<Memtable> {
        debug_assert!(
            self.immutable.is_none(),
            "one memtable is written at a time"
        );
        let through = self.active.through;
        let immutable = Arc::new(std::mem::replace(
            &mut self.active,
            Memtable {
                through,
                ..Memtable::default()
            },
        ));
        self.immutable = Some(Arc::clone(&immutable));
        immutable
    }

    /// The immutable memtable is in the tables.
    pub fn remove_immutable(&mut self) {
        self.immutable = None;
    }

    /// The row under a full key, or that it is deleted; `None` if the tables decide.
    pub fn get(&self, table: &TableSpec, key: &[u8]) -> Option<Option<Vec<u8>>> {
        self.newest_first(table)
            .find_map(|changes| changes.get(key))
            .map(|row| row.map(<[u8]>::to_vec))
    }

    /// The changes of a range, as far as `limit` rows need them.
    pub fn overlay(
        &self,
        table: &TableSpec,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Overlay, ReadError> {
        let none = TableChanges::default();
        let newer = self.active.of(table).unwrap_or(&none);
        let older = self
            .immutable
            .as_ref()
            .and_then(|immutable| immutable.of(table))
            .unwrap_or(&none);
        let merged = newest_wins(
            newer.range(from, to),
            older
                .range(from, to)
                .filter(|row| survives(row, &newer.tombstones)),
        );
        let mut rows = Vec::new();
        let mut puts = 0;
        for change in merged {
            let change = change?;
            puts += usize::from(change.1.is_some());
            rows.push(change);
            // No row of the merged range beyond this one can be among its first `limit`.
            if puts == limit {
                break;
            }
        }
        let tombstones = newer.tombstones.iter().chain(&older.tombstones);
        let tombstones = tombstones.cloned().collect();
        Ok(Overlay { rows, tombstones })
    }

    /// Whether it holds changes of a table.
    pub fn has(&self, table: &TableSpec) -> bool {
        self.newest_first(table).next().is_some()
    }

    fn newest_first(&self, table: &TableSpec) -> impl Iterator<Item = &TableChanges> {
        let immutable = self
            .immutable
            .as_deref()
            .and_then(|immutable| immutable.of(table));
        self.active.of(table).into_iter().chain(immutable)
    }
}

impl Overlay {
    /// The first `limit` rows of the range whose older rows are `base`.
    pub fn merge(
        self,
        base: impl Iterator<Item = Result<Pair, ReadError>>,
        limit: usize,
    ) -> Result<Vec<Pair>, ReadError> {
        let base = base.map(|row| row.map(|(key, value)| (key, Some(value))));
        let base = base.filter(|row| survives(row, &self.tombstones));
        newest_wins(self.rows.into_iter().map(Ok), base)
            .filter_map(|row| match row {
                Ok((key, value)) => value.map(|value| Ok((key, value))),
                Err(error) => Some(Err(error)),
            })
            .take(limit)
            .collect()
    }
}

/// Whether a row is outside of every range that was deleted after it. Errors always survive.
fn survives(row: &Result<KeyWrite, ReadError>, tombstones: &[(Vec<u8>, Vec<u8>)]) -> bool {
    row.as_ref()
        .map_or(true, |(key, _)| !inside_any(tombstones, key))
}

/// Merges two ordered sequences; where both change a key, the newer wins.
fn newest_wins<N, O>(newer: N, older: O) -> NewestWins<N, O>
where
    N: Iterator<Item = Result<KeyWrite, ReadError>>,
    O: Iterator<Item = Result<KeyWrite, ReadError>>,
{
    NewestWins {
        newer: newer.peekable(),
        older: older.peekable(),
    }
}

struct NewestWins<N: Iterator, O: Iterator> {
    newer: Peekable<N>,
    older: Peekable<O>,
}

impl<N, O> Iterator for NewestWins<N, O>
where
    N: Iterator<Item = Result<KeyWrite, ReadError>>,
    O: Iterator<Item = Result<KeyWrite, ReadError>>,
{
    type Item = Result<KeyWrite, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = match (self.newer.peek(), self.older.peek()) {
            (None | Some(Ok(_)), None) | (Some(Err(_)), _) => Ordering::Less,
            (None, Some(_)) | (Some(Ok(_)), Some(Err(_))) => Ordering::Greater,
            (Some(Ok((newer, _))), Some(Ok((older, _)))) => newer.cmp(older),
        };
        match first {
            Ordering::Less => self.newer.next(),
            Ordering::Greater => self.older.next(),
            Ordering::Equal => {
                self.older.next();
                self.newer.next()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::table::{KeyKind, Load};

    static TABLE: TableSpec = TableSpec {
        id: 1,
        name: "table",
        load: Load::Cold,
        key_kind: KeyKind::Natural,
        version: 1,
    };

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, u8),
        Delete(u8),
        DeleteRange(u8, u8),
        Freeze,
        Flushed,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..40u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
            2 => (0..40u8).prop_map(Step::Delete),
            1 => (0..40u8, 0..40u8).prop_map(|(a, b)| Step::DeleteRange(a, b)),
            1 => Just(Step::Freeze),
            1 => Just(Step::Flushed),
        ]
    }

    proptest! {
        #[test]
        fn memtables_over_tables_behave_like_a_map(
            steps in prop::collection::vec(step(), 0..200),
            from in 0..40u8, to in prop::option::of(0..40u8), limit in 0..50usize,
        ) {
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            let mut base = model.clone();
            let mut memtable = MemtableList::default();
            for step in steps {
                match step {
                    Step::Put(key, value) => {
                        model.insert(vec![key], vec![value]);
                        memtable.active().put(&TABLE, vec![key], vec![value]);
                    }
                    Step::Delete(key) => {
                        model.remove([key].as_slice());
                        memtable.active().delete(&TABLE, vec![key]);
                    }
                    Step::DeleteRange(a, b) => {
                        model.retain(|key, _| !(key[0] >= a && key[0] < b));
                        memtable.active().delete_range(&TABLE, vec![a], vec![b]);
                    }
                    Step::Freeze if memtable.immutable.is_none() => drop(memtable.freeze()),
                    Step::Freeze => {}
                    Step::Flushed => {
                        if let Some(full) = memtable.immutable.clone() {
                            for (_, changes) in full.tables() {
                                base.retain(|key, _| !inside_any(&changes.tombstones, key));
                                for (key, value) in changes.rows() {
                                    match value {
                                        Some(value) => base.insert(key.to_vec(), value.to_vec()),
                                        None => base.remove(key),
                                    };
                                }
                            }
                            memtable.remove_immutable();
                        }
                    }
                }
            }
            for key in 0..40u8 {
                let key = vec![key];
                let seen = memtable.get(&TABLE, &key).unwrap_or_else(|| base.get(&key).cloned());
                prop_assert_eq!(seen.as_ref(), model.get(&key));
            }
            let (from, to) = (vec![from], to.map(|to| vec![to]));
            let inside = |key: &[u8]| key >= from.as_slice() && to.as_deref().is_none_or(|to| key < to);
            let pairs = |map: BTreeMap<Vec<u8>, Vec<u8>>| {
                map.into_iter().filter(|(key, _)| inside(key)).collect::<Vec<_>>()
            };
            let overlay = memtable.overlay(&TABLE, &from, to.as_deref(), limit).unwrap();
            let merged = overlay.merge(pairs(base).into_iter().map(Ok), limit);
            let mut expected = pairs(model);
            expected.truncate(limit);
            prop_assert_eq!(merged.unwrap(), expected);
            drop(memtable.immutable.take());
            let active = memtable.active();
            let counted: usize = active.tables().map(|(_, changes)| {
                let rows = changes.rows.iter().map(|(key, value)| cost(key, value.as_ref()));
                let tombstones = changes.tombstones.iter().map(|(a, b)| ENTRY_BYTES + a.len() + b.len());
                rows.chain(tombstones).sum::<usize>()
            }).sum();
            prop_assert_eq!(active.bytes(), counted);
        }
    }
}
