//! One tenant, read from a store, with its rows checked against each other.

use serde_json::Value;
use serde_json::value::RawValue;

use super::{ExportError, OpeningState};
use crate::audit::verify::{ParsedEntry, leaf_hash, tree_root};
use crate::audit::{Hash, Opening};
use crate::id::{Sequence, TenantId};
use crate::store::{ENTRIES, Head, ReadError, Reader, TenantRows, open_envelope};
use crate::tenant::Tenant;
use crate::tenant::facts::{Json, Part, PartError};
use crate::tenant::lifecycle::AccountRow;
use crate::tenant::schema::{Row, RowKey, USAGE_LOGS};
use crate::tenant::usage::UsageLogRow;

/// Rows per read.
const PAGE: usize = 512;

pub struct StoredTenant<'a> {
    /// INVARIANT: it was founded.
    pub(super) state: Tenant,
    pub(super) head: Head,
    reader: &'a Reader,
}

pub(super) struct LogEntry {
    pub sequence: Sequence,
    pub bytes: Vec<u8>,
    pub parsed: ParsedEntry,
    pub leaf: Hash,
    pub opening: Option<Opening>,
    pub opening_state: OpeningState,
}

impl LogEntry {
    pub fn text(&self, part: Part<String>) -> Option<&str> {
        part.read(self.opening.as_ref()?)
    }

    /// On one line, and otherwise unchanged.
    pub fn json<T>(&self, part: Part<Json<T>>) -> Result<Option<Box<RawValue>>, ExportError> {
        let malformed = part.malformed();
        let text = self.opening.as_ref().map(|opening| part.text(opening));
        let text = text.transpose().map_err(|why| self.damaged(why))?.flatten();
        let json = text.map(|text| RawValue::from_string(one_line(text)));
        json.transpose().map_err(|_| self.damaged(malformed))
    }

    pub fn value<T>(&self, part: Part<Json<T>>) -> Result<Option<Value>, ExportError> {
        let value = self.opening.as_ref().map(|opening| part.value(opening));
        let value = value.transpose().map_err(|why| self.damaged(why))?;
        Ok(value.flatten())
    }

    fn damaged(&self, why: PartError) -> ExportError {
        ExportError::damaged(self.parsed.tenant, "opening", self.sequence, why)
    }
}

/// JSON without the white space between its tokens. Numbers keep their spelling and members their
/// order.
fn one_line(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let keep = |c: &char| {
        if inside {
            (inside, escaped) = (escaped || *c != '"', !escaped && *c == '\\');
            return true;
        }
        inside = *c == '"';
        !matches!(c, ' ' | '\t' | '\n' | '\r')
    };
    json.chars().filter(keep).collect()
}

impl<'a> StoredTenant<'a> {
    /// The store has checked the rows against their head.
    pub fn new(id: TenantId, stored: TenantRows, reader: &'a Reader) -> Result<Self, ExportError> {
        let mut state = Tenant::blank(id);
        for (table, key, value) in &stored.rows {
            let row = open_envelope(id, table, key, value).map_err(ReadError::from)?;
            state
                .absorb_stored(table, row.version, key, &row.payload)
                .map_err(|source| ExportError::Row { tenant: id, source })?;
        }
        let tenant = Self {
            state,
            head: stored.head,
            reader,
        };
        if tenant.state.account().is_none() {
            return Err(tenant.damaged("head", tenant.head.sequence, "it has no account"));
        }
        Ok(tenant)
    }

    pub(super) fn account(&self) -> &AccountRow {
        &self.state.account().expect("it was founded").row
    }

    pub fn size(&self) -> u64 {
        self.head.sequence.get() + 1
    }

    pub(super) fn damaged(&self, what: &'static str, at: Sequence, why: &str) -> ExportError {
        ExportError::damaged(self.state.id, what, at, why)
    }

    /// In order. Only the root at the end proves that no entry is missing or foreign.
    pub(super) fn entries(
        &self,
        each: &mut dyn FnMut(&LogEntry) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let missing = |at: Sequence| self.damaged("entry", at, "it is not there");
        let (mut leaves, mut next) = (Vec::new(), None);
        loop {
            let from = next.unwrap_or(Sequence::FIRST).to_bytes();
            let page = self
                .reader
                .rows_from(self.state.id, &ENTRIES, &from, PAGE)?;
            if page.is_empty() {
                break;
            }
            for (key, stored) in page {
                let entry = self.entry(&key, stored.payload)?;
                // The entries before a restore may be elsewhere.
                let expected = next.unwrap_or(entry.sequence.min(self.head.log_base));
                if entry.sequence != expected {
                    return Err(missing(expected));
                }
                if entry.sequence >= self.head.log_base {
                    leaves.push(entry.leaf);
                }
                next = Some(entry.sequence.next());
                each(&entry)?;
            }
        }
        if next != Some(self.head.sequence.next()) {
            return Err(missing(next.unwrap_or(self.head.log_base)));
        }
        if tree_root(&leaves) != self.head.root {
            let why = "the root over all entries is not the one the head says";
            return Err(self.damaged("head", self.head.sequence, why));
        }
        Ok(())
    }

    fn entry(&self, key: &[u8], bytes: Vec<u8>) -> Result<LogEntry, ExportError> {
        let sequence = Sequence::from_bytes(key)
            .ok_or_else(|| self.damaged("entry", self.head.sequence, "its key is malformed"))?;
        let damaged = |what, why: &dyn std::fmt::Display| {
            ExportError::damaged(self.state.id, what, sequence, why.to_string())
        };
        let parsed = ParsedEntry::parse(&bytes).map_err(|why| damaged("entry", &why))?;
        if parsed.tenant != self.state.id || parsed.sequence != sequence {
            return Err(damaged("entry", &"it is the entry of another place"));
        }
        let opening = self.reader.opening(self.state.id, sequence)?;
        let opening = opening.map(|bytes| Opening::decode(&bytes)).transpose();
        let opening = opening.map_err(|why| damaged("opening", &why))?;
        let checked = opening
            .as_ref()
            .map(|opening| parsed.check_opening(opening));
        checked
            .transpose()
            .map_err(|why| damaged("opening", &why))?;
        let opening_state = match (&opening, parsed.commitments().next()) {
            (Some(_), _) => OpeningState::Kept,
            (None, Some(_)) => OpeningState::Erased,
            (None, None) => OpeningState::None,
        };
        Ok(LogEntry {
            sequence,
            leaf: leaf_hash(&bytes),
            bytes,
            parsed,
            opening,
            opening_state,
        })
    }

    /// In order.
    pub(super) fn usage_logs(
        &self,
        each: &mut dyn FnMut(Sequence, &UsageLogRow) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let mut from = Sequence::FIRST;
        loop {
            let page = self
                .reader
                .rows_from(self.state.id, &USAGE_LOGS, &from.to_bytes(), PAGE)?;
            if page.is_empty() {
                return Ok(());
            }
            for (key, stored) in page {
                let row = Row::decode(&USAGE_LOGS, stored.version, &key, &stored.payload);
                let row = row.map_err(|source| ExportError::Row {
                    tenant: self.state.id,
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

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn white_space_goes_between_tokens_only() {
        let json = "{\n \"a\\\" b\" :\t[ 1.50 , \"\\\\\" , \"x  y\\n\" ]\r\n}";
        assert_eq!(one_line(json), "{\"a\\\" b\":[1.50,\"\\\\\",\"x  y\\n\"]}");
    }
}
