//! One tenant, read and checked as far as its rows can be checked against each other.

use std::collections::BTreeMap;

use super::{ExportError, OpeningState};
use crate::audit::verify::{ParsedEntry, leaf_hash, tree_root};
use crate::audit::{Hash, Opening};
use crate::decide::Category;
use crate::id::{KeyId, Pseudonym, Sequence, TenantId};
use crate::store::{Claim, ENTRIES, Head, Reader};
use crate::tenant::change_set::ChangeSetRow;
use crate::tenant::claims::Claims;
use crate::tenant::component::ComponentRow;
use crate::tenant::intents::IntentRow;
use crate::tenant::key::{KeyHash, KeyRow};
use crate::tenant::learning::BetaRow;
use crate::tenant::lifecycle::AccountRow;
use crate::tenant::outcome::OutcomeRow;
use crate::tenant::restore::FormerLogRow;
use crate::tenant::schema::{Row, RowKey, USAGE_LOGS};
use crate::tenant::usage::{KeyUsageRow, UsageLogRow};

/// Cold rows that are read at once.
const PAGE: usize = 512;

/// A tenant's hot rows, and the way to its cold ones.
pub struct StoredTenant<'a> {
    pub(super) id: TenantId,
    pub(super) head: Head,
    pub(super) account: AccountRow,
    pub(super) keys: BTreeMap<KeyHash, KeyRow>,
    pub(super) claims: BTreeMap<KeyId, Claims>,
    pub(super) key_usage: BTreeMap<KeyId, KeyUsageRow>,
    pub(super) intents: BTreeMap<Sequence, IntentRow>,
    pub(super) outcomes: BTreeMap<Sequence, OutcomeRow>,
    pub(super) beta: BTreeMap<Category, BetaRow>,
    pub(super) components: BTreeMap<Pseudonym, ComponentRow>,
    pub(super) change_sets: BTreeMap<Pseudonym, ChangeSetRow>,
    pub(super) former_logs: BTreeMap<Sequence, FormerLogRow>,
    reader: &'a Reader,
}

/// One entry with what is behind it.
pub(super) struct LogEntry {
    pub sequence: Sequence,
    /// The exact bytes.
    pub bytes: Vec<u8>,
    pub entry: ParsedEntry,
    pub leaf: Hash,
    pub opening: Option<Opening>,
    pub opened: OpeningState,
}

impl LogEntry {
    /// A part of the opening as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.opening.as_ref()?.part(name)?).ok()
    }
}

impl<'a> StoredTenant<'a> {
    /// Takes up a tenant: its claim, which the store has checked against the head, and a reader for
    /// everything else.
    pub fn new(id: TenantId, claim: Claim, reader: &'a Reader) -> Result<Self, ExportError> {
        let damaged = |why: &str| ExportError::damaged(id, "head", claim.head.sequence, why);
        let (mut keys, mut claims) = (BTreeMap::new(), BTreeMap::new());
        let (mut intents, mut outcomes) = (BTreeMap::new(), BTreeMap::new());
        let (mut key_usage, mut beta) = (BTreeMap::new(), BTreeMap::new());
        let (mut components, mut change_sets) = (BTreeMap::new(), BTreeMap::new());
        let (mut account, mut former_logs) = (None, BTreeMap::new());
        for (table, key, value) in &claim.rows {
            let stored = crate::store::open_envelope(id, table, key, value)
                .map_err(crate::store::ReadError::from)?;
            let row = Row::decode(table, stored.version, key, &stored.payload)
                .map_err(|source| ExportError::Row { tenant: id, source })?;
            // Every table stands here: one that is new is not forgotten.
            match row {
                Row::AccountRow((), row) => account = Some(row),
                Row::KeyRow(key, row) => drop(keys.insert(key, row)),
                Row::Claims(key, row) => drop(claims.insert(key, row)),
                Row::KeyUsageRow(key, row) => drop(key_usage.insert(key, row)),
                Row::IntentRow(key, row) => drop(intents.insert(key, row)),
                Row::OutcomeRow(key, row) => drop(outcomes.insert(key, row)),
                Row::BetaRow(key, row) => drop(beta.insert(key, row)),
                Row::ComponentRow(key, row) => drop(components.insert(key, row)),
                Row::ChangeSetRow(key, row) => drop(change_sets.insert(key, row)),
                Row::FormerLogRow(key, row) => drop(former_logs.insert(key, row)),
                Row::UsageLogRow(..) => return Err(damaged("a cold row is among the hot ones")),
            }
        }
        let account = account.ok_or_else(|| damaged("it has no account"))?;
        Ok(Self {
            id,
            head: claim.head,
            account,
            keys,
            claims,
            key_usage,
            intents,
            outcomes,
            beta,
            components,
            change_sets,
            former_logs,
            reader,
        })
    }

    /// How many entries it has: what an export of it takes, roughly.
    pub fn size(&self) -> u64 {
        self.head.sequence.get() + 1
    }

    pub(super) fn damaged(&self, what: &'static str, at: Sequence, why: &str) -> ExportError {
        ExportError::damaged(self.id, what, at, why)
    }

    /// Every entry in order. That none is missing or foreign is known only at the end: the root over
    /// all of them must be the head's.
    pub(super) fn entries(
        &self,
        each: &mut dyn FnMut(&LogEntry) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let missing = |at: Sequence| self.damaged("entry", at, "it is not there");
        let (mut leaves, mut next) = (Vec::new(), None);
        loop {
            let from = next.unwrap_or(Sequence::FIRST).to_bytes();
            let page = self.reader.rows_from(self.id, &ENTRIES, &from, PAGE)?;
            if page.is_empty() {
                break;
            }
            for (key, stored) in page {
                let step = self.step(&key, stored.payload)?;
                // A log that goes on after a restore may have its beginning elsewhere.
                let expected = next.unwrap_or(step.sequence.min(self.head.log_base));
                if step.sequence != expected {
                    return Err(missing(expected));
                }
                if step.sequence >= self.head.log_base {
                    leaves.push(step.leaf);
                }
                next = Some(step.sequence.next());
                each(&step)?;
            }
        }
        let end = self.head.sequence.next();
        match next {
            Some(next) if next == end => {}
            next => return Err(missing(next.unwrap_or(self.head.log_base))),
        }
        if tree_root(&leaves) != self.head.root {
            let why = "the root over all entries is not the one the head says";
            return Err(self.damaged("head", self.head.sequence, why));
        }
        Ok(())
    }

    fn step(&self, key: &[u8], bytes: Vec<u8>) -> Result<LogEntry, ExportError> {
        let sequence = Sequence::from_bytes(key)
            .ok_or_else(|| self.damaged("entry", self.head.sequence, "its key is malformed"))?;
        let damaged = |what, why: &dyn std::fmt::Display| {
            ExportError::damaged(self.id, what, sequence, why.to_string())
        };
        let entry = ParsedEntry::parse(&bytes).map_err(|why| damaged("entry", &why))?;
        if entry.tenant != self.id || entry.sequence != sequence {
            return Err(damaged("entry", &"it is the entry of another place"));
        }
        let opening = self.reader.opening(self.id, sequence)?;
        let opening = opening.map(|bytes| Opening::decode(&bytes)).transpose();
        let opening = opening.map_err(|why| damaged("opening", &why))?;
        if let Some(opening) = &opening {
            entry
                .check_opening(opening)
                .map_err(|why| damaged("opening", &why))?;
        }
        let opened = match (&opening, entry.commitments().next()) {
            (Some(_), _) => OpeningState::Kept,
            (None, Some(_)) => OpeningState::Erased,
            (None, None) => OpeningState::None,
        };
        Ok(LogEntry {
            sequence,
            leaf: leaf_hash(&bytes),
            bytes,
            entry,
            opening,
            opened,
        })
    }

    /// Every row of the usage log, in order.
    pub(super) fn usage_logs(
        &self,
        each: &mut dyn FnMut(Sequence, &UsageLogRow) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let mut from = Sequence::FIRST;
        loop {
            let page = self
                .reader
                .rows_from(self.id, &USAGE_LOGS, &from.to_bytes(), PAGE)?;
            if page.is_empty() {
                return Ok(());
            }
            for (key, stored) in page {
                let row = Row::decode(&USAGE_LOGS, stored.version, &key, &stored.payload);
                let row = row.map_err(|source| ExportError::Row {
                    tenant: self.id,
                    source,
                })?;
                if let Row::UsageLogRow(sequence, row) = row {
                    each(sequence, &row)?;
                    from = sequence.next();
                }
            }
        }
    }
}
