//! Entries of a tenant's audit log: one, or those that match a filter.

use super::QueryError;
use super::intents::opening;
use crate::audit::Opening;
use crate::audit::verify::ParsedEntry;
use crate::decide::Action;
use crate::id::{DecisionId, IntentId, Sequence, TenantId};
use crate::store::{ENTRIES, Reader};
use crate::tenant::facts::{self, EntryType, Part};
use crate::time::Timestamp;

/// Per request; a page that is not full by then ends with a cursor.
const SCAN_MAX: usize = 10_000;
/// Per read of the store.
const CHUNK: usize = 256;

/// `None` matches all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub kind: Option<String>,
    /// Decisions only.
    pub action: Option<Action>,
    /// Decisions only.
    pub requester: Option<String>,
    pub deterministic_id: Option<IntentId>,
    pub from: Option<Timestamp>,
    /// Exclusive.
    pub to: Option<Timestamp>,
}

pub struct StoredEntry {
    /// The exact bytes, which are signed and hashed.
    pub bytes: Vec<u8>,
    pub parsed: ParsedEntry,
    /// `None` if it was erased or the entry has no private part.
    pub opening: Option<Opening>,
}

impl StoredEntry {
    pub fn text(&self, part: Part<String>) -> Option<&str> {
        part.read(self.opening.as_ref()?)
    }
}

pub fn get(
    reader: &Reader,
    tenant: TenantId,
    sequence: Sequence,
) -> Result<Option<StoredEntry>, QueryError> {
    let Some(bytes) = reader.entry(tenant, sequence)? else {
        return Ok(None);
    };
    let parsed = parse(&bytes, tenant, sequence)?;
    let opening = opening(reader, tenant, sequence)?;
    Ok(Some(StoredEntry {
        bytes,
        parsed,
        opening,
    }))
}

/// A page of at most `limit` entries, and where the next begins. `about` is the decision on the intent
/// that the filter names.
pub fn list(
    reader: &Reader,
    tenant: TenantId,
    filter: &Filter,
    about: Option<DecisionId>,
    mut from: Sequence,
    limit: usize,
) -> Result<(Vec<StoredEntry>, Option<Sequence>), QueryError> {
    let mut found = Vec::new();
    for _ in 0..SCAN_MAX.div_ceil(CHUNK) {
        let start = from.get().to_be_bytes();
        let chunk = reader.rows_from(tenant, &ENTRIES, &start, CHUNK)?;
        let last_chunk = chunk.len() < CHUNK;
        for (_, stored) in chunk {
            if found.len() >= limit {
                return Ok((found, Some(from)));
            }
            let parsed = parse(&stored.payload, tenant, from)?;
            from = parsed.sequence.next();
            if !filter.matches(&parsed, about) {
                continue;
            }
            let opening = opening(reader, tenant, parsed.sequence)?;
            let entry = StoredEntry {
                bytes: stored.payload,
                parsed,
                opening,
            };
            if filter.matches_opening(&entry, about) {
                found.push(entry);
            }
        }
        if last_chunk {
            return Ok((found, None));
        }
    }
    Ok((found, Some(from)))
}

fn parse(bytes: &[u8], tenant: TenantId, sequence: Sequence) -> Result<ParsedEntry, QueryError> {
    ParsedEntry::parse(bytes)
        .map_err(|error| QueryError::malformed("entry", tenant, sequence, &error))
}

impl Filter {
    /// By the entry alone, before its opening is read.
    fn matches(&self, entry: &ParsedEntry, about: Option<DecisionId>) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == entry.kind)
            && self
                .action
                .is_none_or(|action| facts::ACTION.read(entry) == Some(action))
            && self.from.is_none_or(|from| entry.at >= from)
            && self.to.is_none_or(|to| entry.at < to)
            && (self.deterministic_id.is_none()
                || about.is_none()
                || is_about(entry, about)
                || EntryType::of(entry) == Some(EntryType::Decision))
    }

    fn matches_opening(&self, entry: &StoredEntry, about: Option<DecisionId>) -> bool {
        self.requester
            .as_deref()
            .is_none_or(|requester| entry.text(facts::REQUESTER) == Some(requester))
            && self.deterministic_id.as_ref().is_none_or(|id| {
                entry.text(facts::DETERMINISTIC_ID) == Some(id.as_str())
                    || is_about(&entry.parsed, about)
            })
    }
}

/// True if the entry is the decision, or refers to it.
fn is_about(entry: &ParsedEntry, about: Option<DecisionId>) -> bool {
    about.is_some_and(|about| entry.decision_id == about || facts::OF.read(entry) == Some(about))
}
