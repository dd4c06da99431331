//! What is readable of a data directory that a start refuses, written as a backup: everything before
//! the damage, and behind it every record whose tenant has no gap.
//!
//! The damaged directory is never changed. The backup is an ordinary one, with one snapshot and an empty
//! log, and a restore installs it: every tenant gets a new audit log, so no number is signed twice.
//! `salvage.json` in it says what is lost.

mod base;
mod log;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::base::{Origin, tables_heads};
use self::log::DamagedLog;
use super::Progress;
use super::backup::{Backup, BackupError, BackupWriter};
use super::read_only_disk::read_only;
use crate::id::{Sequence, TenantId};
use crate::store::local::dir::{self, DataDir, SALVAGE_REPORT, TablesState, WAL};
use crate::store::local::disk::{Disk, RealDisk};
use crate::store::local::env::Env;
use crate::store::local::log::frame::{HEADER, Kind};
use crate::store::local::log::frames::DamagedRange;
use crate::store::local::log::segment::Wal;
use crate::store::local::recover;
use crate::store::local::schema::Schema;
use crate::store::local::snapshot;
use crate::store::local::snapshot::merge::Runs;
use crate::store::local::tables::Tables;
use crate::store::record::{LogPrefix, Lsn, Record};
use crate::store::{OpenError, StoreConfig, TableSpec};
use crate::time::Timestamp;

/// The copy of the tables, below the scratch directory.
const TABLES_COPY: &str = "tables";
/// The prefix of the runs' names.
const RUNS: &str = "run";

/// What lies between two frames that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogGap {
    pub places: Vec<DamagedRange>,
    /// How many records were there, if that is known.
    pub records: Option<u64>,
}

/// What is lost of one tenant, or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantLoss {
    pub tenant: TenantId,
    /// The last sequence that stays; `None` if nothing of it does.
    pub last_kept: Option<Sequence>,
    /// What is readable and dropped, because something before it is missing: first and last.
    pub dropped: Option<(Sequence, Sequence)>,
    /// The last sequence that the tables knew, where that is more than the log does.
    pub tables_knew: Option<Sequence>,
}

impl TenantLoss {
    /// Otherwise something may be lost, as no record of the tenant is behind the damage.
    pub fn certain(&self) -> bool {
        self.last_kept.is_none() || self.dropped.is_some() || self.tables_knew.is_some()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SalvageReport {
    /// Why a start refuses.
    pub refused: String,
    /// What cannot be read, in the order of the log.
    pub gaps: Vec<LogGap>,
    /// How many records of the log stay.
    pub kept: u64,
    pub unharmed: u64,
    /// How many tenants' rows come from the tables, because no snapshot has them.
    pub from_tables: u64,
    /// The tenants that lose something, or may, by their ids.
    pub losses: Vec<TenantLoss>,
}

/// A planned salvage; while it lives, no start can take the directory.
pub struct Salvage {
    dir: DataDir,
    schema: Schema,
    wal: Wal,
    origin: Origin,
    tables: Option<Box<dyn Tables>>,
    last_start: u32,
    report: SalvageReport,
    _lock: Option<File>,
}

impl Salvage {
    /// Reads the data directory; `None` if a start takes it as it is. The tables are read in a copy below
    /// `scratch`, which the caller removes afterwards.
    ///
    /// # Panics
    /// If two tables of the schema share an id or a name.
    pub fn plan(
        data: &Path,
        schema: &'static [TableSpec],
        scratch: &Path,
        progress: Progress<'_>,
    ) -> Result<Option<Self>, OpenError> {
        let real = DataDir::real(data);
        let lock = real.lock_shared()?;
        let (dir, schema) = (read_only(&real), Schema::new(schema));
        let wal = Wal::new(&dir, 0);
        let refused = match recover::inspect(&dir, &wal, &schema) {
            Ok(_) => None,
            Err(error @ OpenError::Damaged { .. }) => Some(error.to_string()),
            Err(other) => return Err(other),
        };
        let last_start = match recover::load_manifest(&dir, &schema) {
            Ok(manifest) => manifest.map_or(0, |manifest| manifest.boot_epoch),
            Err(OpenError::Damaged { .. }) => 0,
            Err(other) => return Err(other),
        };
        let tables = open_copy_of_tables(&real, &schema, scratch)?;
        let numbers = wal.numbers();
        let numbers = numbers.map_err(|error| OpenError::io(&wal.dir, error))?;
        let origin = Origin::find(
            &dir,
            &schema,
            numbers.first().copied(),
            tables.as_deref(),
            progress,
        )?;
        let mut salvage = Self {
            dir,
            schema,
            wal,
            origin,
            tables,
            last_start,
            report: SalvageReport::default(),
            _lock: lock,
        };
        let mut log = salvage.log()?;
        log.read(progress, &mut |_| Ok(()))?;
        let ahead = salvage.tables_ahead(&log);
        let lost_snapshots =
            matches!(salvage.origin, Origin::Partial(_)) && salvage.tables.is_none();
        let refused = match refused {
            Some(refused) => refused,
            None if !ahead.is_empty() => "the tables hold what is not in the log".to_owned(),
            None if lost_snapshots => {
                "every snapshot is damaged, and the log before them is gone".to_owned()
            }
            None => return Ok(None),
        };
        if !ahead.is_empty() {
            log.note_lost_end();
        }
        let (none, from_tables) = (BTreeMap::new(), 0);
        let (incomplete, from_tables) = match &salvage.origin {
            Origin::Partial(partial) => (&partial.incomplete, partial.in_tables.len()),
            Origin::Log | Origin::Snapshot(_) => (&none, from_tables),
        };
        let report = log.report(refused, &ahead, incomplete, from_tables);
        drop(log);
        salvage.report = report;
        Ok(Some(salvage))
    }

    pub fn report(&self) -> &SalvageReport {
        &self.report
    }

    /// Writes what survives as a backup to `dir`, with `report` beside it and those of the private files
    /// `secrets` that are there.
    pub fn write(
        &self,
        dir: &Path,
        made_at: Timestamp,
        report: &[u8],
        secrets: &[&str],
        progress: Progress<'_>,
    ) -> Result<Backup, BackupError> {
        let mut backup = BackupWriter::create(dir, self.dir.path(), &|| true)?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let new = DataDir::new(disk.clone(), backup.new_dir().path());
        let mut log = self.log()?;
        let go_on = || false;
        let mut runs = Runs::new(&disk, &self.schema, new.at(RUNS), &go_on);
        log.read(progress, &mut |ops| Ok(runs.add(ops)?))?;

        let epoch = self.last_start.max(log.tail.epoch).saturating_add(1);
        let prefix = LogPrefix {
            lsn: Lsn::new((log.tail.next.get() - 1).max(1)),
            chain: log.tail.chain,
            segment: log.tail.segment,
            epoch,
        };
        let name = format!("{}/{}", dir::SNAPSHOTS, dir::snapshot_name(prefix.lsn));
        progress("writing the backup", 0, 1);
        let sources = self
            .origin
            .sources(self.dir.disk(), &self.schema, self.tables.as_deref());
        let rows = runs.merge_onto(sources).map_err(OpenError::from)?;
        let (_, heads) = snapshot::write(
            (&disk, &self.schema, &go_on),
            &new.at(&name),
            (epoch, prefix),
            rows,
        )
        .map_err(OpenError::from)?;
        let expected = log.tenants.iter();
        let expected: HashMap<_, _> = expected
            .filter_map(|(tenant, state)| Some((*tenant, state.last?)))
            .collect();
        let heads: HashMap<_, _> = heads
            .into_iter()
            .map(|(tenant, head)| (tenant, head.sequence))
            .collect();
        if heads != expected {
            return Err(OpenError::Rebuild {
                why: "what was written is not what was planned".to_owned(),
            }
            .into());
        }
        backup.add(&name)?;

        // A start requires the log to say that the tables held what the snapshot stands for.
        let mut tail = prefix.tail();
        let (segment, mut frame) = (tail.segment, vec![0; HEADER]);
        Record::checkpoint(prefix.lsn, prefix.chain).encode(&mut frame);
        tail.finish(Kind::Group, 1, &mut frame);
        backup.write(&format!("{WAL}/{}", dir::segment_name(segment)), &frame)?;
        backup.write(SALVAGE_REPORT, report)?;
        for secret in secrets {
            let path = self.dir.at(secret);
            if path.exists() {
                let len = self.dir.disk().len(&path).map_err(BackupError::io(&path))?;
                backup.copy(&self.dir, secret, len, &mut |_| {})?;
            }
        }
        backup.finish(made_at, (tail, false), &self.schema, progress)
    }

    fn log(&self) -> Result<DamagedLog<'_>, OpenError> {
        let tenants = self.origin.tenants(self.dir.disk(), &self.schema)?;
        let damaged = match &self.origin {
            Origin::Partial(partial) => Some(partial.damaged.as_slice()),
            Origin::Log | Origin::Snapshot(_) => None,
        };
        Ok(DamagedLog::new(
            &self.wal,
            &self.schema,
            self.origin.prefix(),
            tenants,
            damaged,
            self.last_start,
        ))
    }

    /// The tenants that the tables know more of than the log: rows come to the tables after their
    /// record is synced, so the log had it.
    fn tables_ahead(&self, log: &DamagedLog<'_>) -> HashMap<TenantId, Sequence> {
        let known = self.tables.as_deref().and_then(tables_heads);
        let mut known = known.unwrap_or_default();
        known.retain(|tenant, known| {
            let last = log.tenants.get(tenant).and_then(|state| state.last);
            last.is_none_or(|last| last < *known)
        });
        known
    }
}

impl std::fmt::Debug for Salvage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Salvage").field(&self.report).finish()
    }
}

/// Opens a copy of the tables, because sled writes to what it opens; `None` if a start would not use
/// them or they cannot be opened.
fn open_copy_of_tables(
    data: &DataDir,
    schema: &Schema,
    scratch: &Path,
) -> Result<Option<Box<dyn Tables>>, OpenError> {
    let io = |error| OpenError::io(&data.tables(), error);
    if data.tables_state().map_err(io)? != TablesState::Present {
        return Ok(None);
    }
    let copy = scratch.join(TABLES_COPY);
    if copy_dir(&data.tables(), &copy).is_err() {
        return Ok(None);
    }
    let cache_bytes = StoreConfig::new(data.path()).table_cache_bytes;
    Ok((Env::real().open_tables)(&copy, schema, cache_bytes).ok())
}

fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, copy): (PathBuf, PathBuf) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_dir(&path, &copy)?;
        } else {
            std::fs::copy(&path, &copy)?;
        }
    }
    Ok(())
}
