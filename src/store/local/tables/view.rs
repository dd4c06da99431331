//! What readers see: the memtable over the tables, as of one moment.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::layout::Layout;
use super::memtable::Memtable;
use super::queue::MemtableQueue;
use super::{Pair, TableError, Tables};
use crate::id::TenantId;
use crate::store::ReadError;
use crate::store::head::Head;
use crate::store::ledger::Ledger;
use crate::store::local::key::{full_key, split_key, successor, tenant_end};
use crate::store::local::log::frame::Position;
use crate::store::local::log::scan::open_head;
use crate::store::local::schema::{Part, Schema};
use crate::store::row::{Envelope, EnvelopeError, StoredRow, open_envelope};
use crate::store::table::{HEADS, TableSpec};
use crate::sync::RwLock;

/// How many rows of a tenant are read at once when it is loaded.
const LOAD_ROWS: usize = 4_096;
/// How many rows are read at once when all tenants are scanned.
const SCAN_ROWS: usize = 1_024;

/// A row of any tenant: tenant, key without the tenant, and the row unless it is damaged.
pub type ScannedRow = (TenantId, Vec<u8>, Result<StoredRow, EnvelopeError>);

/// Called with table, key without the tenant, and whole envelope (checked).
pub type HotRowVisitor<'a> = &'a mut dyn FnMut(&'static TableSpec, &[u8], &[u8]);

/// The memtable and the tables behind it.
pub struct TableView {
    pub memtable: MemtableQueue,
    schema: Schema,
    /// `None` once closed. Locked for writing to freeze the memtable, and to close.
    tables: RwLock<Option<Box<dyn Tables>>>,
    /// Whether a rebuild has not brought back all rows yet.
    rebuilding: AtomicBool,
}

impl TableView {
    /// Of tables that hold everything up to `through`.
    pub fn new(
        schema: Schema,
        tables: Box<dyn Tables>,
        through: Position,
        rebuilding: bool,
    ) -> Self {
        Self {
            memtable: MemtableQueue::new(through),
            schema,
            tables: RwLock::new(Some(tables)),
            rebuilding: AtomicBool::new(rebuilding),
        }
    }

    pub fn is_rebuilding(&self) -> bool {
        self.rebuilding.load(Ordering::Acquire)
    }

    /// All rows are back in the tables.
    pub fn end_rebuild(&self) {
        self.rebuilding.store(false, Ordering::Release);
    }

    /// Freezes the active memtable. No read is under way meanwhile, so none sees half of what moves to
    /// the tables and was not in the memtable when it looked there.
    pub fn freeze(&self) -> Arc<Memtable> {
        let _no_read = self.tables.write().expect(NO_PANIC);
        self.memtable.freeze()
    }

    /// Closes the tables: from now on reads end with [`ReadError::Closed`].
    pub fn close(&self) {
        drop(self.tables.write().expect(NO_PANIC).take());
    }

    /// Works on the tables. sled panics on some of what it does not understand.
    pub fn with_tables<T>(
        &self,
        work: impl FnOnce(&dyn Tables) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let tables = self.tables.read().expect(NO_PANIC);
        let tables = tables.as_deref().ok_or(ReadError::Closed)?;
        catch_unwind(AssertUnwindSafe(|| work(tables)))
            .unwrap_or(Err(ReadError::Tables(TableError::Panicked)))
    }

    /// One row.
    pub fn get(
        &self,
        tenant: TenantId,
        table: &'static TableSpec,
        key: &[u8],
    ) -> Result<Option<StoredRow>, ReadError> {
        let value = self.envelope(table, &full_key(tenant, key))?;
        Ok(value
            .map(|value| open_envelope(tenant, table, key, &value))
            .transpose()?)
    }

    /// A tenant's first `limit` rows whose keys are not below `from`, in order of their keys.
    pub fn rows(
        &self,
        tenant: TenantId,
        table: &'static TableSpec,
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, StoredRow)>, ReadError> {
        let (from, to) = (full_key(tenant, from), tenant_end(tenant));
        self.page(table, &from, to.as_deref(), limit)?
            .into_iter()
            .map(|(full, value)| {
                let (tenant, key) = split_key(&full).unwrap_or((tenant, &full));
                let stored = open_envelope(tenant, table, key, &value)?;
                Ok((key.to_vec(), stored))
            })
            .collect()
    }

    /// The next rows of a table, of all tenants in order of tenant and key, behind `after`.
    pub fn scan(
        &self,
        table: &'static TableSpec,
        after: Option<(TenantId, &[u8])>,
    ) -> Result<Vec<ScannedRow>, ReadError> {
        let from = after.map_or_else(Vec::new, |(tenant, key)| successor(&full_key(tenant, key)));
        let rows = self.page(table, &from, None, SCAN_ROWS)?.into_iter();
        let rows = rows.map(|(full, value)| {
            let (tenant, key) = split_key(&full).unwrap_or((TenantId::ZERO, &full));
            let stored = open_envelope(tenant, table, key, &value);
            (tenant, key.to_vec(), stored)
        });
        Ok(rows.collect())
    }

    /// How many rows a table has; `None` while the memtable holds changes of it.
    pub fn count(&self, table: &'static TableSpec) -> Result<Option<u64>, ReadError> {
        self.with_tables(|tables| {
            if self.memtable.read(|memtable| memtable.has(table)) {
                return Ok(None);
            }
            Layout(tables).count(table).map(Some)
        })
    }

    /// A tenant's head and hot rows, checked against each other. Read in pages, so that no more than one
    /// of them is in memory.
    pub fn load(
        &self,
        tenant: TenantId,
        visit: HotRowVisitor<'_>,
    ) -> Result<Option<(Head, Ledger)>, ReadError> {
        let damaged = |why| EnvelopeError {
            table: HEADS.name,
            tenant,
            key: Vec::new(),
            why,
        };
        let Some(envelope) = self.envelope(&HEADS, &full_key(tenant, &[]))? else {
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
                    visit(table, key, value);
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

    /// The envelope under a full key.
    fn envelope(&self, table: &TableSpec, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.with_tables(|tables| {
            if let Some(row) = self.memtable.read(|memtable| memtable.get(table, key)) {
                return Ok(row);
            }
            // Asked before the tables are read: what is missing then may still have been to come.
            let incomplete = self.is_incomplete(table);
            match Layout(tables).get(table, key)? {
                None if incomplete => Err(ReadError::Rebuilding),
                row => Ok(row),
            }
        })
    }

    /// The first `limit` envelopes of a range of full keys. While it reads nothing moves from
    /// the memtable to the tables, so every record is in it whole or not at all.
    pub fn page(
        &self,
        table: &'static TableSpec,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, ReadError> {
        self.with_tables(|tables| {
            if self.is_incomplete(table) {
                return Err(ReadError::Rebuilding);
            }
            let overlay = self
                .memtable
                .read(|memtable| memtable.overlay(table, from, to, limit))?;
            overlay.merge(Layout(tables).rows(table, from, to)?, limit)
        })
    }

    /// Whether a rebuild has not brought back all of a table's rows.
    fn is_incomplete(&self, table: &TableSpec) -> bool {
        Part::Back.has(table) && self.is_rebuilding()
    }
}

const NO_PANIC: &str = "no holder of this lock panics";
