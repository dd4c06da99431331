//! One way through a log that may be damaged anywhere: what stays, what is lost, what nobody can tell.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::{Gap, Loss, SalvageReport, Unreadable, at};
use crate::id::{Sequence, TenantId};
use crate::store::cursor::Cursor;
use crate::store::local::Env;
use crate::store::local::dir::{DataDir, TablesState};
use crate::store::local::disk::all_zero;
use crate::store::local::log::frame::{Flaw, Frame, Kind, Tail, find_frame};
use crate::store::local::log::scan::open_head;
use crate::store::local::log::segment::Wal;
use crate::store::local::rescue::Progress;
use crate::store::local::rescue::fragments::Ground;
use crate::store::local::schema::Schema;
use crate::store::local::tables::layout::Layout;
use crate::store::local::tables::replay;
use crate::store::record::{Cover, Logged, LoggedBody, Lsn, next_record};
use crate::store::{OpenError, StoreConfig};

/// What is known of a tenant while the log is walked.
#[derive(Default)]
pub(super) struct Known {
    last: Option<Sequence>,
    dropped: Option<(Sequence, Sequence)>,
    /// How many gaps with losses were behind us when its last record came.
    passed: usize,
}

/// One way through a log that may be damaged anywhere.
pub(super) struct Walk<'a> {
    wal: &'a Wal,
    schema: &'a Schema,
    /// A place that a start refuses although its frame is whole.
    suspect: Option<(PathBuf, u64)>,
    /// The number of the last start: its SHUTDOWN says that nothing was to follow.
    started: u32,
    /// Behind the last frame that could be read.
    pub tail: Tail,
    last: Option<Kind>,
    /// Where the log can no longer stay as it is.
    pub from: Option<Tail>,
    pub tenants: HashMap<TenantId, Known>,
    gaps: Vec<Gap>,
    /// How many of the gaps held records, or may have.
    lossy: usize,
    /// No frame has come since the last gap.
    open: bool,
    /// Rows of some tenants were lost with a snapshot.
    fragments: bool,
    /// The last record of which the log says, where it stays as it is, that the tables hold it.
    pub noted: Lsn,
    kept: u64,
}

/// Takes a record that stays but cannot stay where it is.
pub(super) type Keep<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), OpenError>;

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
    pub fn new(
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

    /// Reads it all, and hands `keep` every record that stays behind the place from which on the log
    /// is another.
    pub fn run(&mut self, progress: Progress<'_>, keep: Keep<'_>) -> Result<(), OpenError> {
        let numbers = self.wal.numbers().map_err(at(&self.wal.dir))?;
        let mut expected = self.tail.segment;
        let numbers: Vec<_> = numbers.into_iter().filter(|n| *n >= expected).collect();
        let total = len_u64_of(numbers.len());
        for (done, number) in (0..).zip(numbers) {
            progress("reading the log", done, total);
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
            let bytes = self.wal.disk.read(&file).map_err(at(&file))?;
            if !all_zero(&bytes) {
                self.segment(number, &file, &bytes, keep)?;
            }
        }
        self.end();
        progress("reading the log", total, total);
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

    /// The tables know more than the log, and nothing in it says where that was.
    pub fn lost_its_end(&mut self) {
        if self.gaps.is_empty() {
            self.gaps.push(Gap {
                places: Vec::new(),
                records: None,
            });
            self.lossy += 1;
        }
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

    /// What it comes to. `ahead`: what the tables knew of; `broken`: who lost rows with a snapshot.
    pub fn report(
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

/// The tenants that the tables know more of than the log: rows come to the tables after their record
/// is synced, so the log had it. Tables that do not open know nothing.
pub(super) fn ahead(
    config: &StoreConfig,
    env: &Env,
    schema: &Schema,
    tenants: &HashMap<TenantId, Known>,
) -> HashMap<TenantId, Sequence> {
    let data = DataDir::new(env.disk.clone(), &config.data);
    if !matches!(data.tables_state(), Ok(TablesState::Present)) {
        return HashMap::new();
    }
    let read = || {
        let dir = data.tables();
        let tables = (env.open_tables)(&dir, schema, config.table_cache_bytes).ok()?;
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

fn len_u64_of(count: usize) -> u64 {
    u64::try_from(count).expect("a usize is at most 64 bits")
}
