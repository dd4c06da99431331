//! The main command: have an intent evaluated.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Tenant;
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
use crate::decide::intent::{ChangeSet, Intent};
use crate::decide::{self, ChangeSetTotals, Counterfactual, Decision, Evidence};
use crate::id::{IntentId, Pseudonym, Pseudonymizer, Sequence};
use crate::number::Probability;
use crate::stamp::Stamp;
use crate::time::Timestamp;

/// Has an intent evaluated, once: asked again under the same id, the stored answer comes back.
#[derive(Debug, Clone)]
pub struct Evaluate {
    intent: Intent,
    /// The caller's id for it; made where there is none.
    id: Option<IntentId>,
    /// INVARIANT: the intent's canonical form. Made at the edge, not in the tenant's order.
    canonical: Vec<u8>,
    /// The request as sent, to the byte.
    request: Vec<u8>,
    meta: RequestMeta,
}

/// How a request came.
#[derive(Debug, Clone)]
pub struct RequestMeta {
    /// When.
    pub at: Timestamp,
    /// In which trace: W3C trace id, 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// Through which method and route, for the usage log.
    pub endpoint: &'static str,
}

impl Evaluate {
    /// Asks about `intent` under `id`, or under one made for it; `request` is the text as sent.
    pub fn new(intent: Intent, id: Option<IntentId>, request: Vec<u8>, meta: RequestMeta) -> Self {
        Self {
            canonical: intent.canonical(),
            intent,
            id,
            request,
            meta,
        }
    }

    /// The trace it is a part of.
    pub fn trace_id(&self) -> Option<String> {
        self.meta.trace_id.clone()
    }

    /// How long the request is.
    pub fn bytes(&self) -> usize {
        self.request.len()
    }
}

/// What an evaluation comes to.
#[derive(Debug, Clone)]
pub enum Evaluation {
    /// A decision, made just now.
    Decided(Box<DecidedIntent>),
    /// The decision was made before; its text is in the opening of that entry.
    Replayed {
        /// The entry of the decision.
        decided: Sequence,
        /// Where it stands now.
        standing: Standing,
    },
}

/// A decision with what it was made about.
#[derive(Debug, Clone)]
pub struct DecidedIntent {
    /// The id it is known by.
    pub id: IntentId,
    /// What was asked.
    pub intent: Intent,
    /// The answer.
    pub decision: Decision,
    /// The smallest change that would have got a better one.
    pub counterfactual: Option<Counterfactual>,
    /// When.
    pub at: Timestamp,
    /// Where it stands.
    pub standing: Standing,
}

impl Command for Evaluate {
    type Reply = Evaluation;
    const SCOPE: Scope = Scope::Decide;

    fn apply(self, tenant: &Tenant, stamp: &Stamp) -> Plan<Evaluation> {
        let key = authorize_key(tenant, stamp, &self.intent)?;
        let names = Pseudonyms::of(&self, tenant.pseudonymizer(), stamp);
        if let Some((sequence, row)) = tenant.intents.by_id(names.intent_id) {
            return self.again(sequence, row, &names, tenant, stamp);
        }
        let usage = tenant.usage.spend(key.key_id, key.tier, stamp.at)?;
        let Assessment {
            evidence,
            decision,
            counterfactual,
        } = judge(&self.intent, &names, tenant, stamp.at);

        let row = names.row(&self.intent, &decision, key, tenant, stamp.at);
        let standing = Standing::of(&row, stamp.at);
        let mut rows: Vec<Mutation> = vec![
            Row::IntentRow(stamp.sequence, row).into(),
            Row::KeyUsageRow(key.key_id, usage).into(),
            Row::UsageLogRow(stamp.sequence, self.usage_log(key, stamp)).into(),
        ];
        // A risk that is not a number never reaches a row: the decision stored 1 and escalated.
        let smoothed = Probability::new(decision.contributions.smoothed_risk);
        if let Ok(smoothed) = smoothed {
            rows.extend(
                tenant
                    .components
                    .decided(names.component, smoothed, stamp.sequence),
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
            &names,
            &evidence,
            &decision,
            counterfactual.as_ref(),
            tenant,
        );
        let decided = DecidedIntent {
            id: names.id,
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

/// What `ask` would be answered, without writing, learning or quota.
pub fn dry_run(ask: Evaluate, tenant: &Tenant, stamp: &Stamp) -> Result<DecidedIntent, Refusal> {
    let key = authorize_key(tenant, stamp, &ask.intent)?;
    let names = Pseudonyms::of(&ask, tenant.pseudonymizer(), stamp);
    let known = tenant.intents.by_id(names.intent_id);
    if known.is_some_and(|(_, row)| row.digest != names.digest) {
        return Err(another_intent());
    }
    let Assessment {
        decision,
        counterfactual,
        ..
    } = judge(&ask.intent, &names, tenant, stamp.at);
    let row = names.row(&ask.intent, &decision, key, tenant, stamp.at);
    Ok(DecidedIntent {
        id: names.id,
        intent: ask.intent,
        decision,
        counterfactual,
        at: stamp.at,
        standing: Standing::of(&row, stamp.at),
    })
}

fn another_intent() -> Refusal {
    Refusal::IdempotencyConflict("the deterministic id belongs to another intent")
}

/// The key that asks and pays, if it is for such intents.
fn authorize_key<'a>(
    tenant: &'a Tenant,
    stamp: &Stamp,
    intent: &Intent,
) -> Result<&'a KeyRow, Refusal> {
    let key = stamp
        .caller
        .and_then(|key| tenant.keys.active(key, stamp.at));
    let key = key.ok_or(Refusal::Unauthenticated)?;
    if let Some(claims) = tenant.keys.claims(key.key_id) {
        claims.check(intent)?;
    }
    Ok(key)
}

struct Assessment {
    evidence: Evidence,
    decision: Decision,
    counterfactual: Option<Counterfactual>,
}

/// Gathers the evidence and decides.
fn judge(intent: &Intent, names: &Pseudonyms, tenant: &Tenant, at: Timestamp) -> Assessment {
    let evidence = Evidence {
        counts: tenant.learning.all_counts(),
        smoothed: tenant.components.smoothed(names.component),
        memory: Default::default(),
        change_set: names
            .change_set
            .map_or_else(ChangeSetTotals::default, |set| {
                tenant.change_sets.so_far(set)
            }),
    };
    let decision = decide::decide(intent, &evidence, tenant.rules(), at);
    let counterfactual = decide::counterfactual(intent, &evidence, tenant.rules(), at, &decision);
    Assessment {
        evidence,
        decision,
        counterfactual,
    }
}

/// The rows of an intent that moves to the set it was asked under last.
fn moved(
    sequence: Sequence,
    row: &IntentRow,
    set: &ChangeSet,
    names: &Pseudonyms,
    tenant: &Tenant,
    stamp: &Stamp,
) -> Vec<Mutation> {
    let row_now = IntentRow {
        change_set: names.change_set,
        ..*row
    };
    let (sets, pseudonymizer) = (&tenant.change_sets, tenant.pseudonymizer());
    let joined = sets.add_item(pseudonymizer, set, row.destroys(), stamp.sequence, None);
    let mut rows: Vec<Mutation> = vec![Row::IntentRow(sequence, row_now).into(), joined.into()];
    rows.extend(sets.remove_item(row));
    rows
}

impl Evaluate {
    /// The id was asked about before: the stored answer, and a move if the set it is a part of is
    /// another now.
    fn again(
        &self,
        sequence: Sequence,
        row: &IntentRow,
        names: &Pseudonyms,
        tenant: &Tenant,
        stamp: &Stamp,
    ) -> Plan<Evaluation> {
        if row.digest != names.digest {
            return Err(another_intent().into());
        }
        let recalled = Evaluation::Replayed {
            decided: sequence,
            standing: Standing::of(row, stamp.at),
        };
        let set = self.intent.change_set.as_ref();
        let open = row.outcome.is_none();
        match set.filter(|_| open && names.change_set != row.change_set) {
            Some(set) => Ok(Change {
                rows: moved(sequence, row, set, names, tenant, stamp),
                fact: EntryType::Move
                    .fact()
                    .with(facts::OF, tenant.decision_id(sequence))
                    .with(facts::CHANGE_SET, names.change_set)
                    .json(facts::MOVED_TO, set),
                reply: recalled,
            }),
            None => Err(NoChange::Replay(recalled)),
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

    /// What the audit log says of the decision (rules.md 15).
    fn fact(
        &self,
        names: &Pseudonyms,
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
            .with(facts::CHANGE_SET, names.change_set)
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
                    deterministic_id: &names.id,
                    intent: &self.intent,
                },
            )
            .text(facts::REQUESTER, self.intent.requester.as_str())
            .text(facts::DETERMINISTIC_ID, names.id.as_str())
            .json(facts::EVIDENCE, evidence)
            .json(facts::DECISION, decision)
            .text(facts::JUSTIFICATION, decision.justification.as_str())
            .json(facts::COUNTERFACTUAL, counterfactual)
    }
}

/// An intent's texts as rows hold them.
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
        memory.extend(
            intent
                .changed_fields
                .as_slice()
                .iter()
                .map(|field| field.as_str()),
        );
        Self {
            intent_id: pseudonymizer.pseudonym(&["intent", id.as_str()]),
            digest: pseudonymizer.digest(&ask.canonical),
            change_set: intent
                .change_set
                .as_ref()
                .map(|set| change_set::pseudonym(pseudonymizer, set)),
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
