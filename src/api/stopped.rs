//! What the engine would not or could not do, as a problem.

use super::problem::{Code, Problem};
use crate::engine::{Stopped, Unavailable};
use crate::tenant::command::Refusal;
use crate::time::Timestamp;

/// The problem that a stopped request answers with; `now` is for how long to wait.
pub fn problem(stopped: &Stopped, now: Timestamp) -> Problem {
    match stopped {
        Stopped::Refused(refusal) => refused(refusal, now),
        Stopped::Unavailable(why) => (*why).into(),
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
    fn from(why: Unavailable) -> Self {
        let code = match why {
            Unavailable::TenantBusy => Code::TenantBusy,
            Unavailable::Overloaded => Code::Overloaded,
            Unavailable::DeadlineExceeded => Code::DeadlineExceeded,
            Unavailable::StorageFull => Code::StorageFull,
            Unavailable::TenantCorrupt => Code::TenantCorrupt,
            Unavailable::TenantReloading => Code::TenantReloading,
            Unavailable::Rebuilding => Code::Rebuilding,
            Unavailable::ShuttingDown => Code::ShuttingDown,
        };
        Self::new(code, why.to_string())
    }
}
