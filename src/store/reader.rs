//! Reads of what is durable.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::error::ReadError;
use super::head::Head;
use super::ledger::Ledger;
use super::local::TableView;
use super::row::{EnvelopeError, StoredRow};
use super::table::{ENTRIES, OPENINGS, TableSpec};
use crate::id::{Sequence, TenantId};

/// A tenant's head and hot rows.
#[derive(Debug)]
pub struct TenantRows {
    pub head: Head,
    /// Every row of every hot table: table, key without the tenant, whole envelope (checked).
    pub rows: Vec<(&'static TableSpec, Vec<u8>, Vec<u8>)>,
    /// Count and hash of these rows.
    pub ledger: Ledger,
}

/// Reads durable rows. Clones are cheap. It does not keep the store open.
#[derive(Clone)]
pub struct Reader(Arc<TableView>);

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

/// Called with tenant, key without the tenant, and the row. A damaged row is passed as an error and
/// does not end the scan: other tenants' rows are not concerned.
pub type ScanVisitor<'a> =
    &'a mut dyn FnMut(TenantId, &[u8], Result<StoredRow, EnvelopeError>) -> ControlFlow<()>;

impl Reader {
    pub(in crate::store) fn new(view: Arc<TableView>) -> Self {
        Self(view)
    }

    /// One row.
    pub fn get(
        &self,
        tenant: TenantId,
        table: &'static TableSpec,
        key: &[u8],
    ) -> Result<Option<StoredRow>, ReadError> {
        self.0.get(tenant, table, key)
    }

    /// A tenant's first `limit` rows whose keys are not below `from`, in order of their keys.
    pub fn rows_from(
        &self,
        tenant: TenantId,
        table: &'static TableSpec,
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, StoredRow)>, ReadError> {
        self.0.rows(tenant, table, from, limit)
    }

    /// The exact bytes of an entry.
    pub fn entry(
        &self,
        tenant: TenantId,
        sequence: Sequence,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let stored = self.get(tenant, &ENTRIES, &sequence.get().to_be_bytes())?;
        Ok(stored.map(|stored| stored.payload))
    }

    /// The opening behind an entry, unless there was none or it was erased.
    pub fn opening(
        &self,
        tenant: TenantId,
        sequence: Sequence,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let stored = self.get(tenant, &OPENINGS, &sequence.get().to_be_bytes())?;
        Ok(stored.map(|stored| stored.payload))
    }

    /// A tenant's head and hot rows, checked against each other; `None` if it has no records.
    pub fn tenant(&self, tenant: TenantId) -> Result<Option<TenantRows>, ReadError> {
        let mut rows = Vec::new();
        let loaded = self.0.load(tenant, &mut |table, key, envelope| {
            rows.push((table, key.to_vec(), envelope.to_vec()));
        })?;
        Ok(loaded.map(|(head, ledger)| TenantRows { head, rows, ledger }))
    }

    /// How many rows a table has, of all tenants. Fast where all of them are in the tables, as they
    /// are after a start: blocks are counted without being decoded.
    pub fn count(&self, table: &'static TableSpec) -> Result<u64, ReadError> {
        if let Some(count) = self.0.count(table)? {
            return Ok(count);
        }
        let mut count = 0;
        self.scan(table, &mut |_, _, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// Visits every row of a table, of all tenants, in order of tenant and key, until `visit` breaks.
    /// Rows that change meanwhile are seen as they were or as they are.
    pub fn scan(&self, table: &'static TableSpec, visit: ScanVisitor<'_>) -> Result<(), ReadError> {
        let mut last: Option<(TenantId, Vec<u8>)> = None;
        loop {
            let after = last.as_ref().map(|(tenant, key)| (*tenant, key.as_slice()));
            let rows = self.0.scan(table, after)?;
            let Some((tenant, key, _)) = rows.last() else {
                return Ok(());
            };
            last = Some((*tenant, key.clone()));
            for (tenant, key, stored) in rows {
                if visit(tenant, &key, stored).is_break() {
                    return Ok(());
                }
            }
        }
    }
}
