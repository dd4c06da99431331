//! Errors of the engine and of reads, as problems.

use super::problem::{Code, Problem};
use crate::engine::{EngineError, Unavailable};
use crate::query::QueryError;
use crate::tenant::command::Refusal;
use crate::time::Timestamp;

/// The problem that answers a failed request; `Retry-After` counts from `now`.
pub fn problem(error: &EngineError, now: Timestamp) -> Problem {
    match error {
        EngineError::Refused(refusal) => refused(refusal, now),
        EngineError::Unavailable(unavailable) => (*unavailable).into(),
    }
}

fn refused(refusal: &Refusal, now: Timestamp) -> Problem {
    let detail = refusal.to_string();
    match refusal {
        Refusal::Unauthenticated => Problem::new(Code::Unauthenticated, detail),
        Refusal::Forbidden(_) => Problem::new(Code::Forbidden, detail),
        Refusal::ClaimNotAllowed(_) => Problem::new(Code::ClaimNotAllowed, detail),
        Refusal::NotFound(what) => Problem::not_found(what),
        Refusal::IdempotencyConflict(_) => Problem::new(Code::IdempotencyConflict, detail),
        Refusal::OutcomeConflict => Problem::new(Code::OutcomeConflict, detail),
        Refusal::QuotaExceeded { resets_at, .. } => Problem::new(Code::QuotaExceeded, detail)
            .retry_after(resets_at.since(now).as_secs().max(1))
            .with("resets_at", resets_at.to_string()),
        Refusal::Invalid { pointer, message } => Problem::at(pointer, message),
    }
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Self {
        let code = match unavailable {
            Unavailable::TenantBusy => Code::TenantBusy,
            Unavailable::Overloaded => Code::Overloaded,
            Unavailable::DeadlineExceeded => Code::DeadlineExceeded,
            Unavailable::StorageFull => Code::StorageFull,
            Unavailable::TenantCorrupt => Code::TenantCorrupt,
            Unavailable::TenantReloading => Code::TenantReloading,
            Unavailable::Rebuilding => Code::Rebuilding,
            Unavailable::ShuttingDown => Code::ShuttingDown,
        };
        Self::new(code, unavailable.to_string())
    }
}

impl From<QueryError> for Unavailable {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Store(error) => error.into(),
            QueryError::Malformed { .. } => Self::TenantCorrupt,
        }
    }
}
