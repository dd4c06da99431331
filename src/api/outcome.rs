//! Outcomes in and out.

use serde::Serialize;

use super::json::{self, Fields, Invalid};
use super::problem::Problem;
use crate::bounded::BoundedString;
use crate::decide::Category;
use crate::id::IntentId;
use crate::tenant::outcome::{NotLearned, RecordOutcome, RecordedOutcome};

/// Reads a report and its `Idempotency-Key`, which is another way to say `idempotency_key`.
pub fn record(bytes: &[u8], header: Option<&str>) -> Result<RecordOutcome, Problem> {
    let mut outcome = json::parse(bytes, |value| {
        let mut fields = Fields::of(value)?;
        let id = fields.required("deterministic_id", json::parsed(IntentId::parse));
        let success = fields.required("success", json::boolean);
        let recorded_by = fields.optional("recorded_by", json::text);
        let notes = fields.optional("notes", json::text);
        let idempotency_key = fields.optional("idempotency_key", json::text);
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
        .map_err(|error| Problem::invalid(format!("the `Idempotency-Key` header {error}")))?;
    if outcome
        .idempotency_key
        .as_ref()
        .is_some_and(|other| *other != key)
    {
        let message = "is not what the `Idempotency-Key` header says";
        return Err(Invalid::because(message).under("idempotency_key").into());
    }
    outcome.idempotency_key = Some(key);
    Ok(outcome)
}

/// The answer to a report.
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
    /// What came of the report on `id`.
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
