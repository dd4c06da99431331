//! Outcomes: the report, and its response.

use serde::Serialize;

use super::json::{self, Fields, ValidationError};
use super::problem::Problem;
use crate::bounded::BoundedString;
use crate::decide::Category;
use crate::id::IntentId;
use crate::tenant::outcome::{NotLearned, RecordOutcome, RecordedOutcome};

/// Parses a report. The header `Idempotency-Key` is the same as the member `idempotency_key`.
pub fn parse(bytes: &[u8], header: Option<&str>) -> Result<RecordOutcome, Problem> {
    let mut outcome = json::parse(bytes, |value| {
        let mut fields = Fields::of(value)?;
        let id = fields.required("deterministic_id", json::string_as(IntentId::parse));
        let success = fields.required("success", json::boolean);
        let recorded_by = fields.optional("recorded_by", json::string);
        let notes = fields.optional("notes", json::string);
        let idempotency_key = fields.optional("idempotency_key", json::string);
        fields.finish(|| {
            Some(RecordOutcome {
                id: id?,
                success: success?,
                recorded_by,
                notes,
                idempotency_key,
            })
        })
    })?;
    let Some(text) = header else {
        return Ok(outcome);
    };
    let key = BoundedString::new(text)
        .map_err(|error| Problem::invalid(format!("header `Idempotency-Key` {error}")))?;
    if outcome
        .idempotency_key
        .as_ref()
        .is_some_and(|other| *other != key)
    {
        let message = "differs from the `Idempotency-Key` header";
        return Err(ValidationError::new(message)
            .under("idempotency_key")
            .into());
    }
    outcome.idempotency_key = Some(key);
    Ok(outcome)
}

#[derive(Debug, Serialize)]
pub struct Answer {
    message: &'static str,
    outcome_id: u64,
    deterministic_id: IntentId,
    category: Category,
    alpha: f64,
    beta: f64,
    learned: bool,
    not_learned_because: Option<NotLearned>,
    replayed: bool,
}

impl Answer {
    pub fn new(id: IntentId, recorded: &RecordedOutcome) -> Self {
        Self {
            message: "Outcome recorded",
            outcome_id: recorded.outcome.get(),
            deterministic_id: id,
            category: recorded.category,
            alpha: recorded.alpha,
            beta: recorded.beta,
            learned: recorded.not_learned.is_none(),
            not_learned_because: recorded.not_learned,
            replayed: recorded.replayed,
        }
    }
}
