//! A log that a start refuses, made into one that opens: everything before the damage, and behind it
//! every record whose tenant has no gap.
//!
//! Never automatic. It is planned first, which changes nothing and says what will be lost; nothing is
//! deleted, and everything that is replaced lies in `quarantine/salvage-<n>/` before. A crash leaves
//! a log that is refused as before, or one that is whole: segments are replaced one by one, each new
//! one continues the one before it, and an old one behind a new one does not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::fragments::Ground;
use super::readonly::Told;
use crate::id::{Sequence, TenantId};
use crate::store::cursor::Cursor;
use crate::store::local::Seams;
use crate::store::local::disk::{Disk, RealDisk, all_zero, len_u64};
use crate::store::local::log::frame::{Flaw, Frame, HEADER, Kind, Tail, find_frame};
use crate::store::local::log::scan::open_head;
use crate::store::local::log::segment::Wal;
use crate::store::local::manifest::Manifest;
use crate::store::local::recover::{self, QUARANTINE, WAL};
use crate::store::local::schema::Schema;
use crate::store::local::snapshot;
use crate::store::local::tables::layout::Layout;
use crate::store::local::tables::replay;
use crate::store::local::tables::settle::{DOUBTFUL, REBUILDING, TABLES};
use crate::store::record::{Cover, Logged, LoggedBody, Lsn, Record, next_record};
use crate::store::{OpenError, StoreConfig, TableSpec};

/// A frame of the new log is written when it holds this much.
const FRAME_BYTES: usize = 256 << 10;
const MANIFEST: &str = "MANIFEST";
/// Where the new segments are made, below the salvage's directory.
const MADE: &str = "new";
const REPORT: &str = "report.json";
/// The tenants that lost something, one a line, until their audit logs go on under other names.
pub(super) const UNFINISHED: &str = "salvage.unfinished";

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
    schema: Schema,
    seams: Seams,
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
        told: Told<'_>,
    ) -> Result<Option<Self>, OpenError> {
        Self::plan_with(config, schema, Seams::real(), told)
    }

    pub(in crate::store::local) fn plan_with(
        config: &StoreConfig,
        schema: &'static [TableSpec],
        seams: Seams,
        told: Told<'_>,
    ) -> Result<Option<Self>, OpenError> {
        let schema = Schema::new(schema);
        let data = &config.data;
        let wal = Wal::new(seams.disk.clone(), data.join(WAL), config.segment_bytes);
        let lock = recover::lock(data)?;
        let refused = match recover::examine(data, &wal, &schema) {
            Ok(_) => None,
            Err(error @ OpenError::Damaged { .. }) => Some(error),
            Err(other) => return Err(other),
        };
        let suspect = match &refused {
            Some(OpenError::Damaged { file, offset, .. }) => Some((file.clone(), *offset)),
            _ => None,
        };
        let manifest = match recover::load_manifest(data, seams.disk.as_ref()) {
            Ok(manifest) => manifest,
            Err(OpenError::Damaged { .. }) => None,
            Err(other) => return Err(other),
        };
        let started = manifest.map_or(0, |manifest| manifest.boot_epoch);

        let numbers = wal.numbers();
        let numbers = numbers.map_err(|error| OpenError::io(&wal.dir, error))?;
        let snapshots = data.join(snapshot::DIR);
        let first = numbers.first().copied();
        let ground = Ground::find(&seams.disk, &schema, &snapshots, first, told)?;
        let mut walk = Walk::new(&wal, &schema, &ground, suspect.clone(), started);
        walk.run(told, &mut |_| Ok(()))?;
        let note = ground.cover.is_some_and(|cover| walk.noted < cover.lsn);
        if note {
            walk.from.get_or_insert(walk.tail);
        }
        let ahead = ahead(config, &seams, &schema, &walk.tenants);
        let refused = match refused {
            Some(error) => error.to_string(),
            None if ahead.is_empty() => return Ok(None),
            None => "the tables hold what is not in the log".to_owned(),
        };
        if walk.gaps.is_empty() && !ahead.is_empty() {
            walk.gaps.push(Gap {
                places: Vec::new(),
                records: None,
            });
            walk.lossy += 1;
        }
        let epoch = started.max(walk.tail.epoch).saturating_add(1);
        let quarantine = data.join(QUARANTINE);
        let taken = seams
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
            seams,
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
    pub fn execute(self, report: &[u8], told: Told<'_>) -> Result<(), OpenError> {
        let (disk, data) = (&self.seams.disk, &self.config.data);
        let aside = &self.report.aside;
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| OpenError::io(&path, error)
        };
        disk.create_dir(aside).map_err(io(aside))?;
        let made = self.make(told)?;
        // Everything that is replaced, before anything is.
        let old = self.replaced()?;
        let kept = aside.join(WAL);
        disk.create_dir(&kept).map_err(io(&kept))?;
        for number in &old {
            let path = self.wal.path(*number);
            let bytes = disk.read(&path).map_err(io(&path))?;
            let copy = kept.join(file_name(*number));
            disk.create(&copy, &bytes, len_u64(&bytes))
                .map_err(io(&copy))?;
        }
        disk.sync_dir(&kept).map_err(io(&kept))?;
        for (path, bytes) in [
            (aside.join(REPORT), Some(report.to_vec())),
            (aside.join(MANIFEST), disk.read(&data.join(MANIFEST)).ok()),
        ] {
            if let Some(bytes) = bytes {
                disk.create(&path, &bytes, len_u64(&bytes))
                    .map_err(io(&path))?;
            }
        }
        let quarantine = data.join(QUARANTINE);
        for dir in [aside, &quarantine, data] {
            disk.sync_dir(dir).map_err(io(dir))?;
        }
        let mut unfinished = Self::unfinished(data)?.unwrap_or_default();
        unfinished.extend(self.report.losses.iter().map(|loss| loss.tenant));
        let list: String = unfinished.iter().map(|id| format!("{id}\n")).collect();
        let path = data.join(UNFINISHED);
        disk.create(&path, list.as_bytes(), len_u64(list.as_bytes()))
            .and_then(|_| disk.sync_dir(data))
            .map_err(io(&path))?;
        // Never the new log with such tables.
        let names = disk.list(data).map_err(io(data))?;
        if self.tables_lie && names.iter().any(|name| name == TABLES) {
            let (from, to) = (data.join(TABLES), aside.join(TABLES));
            disk.rename(&from, &to).map_err(io(&to))?;
            disk.sync_dir(aside).map_err(io(aside))?;
        }
        self.replace_snapshots(told)?;
        Manifest {
            boot_epoch: self.epoch,
        }
        .save(disk.as_ref(), data)
        .map_err(io(data))?;
        for number in &made {
            let (from, to) = (
                aside.join(MADE).join(file_name(*number)),
                self.wal.path(*number),
            );
            disk.rename(&from, &to).map_err(io(&to))?;
            disk.sync_dir(&self.wal.dir).map_err(io(&self.wal.dir))?;
        }
        // In order: as long as one of them is there it does not continue the log.
        for number in old.iter().filter(|number| !made.contains(number)) {
            let path = self.wal.path(*number);
            disk.remove(&path).map_err(io(&path))?;
            disk.sync_dir(&self.wal.dir).map_err(io(&self.wal.dir))?;
        }
        disk.remove(&aside.join(MADE)).map_err(io(aside))?;
        recover::examine(data, &self.wal, &self.schema)?;
        drop(self.lock);
        Ok(())
    }

    /// The tenants that lost something, or may have, in a salvage of this directory, and whose audit
    /// logs have to go on under other names; `None` if there was no salvage, or it was finished.
    pub fn unfinished(data: &Path) -> Result<Option<BTreeSet<TenantId>>, OpenError> {
        unfinished(&RealDisk, data)
    }

    /// They do go on: starts may take the directory again.
    pub fn finish(data: &Path) -> Result<(), OpenError> {
        let path = data.join(UNFINISHED);
        RealDisk
            .remove(&path)
            .and_then(|()| RealDisk.sync_dir(data))
            .map_err(|error| OpenError::io(&path, error))
    }

    /// Puts snapshots aside that are not whole, and what could be read of one in its place.
    fn replace_snapshots(&self, told: Told<'_>) -> Result<(), OpenError> {
        let disk = &self.seams.disk;
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| OpenError::io(&path, error)
        };
        let rename = |from: &Path, dir: &Path| {
            let to = dir.join(from.file_name().unwrap_or_default());
            disk.rename(from, &to)
                .and_then(|()| disk.sync_dir(dir))
                .map_err(io(&to))
        };
        if self.from.is_none() || self.ground.useless.is_empty() {
            return Ok(());
        }
        let (dir, aside) = (
            self.config.data.join(snapshot::DIR),
            self.report.aside.join(snapshot::DIR),
        );
        let made = self.report.aside.join(MADE);
        let made =
            self.ground.fragments.as_ref().map(|fragments| {
                fragments.write(&self.seams, &self.schema, &made, self.epoch, told)
            });
        let made = made.transpose()?;
        disk.create_dir(&aside).map_err(io(&aside))?;
        for path in &self.ground.useless {
            rename(path, &aside)?;
        }
        made.iter().try_for_each(|made| rename(made, &dir))?;
        disk.sync_dir(&dir).map_err(io(&dir))
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
    fn make(&self, told: Told<'_>) -> Result<Vec<u64>, OpenError> {
        let Some(from) = self.from else {
            return Ok(Vec::new());
        };
        let disk = &self.seams.disk;
        let dir = self.report.aside.join(MADE);
        disk.create_dir(&dir)
            .map_err(|error| OpenError::io(&dir, error))?;
        let path = self.wal.path(from.segment);
        let front = match disk.read_at(&path, 0, usize::try_from(from.offset).unwrap_or(usize::MAX))
        {
            Ok(front) => front,
            Err(error) if from.offset == 0 && error.kind() == std::io::ErrorKind::NotFound => {
                Vec::new()
            }
            Err(error) => return Err(OpenError::io(&path, error)),
        };
        let mut writer = Writer {
            seams: &self.seams,
            dir: &dir,
            segment_bytes: self.config.segment_bytes,
            tail: Tail {
                epoch: self.epoch,
                ..from
            },
            segment: front,
            frame: vec![0; HEADER],
            count: 0,
            made: Vec::new(),
        };
        let suspect = self.suspect.clone();
        if let Some(cover) = self.ground.cover.filter(|_| self.note) {
            let mut note = Vec::new();
            Record::checkpoint(cover.lsn, cover.chain).encode(&mut note);
            writer.add(&note)?;
        }
        let (ground, started) = (&self.ground, self.started);
        let mut walk = Walk::new(&self.wal, &self.schema, ground, suspect, started);
        walk.run(told, &mut |record| writer.add(record))?;
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
            let path = dir.join(file_name(*number));
            let bytes = self.seams.disk.read(&path);
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

fn unfinished(disk: &dyn Disk, data: &Path) -> Result<Option<BTreeSet<TenantId>>, OpenError> {
    let path = data.join(UNFINISHED);
    let bytes = match disk.read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io(&path, error)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let tenants = text.lines().map(TenantId::parse).collect::<Result<_, _>>();
    tenants
        .map(Some)
        .map_err(|_| refused(path, "not a list of tenants"))
}

/// Refuses a directory whose salvage is not finished: its audit logs would sign numbers twice.
pub fn refuse_unfinished(disk: &dyn Disk, data: &Path) -> Result<(), OpenError> {
    match unfinished(disk, data)? {
        None => Ok(()),
        Some(_) => Err(refused(
            data.join(UNFINISHED),
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

fn file_name(number: u64) -> String {
    format!("{number:016x}.wal")
}

/// The tenants that the tables know more of than the log: rows come to the tables after their record
/// is synced, so the log had it. Tables that do not open know nothing.
fn ahead(
    config: &StoreConfig,
    seams: &Seams,
    schema: &Schema,
    tenants: &HashMap<TenantId, Known>,
) -> HashMap<TenantId, Sequence> {
    let names = seams.disk.list(&config.data).unwrap_or_default();
    let is_there = |name| names.iter().any(|there| there == name);
    if !is_there(TABLES) || is_there(DOUBTFUL) || is_there(REBUILDING) {
        return HashMap::new();
    }
    let read = || {
        let dir = config.data.join(TABLES);
        let tables = (seams.open_tables)(&dir, schema, config.table_cache_bytes).ok()?;
        replay::heads(Layout(tables.as_ref())).ok()
    };
    // sled panics on some of what it does not understand.
    let known = catch_unwind(AssertUnwindSafe(read)).ok().flatten();
    let mut known = known.unwrap_or_default();
    known.retain(|tenant, known| {
        let last = tenants.get(tenant).and_then(|tenant| tenant.last);
        last.is_none_or(|last| last < *known)
    });
    known
}

/// What is known of a tenant while the log is walked.
#[derive(Default)]
struct Known {
    last: Option<Sequence>,
    dropped: Option<(Sequence, Sequence)>,
    /// How many gaps with losses were behind us when its last record came.
    passed: usize,
}

/// One way through a log that may be damaged anywhere.
struct Walk<'a> {
    wal: &'a Wal,
    schema: &'a Schema,
    /// A place that a start refuses although its frame is whole.
    suspect: Option<(PathBuf, u64)>,
    /// The number of the last start: its SHUTDOWN says that nothing was to follow.
    started: u32,
    /// Behind the last frame that could be read.
    tail: Tail,
    last: Option<Kind>,
    /// Where the log can no longer stay as it is.
    from: Option<Tail>,
    tenants: HashMap<TenantId, Known>,
    gaps: Vec<Gap>,
    /// How many of the gaps held records, or may have.
    lossy: usize,
    /// No frame has come since the last gap.
    open: bool,
    /// Rows of some tenants were lost with a snapshot.
    fragments: bool,
    /// The last record of which the log says, where it stays as it is, that the tables hold it.
    noted: Lsn,
    kept: u64,
}

/// Takes a record that stays but cannot stay where it is.
type Keep<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), OpenError>;

/// What becomes of a record.
#[derive(PartialEq, Eq)]
enum Fate {
    Stays,
    /// Something before it is missing.
    Dropped,
    /// It was there before: the rest of a salvage that was cut short.
    Repeated,
    /// It tells of the tables that they hold everything up to a record.
    Note(Lsn),
}

impl<'a> Walk<'a> {
    fn new(
        wal: &'a Wal,
        schema: &'a Schema,
        ground: &Ground,
        suspect: Option<(PathBuf, u64)>,
        started: u32,
    ) -> Self {
        let known = |(tenant, last): (&TenantId, &Sequence)| {
            let last = Some(*last);
            (
                *tenant,
                Known {
                    last,
                    ..Known::default()
                },
            )
        };
        let lost = ground.fragments.iter().map(|fragments| Gap {
            places: fragments.unreadable.clone(),
            records: None,
        });
        Self {
            wal,
            schema,
            suspect,
            started,
            tail: ground.cover.map_or(Tail::START, Cover::tail),
            last: None,
            from: None,
            tenants: ground.tenants.iter().map(known).collect(),
            gaps: lost.collect(),
            lossy: 0,
            open: false,
            fragments: ground.fragments.is_some(),
            noted: Lsn::ZERO,
            kept: 0,
        }
    }

    fn run(&mut self, told: Told<'_>, keep: Keep<'_>) -> Result<(), OpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| OpenError::io(&path, error)
        };
        let numbers = self.wal.numbers().map_err(io(&self.wal.dir))?;
        let mut expected = self.tail.segment;
        let numbers: Vec<_> = numbers.into_iter().filter(|n| *n >= expected).collect();
        let total = len_u64_of(numbers.len());
        for (done, number) in (0..).zip(numbers) {
            told("reading the log", done, total);
            let file = self.wal.path(number);
            if number > expected {
                let at = Tail {
                    segment: expected,
                    offset: 0,
                    ..self.tail
                };
                let missing = Unreadable {
                    file: self.wal.path(expected),
                    offset: 0,
                    bytes: 0,
                    why: "the segment is missing",
                };
                self.cut(at, missing);
            }
            expected = number + 1;
            let bytes = self.wal.disk.read(&file).map_err(io(&file))?;
            if !all_zero(&bytes) {
                self.segment(number, &file, &bytes, keep)?;
            }
        }
        self.end();
        told("reading the log", total, total);
        Ok(())
    }

    fn segment(
        &mut self,
        number: u64,
        file: &Path,
        bytes: &[u8],
        keep: Keep<'_>,
    ) -> Result<(), OpenError> {
        let mut at = Tail {
            segment: number,
            offset: 0,
            ..self.tail
        };
        loop {
            let from = |offset: u64| {
                let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..));
                rest.unwrap_or_default()
            };
            let rest = from(at.offset);
            let before = at;
            let flaw = match at.accept(rest) {
                Ok(frame) => {
                    self.tail = at;
                    if self.open {
                        self.measured(Some(0));
                    }
                    self.last = Some(frame.kind);
                    self.frame(before, &frame, file, keep)?;
                    continue;
                }
                Err(Flaw::Newer(version)) => {
                    return Err(OpenError::Newer {
                        file: file.to_owned(),
                        what: format!("of log version {version}"),
                    });
                }
                Err(_) if all_zero(rest) => return Ok(()),
                Err(flaw) => flaw,
            };
            // A frame that is whole here, and only does not continue the log, is where to go on.
            let next = find_frame(rest, number, before.offset);
            let len = match next {
                Some(next) => next.offset - before.offset,
                None => rest
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .map_or(0, |last| len_u64_of(last) + 1),
            };
            self.cut(
                before,
                Unreadable {
                    file: file.to_owned(),
                    offset: before.offset,
                    bytes: len,
                    why: flaw.why(),
                },
            );
            let Some(next) = next else {
                return Ok(());
            };
            let missing = next.next.get().saturating_sub(self.tail.next.get());
            self.measured(Some(missing));
            at = next;
        }
    }

    /// Something cannot be read, or what is there does not continue the log.
    fn cut(&mut self, at: Tail, place: Unreadable) {
        self.from.get_or_insert(at);
        if !self.open {
            self.open = true;
            self.gaps.push(Gap {
                places: Vec::new(),
                records: None,
            });
        }
        if let Some(gap) = self.gaps.last_mut()
            && (place.bytes > 0 || gap.places.is_empty())
        {
            gap.places.push(place);
        }
    }

    /// The last gap held so many records.
    fn measured(&mut self, records: Option<u64>) {
        self.open = false;
        if let Some(gap) = self.gaps.last_mut() {
            gap.records = records;
        }
        self.lossy += usize::from(records != Some(0));
    }

    /// Nothing follows.
    fn end(&mut self) {
        if !self.open {
            return;
        }
        // A crash may cut the last write short, which nobody was told of; and behind an orderly stop
        // nothing was written.
        let one = self.gaps.last().is_some_and(|gap| gap.places.len() == 1);
        let stopped = self.last == Some(Kind::Shutdown) && self.tail.epoch == self.started;
        self.measured((one || stopped).then_some(0));
    }

    fn frame(
        &mut self,
        before: Tail,
        frame: &Frame<'_>,
        file: &Path,
        keep: Keep<'_>,
    ) -> Result<(), OpenError> {
        let newer = |why: &str| OpenError::Newer {
            file: file.to_owned(),
            what: format!(
                "at offset {} not what this version writes ({why})",
                before.offset
            ),
        };
        let mut body = Cursor::new(frame.body);
        let (mut stay, mut all, mut noted) = (Vec::new(), true, Lsn::ZERO);
        for _ in 0..frame.count {
            let rest = body.rest();
            // The frame's checksum holds: what cannot be read in it was written like that.
            let record = next_record(&mut body, |id| self.schema.get(id)).map_err(newer)?;
            let raw = rest
                .get(..rest.len() - body.rest().len())
                .unwrap_or_default();
            match self.judge(&record).map_err(newer)? {
                Fate::Stays => stay.push(raw),
                Fate::Note(applied) => noted = applied,
                Fate::Dropped | Fate::Repeated => all = false,
            }
        }
        if !body.rest().is_empty() {
            return Err(newer("a frame holds more than its records"));
        }
        let suspect = self.suspect.as_ref();
        let refused = suspect.is_some_and(|(bad, at)| bad == file && *at == before.offset);
        if !all || refused {
            self.from.get_or_insert(before);
        }
        self.kept += len_u64_of(stay.len());
        match self.from {
            Some(_) => stay.into_iter().try_for_each(keep)?,
            None => self.noted = self.noted.max(noted),
        }
        Ok(())
    }

    fn judge(&mut self, record: &Logged<'_>) -> Result<Fate, &'static str> {
        let (sequence, envelope) = match &record.body {
            LoggedBody::Tenant { sequence, head, .. } => (*sequence, *head),
            LoggedBody::Side(_) => return Ok(Fate::Stays),
            LoggedBody::Checkpoint { applied, .. } => return Ok(Fate::Note(*applied)),
            LoggedBody::Snapshot(_) | LoggedBody::Rows(_) => {
                return Err("a record of a snapshot in the log");
            }
        };
        let head = open_head(record.tenant, envelope).ok_or("a head is unreadable")?;
        let known = self.tenants.entry(record.tenant).or_default();
        let expected = match known.last {
            Some(last) => last.next(),
            // What begins a later log of a tenant is not its beginning.
            None if self.lossy > 0 || self.fragments => Sequence::FIRST,
            None => head.log_base,
        };
        if sequence < expected {
            return Ok(Fate::Repeated);
        }
        if sequence > expected {
            let (from, _) = known.dropped.unwrap_or((sequence, sequence));
            known.dropped = Some((from, sequence));
            return Ok(Fate::Dropped);
        }
        known.last = Some(sequence);
        known.passed = self.lossy;
        Ok(Fate::Stays)
    }

    fn report(
        &self,
        refused: String,
        ahead: &HashMap<TenantId, Sequence>,
        broken: Option<&BTreeMap<TenantId, Option<Sequence>>>,
        aside: PathBuf,
    ) -> SalvageReport {
        let nothing = Known::default();
        let unseen: BTreeSet<_> = ahead
            .keys()
            .chain(broken.into_iter().flat_map(BTreeMap::keys))
            .filter(|tenant| !self.tenants.contains_key(tenant))
            .collect();
        let all = self
            .tenants
            .iter()
            .chain(unseen.iter().map(|tenant| (*tenant, &nothing)));
        let mut losses: Vec<_> = all
            .filter(|(tenant, known)| {
                known.last.is_none()
                    || known.dropped.is_some()
                    || known.passed < self.lossy
                    || ahead.contains_key(tenant)
            })
            .map(|(tenant, known)| Loss {
                tenant: *tenant,
                last_kept: known.last,
                dropped: known.dropped,
                tables_knew: ahead.get(tenant).copied(),
            })
            .collect();
        losses.sort_unstable_by_key(|loss| loss.tenant);
        let seen = self.tenants.len();
        let harmed = losses
            .iter()
            .filter(|loss| self.tenants.contains_key(&loss.tenant))
            .count();
        SalvageReport {
            refused,
            gaps: self.gaps.clone(),
            kept: self.kept,
            unharmed: len_u64_of(seen - harmed),
            losses,
            aside,
        }
    }
}

fn len_u64_of(count: usize) -> u64 {
    u64::try_from(count).expect("a usize is at most 64 bits")
}

/// Writes records into new segments.
struct Writer<'a> {
    seams: &'a Seams,
    dir: &'a Path,
    segment_bytes: u64,
    tail: Tail,
    /// What is in the segment so far.
    segment: Vec<u8>,
    /// The frame that is being filled: room for its header, and records.
    frame: Vec<u8>,
    count: u32,
    made: Vec<u64>,
}

impl Writer<'_> {
    fn add(&mut self, record: &[u8]) -> Result<(), OpenError> {
        if self.count > 0 && self.frame.len() + record.len() > FRAME_BYTES {
            self.flush(Kind::Group)?;
        }
        self.frame.extend_from_slice(record);
        self.count += 1;
        Ok(())
    }

    fn flush(&mut self, kind: Kind) -> Result<(), OpenError> {
        let len = len_u64(&self.frame).next_multiple_of(8);
        if self.tail.offset > 0 && self.tail.offset + len > self.segment_bytes {
            self.close()?;
            self.tail = self.tail.next_segment();
        }
        self.tail.finish(kind, self.count, &mut self.frame);
        self.segment.append(&mut self.frame);
        self.frame.resize(HEADER, 0);
        self.count = 0;
        Ok(())
    }

    /// Writes the segment to its file.
    fn close(&mut self) -> Result<(), OpenError> {
        let number = self.tail.segment;
        let path = self.dir.join(file_name(number));
        let len = self.segment_bytes.max(len_u64(&self.segment));
        let disk = &self.seams.disk;
        disk.create(&path, &self.segment, len)
            .and_then(|_| disk.sync_dir(self.dir))
            .map_err(|error| OpenError::io(&path, error))?;
        self.segment.clear();
        self.made.push(number);
        Ok(())
    }

    /// Ends the log in order: the segments that were made, and where it ends.
    fn end(mut self) -> Result<(Vec<u64>, Tail), OpenError> {
        if self.count > 0 {
            self.flush(Kind::Group)?;
        }
        self.flush(Kind::Shutdown)?;
        self.close()?;
        Ok((self.made, self.tail))
    }
}
