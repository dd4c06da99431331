//! One tenant's rows in the tables, rebuilt from the log, and from a backup where the log does not
//! suffice. Other tenants' rows are not touched.
//!
//! Two passes over the same changes: the first compares their totals with the tenant's last head, the
//! second writes them. During the second the tables are marked as doubtful, so that a crash ends in a
//! rebuild and not in half a tenant.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use thiserror::Error;

use super::Progress;
use super::readonly::{ReadOnly, Visit};
use crate::id::{Sequence, TenantId};
use crate::store::head::Head;
use crate::store::ledger::Ledger;
use crate::store::local::dir::{DataDir, Marker, TablesState};
use crate::store::local::env::Env;
use crate::store::local::key::{full_key, tenant_end};
use crate::store::local::schema::Schema;
use crate::store::local::tables::layout::Layout;
use crate::store::local::tables::memtable::Memtable;
use crate::store::local::tables::replay;
use crate::store::local::tables::{TableError, Tables};
use crate::store::row::{EnvelopeError, Op};
use crate::store::table::{ENTRIES, TableSpec};
use crate::store::{OpenError, ReadError, StoreConfig};

/// Bytes written to the tables at once.
const BATCH_BYTES: usize = 8 << 20;
/// Keys removed at once.
const BATCH_KEYS: usize = 1024;

/// A repair of one tenant. The store does not know how an audit log is hashed.
#[derive(Debug, Clone, Copy)]
pub struct Repair<'a> {
    pub tenant: TenantId,
    /// A backup, for what the log no longer has.
    pub from: Option<&'a Path>,
    /// The hash of an entry.
    pub leaf: fn(&[u8]) -> [u8; 32],
    /// The root over the hashes of a log's entries.
    pub root: fn(&[[u8; 32]]) -> [u8; 32],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairReport {
    /// A backup was not needed.
    pub log_sufficed: bool,
    pub sequence: Sequence,
    pub hot_rows: u64,
    pub entries: u64,
    /// Otherwise there were no usable tables, and the next start builds them from the log.
    pub replaced: bool,
}

/// Nothing was changed.
#[derive(Debug, Error)]
pub enum RepairError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("no such tenant: {0}")]
    NoTenant(TenantId),
    #[error(
        "no usable tables, and the log does not suffice to build them: restore the backup into another \
         directory"
    )]
    NoTables,
    #[error("the rows of tenant {tenant} do not match its last head: {why}")]
    Differs { tenant: TenantId, why: String },
}

impl Repair<'_> {
    /// Fails if a process has the data directory open.
    ///
    /// # Panics
    /// If two tables of the schema share an id or a name.
    pub fn run(
        &self,
        config: &StoreConfig,
        schema: &'static [TableSpec],
        progress: Progress<'_>,
    ) -> Result<RepairReport, RepairError> {
        self.run_with(config, Schema::new(schema), &Env::real(), progress)
    }

    pub(super) fn run_with(
        &self,
        config: &StoreConfig,
        schema: Schema,
        env: &Env,
        progress: Progress<'_>,
    ) -> Result<RepairReport, RepairError> {
        let data = &config.data;
        let dir = DataDir::real(data);
        let lock = dir.lock()?;
        let live = ReadOnly::open_locked(&dir, schema.clone(), Some(lock))?;
        let head = live.heads().find(|(tenant, _)| *tenant == self.tenant);
        let (_, head) = head.ok_or(RepairError::NoTenant(self.tenant))?;

        let difference = match self.totals(&[RowOrigin::All(&live)], progress) {
            Ok(alone) => self.difference(&alone, &head),
            // The log could be opened, so this is a snapshot: what it held may be in the backup.
            Err(error @ OpenError::Damaged { .. }) if self.from.is_some() => {
                Some(error.to_string())
            }
            Err(error) => return Err(error.into()),
        };
        let backup = match (&difference, self.from) {
            (Some(_), Some(from)) => Some(ReadOnly::open_with(from, schema.clone())?),
            (Some(_), None) | (None, _) => None,
        };
        // Then the directory's own snapshot does not count.
        let sources = match &backup {
            Some(backup) => vec![RowOrigin::All(backup), RowOrigin::Log(&live)],
            None => vec![RowOrigin::All(&live)],
        };
        if let Some(why) = difference {
            let why = match &backup {
                Some(_) => self.difference(&self.totals(&sources, progress)?, &head),
                None => Some(format!("{why}; a backup was not given")),
            };
            if let Some(why) = why {
                let tenant = self.tenant;
                return Err(RepairError::Differs { tenant, why });
            }
        }
        let replaced = self.replace(&sources, config, &schema, env, progress)?;
        if !replaced && backup.is_some() {
            return Err(RepairError::NoTables);
        }
        Ok(RepairReport {
            log_sufficed: backup.is_none(),
            sequence: head.sequence,
            hot_rows: head.hot_rows,
            entries: head.sequence.get() - head.log_base.get() + 1,
            replaced,
        })
    }

    /// The totals of the tenant's rows in these directories, the later over the earlier.
    fn totals(
        &self,
        sources: &[RowOrigin<'_>],
        progress: Progress<'_>,
    ) -> Result<RowTotals, OpenError> {
        let mut totals = RowTotals::default();
        for source in sources {
            // The first of a directory must follow the last of the one before it.
            let mut first = true;
            source.walk(progress, &mut |op| {
                if op.tenant == self.tenant {
                    totals.add(op, self.leaf, &mut first)?;
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(totals)
    }

    /// How they differ from the head.
    fn difference(&self, totals: &RowTotals, head: &Head) -> Option<String> {
        if let Some((last, next)) = totals.gap {
            let (from, through) = (last.map_or(0, |last| last.get() + 1), next.get());
            let through = through.saturating_sub(1);
            return Some(format!("entries {from} to {through} are missing"));
        }
        let (rows, hash) = (totals.ledger.count(), totals.ledger.hash());
        if rows != head.hot_rows {
            return Some(format!("{rows} hot rows, not {}", head.hot_rows));
        }
        if hash != head.hot_hash {
            return Some("as many hot rows, but others".to_owned());
        }
        let log = totals.leaves.range(head.log_base..=head.sequence);
        let leaves: Vec<_> = log.map(|(_, leaf)| *leaf).collect();
        let entries = head.sequence.get() - head.log_base.get() + 1;
        if u64::try_from(leaves.len()).ok() != Some(entries) {
            return Some(format!("{} entries, not {entries}", leaves.len()));
        }
        ((self.root)(&leaves) != head.root).then(|| "another root over its entries".to_owned())
    }

    /// Writes the rows to the tables; `false` if there are no usable ones.
    fn replace(
        &self,
        sources: &[RowOrigin<'_>],
        config: &StoreConfig,
        schema: &Schema,
        env: &Env,
        progress: Progress<'_>,
    ) -> Result<bool, OpenError> {
        let data = DataDir::new(env.disk.clone(), &config.data);
        let io = |error| OpenError::io(data.path(), error);
        if data.tables_state().map_err(io)? != TablesState::Present {
            return Ok(false);
        }
        data.mark(Marker::Doubtful).map_err(io)?;
        let write = || -> Result<(), ReplaceError> {
            let tables = (env.open_tables)(&data.tables(), schema, config.table_cache_bytes)?;
            self.clear(tables.as_ref(), schema)?;
            self.write(sources, tables.as_ref(), progress)?;
            Ok(tables.sync()?)
        };
        // sled panics on some of what it does not understand.
        match catch_unwind(AssertUnwindSafe(write)) {
            Ok(Ok(())) => {}
            Ok(Err(ReplaceError::Log(error))) => return Err(error),
            Ok(Err(ReplaceError::Tables(why))) => {
                tracing::warn!(why, "the tables cannot be used");
                return Ok(false);
            }
            Err(_) => {
                tracing::warn!("sled panicked: the tables cannot be used");
                return Ok(false);
            }
        }
        data.unmark(Marker::Doubtful).map_err(io)?;
        Ok(true)
    }

    /// Removes all rows of the tenant, even unreadable ones.
    fn clear(&self, tables: &dyn Tables, schema: &Schema) -> Result<(), TableError> {
        let (from, to) = (full_key(self.tenant, &[]), tenant_end(self.tenant));
        for table in schema.all() {
            loop {
                let keys = tables
                    .range(table, &from, to.as_deref())
                    .take(BATCH_KEYS)
                    .map(|pair| Ok(pair?.0))
                    .collect::<Result<Vec<_>, TableError>>()?;
                if keys.is_empty() {
                    break;
                }
                for key in &keys {
                    tables.write(table, key, None)?;
                }
            }
        }
        Ok(())
    }

    fn write(
        &self,
        sources: &[RowOrigin<'_>],
        tables: &dyn Tables,
        progress: Progress<'_>,
    ) -> Result<(), ReplaceError> {
        let layout = Layout(tables);
        let mut batch = Memtable::default();
        for source in sources {
            let mut stopped = None;
            source.walk(progress, &mut |op| {
                if op.tenant != self.tenant {
                    return Ok(ControlFlow::Continue(()));
                }
                batch.absorb([op.clone()]);
                if batch.bytes() > BATCH_BYTES {
                    let applied = replay::apply(layout, &std::mem::take(&mut batch));
                    stopped = applied.err();
                }
                Ok(match stopped {
                    Some(_) => ControlFlow::Break(()),
                    None => ControlFlow::Continue(()),
                })
            })?;
            if let Some(error) = stopped {
                return Err(error.into());
            }
        }
        Ok(replay::apply(layout, &batch)?)
    }
}

/// Why the rows were not replaced.
enum ReplaceError {
    Tables(String),
    Log(OpenError),
}

impl From<TableError> for ReplaceError {
    fn from(error: TableError) -> Self {
        Self::Tables(error.to_string())
    }
}

impl From<ReadError> for ReplaceError {
    fn from(error: ReadError) -> Self {
        Self::Tables(error.to_string())
    }
}

impl From<OpenError> for ReplaceError {
    fn from(error: OpenError) -> Self {
        Self::Log(error)
    }
}

#[derive(Clone, Copy)]
enum RowOrigin<'a> {
    All(&'a ReadOnly),
    /// The log without snapshots.
    Log(&'a ReadOnly),
}

impl RowOrigin<'_> {
    fn walk(self, progress: Progress<'_>, visit: Visit<'_>) -> Result<(), OpenError> {
        match self {
            Self::All(seen) => seen.walk(progress, visit),
            Self::Log(seen) => seen.walk_log(progress, visit),
        }
    }
}

/// The totals of a tenant's rows.
#[derive(Default)]
struct RowTotals {
    ledger: Ledger,
    leaves: BTreeMap<Sequence, [u8; 32]>,
    /// The entries before and after some that are missing.
    gap: Option<(Option<Sequence>, Sequence)>,
}

impl RowTotals {
    fn add(
        &mut self,
        op: &Op<'_>,
        leaf: fn(&[u8]) -> [u8; 32],
        first: &mut bool,
    ) -> Result<(), EnvelopeError> {
        self.ledger.fold(op);
        if let Some(stored) = op.stored()?
            && op.table.id == ENTRIES.id
            && let Ok(key) = <[u8; 8]>::try_from(&*op.key)
        {
            let sequence = Sequence::new(u64::from_be_bytes(key));
            let last = self.leaves.keys().next_back().copied();
            let follows = last.is_none_or(|last| sequence <= last.next());
            if std::mem::take(first) && !follows {
                self.gap = self.gap.or(Some((last, sequence)));
            }
            self.leaves.insert(sequence, leaf(&stored.payload));
        }
        Ok(())
    }
}
