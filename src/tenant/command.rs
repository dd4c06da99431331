//! The shape of every change: a command is a struct that, applied to a tenant, plans a change.

use thiserror::Error;

use super::Tenant;
use super::key::Scope;
use super::schema::Mutation;
use crate::audit::Fact;
use crate::id::{KeyId, TenantId};
use crate::stamp::Stamp;
use crate::time::Timestamp;

/// Something that may change a tenant. Applying it changes nothing: it only says what would change.
pub trait Command: Send + 'static {
    /// What the caller gets back.
    type Reply: Send + 'static;

    /// What a key must be allowed for to give this command.
    const SCOPE: Scope;

    /// True for the command that founds its tenant, the only one that a tenant without account takes.
    const FOUNDS: bool = false;

    /// Plans the change, or leaves without one.
    fn apply(self, tenant: &Tenant, stamp: &Stamp) -> Plan<Self::Reply>;
}

/// What a command comes to.
pub type Plan<R> = Result<Change<R>, NoChange<R>>;

/// A change of one tenant: one record, one signed entry, one number.
#[derive(Debug)]
pub struct Change<R> {
    /// The rows that become different.
    pub rows: Vec<Mutation>,
    /// What the audit log will say about it.
    pub fact: Fact,
    /// What the caller gets once it is durable.
    pub reply: R,
}

/// Why a command changes nothing.
#[derive(Debug)]
pub enum NoChange<R> {
    /// It was done before; this is what came of it.
    Replay(R),
    /// It may not be done.
    Reject(Refusal),
}

impl<R> From<Refusal> for NoChange<R> {
    fn from(refusal: Refusal) -> Self {
        Self::Reject(refusal)
    }
}

/// Everything that a caller can do wrong once its request could be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The key is not, or no longer, good.
    #[error("the key is revoked, expired or unknown")]
    Unauthenticated,
    /// The key may not do this.
    #[error("the key lacks the scope `{0}`")]
    Forbidden(Scope),
    /// The key is for other intents.
    #[error("the key's claims do not allow {0}")]
    ClaimNotAllowed(String),
    /// There is no such thing in this tenant.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The id belongs to another request.
    #[error("{0}")]
    IdempotencyConflict(&'static str),
    /// The intent has the other outcome.
    #[error("the intent has an outcome already, and it is the other one")]
    OutcomeConflict,
    /// The key's quota is used up.
    #[error("the quota of {limit} evaluations a month is used up")]
    QuotaExceeded {
        /// Evaluations a month.
        limit: u64,
        /// When counting begins anew.
        resets_at: Timestamp,
    },
    /// A value that could be read but not accepted.
    #[error("{message}")]
    Invalid {
        /// JSON pointer of the value.
        pointer: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

/// Who gives a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The node itself, at its first start.
    Node,
    /// The holder of a key.
    Key {
        /// The tenant whose key it is; tenant zero for operators.
        tenant: TenantId,
        /// The key.
        key: KeyId,
    },
}

impl Caller {
    /// The key, as entries name it.
    pub fn key(&self) -> Option<KeyId> {
        match *self {
            Self::Node => None,
            Self::Key { key, .. } => Some(key),
        }
    }

    /// Checks that this caller may do what `scope` names to `tenant`, now.
    ///
    /// A tenant's own key is checked against the tenant's own rows, so that a revocation counts from
    /// the moment it was ordered before. Operators' keys live in tenant zero and were checked at the
    /// door; they may only administer.
    pub fn admit(&self, tenant: &Tenant, scope: Scope, at: Timestamp) -> Result<(), Refusal> {
        match *self {
            Self::Node => Ok(()),
            Self::Key { tenant: home, key } if home == tenant.id => {
                let key = tenant
                    .keys
                    .active(key, at)
                    .ok_or(Refusal::Unauthenticated)?;
                if key.scopes.allow(scope) {
                    Ok(())
                } else {
                    Err(Refusal::Forbidden(scope))
                }
            }
            Self::Key { tenant: home, .. } if home == TenantId::ZERO => {
                if scope == Scope::Admin {
                    Ok(())
                } else {
                    Err(Refusal::Forbidden(scope))
                }
            }
            Self::Key { .. } => Err(Refusal::NotFound("tenant")),
        }
    }
}
