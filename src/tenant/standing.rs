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
    /// Where the intent with this row stands at `at`. The row alone says until when: settings that
    /// change later revive nothing and end nothing early.
    pub fn of(row: &IntentRow, at: Timestamp) -> Self {
        let lapsing = |state| {
            // Without a time limit it fails closed.
            let lapsed = row.expires_at.is_none_or(|end| at >= end);
            Self {
                state: if lapsed { State::Expired } else { state },
                expires_at: row.expires_at,
            }
        };
        let lasting = |state| Self {
            state,
            expires_at: None,
        };
        if row.outcome.is_some() {
            return lasting(State::Closed);
        }
        match (row.action, row.review.map(|review| review.verdict)) {
            (Action::Approve, _) | (Action::Escalate, Some(Verdict::Approve)) => {
                lapsing(State::Approved)
            }
            (Action::Escalate, None) => lapsing(State::Pending),
            (Action::Deny, _) | (Action::Escalate, Some(Verdict::Deny)) => lasting(State::Denied),
        }
    }
}

/// When what is decided at `at` expires: what an intent's row stores, by its decision and by a verdict.
pub fn expires_at(action: Action, at: Timestamp, settings: &Settings) -> Option<Timestamp> {
    match action {
        Action::Approve => Some(at.plus(settings.approvals.ttl())),
        Action::Escalate => Some(at.plus(settings.reviews.ttl())),
        Action::Deny => None,
    }
}
