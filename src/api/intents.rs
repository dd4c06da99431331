//! Intents as they are read: one with all there is to it, or many with what tells them apart.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::decision::{Answer, StandingView};
use super::parameters::Parameters;
use super::problem::Problem;
use crate::audit::Opening;
use crate::decide::intent::{Environment, IntentType, Operation};
use crate::decide::{Action, Category};
use crate::id::{DecisionId, IntentId};
use crate::query::intents::{Filter, Known, OutcomeFilter};
use crate::tenant::outcome::NotLearned;
use crate::time::Timestamp;

/// One intent, whole.
#[derive(Debug, Serialize)]
pub struct Detail<'a> {
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

/// How it turned out.
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
    /// Of what was found; the texts are in the outcome's own opening, if that is still there.
    pub fn of(known: &Known, opening: Option<&Opening>) -> Option<Self> {
        let (sequence, row) = known.outcome?;
        let text = |name| {
            let bytes = opening?.part(name)?;
            Some(String::from_utf8_lossy(bytes).into_owned())
        };
        Some(Self {
            outcome_id: sequence.get(),
            success: row.success,
            recorded_by: text("recorded_by"),
            notes: text("notes"),
            recorded_at: row.recorded_at,
            learned: row.not_learned.is_none(),
            not_learned_because: row.not_learned,
        })
    }
}

impl<'a> Detail<'a> {
    /// The intent that `view` shows.
    pub fn new(
        view: &'a super::decision::View,
        known: &Known,
        opening: &Opening,
        outcome: Option<OutcomeView>,
    ) -> Result<Self, super::decision::NotShown> {
        let missing = super::decision::NotShown("request");
        let request = opening
            .part("request")
            .and_then(|bytes| std::str::from_utf8(bytes).ok());
        let payload = request.and_then(|text| RawValue::from_string(text.trim().to_owned()).ok());
        let standing = StandingView::of(known.standing, Some(known.decision_id));
        Ok(Self {
            deterministic_id: &view.id,
            decision_id: known.decision_id,
            intent_type: known.row.intent_type,
            environment: known.row.environment,
            created_at: view.at,
            evaluated_at: view.at,
            risk_score: view.decision.risk_score,
            payload: payload.ok_or(missing)?,
            oss_payload: serde_json::from_slice(&view.intent.canonical())
                .expect("canonical JSON is JSON"),
            decision: view.answer(known.standing, true),
            standing,
            outcome,
        })
    }
}

/// One of many.
#[derive(Debug, Serialize)]
pub struct Item {
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

impl Item {
    /// Of what was found; its id is in the opening, if that is still there.
    pub fn new(known: &Known, opening: Option<&Opening>) -> Self {
        let id = opening.and_then(|opening| opening.part("deterministic_id"));
        let id = id.and_then(|bytes| std::str::from_utf8(bytes).ok());
        Self {
            deterministic_id: id.and_then(|text| IntentId::parse(text).ok()),
            decision_id: known.decision_id,
            intent_type: known.row.intent_type,
            environment: known.row.environment,
            operation: known.row.operation,
            category: known.row.category,
            action: known.row.action,
            risk_score: known.row.risk,
            standing: StandingView::of(known.standing, Some(known.decision_id)),
            outcome: known.row.outcome.map(|outcome| outcome.success),
            created_at: known.row.created_at,
        }
    }
}

/// Reads the query parameters of the list.
pub fn filter(parameters: &Parameters) -> Result<Filter, Problem> {
    Ok(Filter {
        environment: parameters.enum_value("environment", Environment::parse)?,
        action: parameters.enum_value("action", Action::parse)?,
        outcome: parameters.enum_value("outcome", OutcomeFilter::parse)?,
        change_set: parameters.get("change_set").map(str::to_owned),
        from: parameters.moment("from")?,
        to: parameters.moment("to")?,
    })
}
