//! The main command: evaluates an intent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Tenant;
use super::authorization::authorize_key;
use super::change_set;
use super::command::{Change, Command, NoChange, Plan, Refusal};
use super::eviction::evict_oldest_intent;
use super::facts::{self, EntryType, IdentifiedIntent};
use super::intents::IntentRow;
use super::key::{KeyRow, Scope};
use super::schema::{Mutation, Row};
use super::standing::{self, Standing};
use super::usage::UsageLogRow;
use crate::audit::Fact;
use crate::bounded::BoundedString;
use crate::decide::intent::{ChangeSet, Intent};
use crate::decide::{self, Counterfactual, Decision, Evidence};
use crate::id::{IntentId, Pseudonym, Pseudonymizer, Sequence};
use crate::number::Probability;
use crate::stamp::Stamp;
use crate::time::Timestamp;

/// Evaluates an intent, once: a second request with the same id gets the stored decision.
#[derive(Debug, Clone)]
pub struct Evaluate {
    intent: Intent,
    /// `None` to generate one.
    id: Option<IntentId>,
    /// INVARIANT: the intent's canonical form. Computed before the command waits for its tenant.
    canonical: Vec<u8>,
    request: Vec<u8>,
    meta: RequestMeta,
}

#[derive(Debug, Clone)]
pub struct RequestMeta {
    pub at: Timestamp,
    /// W3C trace id, 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// Method and route, for the usage log.
    pub endpoint: &'static str,
}

impl Evaluate {
    pub fn new(intent: Intent, id: Option<IntentId>, request: Vec<u8>, meta: RequestMeta) -> Self {
        Self {
            canonical: intent.canonical(),
            intent,
            id,
            request,
            meta,
        }
    }

    pub fn trace_id(&self) -> Option<String> {
        self.meta.trace_id.clone()
    }

    pub fn bytes(&self) -> usize {
        self.request.len()
    }
}

#[derive(Debug, Clone)]
pub enum Evaluation {
    Decided(Box<DecidedIntent>),
    /// The decision is in the opening of that entry.
    Replayed {
        decided: Sequence,
        standing: Standing,
    },
}

#[derive(Debug, Clone)]
pub struct DecidedIntent {
    pub id: IntentId,
    pub intent: Intent,
    pub decision: Decision,
    pub counterfactual: Option<Counterfactual>,
    pub at: Timestamp,
    pub standing: Standing,
}

impl Command for Evaluate {
    type Reply = Evaluation;
    const SCOPE: Scope = Scope::Decide;

    fn apply(self, tenant: &Tenant, stamp: &Stamp) -> Plan<Evaluation> {
        let key = authorize_key(tenant, stamp, &self.intent)?;
        let pseudonyms = Pseudonyms::of(&self, tenant.pseudonymizer(), stamp);
        if let Some((sequence, row)) = tenant.intents.by_id(pseudonyms.intent_id) {
            return self.replay(sequence, row, &pseudonyms, tenant, stamp);
        }
        let usage = tenant.usage.charge(key.key_id, key.tier, stamp.at)?;
        let (evidence, decision, counterfactual) =
            decide(&self.intent, &pseudonyms, tenant, stamp.at);

        let row = pseudonyms.row(&self.intent, &decision, key, tenant, stamp.at);
        let standing = Standing::of(&row, stamp.at);
        let mut rows: Vec<Mutation> = vec![
            Row::IntentRow(stamp.sequence, row).into(),
            Row::KeyUsageRow(key.key_id, usage).into(),
            Row::UsageLogRow(stamp.sequence, self.usage_log(key, stamp)).into(),
        ];
        // A risk that is not a number never reaches a row: the decision stored 1 and escalated.
        let smoothed = Probability::new(decision.contributions.smoothed_risk);
        if let Ok(smoothed) = smoothed {
            let component = pseudonyms.component;
            rows.extend(
                tenant
                    .components
                    .update(component, smoothed, stamp.sequence),
            );
        }
        let (evicted, mutations) = evict_oldest_intent(tenant).unzip();
        rows.extend(mutations.into_iter().flatten());
        if let Some(set) = &self.intent.change_set {
            let (sets, pseudonymizer) = (&tenant.change_sets, tenant.pseudonymizer());
            let destroys = self.intent.destroys();
            let set = sets.add_item(pseudonymizer, set, destroys, stamp.sequence, evicted);
            // If the evicted intent was in the same set, the new row of it counts that too.
            rows.retain(|mutation| !mutation.is_of_row(&set));
            rows.push(set.into());
        }
        let fact = self.fact(
            &pseudonyms,
            &evidence,
            &decision,
            counterfactual.as_ref(),
            tenant,
        );
        let decided = DecidedIntent {
            id: pseudonyms.id,
            intent: self.intent,
            decision,
            counterfactual,
            at: stamp.at,
            standing,
        };
        Ok(Change {
            rows,
            fact,
            reply: Evaluation::Decided(Box::new(decided)),
        })
    }
}

/// The decision that `ask` would get, without any change and without use of the quota.
pub fn dry_run(ask: Evaluate, tenant: &Tenant, stamp: &Stamp) -> Result<DecidedIntent, Refusal> {
    let key = authorize_key(tenant, stamp, &ask.intent)?;
    let pseudonyms = Pseudonyms::of(&ask, tenant.pseudonymizer(), stamp);
    let existing = tenant.intents.by_id(pseudonyms.intent_id);
    if existing.is_some_and(|(_, row)| row.digest != pseudonyms.digest) {
        return Err(id_conflict());
    }
    let (_, decision, counterfactual) = decide(&ask.intent, &pseudonyms, tenant, stamp.at);
    let row = pseudonyms.row(&ask.intent, &decision, key, tenant, stamp.at);
    Ok(DecidedIntent {
        id: pseudonyms.id,
        intent: ask.intent,
        decision,
        counterfactual,
        at: stamp.at,
        standing: Standing::of(&row, stamp.at),
    })
}

fn id_conflict() -> Refusal {
    Refusal::IdempotencyConflict("the deterministic id belongs to another intent")
}

fn decide(
    intent: &Intent,
    pseudonyms: &Pseudonyms,
    tenant: &Tenant,
    at: Timestamp,
) -> (Evidence, Decision, Option<Counterfactual>) {
    let set = pseudonyms.change_set;
    let totals = set.map(|set| tenant.change_sets.totals(set));
    let evidence = Evidence {
        counts: tenant.learning.all_counts(),
        smoothed: tenant.components.smoothed(pseudonyms.component),
        change_set: totals.unwrap_or_default(),
        ..Evidence::default()
    };
    let decision = decide::decide(intent, &evidence, tenant.rules(), at);
    let counterfactual = decide::counterfactual(intent, &evidence, tenant.rules(), at, &decision);
    (evidence, decision, counterfactual)
}

fn move_to_set(
    sequence: Sequence,
    row: &IntentRow,
    set: &ChangeSet,
    pseudonyms: &Pseudonyms,
    tenant: &Tenant,
    stamp: &Stamp,
) -> Vec<Mutation> {
    let moved = IntentRow {
        change_set: pseudonyms.change_set,
        ..*row
    };
    let (sets, pseudonymizer) = (&tenant.change_sets, tenant.pseudonymizer());
    let set = sets.add_item(pseudonymizer, set, row.destroys(), stamp.sequence, None);
    let mut rows: Vec<Mutation> = vec![Row::IntentRow(sequence, moved).into(), set.into()];
    rows.extend(sets.remove_item(row));
    rows
}

impl Evaluate {
    /// The stored decision. An intent without an outcome moves to the change set of this request.
    fn replay(
        &self,
        sequence: Sequence,
        row: &IntentRow,
        pseudonyms: &Pseudonyms,
        tenant: &Tenant,
        stamp: &Stamp,
    ) -> Plan<Evaluation> {
        if row.digest != pseudonyms.digest {
            return Err(id_conflict().into());
        }
        let reply = Evaluation::Replayed {
            decided: sequence,
            standing: Standing::of(row, stamp.at),
        };
        let set = self.intent.change_set.as_ref();
        let open = row.outcome.is_none();
        match set.filter(|_| open && pseudonyms.change_set != row.change_set) {
            Some(set) => Ok(Change {
                rows: move_to_set(sequence, row, set, pseudonyms, tenant, stamp),
                fact: EntryType::Move
                    .fact()
                    .with(facts::OF, tenant.decision_id(sequence))
                    .with(facts::CHANGE_SET, pseudonyms.change_set)
                    .json(facts::MOVED_TO, set),
                reply,
            }),
            None => Err(NoChange::Replay(reply)),
        }
    }

    fn usage_log(&self, key: &KeyRow, stamp: &Stamp) -> UsageLogRow {
        let processing = stamp.at.since(self.meta.at);
        UsageLogRow {
            key: key.key_id,
            tier: key.tier,
            at: stamp.at,
            endpoint: self.meta.endpoint.to_owned(),
            status: 200,
            error: None,
            processing_us: u64::try_from(processing.as_micros()).unwrap_or(u64::MAX),
        }
    }

    fn fact(
        &self,
        pseudonyms: &Pseudonyms,
        evidence: &Evidence,
        decision: &Decision,
        counterfactual: Option<&Counterfactual>,
        tenant: &Tenant,
    ) -> Fact {
        let rules = tenant.rules();
        let hash = |hash: Option<[u8; 32]>| hash.map(|bytes| STANDARD.encode(bytes));
        EntryType::Decision
            .fact()
            .with(facts::ACTION, decision.action)
            .with(facts::RISK_SCORE, decision.risk_score)
            .with(facts::CATEGORY, decision.category)
            .with(facts::ENVIRONMENT, self.intent.environment)
            .with(facts::OPERATION, self.intent.operation)
            .with(facts::CHANGE_SET, pseudonyms.change_set)
            .with(facts::FAILURES, decision.evidence.failures)
            .with(facts::TRIALS, decision.evidence.trials)
            .with(facts::SELF_REPORTED, decision.evidence.self_reported)
            .with(facts::IMPORTED, decision.evidence.imported)
            .with(facts::MEMORY_SUCCESS_RATE, decision.memory.success_rate)
            .with(facts::MEMORY_WEIGHT, decision.memory.weight)
            .with(facts::TRACE_ID, self.meta.trace_id.clone())
            .with(facts::RULES, rules.version)
            .with(facts::POLICIES, hash(rules.hashes.policies))
            .with(facts::SETTINGS, hash(rules.hashes.settings))
            .with(facts::PRICES, hash(rules.hashes.prices))
            .with(facts::MODEL, hash(rules.hashes.model))
            .bytes(facts::REQUEST, &self.request)
            .json(
                facts::INTENT,
                &IdentifiedIntent {
                    deterministic_id: &pseudonyms.id,
                    intent: &self.intent,
                },
            )
            .text(facts::REQUESTER, self.intent.requester.as_str())
            .text(facts::DETERMINISTIC_ID, pseudonyms.id.as_str())
            .json(facts::EVIDENCE, evidence)
            .json(facts::DECISION, decision)
            .text(facts::JUSTIFICATION, decision.justification.as_str())
            .json(facts::COUNTERFACTUAL, counterfactual)
    }
}

/// The caller's texts as rows hold them.
struct Pseudonyms {
    id: IntentId,
    intent_id: Pseudonym,
    digest: Pseudonym,
    change_set: Option<Pseudonym>,
    component: Pseudonym,
    requester: Pseudonym,
    memory: Pseudonym,
}

impl Pseudonyms {
    fn of(ask: &Evaluate, pseudonymizer: &Pseudonymizer, stamp: &Stamp) -> Self {
        let intent = &ask.intent;
        let id = ask.id.clone().unwrap_or_else(|| {
            let fresh = stamp.uuid_v7("intent").to_string();
            IntentId::parse(&fresh).expect("a UUID is short and plain")
        });
        let (kind, component) = intent.component();
        let requester = intent.requester.as_str();
        let set = intent.change_set.as_ref();
        let mut memory = vec![
            "memory",
            intent.intent_type().as_str(),
            decide::Category::of(intent).as_str(),
            intent.environment.as_str(),
            intent.operation.map_or("", |operation| operation.as_str()),
            kind,
            component,
            requester,
        ];
        let fields = intent.changed_fields.as_slice().iter();
        memory.extend(fields.map(BoundedString::as_str));
        Self {
            intent_id: pseudonymizer.pseudonym(&["intent", id.as_str()]),
            digest: pseudonymizer.digest(&ask.canonical),
            change_set: set.map(|set| change_set::pseudonym(pseudonymizer, set)),
            component: pseudonymizer.pseudonym(&["component", kind, component]),
            requester: pseudonymizer.pseudonym(&["requester", requester]),
            memory: pseudonymizer.pseudonym(&memory),
            id,
        }
    }

    fn row(
        &self,
        intent: &Intent,
        decision: &Decision,
        key: &KeyRow,
        tenant: &Tenant,
        at: Timestamp,
    ) -> IntentRow {
        IntentRow {
            id: self.intent_id,
            digest: self.digest,
            change_set: self.change_set,
            component: self.component,
            requester: self.requester,
            memory: self.memory,
            caller: key.key_id,
            intent_type: intent.intent_type(),
            category: decision.category,
            action: decision.action,
            environment: intent.environment,
            target: intent.deployment_target(),
            operation: intent.operation,
            risk: decision.risk_score,
            blend: decision.contributions.blend,
            created_at: at,
            expires_at: standing::expires_at(decision.action, at, &tenant.rules.settings),
            review: None,
            outcome: None,
        }
    }
}
