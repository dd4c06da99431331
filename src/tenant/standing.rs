//! Where a decided intent stands: a function of its row and the time (rules.md 13).
//!
//! Expiry is arithmetic, not an event.

use super::intents::{IntentRow, Verdict};
use crate::decide::{Action, Settings};
use crate::string_enum;
use crate::time::Timestamp;

string_enum!(
    State {
        Pending = "pending",
        Approved = "approved",
        Denied = "denied",
        /// Enforced like a denial.
        Expired = "expired",
        /// It has an outcome.
        Closed = "closed",
    }
);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub state: State,
    /// Of pending, approved and expired.
    pub expires_at: Option<Timestamp>,
}

impl Standing {
    /// The time limit is the row's: settings that change later neither revive an intent nor end it early.
    pub fn of(row: &IntentRow, at: Timestamp) -> Self {
        let limited = |state| {
            // A row without the time limit that it must have fails closed.
            let expired = row.expires_at.is_none_or(|end| at >= end);
            Self {
                state: if expired { State::Expired } else { state },
                expires_at: row.expires_at,
            }
        };
        let unlimited = |state| Self {
            state,
            expires_at: None,
        };
        if row.outcome.is_some() {
            return unlimited(State::Closed);
        }
        match (row.action, row.review.map(|review| review.verdict)) {
            (Action::Approve, _) | (Action::Escalate, Some(Verdict::Approve)) => {
                limited(State::Approved)
            }
            (Action::Escalate, None) => limited(State::Pending),
            (Action::Deny, _) | (Action::Escalate, Some(Verdict::Deny)) => unlimited(State::Denied),
        }
    }
}

/// The time limit that a decision or verdict at `at` sets in the row.
pub fn expires_at(action: Action, at: Timestamp, settings: &Settings) -> Option<Timestamp> {
    match action {
        Action::Approve => Some(at.plus(settings.approvals.ttl())),
        Action::Escalate => Some(at.plus(settings.reviews.ttl())),
        Action::Deny => None,
    }
}
