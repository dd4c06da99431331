//! The lag: rows that are durable in the log and not yet in the tables.
//!
//! A reader that looks here first sees every durable row at once, so neither answers nor reads wait
//! for the tables, and a row that changes ten times within the lag is written to them once.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use super::{Change, Pair};
use crate::store::ReadError;
use crate::store::local::key::full_key;
use crate::store::local::log::frame::Position;
use crate::store::row::{Effect, Op};
use crate::store::table::TableSpec;

/// Ranges of full keys: the first that goes, and the first that stays.
pub type Ranges = Vec<(Vec<u8>, Vec<u8>)>;
/// Rows that change, by full key.
pub(super) type ChangedRows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What one entry costs in memory besides its bytes, roughly.
const ENTRY_BYTES: usize = 96;

/// The changes of one table: the ranges first, then the rows.
#[derive(Default)]
pub struct Changes {
    gone: Ranges,
    rows: ChangedRows,
}

impl Changes {
    /// The ranges that go, and the rows that change after that.
    pub fn into_parts(self) -> (Ranges, ChangedRows) {
        (self.gone, self.rows)
    }

    /// The ranges that go, before any of [`Changes::rows`] comes.
    pub fn gone(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.gone
            .iter()
            .map(|(from, to)| (from.as_slice(), to.as_slice()))
    }

    /// The rows that change, in order of their full keys.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.rows
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// What these changes say of a key, if anything.
    fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let row = self.rows.get(key).map(Option::as_deref);
        row.or_else(|| inside_any(&self.gone, key).then_some(None))
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

type BoxedChanges<'a> = Box<dyn Iterator<Item = Result<Change, ReadError>> + 'a>;

fn inside_any(ranges: &[(Vec<u8>, Vec<u8>)], key: &[u8]) -> bool {
    ranges
        .iter()
        .any(|(from, to)| key >= from.as_slice() && key < to.as_slice())
}

/// Changes that go into the tables together.
#[derive(Default)]
pub struct Memtable {
    tables: BTreeMap<u8, (&'static TableSpec, Changes)>,
    bytes: usize,
    /// Everything up to here is in this generation or in an earlier one.
    pub through: Position,
}

impl Memtable {
    /// Takes operations in, in their order.
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

    /// The row is now this.
    pub fn put(&mut self, table: &'static TableSpec, key: Vec<u8>, value: Vec<u8>) {
        self.set(table, key, Some(value));
    }

    /// The row is gone.
    pub fn delete(&mut self, table: &'static TableSpec, key: Vec<u8>) {
        self.set(table, key, None);
    }

    /// The range is gone, with what this generation put into it before.
    pub fn delete_range(&mut self, table: &'static TableSpec, from: Vec<u8>, to: Vec<u8>) {
        let changes = changes_of(&mut self.tables, table);
        let bytes = &mut self.bytes;
        changes.rows.retain(|key, value| {
            let stays = !(*key >= from && *key < to);
            if !stays {
                *bytes -= cost(key, value.as_ref());
            }
            stays
        });
        *bytes += ENTRY_BYTES + from.len() + to.len();
        changes.gone.push((from, to));
    }

    fn set(&mut self, table: &'static TableSpec, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += cost(&key, value.as_ref());
        let key_len = key.len();
        if let Some(old) = changes_of(&mut self.tables, table).rows.insert(key, value) {
            self.bytes -= ENTRY_BYTES + key_len + old.map_or(0, |old| old.len());
        }
    }

    /// How much memory it takes, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The changes by table, the heads last: a head in the tables means its rows are there.
    pub fn tables(&self) -> impl Iterator<Item = (&'static TableSpec, &Changes)> {
        self.tables
            .values()
            .map(|(table, changes)| (*table, changes))
    }

    /// The changes by table, to keep.
    pub fn into_tables(self) -> impl Iterator<Item = (&'static TableSpec, Changes)> {
        self.tables.into_values()
    }

    fn of(&self, table: &TableSpec) -> Option<&Changes> {
        self.tables.get(&table.id).map(|(_, changes)| changes)
    }
}

fn changes_of<'a>(
    tables: &'a mut BTreeMap<u8, (&'static TableSpec, Changes)>,
    table: &'static TableSpec,
) -> &'a mut Changes {
    &mut tables
        .entry(table.id)
        .or_insert_with(|| (table, Changes::default()))
        .1
}

fn cost(key: &[u8], value: Option<&Vec<u8>>) -> usize {
    ENTRY_BYTES + key.len() + value.map_or(0, Vec::len)
}

/// The generation that grows, and the one that is being written to the tables.
#[derive(Default)]
pub struct MemtableList {
    growing: Memtable,
    draining: Option<Arc<Memtable>>,
}

/// What the lag says of a range.
pub struct Overlay {
    rows: Vec<Change>,
    gone: Ranges,
}

impl MemtableList {
    /// Empty, at this place in the log.
    pub fn at(through: Position) -> Self {
        Self {
            growing: Memtable {
                through,
                ..Memtable::default()
            },
            draining: None,
        }
    }

    /// The generation that takes new records.
    pub fn growing(&mut self) -> &mut Memtable {
        &mut self.growing
    }

    /// The last record whose rows are in it, or were.
    pub fn through(&self) -> Position {
        self.growing.through
    }

    /// How much memory the lag takes, roughly.
    pub fn bytes(&self) -> usize {
        self.growing.bytes + self.draining.as_ref().map_or(0, |draining| draining.bytes)
    }

    /// Turns what has grown into what is being drained, and keeps it until [`MemtableList::drained`].
    pub fn drain(&mut self) -> Arc<Memtable> {
        debug_assert!(
            self.draining.is_none(),
            "one generation is drained at a time"
        );
        let through = self.growing.through;
        let full = Arc::new(std::mem::replace(
            &mut self.growing,
            Memtable {
                through,
                ..Memtable::default()
            },
        ));
        self.draining = Some(Arc::clone(&full));
        full
    }

    /// What was drained is in the tables.
    pub fn drained(&mut self) {
        self.draining = None;
    }

    /// What the lag says of a key: a row, that there is none, or (`None`) nothing.
    pub fn get(&self, table: &TableSpec, key: &[u8]) -> Option<Option<Vec<u8>>> {
        self.newest_first(table)
            .find_map(|changes| changes.get(key))
            .map(|row| row.map(<[u8]>::to_vec))
    }

    /// What the lag says of a range, as far as `limit` rows need it.
    pub fn overlay(
        &self,
        table: &TableSpec,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Overlay, ReadError> {
        let none = Changes::default();
        let newer = self.growing.of(table).unwrap_or(&none);
        let older = self
            .draining
            .as_ref()
            .and_then(|draining| draining.of(table))
            .unwrap_or(&none);
        let merged = over(
            newer.range(from, to),
            older.range(from, to).filter(|row| stands(row, &newer.gone)),
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
        let gone = newer.gone.iter().chain(&older.gone).cloned().collect();
        Ok(Overlay { rows, gone })
    }

    /// Whether it holds changes of a table.
    pub fn has(&self, table: &TableSpec) -> bool {
        self.newest_first(table).next().is_some()
    }

    fn newest_first(&self, table: &TableSpec) -> impl Iterator<Item = &Changes> {
        let draining = self
            .draining
            .as_deref()
            .and_then(|draining| draining.of(table));
        self.growing.of(table).into_iter().chain(draining)
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
        let base = base.filter(|row| stands(row, &self.gone));
        over(self.rows.into_iter().map(Ok), base)
            .filter_map(|row| match row {
                Ok((key, value)) => value.map(|value| Ok((key, value))),
                Err(error) => Some(Err(error)),
            })
            .take(limit)
            .collect()
    }
}

/// Whether a row is outside of every range that went after it came. Errors always stand.
fn stands(row: &Result<Change, ReadError>, gone: &[(Vec<u8>, Vec<u8>)]) -> bool {
    row.as_ref().map_or(true, |(key, _)| !inside_any(gone, key))
}

/// Two ordered sequences of changes as one; where both change a key, the newer counts.
fn over<N, O>(newer: N, older: O) -> Over<N, O>
where
    N: Iterator<Item = Result<Change, ReadError>>,
    O: Iterator<Item = Result<Change, ReadError>>,
{
    Over {
        newer: newer.peekable(),
        older: older.peekable(),
    }
}

struct Over<N: Iterator, O: Iterator> {
    newer: Peekable<N>,
    older: Peekable<O>,
}

impl<N, O> Iterator for Over<N, O>
where
    N: Iterator<Item = Result<Change, ReadError>>,
    O: Iterator<Item = Result<Change, ReadError>>,
{
    type Item = Result<Change, ReadError>;

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
        Drain,
        Drained,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..40u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
            2 => (0..40u8).prop_map(Step::Delete),
            1 => (0..40u8, 0..40u8).prop_map(|(a, b)| Step::DeleteRange(a, b)),
            1 => Just(Step::Drain),
            1 => Just(Step::Drained),
        ]
    }

    proptest! {
        #[test]
        fn lag_over_tables_behaves_like_a_map(
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
                        memtable.growing().put(&TABLE, vec![key], vec![value]);
                    }
                    Step::Delete(key) => {
                        model.remove([key].as_slice());
                        memtable.growing().delete(&TABLE, vec![key]);
                    }
                    Step::DeleteRange(a, b) => {
                        model.retain(|key, _| !(key[0] >= a && key[0] < b));
                        memtable.growing().delete_range(&TABLE, vec![a], vec![b]);
                    }
                    Step::Drain if memtable.draining.is_none() => drop(memtable.drain()),
                    Step::Drain => {}
                    Step::Drained => {
                        if let Some(full) = memtable.draining.clone() {
                            for (_, changes) in full.tables() {
                                base.retain(|key, _| !inside_any(&changes.gone, key));
                                for (key, value) in changes.rows() {
                                    match value {
                                        Some(value) => base.insert(key.to_vec(), value.to_vec()),
                                        None => base.remove(key),
                                    };
                                }
                            }
                            memtable.drained();
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
            drop(memtable.draining.take());
            let growing = memtable.growing();
            let counted: usize = growing.tables().map(|(_, changes)| {
                let rows = changes.rows.iter().map(|(key, value)| cost(key, value.as_ref()));
                let gone = changes.gone.iter().map(|(a, b)| ENTRY_BYTES + a.len() + b.len());
                rows.chain(gone).sum::<usize>()
            }).sum();
            prop_assert_eq!(growing.bytes(), counted);
        }
    }
}
