//! A log that a start refuses, made into one that opens: everything before the damage, and behind it
//! every record whose tenant has no gap.
//!
//! Never automatic. It is planned first, which changes nothing and says what will be lost; nothing is
//! deleted, and everything that is replaced lies in `quarantine/salvage-<n>/` before. A crash leaves
//! a log that is refused as before, or one that is whole: segments are replaced one by one, each new
//! one continues the one before it, and an old one behind a new one does not.

mod walk;
mod write;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use self::walk::{Walk, ahead};
use self::write::Writer;
use super::Progress;
use super::fragments::Ground;
use crate::id::{Sequence, TenantId};
use crate::store::local::Env;
use crate::store::local::dir::{
    DataDir, MANIFEST, QUARANTINE, SALVAGE, SNAPSHOTS, TABLES, WAL, segment_name,
};
use crate::store::local::disk::len_u64;
use crate::store::local::log::frame::{Kind, Tail};
use crate::store::local::log::segment::Wal;
use crate::store::local::manifest::Manifest;
use crate::store::local::recover;
use crate::store::local::schema::Schema;
use crate::store::record::Record;
use crate::store::{OpenError, StoreConfig, TableSpec};

/// Where the new segments are made, below the salvage's directory.
const MADE: &str = "new";
const REPORT: &str = "report.json";

/// Bytes that are not what was written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The file.
    pub file: PathBuf,
    /// Where in it they begin.
    pub offset: u64,
    /// How many; none where a whole file is missing.
    pub bytes: u64,
    /// What is wrong with them.
    pub why: &'static str,
}

/// What lies between two frames that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Where.
    pub places: Vec<Unreadable>,
    /// How many records were there; `None` if nothing says.
    pub records: Option<u64>,
}

/// What a salvage loses of one tenant, or may lose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The tenant.
    pub tenant: TenantId,
    /// The last sequence that stays; `None` if nothing of it does.
    pub last_kept: Option<Sequence>,
    /// What is readable and has to go, because something before it is missing: from, and through.
    pub dropped: Option<(Sequence, Sequence)>,
    /// The last sequence that the tables knew, where that is more than the log does.
    pub tables_knew: Option<Sequence>,
}

impl Loss {
    /// Whether something is lost for sure; else it may be, as nothing of the tenant is behind the
    /// damage.
    pub fn certain(&self) -> bool {
        self.last_kept.is_none() || self.dropped.is_some() || self.tables_knew.is_some()
    }
}

/// What a salvage finds and does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SalvageReport {
    /// Why a start refuses.
    pub refused: String,
    /// What cannot be read, in the order of the log.
    pub gaps: Vec<Gap>,
    /// How many records stay.
    pub kept: u64,
    /// How many tenants lose nothing.
    pub unharmed: u64,
    /// The others, by their ids.
    pub losses: Vec<Loss>,
    /// Where everything that is replaced is kept.
    pub aside: PathBuf,
}

/// A salvage that was planned. As long as it lives, no start takes the directory.
pub struct Salvage {
    config: StoreConfig,
    data: DataDir,
    schema: Schema,
    env: Env,
    wal: Wal,
    lock: File,
    suspect: Option<(PathBuf, u64)>,
    ground: Ground,
    /// Where the new log begins to differ from the old one, if it does.
    from: Option<Tail>,
    /// The number of the last start.
    started: u32,
    /// That of the new log.
    epoch: u32,
    /// The tables hold rows that the new log does not, or may.
    tables_lie: bool,
    /// The new log has to say that the tables once held what the snapshot covers: a start wants to
    /// read that behind it, and the note that said so is not before the damage.
    note: bool,
    report: SalvageReport,
}

impl Salvage {
    /// Looks at the data directory; `None` if a start would take it as it is. Changes nothing.
    ///
    /// # Panics
    /// If two tables of the schema share an id or a name.
    pub fn plan(
        config: &StoreConfig,
        schema: &'static [TableSpec],
        progress: Progress<'_>,
    ) -> Result<Option<Self>, OpenError> {
        Self::plan_with(config, schema, Env::real(), progress)
    }

    pub(in crate::store::local) fn plan_with(
        config: &StoreConfig,
        schema: &'static [TableSpec],
        env: Env,
        progress: Progress<'_>,
    ) -> Result<Option<Self>, OpenError> {
        let schema = Schema::new(schema);
        let data = DataDir::new(env.disk.clone(), &config.data);
        let wal = Wal::new(&data, config.segment_bytes);
        let lock = data.lock()?;
        let refused = match recover::examine(&data, &wal, &schema) {
            Ok(_) => None,
            Err(error @ OpenError::Damaged { .. }) => Some(error),
            Err(other) => return Err(other),
        };
        let suspect = match &refused {
            Some(OpenError::Damaged { file, offset, .. }) => Some((file.clone(), *offset)),
            _ => None,
        };
        let manifest = match recover::load_manifest(&data) {
            Ok(manifest) => manifest,
            Err(OpenError::Damaged { .. }) => None,
            Err(other) => return Err(other),
        };
        let started = manifest.map_or(0, |manifest| manifest.boot_epoch);

        let numbers = wal.numbers();
        let numbers = numbers.map_err(|error| OpenError::io(&wal.dir, error))?;
        let first = numbers.first().copied();
        let ground = Ground::find(&data, &schema, first, progress)?;
        let mut walk = Walk::new(&wal, &schema, &ground, suspect.clone(), started);
        walk.run(progress, &mut |_| Ok(()))?;
        let note = ground.cover.is_some_and(|cover| walk.noted < cover.lsn);
        if note {
            walk.from.get_or_insert(walk.tail);
        }
        let ahead = ahead(config, &env, &schema, &walk.tenants);
        let refused = match refused {
            Some(error) => error.to_string(),
            None if ahead.is_empty() => return Ok(None),
            None => "the tables hold what is not in the log".to_owned(),
        };
        if !ahead.is_empty() {
            walk.lost_its_end();
        }
        let epoch = started.max(walk.tail.epoch).saturating_add(1);
        let quarantine = data.at(QUARANTINE);
        let taken = env
            .disk
            .list(&quarantine)
            .map_err(|error| OpenError::io(&quarantine, error))?;
        let name = (epoch..)
            .map(|number| format!("salvage-{number}"))
            .find(|name| !taken.contains(name))
            .unwrap_or_default();
        let broken = ground.fragments.as_ref().map(|fragments| &fragments.broken);
        let report = walk.report(refused, &ahead, broken, quarantine.join(name));
        let from = walk.from;
        Ok(Some(Self {
            config: config.clone(),
            data,
            env,
            wal,
            schema,
            lock,
            suspect,
            ground,
            from,
            started,
            epoch,
            tables_lie: from.is_some() || !ahead.is_empty(),
            note,
            report,
        }))
    }

    /// What it will do.
    pub fn report(&self) -> &SalvageReport {
        &self.report
    }

    /// Does it. `report` is kept beside what is replaced, as `report.json`. Afterwards no start takes
    /// the directory until what [`Salvage::unfinished`] tells of is done.
    pub fn execute(self, report: &[u8], progress: Progress<'_>) -> Result<(), OpenError> {
        let (disk, data) = (&self.env.disk, &self.data);
        let aside = &self.report.aside;
        disk.create_dir(aside).map_err(at(aside))?;
        let made = self.make(progress)?;
        // Everything that is replaced, before anything is.
        let old = self.replaced()?;
        let kept = aside.join(WAL);
        disk.create_dir(&kept).map_err(at(&kept))?;
        for number in &old {
            let path = self.wal.path(*number);
            let bytes = disk.read(&path).map_err(at(&path))?;
            let copy = kept.join(segment_name(*number));
            disk.create(&copy, &bytes, len_u64(&bytes))
                .map_err(at(&copy))?;
        }
        disk.sync_dir(&kept).map_err(at(&kept))?;
        for (path, bytes) in [
            (aside.join(REPORT), Some(report.to_vec())),
            (aside.join(MANIFEST), disk.read(&data.at(MANIFEST)).ok()),
        ] {
            if let Some(bytes) = bytes {
                disk.create(&path, &bytes, len_u64(&bytes))
                    .map_err(at(&path))?;
            }
        }
        let quarantine = data.at(QUARANTINE);
        for dir in [aside.as_path(), &quarantine, data.path()] {
            disk.sync_dir(dir).map_err(at(dir))?;
        }
        let mut unfinished = unfinished(data)?.unwrap_or_default();
        unfinished.extend(self.report.losses.iter().map(|loss| loss.tenant));
        let list: String = unfinished.iter().map(|id| format!("{id}\n")).collect();
        let path = data.at(SALVAGE);
        disk.create(&path, list.as_bytes(), len_u64(list.as_bytes()))
            .and_then(|_| disk.sync_dir(data.path()))
            .map_err(at(&path))?;
        // Never the new log with such tables.
        let names = disk.list(data.path()).map_err(at(data.path()))?;
        if self.tables_lie && names.iter().any(|name| name == TABLES) {
            let (from, to) = (data.tables(), aside.join(TABLES));
            disk.rename(&from, &to).map_err(at(&to))?;
            disk.sync_dir(aside).map_err(at(aside))?;
        }
        self.replace_snapshots(progress)?;
        Manifest {
            boot_epoch: self.epoch,
        }
        .save(data)
        .map_err(at(data.path()))?;
        for number in &made {
            let (from, to) = (
                aside.join(MADE).join(segment_name(*number)),
                self.wal.path(*number),
            );
            disk.rename(&from, &to).map_err(at(&to))?;
            disk.sync_dir(&self.wal.dir).map_err(at(&self.wal.dir))?;
        }
        // In order: as long as one of them is there it does not continue the log.
        for number in old.iter().filter(|number| !made.contains(number)) {
            let path = self.wal.path(*number);
            disk.remove(&path).map_err(at(&path))?;
            disk.sync_dir(&self.wal.dir).map_err(at(&self.wal.dir))?;
        }
        disk.remove(&aside.join(MADE)).map_err(at(aside))?;
        recover::examine(data, &self.wal, &self.schema)?;
        drop(self.lock);
        Ok(())
    }

    /// The tenants that lost something, or may have, in a salvage of this directory, and whose audit
    /// logs have to go on under other names; `None` if there was no salvage, or it was finished.
    pub fn unfinished(data: &Path) -> Result<Option<BTreeSet<TenantId>>, OpenError> {
        unfinished(&DataDir::real(data))
    }

    /// They do go on: starts may take the directory again.
    pub fn finish(data: &Path) -> Result<(), OpenError> {
        let data = DataDir::real(data);
        let path = data.at(SALVAGE);
        data.disk()
            .remove(&path)
            .and_then(|()| data.disk().sync_dir(data.path()))
            .map_err(|error| OpenError::io(&path, error))
    }

    /// Puts snapshots aside that are not whole, and what could be read of one in its place.
    fn replace_snapshots(&self, progress: Progress<'_>) -> Result<(), OpenError> {
        let disk = &self.env.disk;
        let rename = |from: &Path, dir: &Path| {
            let to = dir.join(from.file_name().unwrap_or_default());
            disk.rename(from, &to)
                .and_then(|()| disk.sync_dir(dir))
                .map_err(at(&to))
        };
        if self.from.is_none() || self.ground.useless.is_empty() {
            return Ok(());
        }
        let (dir, aside) = (self.data.snapshots(), self.report.aside.join(SNAPSHOTS));
        let made = self.report.aside.join(MADE);
        let made =
            self.ground.fragments.as_ref().map(|fragments| {
                fragments.write(&self.env, &self.schema, &made, self.epoch, progress)
            });
        let made = made.transpose()?;
        disk.create_dir(&aside).map_err(at(&aside))?;
        for path in &self.ground.useless {
            rename(path, &aside)?;
        }
        made.iter().try_for_each(|made| rename(made, &dir))?;
        disk.sync_dir(&dir).map_err(at(&dir))
    }

    /// The segments there are from the first that differs on.
    fn replaced(&self) -> Result<Vec<u64>, OpenError> {
        let Some(from) = self.from else {
            return Ok(Vec::new());
        };
        let numbers = self.wal.numbers();
        let mut numbers = numbers.map_err(|error| OpenError::io(&self.wal.dir, error))?;
        numbers.retain(|number| *number >= from.segment);
        Ok(numbers)
    }

    /// Makes the new segments and reads them back; their numbers.
    fn make(&self, progress: Progress<'_>) -> Result<Vec<u64>, OpenError> {
        let Some(from) = self.from else {
            return Ok(Vec::new());
        };
        let disk = &self.env.disk;
        let dir = self.report.aside.join(MADE);
        disk.create_dir(&dir)
            .map_err(|error| OpenError::io(&dir, error))?;
        let path = self.wal.path(from.segment);
        let front = match disk.read_at(&path, 0, usize::try_from(from.offset).unwrap_or(usize::MAX))
        {
            Ok(front) => front,
            Err(error) if from.offset == 0 && error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(OpenError::io(&path, error)),
        };
        let tail = Tail {
            epoch: self.epoch,
            ..from
        };
        let segment_bytes = self.config.segment_bytes;
        let mut writer = Writer::new(&self.env, &dir, segment_bytes, tail, front);
        let suspect = self.suspect.clone();
        if let Some(cover) = self.ground.cover.filter(|_| self.note) {
            let mut note = Vec::new();
            Record::checkpoint(cover.lsn, cover.chain).encode(&mut note);
            writer.add(&note)?;
        }
        let (ground, started) = (&self.ground, self.started);
        let mut walk = Walk::new(&self.wal, &self.schema, ground, suspect, started);
        walk.run(progress, &mut |record| writer.add(record))?;
        let (made, end) = writer.end()?;
        self.read_back(from, &made, end)?;
        Ok(made)
    }

    /// What was just written must be what a start reads.
    fn read_back(&self, from: Tail, made: &[u64], end: Tail) -> Result<(), OpenError> {
        let dir = self.report.aside.join(MADE);
        let mut tail = from;
        let mut last = None;
        for number in made {
            if *number != tail.segment {
                tail = tail.next_segment();
            }
            let path = dir.join(segment_name(*number));
            let bytes = self.env.disk.read(&path);
            let bytes = bytes.map_err(|error| OpenError::io(&path, error))?;
            while let Some(rest) = usize::try_from(tail.offset)
                .ok()
                .and_then(|at| bytes.get(at..))
                && let Ok(frame) = tail.accept(rest)
            {
                last = Some(frame.kind);
            }
        }
        if tail == end && last == Some(Kind::Shutdown) {
            return Ok(());
        }
        Err(OpenError::Rebuild {
            why: "the new log was not read back as it was written".to_owned(),
        })
    }
}

impl std::fmt::Debug for Salvage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Salvage").field(&self.report).finish()
    }
}

fn unfinished(data: &DataDir) -> Result<Option<BTreeSet<TenantId>>, OpenError> {
    let path = data.at(SALVAGE);
    let bytes = match data.disk().read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io(&path, error)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let tenants = text.lines().map(TenantId::parse).collect::<Result<_, _>>();
    tenants
        .map(Some)
        .map_err(|_| refused(path, "not a list of tenants"))
}

/// Refuses a directory whose salvage is not finished: its audit logs would sign numbers twice.
pub fn refuse_unfinished(data: &DataDir) -> Result<(), OpenError> {
    match unfinished(data)? {
        None => Ok(()),
        Some(_) => Err(refused(
            data.at(SALVAGE),
            "a salvage was cut short: run `arf repair --salvage` again",
        )),
    }
}

fn refused(file: PathBuf, why: &'static str) -> OpenError {
    OpenError::Damaged {
        file,
        offset: 0,
        last_good: None,
        next_valid: None,
        why,
    }
}

/// What the operating system refused there.
fn at(path: &Path) -> impl Fn(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |error| OpenError::io(&path, error)
}
