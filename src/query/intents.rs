//! Intents: by their id, or those that a filter lets pass.

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

/// Rows that one request looks at, at most; a list that was not filled goes on with its cursor.
const LOOKS_MAX: usize = 100_000;

string_enum!(
    /// Whether an intent has an outcome.
    OutcomeFilter {
        /// It has one.
        Recorded = "recorded",
        /// It has none.
        Missing = "missing",
    }
);

/// Which intents; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Where they take effect.
    pub environment: Option<Environment>,
    /// What was decided.
    pub action: Option<Action>,
    /// Whether they have an outcome.
    pub outcome: Option<OutcomeFilter>,
    /// The id of their change set, in any revision.
    pub change_set: Option<String>,
    /// Decided at or after this.
    pub from: Option<Timestamp>,
    /// Decided before this.
    pub to: Option<Timestamp>,
}

/// What the live state knows of an intent.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// The sequence of its evaluation.
    pub sequence: Sequence,
    /// The id of that entry.
    pub decision_id: DecisionId,
    /// Its row.
    pub row: IntentRow,
    /// Where it stands.
    pub standing: Standing,
    /// Its outcome.
    pub outcome: Option<(Sequence, OutcomeRow)>,
}

impl Known {
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

/// The intent with this id.
pub fn by_id(tenant: &Tenant, id: &IntentId, at: Timestamp) -> Option<Known> {
    let name = tenant.pseudonymizer().pseudonym(&["intent", id.as_str()]);
    let (sequence, row) = tenant.intents().by_id(name)?;
    Some(Known::new(tenant, sequence, row, at))
}

/// Up to `limit` intents from `from` on that `filter` lets pass, and where to go on, if anywhere.
pub fn list(
    tenant: &Tenant,
    filter: &Filter,
    from: Sequence,
    limit: usize,
    at: Timestamp,
) -> (Vec<Known>, Option<Sequence>) {
    let change_set = filter
        .change_set
        .as_ref()
        .map(|id| tenant.pseudonymizer().pseudonym(&["change_set_id", id]));
    let passes = |row: &IntentRow| {
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
    for (looks, (sequence, row)) in tenant.intents().since(from).enumerate() {
        if found.len() >= limit || looks >= LOOKS_MAX {
            return (found, Some(sequence));
        }
        if passes(row) {
            found.push(Known::new(tenant, sequence, row, at));
        }
    }
    (found, None)
}

/// How many intents all tenants have.
pub fn count(reader: &Reader) -> Result<u64, ReadError> {
    reader.count(&INTENTS)
}

/// The opening of the entry at `sequence`; none if it was erased or never was.
pub fn opening(
    reader: &Reader,
    tenant: TenantId,
    sequence: Sequence,
) -> Result<Option<Opening>, QueryError> {
    let bytes = reader.opening(tenant, sequence)?;
    let opening = bytes.map(|bytes| Opening::decode(&bytes)).transpose();
    opening.map_err(|error| QueryError::malformed("opening", tenant, sequence, &error))
}
