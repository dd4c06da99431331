//! Intents as they are read: one with its decision and outcome, or a list.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::decision::{Answer, StandingView, View};
use super::parameters::Parameters;
use super::problem::Problem;
use crate::audit::Opening;
use crate::decide::intent::{Environment, IntentType, Operation};
use crate::decide::{Action, Category};
use crate::id::{DecisionId, IntentId};
use crate::query::intents::{Filter, IntentState, OutcomeFilter};
use crate::tenant::facts::{self, PartError};
use crate::tenant::outcome::NotLearned;
use crate::time::Timestamp;

#[derive(Debug, Serialize)]
pub struct IntentDetail<'a> {
    deterministic_id: &'a IntentId,
    decision_id: DecisionId,
    intent_type: IntentType,
    environment: Environment,
    created_at: Timestamp,
    evaluated_at: Timestamp,
    risk_score: f64,
    payload: Box<RawValue>,
    oss_payload: Value,
    decision: Answer<'a>,
    standing: StandingView,
    outcome: Option<OutcomeView>,
}

#[derive(Debug, Serialize)]
pub struct OutcomeView {
    outcome_id: u64,
    success: bool,
    recorded_by: Option<String>,
    notes: Option<String>,
    recorded_at: Timestamp,
    learned: bool,
    not_learned_because: Option<NotLearned>,
}

impl OutcomeView {
    /// The intent's outcome; its texts are in `opening`, the outcome's own.
    pub fn new(intent: &IntentState, opening: Option<&Opening>) -> Option<Self> {
        let (sequence, row) = intent.outcome?;
        let text = |part: facts::Part<String>| part.read(opening?).map(str::to_owned);
        Some(Self {
            outcome_id: sequence.get(),
            success: row.success,
            recorded_by: text(facts::RECORDED_BY),
            notes: text(facts::NOTES),
            recorded_at: row.recorded_at,
            learned: row.not_learned.is_none(),
            not_learned_because: row.not_learned,
        })
    }
}

impl<'a> IntentDetail<'a> {
    pub fn new(
        view: &'a View,
        intent: &IntentState,
        opening: &Opening,
        outcome: Option<OutcomeView>,
    ) -> Result<Self, PartError> {
        let missing = || facts::REQUEST.missing();
        let request = facts::REQUEST.text(opening)?.ok_or_else(missing)?;
        let payload = RawValue::from_string(request.trim().to_owned()).map_err(|_| missing())?;
        Ok(Self {
            deterministic_id: &view.id,
            decision_id: intent.decision_id,
            intent_type: intent.row.intent_type,
            environment: intent.row.environment,
            created_at: view.at,
            evaluated_at: view.at,
            risk_score: view.decision.risk_score,
            payload,
            oss_payload: serde_json::from_slice(&view.intent.canonical())
                .expect("canonical JSON is JSON"),
            decision: view.answer(intent.standing, true),
            standing: StandingView::of(intent.standing, Some(intent.decision_id)),
            outcome,
        })
    }
}

/// An intent in a list.
#[derive(Debug, Serialize)]
pub struct IntentSummary {
    deterministic_id: Option<IntentId>,
    decision_id: DecisionId,
    intent_type: IntentType,
    environment: Environment,
    operation: Option<Operation>,
    category: Category,
    action: Action,
    risk_score: f64,
    standing: StandingView,
    outcome: Option<bool>,
    created_at: Timestamp,
}

impl IntentSummary {
    /// Its id is in the opening; it is null if that was erased.
    pub fn new(intent: &IntentState, opening: Option<&Opening>) -> Self {
        let id = opening.and_then(|opening| facts::DETERMINISTIC_ID.read(opening));
        Self {
            deterministic_id: id.and_then(|text| IntentId::parse(text).ok()),
            decision_id: intent.decision_id,
            intent_type: intent.row.intent_type,
            environment: intent.row.environment,
            operation: intent.row.operation,
            category: intent.row.category,
            action: intent.row.action,
            risk_score: intent.row.risk,
            standing: StandingView::of(intent.standing, Some(intent.decision_id)),
            outcome: intent.row.outcome.map(|outcome| outcome.success),
            created_at: intent.row.created_at,
        }
    }
}

impl Filter {
    pub fn read(parameters: &mut Parameters) -> Result<Self, Problem> {
        let outcomes = OutcomeFilter::ALL;
        Ok(Self {
            environment: parameters.string_enum(
                "environment",
                Environment::ALL,
                Environment::as_str,
            )?,
            action: parameters.string_enum("action", Action::ALL, Action::as_str)?,
            outcome: parameters.string_enum("outcome", outcomes, OutcomeFilter::as_str)?,
            change_set: parameters.string("change_set").map(str::to_owned),
            from: parameters.timestamp("from")?,
            to: parameters.timestamp("to")?,
        })
    }
}
