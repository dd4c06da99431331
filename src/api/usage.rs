//! The usage of a key's monthly quota.

use serde::Serialize;

use crate::id::KeyId;
use crate::tenant::Tenant;
use crate::tenant::key::KeyRow;
use crate::tenant::usage::Tier;
use crate::time::Timestamp;

#[derive(Debug, Serialize)]
pub struct KeyUsage {
    key_id: KeyId,
    #[serde(flatten)]
    usage: Usage,
}

/// This month's usage; `limit` and `remaining` are null if the tier has no limit.
#[derive(Debug, Serialize)]
pub struct Usage {
    tier: Tier,
    limit: Option<u64>,
    used: u64,
    remaining: Option<u64>,
    resets_at: Timestamp,
}

impl Usage {
    /// The usage of every key of `tenant`.
    pub fn list(tenant: &Tenant, at: Timestamp) -> Vec<KeyUsage> {
        let keys = tenant.keys().all().into_iter();
        keys.map(|key| KeyUsage {
            key_id: key.key_id,
            usage: Self::new(key, tenant, at),
        })
        .collect()
    }

    pub fn new(key: &KeyRow, tenant: &Tenant, at: Timestamp) -> Self {
        let (limit, month) = (key.tier.limit(), at.month());
        let used = tenant.usage().used(key.key_id, month);
        Self {
            tier: key.tier,
            limit,
            used,
            remaining: limit.map(|limit| limit.saturating_sub(used)),
            resets_at: month.end(),
        }
    }
}
