//! What a key has used of its quota this month.

use serde::Serialize;

use crate::id::KeyId;
use crate::tenant::Tenant;
use crate::tenant::key::KeyRow;
use crate::tenant::usage::Tier;
use crate::time::Timestamp;

/// One key of many.
#[derive(Debug, Serialize)]
pub struct OfKey {
    key_id: KeyId,
    #[serde(flatten)]
    usage: Usage,
}

/// This month's usage; `limit` and `remaining` are null where there is no limit.
#[derive(Debug, Serialize)]
pub struct Usage {
    tier: Tier,
    limit: Option<u64>,
    used: u64,
    remaining: Option<u64>,
    resets_at: Timestamp,
}

impl Usage {
    /// Of every key of `tenant`, at `at`.
    pub fn of_keys(tenant: &Tenant, at: Timestamp) -> Vec<OfKey> {
        let keys = tenant.keys().all().into_iter();
        keys.map(|key| OfKey {
            key_id: key.key_id,
            usage: Self::of(key, tenant, at),
        })
        .collect()
    }

    /// Of `key`, at `at`.
    pub fn of(key: &KeyRow, tenant: &Tenant, at: Timestamp) -> Self {
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
