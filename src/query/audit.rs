//! Entries of a tenant's audit log: one, or those that a filter lets pass.

use serde_json::Value;

use super::QueryError;
use super::intents::opening;
use crate::audit::Opening;
use crate::audit::verify::ParsedEntry;
use crate::decide::Action;
use crate::id::{DecisionId, IntentId, Sequence, TenantId};
use crate::store::ENTRIES;
use crate::store::Reader;
use crate::time::Timestamp;

/// Entries that one request looks at, at most; a list that was not filled goes on with its cursor.
const LOOKS_MAX: usize = 10_000;
/// Entries that are read at once.
const CHUNK: usize = 256;

/// Which entries; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Their type.
    pub kind: Option<String>,
    /// What was decided; decisions only.
    pub action: Option<Action>,
    /// Who wanted it; decisions only.
    pub requester: Option<String>,
    /// The intent they are about.
    pub deterministic_id: Option<IntentId>,
    /// Made at or after this.
    pub from: Option<Timestamp>,
    /// Made before this.
    pub to: Option<Timestamp>,
}

/// An entry with its opening.
pub struct Found {
    /// The exact bytes.
    pub entry: Vec<u8>,
    /// What they say.
    pub parsed: ParsedEntry,
    /// The erasable part, unless it was erased or never was.
    pub opening: Option<Opening>,
}

impl Found {
    /// A part of the opening as text.
    pub fn text(&self, name: &str) -> Option<String> {
        let bytes = self.opening.as_ref()?.part(name)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// The entry that was made at `sequence`.
pub fn one(
    reader: &Reader,
    tenant: TenantId,
    sequence: Sequence,
) -> Result<Option<Found>, QueryError> {
    let Some(entry) = reader.entry(tenant, sequence)? else {
        return Ok(None);
    };
    let parsed = ParsedEntry::parse(&entry)
        .map_err(|error| QueryError::malformed("entry", tenant, sequence, &error))?;
    let opening = opening(reader, tenant, sequence)?;
    Ok(Some(Found {
        entry,
        parsed,
        opening,
    }))
}

/// Up to `limit` entries from `from` on that `filter` lets pass, and where to go on, if anywhere.
/// `about` is the decision on the intent that the filter names, if there is one.
pub fn list(
    reader: &Reader,
    tenant: TenantId,
    filter: &Filter,
    about: Option<DecisionId>,
    mut from: Sequence,
    limit: usize,
) -> Result<(Vec<Found>, Option<Sequence>), QueryError> {
    let mut found = Vec::new();
    for _ in 0..LOOKS_MAX.div_ceil(CHUNK) {
        let start = from.get().to_be_bytes();
        let chunk = reader.rows_from(tenant, &ENTRIES, &start, CHUNK)?;
        let last_chunk = chunk.len() < CHUNK;
        for (_, stored) in chunk {
            if found.len() >= limit {
                return Ok((found, Some(from)));
            }
            let sequence = from;
            let parsed = ParsedEntry::parse(&stored.payload)
                .map_err(|error| QueryError::malformed("entry", tenant, sequence, &error))?;
            from = parsed.sequence.next();
            if !filter.passes(&parsed, about) {
                continue;
            }
            let opening = opening(reader, tenant, parsed.sequence)?;
            let entry = Found {
                entry: stored.payload,
                parsed,
                opening,
            };
            if filter.passes_opened(&entry, about) {
                found.push(entry);
            }
        }
        if last_chunk {
            return Ok((found, None));
        }
    }
    Ok((found, Some(from)))
}

impl Filter {
    /// By the entry alone.
    fn passes(&self, entry: &ParsedEntry, about: Option<DecisionId>) -> bool {
        let action = entry.field("action").and_then(Value::as_str);
        let named = self.deterministic_id.is_some();
        self.kind.as_ref().is_none_or(|kind| *kind == entry.kind)
            && self
                .action
                .is_none_or(|wanted| action == Some(wanted.as_str()))
            && self.from.is_none_or(|from| entry.at >= from)
            && self.to.is_none_or(|to| entry.at < to)
            && (!named || about.is_none() || is_about(entry, about) || entry.kind == "decision")
    }

    /// By what the opening says.
    fn passes_opened(&self, found: &Found, about: Option<DecisionId>) -> bool {
        let requester = found.text("requester");
        let id = found.text("deterministic_id");
        self.requester
            .as_ref()
            .is_none_or(|wanted| requester.as_ref() == Some(wanted))
            && self.deterministic_id.as_ref().is_none_or(|wanted| {
                id.as_deref() == Some(wanted.as_str()) || is_about(&found.parsed, about)
            })
    }
}

/// True if the entry is that decision, or names it.
fn is_about(entry: &ParsedEntry, about: Option<DecisionId>) -> bool {
    let Some(about) = about else { return false };
    let of = entry.field("of").and_then(Value::as_str);
    entry.decision_id == about || of.is_some_and(|of| DecisionId::parse(of) == Ok(about))
}
