//! Decided intents: narrow rows without the caller's texts.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Tenant;
use super::schema::{Eviction, RowId, TableRow};
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

/// Keyed by the sequence of its evaluation. At most 200 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IntentRow {
    pub id: Pseudonym,
    /// Of the canonical intent.
    pub digest: Pseudonym,
    /// Id and revision, of the last request.
    pub change_set: Option<Pseudonym>,
    pub component: Pseudonym,
    pub requester: Pseudonym,
    /// Equal for intents that memory does not distinguish.
    pub memory: Pseudonym,
    pub caller: KeyId,
    pub intent_type: IntentType,
    pub category: Category,
    pub action: Action,
    pub environment: Environment,
    /// Only of deployments.
    pub target: Option<Environment>,
    pub operation: Option<Operation>,
    pub risk: f64,
    /// Before kappa: what calibration compares with outcomes.
    pub blend: f64,
    pub created_at: Timestamp,
    /// The end of the approval or of the wait for a review. `None` for denials.
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
    /// As measured by `cargo bench --bench scale`.
    const WEIGHT: usize = 296;
    const EVICTION: Option<Eviction> =
        Some(|sequence, _, _| vec![RowId::IntentRow(sequence).into()]);

    fn absorb(&self, sequence: &Sequence, tenant: &mut Tenant) -> Option<Self> {
        tenant.intents.by_id.insert(self.id, *sequence);
        tenant.intents.rows.insert(*sequence, *self)
    }

    fn forget(sequence: &Sequence, tenant: &mut Tenant) -> Option<Self> {
        let row = tenant.intents.rows.remove(*sequence)?;
        tenant.intents.by_id.remove(&row.id);
        Some(row)
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
