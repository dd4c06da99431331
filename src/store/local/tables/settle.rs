//! Tables at a start: those of the last stop, brought to the end of the log, or new ones.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::rebuild::{self, Origin};
use super::replay::{self, CatchUpError};
use super::stamp::Stamp;
use super::{TableError, Tables};
use crate::store::local::Env;
use crate::store::local::log::scan::Scan;
use crate::store::local::log::segment::Wal;
use crate::store::local::recover::{QUARANTINE, quarantine};
use crate::store::local::schema::Schema;
use crate::store::record::Lsn;
use crate::store::{OpenError, StoreConfig};

pub const TABLES: &str = "tables";
/// Present if a write to the tables failed, or is under way while they are repaired: they are built
/// anew at the next start.
pub const DOUBTFUL: &str = "tables.doubtful";
/// Present while rows of a rebuild are missing in the tables: a start that finds it begins again.
pub const REBUILDING: &str = "tables.rebuilding";

/// What the tables are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TablesAre {
    /// There.
    Present,
    /// Not there: the next start builds them.
    Missing,
    /// A write to them failed: the next start builds them anew.
    Doubtful,
    /// Rows were still on their way to them: the next start builds them anew.
    Unfinished,
}

impl TablesAre {
    /// As the names in a data directory tell.
    pub(in crate::store::local) fn among(names: &[String]) -> Self {
        let is_there = |name| names.iter().any(|there| there == name);
        if !is_there(TABLES) {
            Self::Missing
        } else if is_there(DOUBTFUL) {
            Self::Doubtful
        } else if is_there(REBUILDING) {
            Self::Unfinished
        } else {
            Self::Present
        }
    }
}

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

/// Notes that the tables are not to be trusted at the next start.
pub fn doubt_tables(env: &Env, data: &Path) -> std::io::Result<()> {
    mark(env, data, DOUBTFUL)
}

/// Notes that no row is missing in the tables any more.
pub(super) fn unmark_rebuilding(env: &Env, data: &Path) -> std::io::Result<()> {
    env.disk.remove(&data.join(REBUILDING))?;
    env.disk.sync_dir(data)
}

fn mark(env: &Env, data: &Path, name: &str) -> std::io::Result<()> {
    env.disk.create(&data.join(name), &[], 0)?;
    env.disk.sync_dir(data)
}

/// A start's tables, and what they are made from.
pub struct Settle<'a> {
    pub config: &'a StoreConfig,
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
        let names = self.env.disk.list(&self.config.data);
        let names = names.map_err(self.io("."))?;
        let found = TablesAre::among(&names);
        match found {
            TablesAre::Missing => {}
            // Why they are of no use is known, and the disk may be full of them.
            TablesAre::Doubtful | TablesAre::Unfinished => {
                tracing::warn!(
                    "a write to the tables failed, or they were not finished: they are built anew"
                );
                self.remove(TABLES)?;
            }
            TablesAre::Present => match self.catch_up() {
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
                    self.set_aside()?;
                }
            },
        }
        let (tables, known) = self.build()?;
        let rebuilding = self.scan.through.lsn > Lsn::ZERO;
        if !rebuilding {
            unmark_rebuilding(self.env, &self.config.data).map_err(self.io(REBUILDING))?;
        }
        Ok(Settled {
            tables,
            known,
            replaced: found != TablesAre::Missing,
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
        let data = &self.config.data;
        mark(self.env, data, REBUILDING).map_err(self.io(REBUILDING))?;
        self.remove(DOUBTFUL)?;
        let built = self.fill();
        if built.is_err() {
            // Half-built tables must not keep the room that the next start needs.
            let _ = self.env.disk.remove(&data.join(TABLES));
        }
        built
    }

    fn fill(&self) -> Result<(Box<dyn Tables>, Lsn), OpenError> {
        let tables = self.open()?;
        let known = rebuild::front(
            self.origin,
            self.wal,
            self.schema,
            &self.config.data,
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

    /// Puts tables that may be of interest to somebody where nobody opens them.
    fn set_aside(&self) -> Result<(), OpenError> {
        let disk = &self.env.disk;
        let data = &self.config.data;
        let moved = quarantine(disk.as_ref(), data).and_then(|dir| {
            let aside = dir.join(format!("{TABLES}-{}", self.boot_epoch));
            disk.rename(&self.at(TABLES), &aside)?;
            disk.sync_dir(&dir)?;
            disk.sync_dir(data)
        });
        moved.map_err(self.io(QUARANTINE))
    }

    fn remove(&self, name: &str) -> Result<(), OpenError> {
        self.env.disk.remove(&self.at(name)).map_err(self.io(name))
    }

    fn open(&self) -> Result<Box<dyn Tables>, TableError> {
        (self.env.open_tables)(&self.at(TABLES), self.schema, self.config.table_cache_bytes)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.config.data.join(name)
    }

    fn io(&self, name: &str) -> impl Fn(std::io::Error) -> OpenError {
        let path = self.at(name);
        move |error| OpenError::io(&path, error)
    }
}
