//! Intents as they are read: one with all there is to it, or many with what tells them apart.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::decision::{Answer, StandingView};
use super::problem::Problem;
use crate::audit::Opening;
use crate::decide::intent::{Environment, IntentType, Operation};
use crate::decide::{Action, Category};
use crate::id::{DecisionId, IntentId};
use crate::query::intents::{Filter, Found, OutcomeFilter};
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
    pub fn of(found: &Found, opening: Option<&Opening>) -> Option<Self> {
        let (sequence, row) = found.outcome?;
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
        found: &Found,
        opening: &Opening,
        outcome: Option<OutcomeView>,
    ) -> Result<Self, super::decision::NotShown> {
        let missing = super::decision::NotShown("request");
        let request = opening
            .part("request")
            .and_then(|bytes| std::str::from_utf8(bytes).ok());
        let payload = request.and_then(|text| RawValue::from_string(text.trim().to_owned()).ok());
        let standing = StandingView::of(found.standing, Some(found.decision_id));
        Ok(Self {
            deterministic_id: &view.id,
            decision_id: found.decision_id,
            intent_type: found.row.intent_type,
            environment: found.row.environment,
            created_at: view.at,
            evaluated_at: view.at,
            risk_score: view.decision.risk_score,
            payload: payload.ok_or(missing)?,
            oss_payload: serde_json::from_slice(&view.intent.canonical())
                .expect("canonical JSON is JSON"),
            decision: view.answer(found.standing, true),
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
    pub fn new(found: &Found, opening: Option<&Opening>) -> Self {
        let id = opening.and_then(|opening| opening.part("deterministic_id"));
        let id = id.and_then(|bytes| std::str::from_utf8(bytes).ok());
        Self {
            deterministic_id: id.and_then(|text| IntentId::parse(text).ok()),
            decision_id: found.decision_id,
            intent_type: found.row.intent_type,
            environment: found.row.environment,
            operation: found.row.operation,
            category: found.row.category,
            action: found.row.action,
            risk_score: found.row.risk,
            standing: StandingView::of(found.standing, Some(found.decision_id)),
            outcome: found.row.outcome.map(|outcome| outcome.success),
            created_at: found.row.created_at,
        }
    }
}

/// Reads the query parameters of the list.
pub fn filter<'q>(get: impl Fn(&str) -> Option<&'q str>) -> Result<Filter, Problem> {
    Ok(Filter {
        environment: word(get("environment"), "environment", Environment::from_word)?,
        action: word(get("action"), "action", Action::from_word)?,
        outcome: word(get("outcome"), "outcome", OutcomeFilter::from_word)?,
        change_set: get("change_set").map(str::to_owned),
        from: moment(get("from"), "from")?,
        to: moment(get("to"), "to")?,
    })
}

/// Reads a query parameter that is one of a closed vocabulary.
pub fn word<T>(
    text: Option<&str>,
    name: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    let read = |text| {
        read(text).ok_or_else(|| Problem::invalid(format!("`{name}` has no value `{text}`")))
    };
    text.map(read).transpose()
}

/// Reads a query parameter that is a time.
pub fn moment(text: Option<&str>, name: &str) -> Result<Option<Timestamp>, Problem> {
    let read = |text| {
        Timestamp::parse(text)
            .ok_or_else(|| Problem::invalid(format!("`{name}` must be an RFC 3339 time")))
    };
    text.map(read).transpose()
}
