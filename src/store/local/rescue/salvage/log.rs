//! A log that may be damaged anywhere, read once: which records stay, what is lost, and what may be.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{LogGap, SalvageReport, TenantLoss};
use crate::id::{Sequence, TenantId};
use crate::store::OpenError;
use crate::store::local::log::frame::{Kind, Tail};
use crate::store::local::log::frames::{DamagedRange, FrameReader, Policy, Step};
use crate::store::local::log::scan::{open_head, records};
use crate::store::local::log::segment::Wal;
use crate::store::local::rescue::Progress;
use crate::store::local::schema::Schema;
use crate::store::record::{LogBody, LogPrefix, LogRecord};
use crate::store::row::Op;

/// Called with the changes of each record that stays.
pub(super) type Take<'a> = &'a mut dyn FnMut(Vec<Op<'_>>) -> Result<(), OpenError>;

#[derive(Default)]
pub(super) struct TenantState {
    pub last: Option<Sequence>,
    dropped: Option<(Sequence, Sequence)>,
    /// Gaps with losses before its last record.
    gaps_before: usize,
}

pub(super) struct DamagedLog<'a> {
    wal: &'a Wal,
    schema: &'a Schema,
    /// The number of the last start: nothing follows its SHUTDOWN.
    last_start: u32,
    /// Behind the last readable frame.
    pub tail: Tail,
    last_kind: Option<Kind>,
    pub tenants: HashMap<TenantId, TenantState>,
    gaps: Vec<LogGap>,
    /// Gaps that held records, or may have.
    gaps_with_losses: usize,
    /// No frame has come since the last gap.
    in_gap: bool,
    /// Something is missing before the first readable frame.
    misses_beginning: bool,
    kept: u64,
}

impl<'a> DamagedLog<'a> {
    /// The log behind rows of these tenants, of which `damaged` could not be read.
    pub fn new(
        wal: &'a Wal,
        schema: &'a Schema,
        prefix: Option<LogPrefix>,
        tenants: HashMap<TenantId, Sequence>,
        damaged: Option<&[DamagedRange]>,
        last_start: u32,
    ) -> Self {
        let known = |(tenant, last)| {
            let last = Some(last);
            let state = TenantState {
                last,
                ..TenantState::default()
            };
            (tenant, state)
        };
        let before = damaged
            .filter(|damaged| !damaged.is_empty())
            .map(|damaged| LogGap {
                places: damaged.to_vec(),
                records: None,
            });
        Self {
            wal,
            schema,
            last_start,
            tail: prefix.map_or(Tail::START, LogPrefix::tail),
            last_kind: None,
            tenants: tenants.into_iter().map(known).collect(),
            gaps: before.into_iter().collect(),
            gaps_with_losses: 0,
            in_gap: false,
            misses_beginning: damaged.is_some(),
            kept: 0,
        }
    }

    /// Reads all of it, and passes the changes of every record that stays to `take`.
    pub fn read(&mut self, progress: Progress<'_>, take: Take<'_>) -> Result<(), OpenError> {
        let mut frames = FrameReader::all_of_log(self.wal, self.tail, Policy::SkipDamage)?;
        let numbers = self.wal.numbers();
        let numbers = numbers.map_err(|error| OpenError::io(&self.wal.dir, error))?;
        let last = numbers.last().copied().unwrap_or_default();
        let total = (last + 1).saturating_sub(self.tail.segment);
        loop {
            match frames.step()? {
                Step::Frame => self.read_frame(&frames, take)?,
                Step::Damage(range) => self.note_damage(range),
                Step::End => break,
            }
            let done = frames.tail().segment.saturating_sub(last + 1 - total);
            progress("reading the log", done.min(total), total);
        }
        self.note_end();
        progress("reading the log", total, total);
        Ok(())
    }

    fn read_frame(&mut self, frames: &FrameReader, take: Take<'_>) -> Result<(), OpenError> {
        let Some(frame) = frames.frame() else {
            return Ok(());
        };
        if self.in_gap {
            let missing = frames.start().next.get();
            self.end_gap(Some(missing.saturating_sub(self.tail.next.get())));
        }
        self.tail = frames.tail();
        self.last_kind = Some(frame.kind);
        for record in records(&frame, self.schema) {
            // The frame's checksum matches, so this is what was written: by a newer version.
            let newer = |why| OpenError::from(frames.newer(why));
            let record = record.map_err(|error| newer(error.why()))?;
            if self.stays(&record).map_err(newer)?
                && let LogBody::Tenant { ops, .. } | LogBody::Side(ops) = record.body
            {
                self.kept += 1;
                take(ops)?;
            }
        }
        Ok(())
    }

    fn note_damage(&mut self, range: DamagedRange) {
        if !self.in_gap {
            self.in_gap = true;
            self.gaps.push(LogGap::default());
        }
        if let Some(gap) = self.gaps.last_mut()
            && (range.bytes > 0 || gap.places.is_empty())
        {
            gap.places.push(range);
        }
    }

    /// Ends a gap of so many records; `None` if that is not known.
    fn end_gap(&mut self, records: Option<u64>) {
        self.in_gap = false;
        if let Some(gap) = self.gaps.last_mut() {
            gap.records = records;
        }
        match (records, self.last_kind) {
            (Some(0), _) => {}
            (_, None) => self.misses_beginning = true,
            (_, Some(_)) => self.gaps_with_losses += 1,
        }
    }

    fn note_end(&mut self) {
        if !self.in_gap {
            return;
        }
        // A single damaged write at the end was not acknowledged; and nothing was written behind a clean
        // stop.
        let one = self.gaps.last().is_some_and(|gap| gap.places.len() == 1);
        let stopped = self.last_kind == Some(Kind::Shutdown) && self.tail.epoch == self.last_start;
        self.end_gap((one || stopped).then_some(0));
    }

    /// The tables know more than the log, and no gap in it explains that.
    pub fn note_lost_end(&mut self) {
        if self.gaps.is_empty() {
            self.gaps.push(LogGap::default());
            self.gaps_with_losses += 1;
        }
    }

    /// Whether a record stays: it follows the one before it of its tenant.
    fn stays(&mut self, record: &LogRecord<'_>) -> Result<bool, &'static str> {
        let (sequence, envelope) = match &record.body {
            LogBody::Tenant { sequence, head, .. } => (*sequence, *head),
            LogBody::Side(_) => {
                let state = self.tenants.get(&record.tenant);
                return Ok(state.is_some_and(|state| state.last.is_some()));
            }
            LogBody::Checkpoint { .. } => return Ok(false),
            LogBody::Snapshot(_) | LogBody::Rows(_) => {
                return Err("a record of a snapshot in the log");
            }
        };
        let head = open_head(record.tenant, envelope).ok_or("a head is unreadable")?;
        let state = self.tenants.entry(record.tenant).or_default();
        let expected = match state.last {
            Some(last) => last.next(),
            // A restore begins another log in the middle of a tenant's sequence.
            None if self.misses_beginning || self.gaps_with_losses > 0 => Sequence::FIRST,
            None => head.log_base,
        };
        if sequence > expected {
            let (from, _) = state.dropped.unwrap_or((sequence, sequence));
            state.dropped = Some((from, sequence));
        }
        // What is below it came from the tables.
        if sequence != expected {
            return Ok(false);
        }
        state.last = Some(sequence);
        state.gaps_before = self.gaps_with_losses;
        Ok(true)
    }

    /// `tables`: the last sequences that only the tables know. `incomplete`: the tenants that lost rows
    /// with a snapshot.
    pub fn report(
        &self,
        refused: String,
        tables: &HashMap<TenantId, Sequence>,
        incomplete: &BTreeMap<TenantId, Option<Sequence>>,
        from_tables: usize,
    ) -> SalvageReport {
        let unseen: BTreeSet<_> = tables
            .keys()
            .chain(incomplete.keys())
            .filter(|tenant| !self.tenants.contains_key(tenant))
            .collect();
        let nothing = TenantState::default();
        let all = self
            .tenants
            .iter()
            .chain(unseen.iter().map(|tenant| (*tenant, &nothing)));
        let mut losses: Vec<_> = all
            .filter(|(tenant, state)| {
                state.last.is_none()
                    || state.dropped.is_some()
                    || state.gaps_before < self.gaps_with_losses
                    || tables.contains_key(tenant)
            })
            .map(|(tenant, state)| TenantLoss {
                tenant: *tenant,
                last_kept: state.last,
                dropped: state.dropped,
                tables_knew: tables.get(tenant).copied(),
            })
            .collect();
        losses.sort_unstable_by_key(|loss| loss.tenant);
        let seen = self.tenants.len();
        let harmed = losses
            .iter()
            .filter(|loss| self.tenants.contains_key(&loss.tenant))
            .count();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        SalvageReport {
            refused,
            gaps: self.gaps.clone(),
            kept: self.kept,
            unharmed: count(seen - harmed),
            from_tables: count(from_tables),
            losses,
        }
    }
}
