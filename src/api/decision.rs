//! The response with a decision: when it is made, and at every replay.
//!
//! Both are rendered from a [`View`], so a replay differs from the first response only in what time
//! has changed: standing, next and `replayed`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

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
use crate::query::audit::StoredEntry;
use crate::tenant::evaluate::DecidedIntent;
use crate::tenant::facts::{self, PartError};
use crate::tenant::standing::{Standing, State};
use crate::time::Timestamp;

/// How often to poll for a verdict, seconds.
const POLL_SECONDS: u64 = 30;

/// The audit entry of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditView {
    pub index: u64,
    /// Base64.
    pub leaf_hash: String,
    /// The signing key.
    pub key_id: String,
    /// Base64.
    pub signature: String,
}

/// Everything that a response is rendered from.
#[derive(Debug, Clone)]
pub struct View {
    pub id: IntentId,
    pub intent: Intent,
    pub decision: Decision,
    pub counterfactual: Option<Counterfactual>,
    pub at: Timestamp,
    pub trace_id: Option<String>,
    /// `None` for a dry run.
    pub entry: Option<(DecisionId, AuditView)>,
}

impl View {
    /// A decision that was just made.
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

    /// A decision that was made before, from its entry and opening.
    pub fn stored(entry: &StoredEntry, opening: &Opening) -> Result<Self, PartError> {
        let parsed = &entry.parsed;
        let missing = || facts::INTENT.missing();
        let intent = facts::INTENT.value(opening)?.ok_or_else(missing)?;
        let intent = intent::intent(&intent).map_err(|_| missing())?;
        let audit = AuditView {
            index: parsed.index,
            leaf_hash: STANDARD.encode(crate::audit::leaf_hash(&entry.bytes)),
            key_id: parsed.kid.to_string(),
            signature: STANDARD.encode(parsed.signature),
        };
        Ok(Self {
            id: intent.id.ok_or_else(missing)?,
            intent: intent.intent,
            decision: facts::DECISION
                .read(opening)?
                .ok_or_else(|| facts::DECISION.missing())?,
            counterfactual: facts::COUNTERFACTUAL.read(opening)?,
            at: parsed.at,
            trace_id: facts::TRACE_ID.read(parsed),
            entry: Some((parsed.decision_id, audit)),
        })
    }

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

    /// The first members and the ids only (`Prefer: return=minimal`).
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
            retry_after_s: pending.then_some(POLL_SECONDS),
            expires_at: standing.expires_at.filter(|_| pending),
        }
    }
}

crate::string_enum!(
    /// What the caller does next.
    Step {
        Proceed = "proceed",
        Stop = "stop",
        /// A reviewer decides; poll.
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StandingView {
    state: State,
    review_id: Option<DecisionId>,
    expires_at: Option<Timestamp>,
    permit: Option<String>,
}

impl StandingView {
    /// A pending decision is reviewed under its own id.
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

/// The members that a caller acts on come first.
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
