//! The shape of every change: a command is a struct that, applied to a tenant, plans a change.

use thiserror::Error;

use super::Tenant;
use super::key::Scope;
use super::schema::Mutation;
use crate::audit::Fact;
use crate::stamp::Stamp;
use crate::time::Timestamp;

/// A change of a tenant, or an attempt at one. Applying it only plans the change.
pub trait Command: Send + 'static {
    type Reply: Send + 'static;

    const SCOPE: Scope;

    /// True for the only command of a tenant without an account.
    const FOUNDS: bool = false;

    fn apply(self, tenant: &Tenant, stamp: &Stamp) -> Plan<Self::Reply>;
}

pub type Plan<R> = Result<Change<R>, NoChange<R>>;

/// One record, one signed entry, one sequence.
#[derive(Debug)]
pub struct Change<R> {
    pub rows: Vec<Mutation>,
    pub fact: Fact,
    /// Sent once the change is durable.
    pub reply: R,
}

#[derive(Debug)]
pub enum NoChange<R> {
    /// The command ran before, with this reply.
    Replay(R),
    Reject(Refusal),
}

impl<R> From<Refusal> for NoChange<R> {
    fn from(refusal: Refusal) -> Self {
        Self::Reject(refusal)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("the key is revoked, expired or unknown")]
    Unauthenticated,
    #[error("the key lacks the scope `{0}`")]
    Forbidden(Scope),
    #[error("the key's claims do not allow {0}")]
    ClaimNotAllowed(String),
    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error("{0}")]
    IdempotencyConflict(&'static str),
    #[error("the intent has an outcome already, and it is the other one")]
    OutcomeConflict,
    #[error("the quota of {limit} evaluations a month is used up")]
    QuotaExceeded { limit: u64, resets_at: Timestamp },
    #[error("{message}")]
    Invalid {
        /// JSON pointer of the value.
        pointer: &'static str,
        message: String,
    },
}

impl Refusal {
    pub fn invalid(pointer: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Invalid { pointer, message }
    }
}
