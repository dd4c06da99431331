//! Where a decided intent stands: a function of its row and the time (rules.md 13).
//!
//! A lapse is arithmetic, not an event: nothing has to happen for a pending intent to expire.

use std::time::Duration;

use super::intents::{IntentRow, Verdict};
use crate::decide::{Action, Settings};
use crate::string_enum;
use crate::time::Timestamp;

string_enum!(
    /// Where a decided intent stands.
    State {
        /// A person is to decide.
        Pending = "pending",
        /// Go ahead, by rule or by person.
        Approved = "approved",
        /// Do not, by rule or by person.
        Denied = "denied",
        /// Its time ran out; stops like a denial.
        Expired = "expired",
        /// Its outcome is recorded.
        Closed = "closed",
    }
);

/// Where a decided intent stands, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The state.
    pub state: State,
    /// When it expires, if it can: for pending and approved; for expired, when it did.
    pub expires_at: Option<Timestamp>,
}

impl Standing {
    /// Where the intent with this row stands at `at`.
    pub fn of(row: &IntentRow, settings: &Settings, at: Timestamp) -> Self {
        if row.outcome.is_some() {
            return Self {
                state: State::Closed,
                expires_at: None,
            };
        }
        let lasting = |state, since: Timestamp, ttl: Duration| {
            let end = since.plus(ttl);
            let state = if at < end { state } else { State::Expired };
            Self {
                state,
                expires_at: Some(end),
            }
        };
        let denied = Self {
            state: State::Denied,
            expires_at: None,
        };
        match (row.action, row.review) {
            (Action::Approve, _) => {
                lasting(State::Approved, row.created_at, settings.approvals.ttl())
            }
            (Action::Deny, _) => denied,
            (Action::Escalate, None) => {
                lasting(State::Pending, row.created_at, settings.reviews.ttl())
            }
            (Action::Escalate, Some(review)) => match review.verdict {
                Verdict::Approve => lasting(State::Approved, review.at, settings.approvals.ttl()),
                Verdict::Deny => denied,
            },
        }
    }
}
