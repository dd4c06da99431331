//! Intents: by their id, or those that match a filter.

use super::QueryError;
use crate::audit::Opening;
use crate::decide::Action;
use crate::decide::intent::Environment;
use crate::id::{DecisionId, IntentId, Sequence, TenantId};
use crate::store::{ReadError, Reader};
use crate::string_enum;
use crate::tenant::Tenant;
use crate::tenant::intents::IntentRow;
use crate::tenant::outcome::OutcomeRow;
use crate::tenant::schema::INTENTS;
use crate::tenant::standing::Standing;
use crate::time::Timestamp;

/// Per request; a page that is not full by then ends with a cursor.
const SCAN_MAX: usize = 100_000;

string_enum!(
    OutcomeFilter {
        Recorded = "recorded",
        Missing = "missing",
    }
);

/// `None` matches all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub environment: Option<Environment>,
    pub action: Option<Action>,
    pub outcome: Option<OutcomeFilter>,
    /// The id, with any revision.
    pub change_set: Option<String>,
    pub from: Option<Timestamp>,
    /// Exclusive.
    pub to: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
pub struct IntentState {
    pub sequence: Sequence,
    pub decision_id: DecisionId,
    pub row: IntentRow,
    pub standing: Standing,
    pub outcome: Option<(Sequence, OutcomeRow)>,
}

impl IntentState {
    fn new(tenant: &Tenant, sequence: Sequence, row: &IntentRow, at: Timestamp) -> Self {
        let outcome = row.outcome.map(|mark| mark.sequence);
        let outcome = outcome.and_then(|at| Some((at, *tenant.outcomes().get(at)?)));
        Self {
            sequence,
            decision_id: tenant.decision_id(sequence),
            row: *row,
            standing: Standing::of(row, at),
            outcome,
        }
    }
}

pub fn get(tenant: &Tenant, id: &IntentId, at: Timestamp) -> Option<IntentState> {
    let name = tenant.pseudonymizer().pseudonym(&["intent", id.as_str()]);
    let (sequence, row) = tenant.intents().by_id(name)?;
    Some(IntentState::new(tenant, sequence, row, at))
}

/// A page of at most `limit` intents, and where the next begins.
pub fn list(
    tenant: &Tenant,
    filter: &Filter,
    from: Sequence,
    limit: usize,
    at: Timestamp,
) -> (Vec<IntentState>, Option<Sequence>) {
    let name = |id: &String| tenant.pseudonymizer().pseudonym(&["change_set_id", id]);
    let change_set = filter.change_set.as_ref().map(name);
    let matches = |row: &IntentRow| {
        let recorded = if row.outcome.is_some() {
            OutcomeFilter::Recorded
        } else {
            OutcomeFilter::Missing
        };
        let set = row
            .change_set
            .and_then(|set| tenant.change_sets().get(set))
            .map(|set| set.id);
        filter
            .environment
            .is_none_or(|environment| environment == row.environment)
            && filter.action.is_none_or(|action| action == row.action)
            && filter.outcome.is_none_or(|outcome| outcome == recorded)
            && (change_set.is_none() || change_set == set)
            && filter.from.is_none_or(|from| row.created_at >= from)
            && filter.to.is_none_or(|to| row.created_at < to)
    };
    let mut found = Vec::new();
    for (scanned, (sequence, row)) in tenant.intents().since(from).enumerate() {
        if found.len() >= limit || scanned >= SCAN_MAX {
            return (found, Some(sequence));
        }
        if matches(row) {
            found.push(IntentState::new(tenant, sequence, row, at));
        }
    }
    (found, None)
}

/// Of all tenants.
pub fn count(reader: &Reader) -> Result<u64, ReadError> {
    reader.count(&INTENTS)
}

/// `None` if it was erased or the entry has no private part.
pub fn opening(
    reader: &Reader,
    tenant: TenantId,
    sequence: Sequence,
) -> Result<Option<Opening>, QueryError> {
    let bytes = reader.opening(tenant, sequence)?;
    let opening = bytes.map(|bytes| Opening::decode(&bytes)).transpose();
    opening.map_err(|error| QueryError::malformed("opening", tenant, sequence, &error))
}
