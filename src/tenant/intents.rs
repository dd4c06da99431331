//! A tenant's intents as it remembers them: narrow rows without a word of the caller's text.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Tenant;
use super::schema::{Mutation, RowId, TableRow};
use super::sequence_map::SequenceMap;
#[cfg(test)]
use super::tests::sample;
use crate::decide::intent::{Environment, IntentType, Operation};
use crate::decide::{Action, Category};
use crate::id::{KeyId, Pseudonym, Sequence};
use crate::store::Load;
use crate::string_enum;
use crate::time::Timestamp;

string_enum!(
    /// What a reviewer answered.
    Verdict {
        /// Go ahead.
        Approve = 1 "approve",
        /// Do not.
        Deny = 2 "deny",
    }
);

/// A person has answered an escalated intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// What the reviewer answered.
    pub verdict: Verdict,
    /// When.
    pub at: Timestamp,
}

/// How the intent turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeMark {
    /// The row of `intent_outcomes`.
    pub sequence: Sequence,
    /// True if it worked.
    pub success: bool,
    /// True if a count moved by it.
    pub learned: bool,
}

/// The row of `intents`, keyed by the sequence of its evaluation. At most 200 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IntentRow {
    /// Name of the deterministic id.
    pub id: Pseudonym,
    /// Digest of the canonical intent.
    pub digest: Pseudonym,
    /// Name of the change set (id and revision) it was last asked under.
    pub change_set: Option<Pseudonym>,
    /// Name of the component.
    pub component: Pseudonym,
    /// Name of the requester.
    pub requester: Pseudonym,
    /// Name of its memory group: intents alike in everything that memory compares.
    pub memory: Pseudonym,
    /// The key that asked.
    pub caller: KeyId,
    /// The kind of intent.
    pub intent_type: IntentType,
    /// What it learns from.
    pub category: Category,
    /// What was decided.
    pub action: Action,
    /// Where it takes effect.
    pub environment: Environment,
    /// Where a deployment goes to.
    pub target: Option<Environment>,
    /// What happens to the thing.
    pub operation: Option<Operation>,
    /// The risk that the decision used.
    pub risk: f64,
    /// The blend before kappa: what calibration compares with outcomes.
    pub blend: f64,
    /// When it was decided.
    pub created_at: Timestamp,
    /// When its approval, or the wait for a review, ends: as the settings were when it began. None for
    /// what is denied.
    pub expires_at: Option<Timestamp>,
    /// A person's verdict.
    pub review: Option<Review>,
    /// How it turned out.
    pub outcome: Option<OutcomeMark>,
}

impl IntentRow {
    /// True if it deletes or replaces.
    pub fn destroys(&self) -> bool {
        self.operation.is_some_and(Operation::destroys)
    }
}

/// The intents of a tenant.
#[derive(Debug, Default)]
pub struct Intents {
    rows: SequenceMap<IntentRow>,
    by_id: HashMap<Pseudonym, Sequence>,
}

impl Intents {
    /// The intent with this id.
    pub fn by_id(&self, id: Pseudonym) -> Option<(Sequence, &IntentRow)> {
        let sequence = *self.by_id.get(&id)?;
        Some((sequence, self.rows.get(sequence)?))
    }

    pub fn get(&self, sequence: Sequence) -> Option<&IntentRow> {
        self.rows.get(sequence)
    }

    /// Those from `from` on, oldest first.
    pub fn since(&self, from: Sequence) -> impl Iterator<Item = (Sequence, &IntentRow)> {
        self.rows.since(from)
    }

    /// The oldest that is kept.
    pub fn oldest(&self) -> Option<(Sequence, &IntentRow)> {
        self.rows.since(Sequence::FIRST).next()
    }

    /// How many are kept.
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

    #[cfg(test)]
    fn sample() -> (Sequence, Self) {
        let row = Self {
            id: sample::pseudonym(1),
            digest: sample::pseudonym(2),
            change_set: Some(sample::CHANGE_SET),
            component: sample::pseudonym(4),
            requester: sample::pseudonym(5),
            memory: sample::pseudonym(6),
            caller: sample::KEY,
            intent_type: IntentType::GrantAccess,
            category: Category::Security,
            action: Action::Escalate,
            environment: Environment::Prod,
            target: Some(Environment::Staging),
            operation: Some(Operation::Replace),
            risk: 0.25,
            blend: 1.0 / 6.0,
            created_at: sample::at(5),
            expires_at: Some(sample::at(10)),
            review: Some(Review {
                verdict: Verdict::Approve,
                at: sample::at(6),
            }),
            outcome: Some(OutcomeMark {
                sequence: sample::OUTCOME,
                success: true,
                learned: true,
            }),
        };
        (sample::INTENT, row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec;

    #[test]
    fn an_intent_takes_at_most_200_bytes() {
        assert!(codec::encode(&IntentRow::sample().1).len() <= 200);
    }
}
