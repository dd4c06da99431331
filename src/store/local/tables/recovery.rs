//! The tables at a start: caught up with the log, or rebuilt.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::rebuild::Rebuild;
use super::replay::{self, CatchUpError};
use super::stamp::TableStamp;
use super::{TableError, Tables};
use crate::store::OpenError;
use crate::store::local::dir::{Marker, TABLES, TablesState};
use crate::store::local::env::Env;
use crate::store::local::log::scan::Scan;
use crate::store::local::schema::Part;
use crate::store::record::Lsn;

pub struct RecoveredTables {
    pub tables: Box<dyn Tables>,
    /// The last record that did not have to be replayed.
    pub known: Lsn,
    /// Existing tables were replaced.
    pub replaced: bool,
    /// Rows that no claim needs are still missing.
    pub rebuilding: bool,
}

/// The recovery of the tables at a start.
pub struct TableRecovery<'a> {
    pub env: &'a Env,
    pub cache_bytes: u64,
    pub scan: &'a Scan,
    pub rebuild: &'a Rebuild,
    pub boot_epoch: u32,
}

impl TableRecovery<'_> {
    /// Opens the tables and replays the log to its end; rebuilds them if they are missing or not what
    /// the log says.
    pub fn run(&self) -> Result<RecoveredTables, OpenError> {
        let data = &self.rebuild.data;
        let found = data.tables_state().map_err(self.io())?;
        match found {
            TablesState::Missing => {}
            // Not worth a quarantine: the cause is known, and the disk may be full of them.
            TablesState::Doubtful | TablesState::Rebuilding => {
                tracing::warn!(
                    "a write to the tables failed or a rebuild did not finish: rebuilding them"
                );
                self.remove_tables().map_err(self.io())?;
            }
            TablesState::Present => match self.catch_up() {
                Ok(tables) => {
                    return Ok(RecoveredTables {
                        tables,
                        known: self.scan.applied,
                        replaced: false,
                        rebuilding: false,
                    });
                }
                Err(CatchUpError::Refuse(error)) => return Err(error),
                Err(CatchUpError::Rebuild(why)) => {
                    tracing::warn!(why, "rebuilding the tables from the log");
                    let name = format!("{TABLES}-{}", self.boot_epoch);
                    data.move_to_quarantine(&data.tables(), &name)
                        .map_err(self.io())?;
                }
            },
        }
        let (tables, known) = self.build()?;
        let rebuilding = self.scan.through.lsn > Lsn::ZERO;
        if !rebuilding {
            data.unmark(Marker::Rebuilding).map_err(self.io())?;
        }
        Ok(RecoveredTables {
            tables,
            known,
            replaced: found != TablesState::Missing,
            rebuilding,
        })
    }

    fn catch_up(&self) -> Result<Box<dyn Tables>, CatchUpError> {
        let tables = self
            .open()
            .map_err(|error| CatchUpError::Rebuild(error.to_string()))?;
        // sled panics on some of what it does not understand.
        let caught_up = catch_unwind(AssertUnwindSafe(|| {
            let Rebuild { wal, schema, .. } = self.rebuild;
            replay::catch_up(wal, self.scan, schema, tables.as_ref())
        }));
        let panicked = |_| Err(CatchUpError::Rebuild(TableError::Panicked.to_string()));
        caught_up.unwrap_or_else(panicked).map(|()| tables)
    }

    /// Builds tables with what tenants cannot be loaded without.
    fn build(&self) -> Result<(Box<dyn Tables>, Lsn), OpenError> {
        // In this order: one of the two is there as long as the tables are not whole.
        let data = &self.rebuild.data;
        data.mark(Marker::Rebuilding).map_err(self.io())?;
        data.unmark(Marker::Doubtful).map_err(self.io())?;
        let built = self.fill();
        if built.is_err() {
            // Half-built tables must not keep the room that the next start needs.
            let _ = self.remove_tables();
        }
        built
    }

    fn fill(&self) -> Result<(Box<dyn Tables>, Lsn), OpenError> {
        let tables = self.open()?;
        let known = self.rebuild.fill(Part::Front, tables.as_ref())?;
        replay::check_heads(self.scan, tables.as_ref())?;
        let applied = self.scan.through.lsn;
        TableStamp {
            applied,
            whole: false,
        }
        .write(tables.as_ref())?;
        tables.sync()?;
        Ok((tables, known))
    }

    fn remove_tables(&self) -> std::io::Result<()> {
        self.rebuild.data.disk().remove(&self.rebuild.data.tables())
    }

    fn open(&self) -> Result<Box<dyn Tables>, TableError> {
        let Rebuild { data, schema, .. } = self.rebuild;
        (self.env.open_tables)(&data.tables(), schema, self.cache_bytes)
    }

    fn io(&self) -> impl Fn(std::io::Error) -> OpenError {
        |error| OpenError::io(self.rebuild.data.path(), error)
    }
}
