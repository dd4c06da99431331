//! Where a decided intent stands: a function of its row and the time (rules.md 13).
//!
//! A lapse is arithmetic, not an event: nothing has to happen for a pending intent to expire.

use super::intents::{IntentRow, Verdict};
use crate::decide::{Action, Settings};
use crate::string_enum;
use crate::time::Timestamp;

string_enum!(
    /// Where a decided intent stands.
    State {
        Pending = "pending",
        /// By rule or by a person.
        Approved = "approved",
        /// By rule or by a person.
        Denied = "denied",
        /// The time limit passed: enforced like a denial.
        Expired = "expired",
        /// Its outcome is recorded.
        Closed = "closed",
    }
);

/// Where a decided intent stands, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub state: State,
    /// Of pending, approved and expired.
    pub expires_at: Option<Timestamp>,
}

impl Standing {
    /// Where the intent with this row stands at `at`. The row alone says until when: settings that
    /// change later revive nothing and end nothing early.
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

/// The time limit that a decision, or a verdict, of `at` sets in the row.
pub fn expires_at(action: Action, at: Timestamp, settings: &Settings) -> Option<Timestamp> {
    match action {
        Action::Approve => Some(at.plus(settings.approvals.ttl())),
        Action::Escalate => Some(at.plus(settings.reviews.ttl())),
        Action::Deny => None,
    }
}
