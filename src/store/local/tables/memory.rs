//! Tables in memory, for tests.

use std::collections::BTreeMap;

use super::{KeyWrite, Pair, Pairs, TableError, Tables};
use crate::store::table::TableSpec;

/// Ordered keys and values in memory.
#[derive(Default)]
pub struct MemoryTables(std::sync::Mutex<BTreeMap<TableKey, Vec<u8>>>);

/// A table's id and a key in it.
type TableKey = (u8, Vec<u8>);

impl Tables for MemoryTables {
    fn get(&self, table: &TableSpec, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        Ok(self
            .0
            .lock()
            .unwrap()
            .get(&(table.id, key.to_vec()))
            .cloned())
    }

    fn range(&self, table: &TableSpec, from: &[u8], to: Option<&[u8]>) -> Pairs<'_> {
        let inside = |key: &[u8]| key >= from && to.is_none_or(|to| key < to);
        let pairs = self.0.lock().unwrap();
        let found: Vec<_> = pairs
            .iter()
            .filter(|((id, key), _)| *id == table.id && inside(key))
            .map(|((_, key), value)| Ok((key.clone(), value.clone())))
            .collect();
        Box::new(found.into_iter())
    }

    fn last(&self, table: &TableSpec, from: &[u8], to: &[u8]) -> Result<Option<Pair>, TableError> {
        self.range(table, from, Some(to)).last().transpose()
    }

    fn write(
        &self,
        table: &TableSpec,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, TableError> {
        let mut pairs = self.0.lock().unwrap();
        let place = (table.id, key.to_vec());
        Ok(match value {
            Some(value) => pairs.insert(place, value.to_vec()),
            None => pairs.remove(&place),
        })
    }

    fn write_together(&self, table: &TableSpec, changes: &[KeyWrite]) -> Result<(), TableError> {
        for (key, value) in changes {
            self.write(table, key, value.as_deref())?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), TableError> {
        Ok(())
    }
}
