//! Rows that a rebuild brings to tables in use: older than everything in the memtable.

use std::collections::{BTreeMap, BTreeSet};

use super::memtable::{KeyRanges, Memtable};
use crate::store::local::schema::Part;
use crate::store::table::TableSpec;

/// Rows of one table, in order of their full keys.
pub struct Chunk {
    pub table: &'static TableSpec,
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a rebuild sends to the applier.
pub enum Backfill {
    /// To be written where there is no row and none was deleted.
    Rows(Chunk),
    Done,
}

/// What was deleted since a rebuild began: keys and ranges, by table.
#[derive(Default)]
pub struct Tombstones(BTreeMap<u8, (BTreeSet<Vec<u8>>, KeyRanges)>);

impl Tombstones {
    /// Adds what a memtable deletes.
    pub fn add(&mut self, memtable: &Memtable) {
        for (table, changes) in memtable.tables() {
            if !Part::Back.has(table) {
                continue;
            }
            let (keys, ranges) = self.0.entry(table.id).or_default();
            ranges.extend(
                changes
                    .tombstones()
                    .map(|(from, to)| (from.to_vec(), to.to_vec())),
            );
            let deleted = changes.rows().filter(|(_, value)| value.is_none());
            keys.extend(deleted.map(|(key, _)| key.to_vec()));
        }
    }

    /// Removes the rows that were deleted since.
    pub fn filter(&self, chunk: &mut Chunk) {
        let Some((keys, ranges)) = self.0.get(&chunk.table.id) else {
            return;
        };
        let inside = |key: &Vec<u8>| ranges.iter().any(|(from, to)| key >= from && key < to);
        chunk
            .rows
            .retain(|(key, _)| !keys.contains(key) && !inside(key));
    }
}
