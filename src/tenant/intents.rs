//! A tenant's intents as it remembers them: narrow rows without the caller's texts.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Tenant;
use super::schema::{Mutation, RowId, TableRow};
use super::sequence_map::SequenceMap;
use crate::decide::intent::{Environment, IntentType, Operation};
use crate::decide::{Action, Category};
use crate::id::{KeyId, Pseudonym, Sequence};
use crate::store::Load;
use crate::string_enum;
use crate::time::Timestamp;

string_enum!(
    Verdict {
        Approve = 1 "approve",
        Deny = 2 "deny",
    }
);

/// A reviewer's answer to an escalated intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    pub verdict: Verdict,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeMark {
    /// The key of its row in `intent_outcomes`.
    pub sequence: Sequence,
    pub success: bool,
    /// True if it changed a count.
    pub learned: bool,
}

/// The row of `intents`, keyed by the sequence of its evaluation. At most 200 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IntentRow {
    pub id: Pseudonym,
    /// Digest of the canonical intent.
    pub digest: Pseudonym,
    /// Pseudonym of the change set (id and revision) of the last request.
    pub change_set: Option<Pseudonym>,
    pub component: Pseudonym,
    pub requester: Pseudonym,
    /// Pseudonym of its memory group: intents that memory does not tell apart.
    pub memory: Pseudonym,
    pub caller: KeyId,
    pub intent_type: IntentType,
    /// Where its outcome counts.
    pub category: Category,
    pub action: Action,
    /// Where the caller says it takes effect.
    pub environment: Environment,
    /// Of deployments.
    pub target: Option<Environment>,
    pub operation: Option<Operation>,
    /// The risk that the decision used.
    pub risk: f64,
    /// The blend before kappa: what calibration compares with outcomes.
    pub blend: f64,
    pub created_at: Timestamp,
    /// When the approval, or the wait for a review, ends: by the settings of the time at which it began.
    /// `None` for denials.
    pub expires_at: Option<Timestamp>,
    pub review: Option<Review>,
    pub outcome: Option<OutcomeMark>,
}

impl IntentRow {
    pub fn destroys(&self) -> bool {
        self.operation.is_some_and(Operation::destroys)
    }
}

#[derive(Debug, Default)]
pub struct Intents {
    rows: SequenceMap<IntentRow>,
    by_id: HashMap<Pseudonym, Sequence>,
}

impl Intents {
    pub fn by_id(&self, id: Pseudonym) -> Option<(Sequence, &IntentRow)> {
        let sequence = *self.by_id.get(&id)?;
        Some((sequence, self.rows.get(sequence)?))
    }

    pub fn get(&self, sequence: Sequence) -> Option<&IntentRow> {
        self.rows.get(sequence)
    }

    pub fn since(&self, from: Sequence) -> impl Iterator<Item = (Sequence, &IntentRow)> {
        self.rows.since(from)
    }

    pub fn oldest(&self) -> Option<(Sequence, &IntentRow)> {
        self.rows.since(Sequence::FIRST).next()
    }

    pub fn count(&self) -> usize {
        self.rows.len()
    }
}

impl TableRow for IntentRow {
    type Key = Sequence;
    const LOAD: Load = Load::Hot;
    const EXPORT: Option<&'static str> = Some("intents.ndjson");

    fn absorb(&self, sequence: &Sequence, tenant: &mut Tenant) -> Option<Self> {
        tenant.intents.by_id.insert(self.id, *sequence);
        tenant.intents.rows.insert(*sequence, *self)
    }

    fn forget(sequence: &Sequence, tenant: &mut Tenant) -> Option<Self> {
        let row = tenant.intents.rows.remove(*sequence)?;
        tenant.intents.by_id.remove(&row.id);
        Some(row)
    }

    /// As measured by `cargo bench --bench scale`.
    fn weight(&self) -> usize {
        296
    }

    fn evict(sequence: Sequence, _: &IntentRow, _: &Tenant) -> Vec<Mutation> {
        vec![RowId::IntentRow(sequence).into()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec;
    use crate::tenant::tests::sample::Sample as _;

    #[test]
    fn an_intent_takes_at_most_200_bytes() {
        assert!(codec::encode(&IntentRow::sample().1).len() <= 200);
    }
}
