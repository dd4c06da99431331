//! Who may run a command: the caller, the scopes of its key, and its claims.
//!
//! `http/authentication.rs` and the engine's directory find out whose key it is; what it may do in a
//! tenant is decided here, against the tenant's own rows and in its order.

use super::Tenant;
use super::command::Refusal;
use super::key::{KeyRow, Scope};
use crate::decide::intent::Intent;
use crate::id::{KeyId, TenantId};
use crate::stamp::Stamp;
use crate::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Node,
    Key {
        /// Tenant zero for operators.
        tenant: TenantId,
        key: KeyId,
    },
}

impl Caller {
    pub fn key(&self) -> Option<KeyId> {
        match *self {
            Self::Node => None,
            Self::Key { key, .. } => Some(key),
        }
    }

    /// A tenant's own key is checked against the tenant's own rows, so a revocation holds for every
    /// command ordered after it. Operators' keys belong to tenant zero and were checked at admission;
    /// they may only administer.
    pub fn authorize(&self, tenant: &Tenant, scope: Scope, at: Timestamp) -> Result<(), Refusal> {
        let allowed = match *self {
            Self::Node => true,
            Self::Key { tenant: home, key } if home == tenant.id => {
                let key = tenant.keys.active(key, at);
                key.ok_or(Refusal::Unauthenticated)?.scopes.allow(scope)
            }
            Self::Key { tenant: home, .. } if home == TenantId::ZERO => scope == Scope::Admin,
            Self::Key { .. } => return Err(Refusal::NotFound("tenant")),
        };
        if allowed {
            Ok(())
        } else {
            Err(Refusal::Forbidden(scope))
        }
    }
}

/// The key of the command, if it is active and its claims allow the intent.
pub fn authorize_key<'a>(
    tenant: &'a Tenant,
    stamp: &Stamp,
    intent: &Intent,
) -> Result<&'a KeyRow, Refusal> {
    let key = stamp.caller.ok_or(Refusal::Unauthenticated)?;
    let key = tenant.keys.active(key, stamp.at);
    let key = key.ok_or(Refusal::Unauthenticated)?;
    if let Some(claims) = tenant.keys.claims(key.key_id) {
        claims.check(intent)?;
    }
    Ok(key)
}
