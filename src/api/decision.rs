//! A decision as it is answered: when it is made, and every time it is asked for again.
//!
//! Both ways lead through [`View`], so a replay cannot differ from the first answer but in what the
//! time has changed: standing, next and `replayed`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::intent;
use crate::audit::Opening;
use crate::decide::decision::{
    Contributions, Counterfactual, Decision, Epistemic, Interval, Losses, MemoryView, Reason,
    RiskFactors, Weights,
};
use crate::decide::intent::{ChangeSet, Environment, Intent, Operation};
use crate::decide::settings::Enforcement;
use crate::decide::{Action, Category};
use crate::engine::Receipt;
use crate::id::{DecisionId, IntentId};
use crate::query::audit::Found;
use crate::tenant::evaluate::DecidedIntent;
use crate::tenant::standing::{Standing, State};
use crate::time::Timestamp;

/// How long a caller does well to wait before it looks for a verdict again.
const WAIT_SECONDS: u64 = 30;

/// The entry of a decision, as answers show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditView {
    /// Its number in the log.
    pub index: u64,
    /// Its leaf in the tree, base64.
    pub leaf_hash: String,
    /// The key it is signed with.
    pub key_id: String,
    /// The signature, base64.
    pub signature: String,
}

/// All that an answer is made from, wherever it came from.
#[derive(Debug, Clone)]
pub struct View {
    /// The caller's id, or the one that was made for it.
    pub id: IntentId,
    /// What was asked.
    pub intent: Intent,
    /// What was decided.
    pub decision: Decision,
    /// What would have got a better answer.
    pub counterfactual: Option<Counterfactual>,
    /// When.
    pub at: Timestamp,
    /// The trace it was a part of.
    pub trace_id: Option<String>,
    /// Its entry; a dry run has none.
    pub entry: Option<(DecisionId, AuditView)>,
}

/// A stored decision cannot be shown: a part of its opening is missing or damaged.
#[derive(Debug, Clone, Copy, Error)]
#[error("the opening's part `{0}` cannot be read")]
pub struct NotShown(pub &'static str);

impl View {
    /// Of a decision just made.
    pub fn fresh(
        decided: DecidedIntent,
        receipt: Option<&Receipt>,
        trace_id: Option<String>,
    ) -> Self {
        let entry = receipt.map(|receipt| {
            let audit = AuditView {
                index: receipt.index,
                leaf_hash: STANDARD.encode(receipt.leaf_hash),
                key_id: receipt.kid.to_string(),
                signature: STANDARD.encode(receipt.signature),
            };
            (receipt.decision_id, audit)
        });
        let DecidedIntent {
            id,
            intent,
            decision,
            counterfactual,
            at,
            standing: _,
        } = decided;
        Self {
            id,
            intent,
            decision,
            counterfactual,
            at,
            trace_id,
            entry,
        }
    }

    /// Of a decision made before. Its text is in the opening, so an erased one cannot be shown.
    pub fn stored(found: &Found, opening: &Opening) -> Result<Self, NotShown> {
        let entry = &found.parsed;
        let asked = part(opening, "intent")?;
        let asked = intent::intent(&asked).map_err(|_| NotShown("intent"))?;
        let audit = AuditView {
            index: entry.index,
            leaf_hash: STANDARD.encode(crate::audit::leaf_hash(&found.entry)),
            key_id: entry.kid.to_string(),
            signature: STANDARD.encode(entry.signature),
        };
        let trace_id = entry.field("trace_id").and_then(Value::as_str);
        let counterfactual = opening.part("counterfactual");
        Ok(Self {
            id: asked.id.ok_or(NotShown("intent"))?,
            intent: asked.intent,
            decision: part(opening, "decision")?,
            counterfactual: counterfactual
                .map(|_| part(opening, "counterfactual"))
                .transpose()?,
            at: entry.at,
            trace_id: trace_id.map(str::to_owned),
            entry: Some((entry.decision_id, audit)),
        })
    }

    /// The answer, with the decision standing where it stands now.
    pub fn answer(&self, standing: Standing, replayed: bool) -> Answer<'_> {
        let decision = &self.decision;
        let review_id = self.entry.as_ref().map(|(id, _)| *id);
        Answer {
            action: decision.action,
            justification: &decision.justification,
            next: self.next(standing),
            standing: StandingView::of(standing, review_id),
            reasons: &decision.reasons,
            counterfactual: self.counterfactual.as_ref(),
            intent_id: &self.id,
            deterministic_id: &self.id,
            decision_id: review_id,
            risk_score: decision.risk_score,
            risk_interval: decision.risk_interval,
            confidence: decision.confidence,
            explanation: &decision.explanation,
            category: decision.category,
            environment: self.intent.environment,
            operation: self.intent.operation,
            change_set: self.intent.change_set.as_ref(),
            enforcement: decision.enforcement,
            evidence: EvidenceView {
                trials: decision.evidence.trials,
                self_reported: decision.evidence.self_reported,
                imported: decision.evidence.imported,
            },
            contributions: ContributionsView::of(&decision.contributions),
            risk_factors: decision.risk_factors,
            expected_losses: decision.expected_losses,
            epistemic: decision.epistemic,
            policy_violations: &decision.policy_violations,
            policy_version: decision.policy_version,
            estimated_cost: decision.estimated_cost,
            memory: decision.memory,
            audit: self.entry.as_ref().map(|(_, audit)| audit),
            trace_id: self.trace_id.as_deref(),
            created_at: self.at,
            evaluated_at: self.at,
            dry_run: self.entry.is_none(),
            replayed,
        }
    }

    /// The answer's first members and ids only (`Prefer: return=minimal`).
    pub fn minimal(&self, standing: Standing, replayed: bool) -> Minimal<'_> {
        let Answer {
            action,
            justification,
            next,
            standing,
            reasons,
            intent_id,
            deterministic_id,
            decision_id,
            ..
        } = self.answer(standing, replayed);
        Minimal {
            action,
            justification,
            next,
            standing,
            reasons,
            intent_id,
            deterministic_id,
            decision_id,
            replayed,
        }
    }

    fn next(&self, standing: Standing) -> Next {
        let patch = self
            .counterfactual
            .as_ref()
            .is_some_and(|change| !change.patch.is_empty());
        let (step, detail) = match standing.state {
            State::Approved => (Step::Proceed, "approved"),
            State::Pending => (Step::Wait, "pending review"),
            State::Denied if patch => (
                Step::Change,
                "denied; `counterfactual.patch` is the smallest change that helps",
            ),
            State::Denied => (Step::Stop, "denied"),
            State::Expired => (Step::Renew, "expired; ask again under a new id"),
            State::Closed => (
                Step::Renew,
                "closed by its outcome; ask again under a new id",
            ),
        };
        let pending = standing.state == State::Pending;
        let review = self.entry.as_ref().filter(|_| pending);
        Next {
            step,
            detail,
            href: review.map(|(id, _)| format!("/api/v1/reviews/{id}")),
            retry_after_s: pending.then_some(WAIT_SECONDS),
            expires_at: standing.expires_at.filter(|_| pending),
        }
    }
}

fn part<T: serde::de::DeserializeOwned>(
    opening: &Opening,
    name: &'static str,
) -> Result<T, NotShown> {
    let bytes = opening.part(name).ok_or(NotShown(name))?;
    serde_json::from_slice(bytes).map_err(|_| NotShown(name))
}

crate::string_enum!(
    /// What the caller does next.
    Step {
        /// Go ahead.
        Proceed = "proceed",
        /// Do not.
        Stop = "stop",
        /// A person decides; look again later.
        Wait = "wait",
        /// Apply `counterfactual.patch` and ask again.
        Change = "change",
        /// Ask again under a new id.
        Renew = "renew",
    }
);

/// What the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Next {
    #[serde(rename = "do")]
    step: Step,
    detail: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    href: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// Where the decision stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StandingView {
    state: State,
    review_id: Option<DecisionId>,
    expires_at: Option<Timestamp>,
    permit: Option<String>,
}

impl StandingView {
    /// Of the decision with this id; a pending one is reviewed under it.
    pub fn of(standing: Standing, decision: Option<DecisionId>) -> Self {
        let pending = standing.state == State::Pending;
        Self {
            state: standing.state,
            review_id: decision.filter(|_| pending),
            expires_at: standing.expires_at,
            permit: None,
        }
    }
}

#[derive(Debug, Serialize)]
struct EvidenceView {
    trials: u64,
    self_reported: u64,
    imported: u64,
}

#[derive(Debug, Serialize)]
struct ContributionsView {
    conjugate_mean: f64,
    conjugate_alpha: f64,
    conjugate_beta: f64,
    hyper_mean: Option<f64>,
    hmc_prediction: Option<f64>,
    weights: Weights,
    context_multiplier: f64,
    raw_risk: f64,
    smoothed_risk: f64,
}

impl ContributionsView {
    fn of(contributions: &Contributions) -> Self {
        Self {
            conjugate_mean: contributions.conjugate_mean,
            conjugate_alpha: contributions.conjugate_alpha,
            conjugate_beta: contributions.conjugate_beta,
            hyper_mean: contributions.hyper_mean,
            hmc_prediction: contributions.hmc_prediction,
            weights: contributions.weights,
            context_multiplier: contributions.context_multiplier,
            raw_risk: contributions.raw_risk,
            smoothed_risk: contributions.smoothed_risk,
        }
    }
}

/// The answer to an evaluation: the members that a caller acts on come first.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    action: Action,
    justification: &'a str,
    next: Next,
    standing: StandingView,
    reasons: &'a [Reason],
    counterfactual: Option<&'a Counterfactual>,
    intent_id: &'a IntentId,
    deterministic_id: &'a IntentId,
    decision_id: Option<DecisionId>,
    risk_score: f64,
    risk_interval: Interval,
    confidence: f64,
    explanation: &'a str,
    category: Category,
    environment: Environment,
    operation: Option<Operation>,
    change_set: Option<&'a ChangeSet>,
    enforcement: Enforcement,
    evidence: EvidenceView,
    contributions: ContributionsView,
    risk_factors: RiskFactors,
    expected_losses: Losses,
    epistemic: Epistemic,
    policy_violations: &'a [String],
    policy_version: u32,
    estimated_cost: Option<f64>,
    memory: MemoryView,
    audit: Option<&'a AuditView>,
    trace_id: Option<&'a str>,
    created_at: Timestamp,
    evaluated_at: Timestamp,
    dry_run: bool,
    replayed: bool,
}

/// The short answer.
#[derive(Debug, Serialize)]
pub struct Minimal<'a> {
    action: Action,
    justification: &'a str,
    next: Next,
    standing: StandingView,
    reasons: &'a [Reason],
    intent_id: &'a IntentId,
    deterministic_id: &'a IntentId,
    decision_id: Option<DecisionId>,
    replayed: bool,
}
