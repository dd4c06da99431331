//! Reading: the lag over the tables, at one moment.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use super::layout::{Layout, full_key, split_key, successor, tenant_end};
use super::{Pair, TableError};
use crate::id::TenantId;
use crate::store::head::Head;
use crate::store::ledger::Ledger;
use crate::store::local::Shared;
use crate::store::local::log::scan::open_head;
use crate::store::local::schema::Part;
use crate::store::row::{Damaged, Envelope, HEADS, Stored, TableSpec, open_envelope};
use crate::store::{ReadError, ShowHot};

/// How many rows of a tenant are read at once when it is loaded.
const LOAD_ROWS: usize = 4_096;

impl Shared {
    /// One row.
    pub fn get(
        &self,
        tenant: TenantId,
        table: &'static TableSpec,
        key: &[u8],
    ) -> Result<Option<Stored>, ReadError> {
        let value = self.value(table, &full_key(tenant, key))?;
        Ok(value
            .map(|value| open_envelope(tenant, table, key, &value))
            .transpose()?)
    }

    /// The envelope under a full key.
    fn value(&self, table: &TableSpec, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let tables = self.tables.read().expect("no holder of this lock panics");
        let tables = tables.as_deref().ok_or(ReadError::Closed)?;
        if let Some(row) = self
            .memtable_queue
            .with_memtable(|memtable| memtable.get(table, key))
        {
            return Ok(row);
        }
        // Asked before the tables are: what they do not have then may still have been to come.
        let incomplete = self.is_incomplete(table);
        match unpanicked(|| Layout(tables).get(table, key))? {
            None if incomplete => Err(ReadError::Rebuilding),
            row => Ok(row),
        }
    }

    /// Whether a rebuild has not brought back all of a table's rows.
    fn is_incomplete(&self, table: &TableSpec) -> bool {
        Part::Back.has(table) && self.rebuilding.load(Ordering::Acquire)
    }

    /// The first `limit` envelopes of a range of full keys. While it reads no generation moves from
    /// the lag to the tables, so every record is in it whole or not at all.
    pub fn page(
        &self,
        table: &'static TableSpec,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, ReadError> {
        let tables = self.tables.read().expect("no holder of this lock panics");
        let tables = tables.as_deref().ok_or(ReadError::Closed)?;
        if self.is_incomplete(table) {
            return Err(ReadError::Rebuilding);
        }
        let overlay = self
            .memtable_queue
            .with_memtable(|memtable| memtable.overlay(table, from, to, limit))?;
        unpanicked(|| overlay.merge(Layout(tables).rows(table, from, to)?, limit))
    }

    /// How many rows of a table there are; `None` while the lag has something to say about that.
    pub fn count(&self, table: &'static TableSpec) -> Result<Option<u64>, ReadError> {
        let tables = self.tables.read().expect("no holder of this lock panics");
        let tables = tables.as_deref().ok_or(ReadError::Closed)?;
        if self
            .memtable_queue
            .with_memtable(|memtable| memtable.concerns(table))
        {
            return Ok(None);
        }
        Layout(tables).count(table).map(Some)
    }

    /// A tenant's head and hot rows, checked against each other. Read in pages: others read between
    /// them, and no more than one is in memory.
    pub fn load(
        &self,
        tenant: TenantId,
        show: ShowHot<'_>,
    ) -> Result<Option<(Head, Ledger)>, ReadError> {
        let damaged = |why| Damaged {
            table: HEADS.name,
            tenant,
            key: Vec::new(),
            why,
        };
        let Some(envelope) = self.value(&HEADS, &full_key(tenant, &[]))? else {
            return Ok(None);
        };
        let head: Head =
            open_head(tenant, &envelope).ok_or_else(|| damaged("the head is unreadable"))?;
        let to = tenant_end(tenant);
        let mut ledger = Ledger::new();
        for table in self.schema.hot() {
            let mut from = full_key(tenant, &[]);
            loop {
                let page = self.page(table, &from, to.as_deref(), LOAD_ROWS)?;
                for (full, value) in &page {
                    let key = split_key(full).map_or(full.as_slice(), |(_, key)| key);
                    open_envelope(tenant, table, key, value)?;
                    if let Some(envelope) = Envelope::read(value) {
                        ledger.put(tenant, table, key, envelope.crc);
                    }
                    show(table, key, value);
                }
                match page.last() {
                    Some((last, _)) if page.len() == LOAD_ROWS => from = successor(last),
                    Some(_) | None => break,
                }
            }
        }
        if ledger.count() != head.hot_rows {
            return Err(damaged("its hot rows are not as many as it says").into());
        }
        if ledger.hash() != head.hot_hash {
            return Err(damaged("its hot rows are not those that it says").into());
        }
        Ok(Some((head, ledger)))
    }
}

/// Looks at the tables; sled panics on some of what it does not understand.
fn unpanicked<T>(look: impl FnOnce() -> Result<T, ReadError>) -> Result<T, ReadError> {
    catch_unwind(AssertUnwindSafe(look)).unwrap_or(Err(TableError::Panicked.into()))
}
