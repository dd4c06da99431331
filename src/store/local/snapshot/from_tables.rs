//! Rows for a snapshot from the tables: only if no snapshot is intact and the log does not go back to
//! its beginning.
//!
//! Otherwise a snapshot is never read from the tables, because what they lost would be lost for good.
//! The rows are read while commits go on (a fuzzy checkpoint): each is as it was at some record up to
//! the last durable one. Changes in the log are absolute, so replaying it over them, from the damaged
//! snapshot to any later record, gives the rows as of that record. Then the rows of every tenant have
//! to be complete; if they are not, there is no snapshot, and the error names the tenant.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::completeness::Completeness;
use super::file::{Rows, Snapshot, Writer};
use super::merge::{RowSource, TempFile};
use crate::id::TenantId;
use crate::store::ReadError;
use crate::store::local::dir::DataDir;
use crate::store::local::disk::Disk;
use crate::store::local::key::{split_key, successor};
use crate::store::local::log::frames::{LogError, go_on};
use crate::store::local::log::scan::LastHead;
use crate::store::local::schema::{Part, Schema, rank};
use crate::store::local::tables::memtable::MemtableList;
use crate::store::local::tables::view::TableView;
use crate::store::record::Lsn;
use crate::store::row::{Effect, Op};

/// Rows read at once.
const PAGE: usize = 1024;
/// The file that holds them until the log has reached them.
const FILE: &str = "tables.new";

/// The rows of the memtable and the tables, in a file.
pub struct TableRows {
    file: TempFile,
    /// No row is newer than this record.
    pub through: Lsn,
}

pub struct TableReader {
    pub view: Arc<TableView>,
}

impl TableReader {
    pub fn read(
        &self,
        data: &DataDir,
        schema: &Schema,
        stopped: &dyn Fn() -> bool,
    ) -> Result<TableRows, LogError> {
        let disk = data.disk();
        let file = TempFile::new(disk, data.snapshots().join(FILE));
        let io = LogError::io(file.path());
        let mut writer = Writer::create(disk.as_ref(), file.path(), 0, None).map_err(&io)?;
        let mut tables: Vec<_> = schema.logged().collect();
        tables.sort_by_key(|table| (rank(table), table.id));
        for table in tables {
            let mut from = Vec::new();
            loop {
                go_on(stopped)?;
                let page = self.view.page(table, &from, None, PAGE);
                let page = page.map_err(|error| match error {
                    ReadError::Damaged(damaged) => name_tenant(LogError::Row(damaged)),
                    ReadError::Tables(_) | ReadError::Rebuilding | ReadError::Closed => {
                        LogError::Tables(error.to_string())
                    }
                })?;
                let Some((last, _)) = page.last() else {
                    break;
                };
                from = successor(last);
                for (key, envelope) in page {
                    let (tenant, key) = split_key(&key).unwrap_or((TenantId::ZERO, &key));
                    let row = Op::new(tenant, table, key.to_vec(), Effect::Put(envelope.into()));
                    writer.push(&row).map_err(&io)?;
                }
            }
        }
        writer.finish().map_err(&io)?;
        drop(io);
        // The memtable shows a record before it is counted as durable.
        let through = self.view.memtable.read(MemtableList::through).lsn;
        Ok(TableRows { file, through })
    }
}

impl TableRows {
    pub fn source<'a>(&self, disk: &Arc<dyn Disk>, schema: &'a Schema) -> RowSource<'a> {
        let path = self.file.path().to_owned();
        Box::new(Rows::new(disk, schema, path, Part::Whole))
    }
}

/// Checks that a snapshot that was built from them has all rows of all tenants, and the heads that the
/// log has.
pub fn check(
    (disk, schema): (&Arc<dyn Disk>, &Schema),
    damaged: &Snapshot,
    built: &Snapshot,
    heads: &HashMap<TenantId, LastHead>,
    changed: &HashMap<TenantId, LastHead>,
) -> Result<(), LogError> {
    let mut tenants: BTreeMap<TenantId, Completeness> = BTreeMap::new();
    for row in built.rows(disk, schema, Part::Whole) {
        let row = row?;
        tenants.entry(row.tenant).or_default().add(&row)?;
    }
    let incomplete = tenants.iter().find(|(_, rows)| !rows.is_complete());
    // Its front may be damaged too.
    let known = damaged.heads(disk, schema).unwrap_or_default();
    let missing = known.keys().find(|tenant| !heads.contains_key(tenant));
    let stale = changed.iter().find(|(tenant, head)| {
        let built = heads.get(tenant);
        built.is_none_or(|built| built.envelope != head.envelope)
    });
    let tenant = incomplete.map(|(tenant, _)| tenant);
    let tenant = tenant.or(missing).or(stale.map(|(tenant, _)| tenant));
    tenant.map_or(Ok(()), |tenant| {
        Err(LogError::Incomplete { tenant: *tenant })
    })
}

/// Turns a damaged row into the tenant that has to be repaired.
pub fn name_tenant(error: LogError) -> LogError {
    if let LogError::Row(damaged) = error {
        let tenant = damaged.tenant;
        return LogError::Incomplete { tenant };
    }
    error
}
