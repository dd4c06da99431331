//! Outcomes of intents, and the update of the counts (rules.md 5).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Tenant;
use super::change_set::ChangeSetRow;
use super::command::{Change, Command, NoChange, Plan, Refusal};
use super::facts::{self, EntryType};
use super::intents::{IntentRow, OutcomeMark, Verdict};
use super::key::Scope;
use super::learning::{BetaRow, Contribution};
use super::schema::{Eviction, Mutation, Row, RowId, TableRow};
use super::sequence_map::SequenceMap;
use crate::audit::Fact;
use crate::bounded::BoundedString;
use crate::decide::settings::SelfReported;
use crate::decide::{self, Action, Category, Counts};
use crate::id::{IntentId, KeyId, Pseudonym, Sequence};
use crate::stamp::Stamp;
use crate::store::Load;
use crate::string_enum;
use crate::time::Timestamp;

string_enum!(
    /// Why an outcome changed no count.
    NotLearned {
        /// The decision was a denial: what ran was not what was allowed.
        Denied = 1 "denied",
        /// A reviewer denied it.
        NotAllowed = 2 "not_allowed",
        /// Another outcome of its change set changed that count already.
        SameChangeSet = 3 "same_change_set",
        /// Reported by the key that asked, and settings say not to learn from that.
        SelfReported = 4 "self_reported",
    }
);

/// Keyed by the sequence of the command that recorded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRow {
    pub intent: Sequence,
    pub success: bool,
    pub reporter: KeyId,
    pub not_learned: Option<NotLearned>,
    pub recorded_at: Timestamp,
    pub idempotency_key: Option<Pseudonym>,
}

#[derive(Debug, Default)]
pub struct Outcomes {
    rows: SequenceMap<OutcomeRow>,
    by_idempotency_key: HashMap<Pseudonym, Sequence>,
}

impl Outcomes {
    pub fn get(&self, sequence: Sequence) -> Option<&OutcomeRow> {
        self.rows.get(sequence)
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = (Sequence, &OutcomeRow)> {
        self.rows.since(Sequence::FIRST)
    }

    pub fn count(&self) -> usize {
        self.rows.len()
    }
}

impl TableRow for OutcomeRow {
    type Key = Sequence;
    const LOAD: Load = Load::Hot;
    const EXPORT: Option<&'static str> = Some("intent_outcomes.ndjson");
    const WEIGHT: usize = 100;
    const EVICTION: Option<Eviction> = Some(|_, intent, _| {
        let outcome = intent.outcome.iter();
        outcome
            .map(|outcome| RowId::OutcomeRow(outcome.sequence).into())
            .collect()
    });

    fn absorb(&self, key: &Sequence, tenant: &mut Tenant) -> Option<Self> {
        if let Some(name) = self.idempotency_key {
            tenant.outcomes.by_idempotency_key.insert(name, *key);
        }
        tenant.outcomes.rows.insert(*key, *self)
    }

    fn forget(key: &Sequence, tenant: &mut Tenant) -> Option<Self> {
        let row = tenant.outcomes.rows.remove(*key)?;
        if let Some(name) = row.idempotency_key {
            tenant.outcomes.by_idempotency_key.remove(&name);
        }
        Some(row)
    }
}

#[derive(Debug, Clone)]
pub struct RecordOutcome {
    pub id: IntentId,
    pub success: bool,
    pub recorded_by: Option<BoundedString<0, 128>>,
    pub notes: Option<BoundedString<0, 4_096>>,
    pub idempotency_key: Option<BoundedString<1, 128>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RecordedOutcome {
    /// The key of its row.
    pub outcome: Sequence,
    pub category: Category,
    pub counts: Counts,
    /// Prior plus failures.
    pub alpha: f64,
    /// Prior plus successes.
    pub beta: f64,
    pub not_learned: Option<NotLearned>,
    pub replayed: bool,
}

impl RecordedOutcome {
    fn new(outcome: Sequence, category: Category, counts: Counts, tenant: &Tenant) -> Self {
        let posterior = decide::conjugate(category, &counts, &tenant.rules.settings);
        Self {
            outcome,
            category,
            counts,
            alpha: posterior.alpha,
            beta: posterior.beta,
            not_learned: None,
            replayed: false,
        }
    }
}

impl Command for RecordOutcome {
    type Reply = RecordedOutcome;
    const SCOPE: Scope = Scope::Outcome;

    fn apply(self, tenant: &Tenant, stamp: &Stamp) -> Plan<RecordedOutcome> {
        let pseudonymizer = tenant.pseudonymizer();
        let id = pseudonymizer.pseudonym(&["intent", self.id.as_str()]);
        let (sequence, intent) = tenant
            .intents
            .by_id(id)
            .ok_or(Refusal::NotFound("intent"))?;
        let reporter = stamp.caller.ok_or(Refusal::Unauthenticated)?;
        if let Some(claims) = tenant.keys.claims(reporter) {
            claims.check_outcome(reporter, intent)?;
        }
        let idempotency_key = self
            .idempotency_key
            .as_ref()
            .map(|key| pseudonymizer.pseudonym(&["outcome", key.as_str()]));
        self.check_idempotency_key(idempotency_key, sequence, tenant)?;
        if let Some(outcome) = intent.outcome {
            return Err(self.replay(outcome, intent.category, tenant));
        }

        let update = LearningUpdate::of(intent, self.success, reporter, tenant);
        let mark = OutcomeMark {
            sequence: stamp.sequence,
            success: self.success,
            learned: update.not_learned.is_none(),
        };
        let row = OutcomeRow {
            intent: sequence,
            success: self.success,
            reporter,
            not_learned: update.not_learned,
            recorded_at: stamp.at,
            idempotency_key,
        };
        let closed = IntentRow {
            outcome: Some(mark),
            ..*intent
        };
        let mut rows: Vec<Mutation> = vec![
            Row::OutcomeRow(stamp.sequence, row).into(),
            Row::IntentRow(sequence, closed).into(),
        ];
        if update.counts != tenant.learning.counts(intent.category) {
            let beta = BetaRow {
                counts: update.counts,
                updated_at: stamp.at,
            };
            rows.push(Row::BetaRow(intent.category, beta).into());
        }
        let set = update.change_set;
        rows.extend(set.map(|(name, set)| Row::ChangeSetRow(name, set).into()));
        Ok(Change {
            rows,
            fact: self.fact(sequence, intent, &update, tenant),
            reply: RecordedOutcome {
                not_learned: update.not_learned,
                ..RecordedOutcome::new(stamp.sequence, intent.category, update.counts, tenant)
            },
        })
    }
}

impl RecordOutcome {
    /// An idempotency key names one report: another report with it is a conflict.
    fn check_idempotency_key(
        &self,
        key: Option<Pseudonym>,
        intent: Sequence,
        tenant: &Tenant,
    ) -> Result<(), Refusal> {
        let used = key.and_then(|key| tenant.outcomes.by_idempotency_key.get(&key));
        let report = used.and_then(|sequence| tenant.outcomes.get(*sequence));
        if report.is_some_and(|row| (row.intent, row.success) != (intent, self.success)) {
            let message = "the idempotency key belongs to another outcome";
            return Err(Refusal::IdempotencyConflict(message));
        }
        Ok(())
    }

    /// The intent has an outcome: another one is a conflict.
    fn replay(
        &self,
        mark: OutcomeMark,
        category: Category,
        tenant: &Tenant,
    ) -> NoChange<RecordedOutcome> {
        if mark.success != self.success {
            return Refusal::OutcomeConflict.into();
        }
        let row = tenant.outcomes.get(mark.sequence);
        let counts = tenant.learning.counts(category);
        NoChange::Replay(RecordedOutcome {
            not_learned: row.and_then(|row| row.not_learned),
            replayed: true,
            ..RecordedOutcome::new(mark.sequence, category, counts, tenant)
        })
    }

    fn fact(
        &self,
        of: Sequence,
        intent: &IntentRow,
        update: &LearningUpdate,
        tenant: &Tenant,
    ) -> Fact {
        EntryType::Outcome
            .fact()
            .with(facts::OF, tenant.decision_id(of))
            .with(facts::SUCCESS, self.success)
            .with(facts::LEARNED, update.not_learned.is_none())
            .with(facts::NOT_LEARNED_BECAUSE, update.not_learned)
            .with(facts::CATEGORY, intent.category)
            .with(facts::FAILURES, update.counts.failures)
            .with(facts::TRIALS, update.counts.trials)
            .text(
                facts::RECORDED_BY,
                self.recorded_by.as_ref().map(BoundedString::as_str),
            )
            .text(facts::NOTES, self.notes.as_ref().map(BoundedString::as_str))
    }
}

struct LearningUpdate {
    not_learned: Option<NotLearned>,
    counts: Counts,
    change_set: Option<(Pseudonym, ChangeSetRow)>,
}

impl LearningUpdate {
    fn of(intent: &IntentRow, success: bool, reporter: KeyId, tenant: &Tenant) -> Self {
        let counts = tenant.learning.counts(intent.category);
        let self_reported = reporter == intent.caller;
        let nothing = |why| Self {
            not_learned: Some(why),
            counts,
            change_set: None,
        };

        if intent.action == Action::Deny {
            return nothing(NotLearned::Denied);
        }
        if intent.review.map(|review| review.verdict) == Some(Verdict::Deny) {
            return nothing(NotLearned::NotAllowed);
        }
        let trust = tenant.rules().settings.learning.self_reported;
        if self_reported && trust == SelfReported::Keep {
            return nothing(NotLearned::SelfReported);
        }
        let set = intent
            .change_set
            .and_then(|name| Some((name, *tenant.change_sets.get(name)?)));
        let Some((name, mut row)) = set else {
            let one = Contribution::of_one(success, self_reported);
            let counts = one.replacing(Contribution::default(), counts);
            return Self {
                not_learned: None,
                counts,
                change_set: None,
            };
        };
        let tally = row.tallies.of_mut(intent.category);
        let before = Contribution::of_set(*tally);
        tally.outcomes += 1;
        tally.failures += u32::from(!success);
        tally.self_reported += u32::from(self_reported);
        let after = Contribution::of_set(*tally);
        Self {
            not_learned: (!after.differs_from(before)).then_some(NotLearned::SameChangeSet),
            counts: after.replacing(before, counts),
            change_set: Some((name, row)),
        }
    }
}
