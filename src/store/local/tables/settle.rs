//! Tables at a start: those of the last stop, brought to the end of the log, or new ones.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::rebuild::{self, Origin};
use super::replay::{self, CatchUpError};
use super::stamp::Stamp;
use super::{TableError, Tables};
use crate::store::local::Env;
use crate::store::local::dir::{DataDir, Marker, TABLES, TablesState};
use crate::store::local::log::scan::Scan;
use crate::store::local::log::segment::Wal;
use crate::store::local::schema::Schema;
use crate::store::record::Lsn;
use crate::store::{OpenError, StoreConfig};

/// Tables that can be claimed from and written to.
pub struct Settled {
    pub tables: Box<dyn Tables>,
    /// The last record that did not have to be read in the log again.
    pub known: Lsn,
    /// The tables were there, and had to be replaced.
    pub replaced: bool,
    /// Rows that no claim needs are still to come.
    pub rebuilding: bool,
}

/// A start's tables, and what they are made from.
pub struct Settle<'a> {
    pub config: &'a StoreConfig,
    pub data: &'a DataDir,
    pub schema: &'a Schema,
    pub env: &'a Env,
    pub wal: &'a Wal,
    pub scan: &'a Scan,
    pub origin: &'a Origin,
    pub boot_epoch: u32,
}

impl Settle<'_> {
    /// Opens the tables and brings them to the end of the log; builds them anew if they are missing
    /// or not what the log says.
    pub fn run(&self) -> Result<Settled, OpenError> {
        let found = self.data.tables_state().map_err(self.io())?;
        match found {
            TablesState::Missing => {}
            // Why they are of no use is known, and the disk may be full of them.
            TablesState::Doubtful | TablesState::Rebuilding => {
                tracing::warn!(
                    "a write to the tables failed, or they were not finished: they are built anew"
                );
                self.remove_tables().map_err(self.io())?;
            }
            TablesState::Present => match self.catch_up() {
                Ok(tables) => {
                    return Ok(Settled {
                        tables,
                        known: self.scan.applied,
                        replaced: false,
                        rebuilding: false,
                    });
                }
                Err(CatchUpError::Refuse(error)) => return Err(error),
                Err(CatchUpError::Rebuild(why)) => {
                    tracing::warn!(why, "the tables are built anew from the log");
                    let name = format!("{TABLES}-{}", self.boot_epoch);
                    self.data
                        .move_to_quarantine(&self.data.tables(), &name)
                        .map_err(self.io())?;
                }
            },
        }
        let (tables, known) = self.build()?;
        let rebuilding = self.scan.through.lsn > Lsn::ZERO;
        if !rebuilding {
            self.data.unmark(Marker::Rebuilding).map_err(self.io())?;
        }
        Ok(Settled {
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
            replay::catch_up(self.wal, self.scan, self.schema, tables.as_ref())
        }));
        let panicked = |_| Err(CatchUpError::Rebuild(TableError::Panicked.to_string()));
        caught_up.unwrap_or_else(panicked).map(|()| tables)
    }

    /// New tables with what tenants cannot do without.
    fn build(&self) -> Result<(Box<dyn Tables>, Lsn), OpenError> {
        // In this order: one of the two is there as long as the tables are not whole.
        self.data.mark(Marker::Rebuilding).map_err(self.io())?;
        self.data.unmark(Marker::Doubtful).map_err(self.io())?;
        let built = self.fill();
        if built.is_err() {
            // Half-built tables must not keep the room that the next start needs.
            let _ = self.remove_tables();
        }
        built
    }

    fn fill(&self) -> Result<(Box<dyn Tables>, Lsn), OpenError> {
        let tables = self.open()?;
        let known = rebuild::front(
            self.origin,
            self.wal,
            self.schema,
            self.data,
            tables.as_ref(),
        )?;
        replay::check_heads(self.scan, tables.as_ref())?;
        let applied = self.scan.through.lsn;
        Stamp {
            applied,
            whole: false,
        }
        .write(tables.as_ref())?;
        tables.sync()?;
        Ok((tables, known))
    }

    fn remove_tables(&self) -> std::io::Result<()> {
        self.data.disk().remove(&self.data.tables())
    }

    fn open(&self) -> Result<Box<dyn Tables>, TableError> {
        let dir = self.data.tables();
        (self.env.open_tables)(&dir, self.schema, self.config.table_cache_bytes)
    }

    fn io(&self) -> impl Fn(std::io::Error) -> OpenError {
        |error| OpenError::io(self.data.path(), error)
    }
}
